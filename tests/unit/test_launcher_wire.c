#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"
#include "sandbox/launcher_wire.h"

static struct launcher_packet packet, arrived;

static const char *const argv[] = { "/bin/sh", "-c", "", NULL };
static const char *const env[] = { "A=1", NULL };
static const char *const groups[] = { "logs", "audio" };
static const struct identity_limit rlimits[] = { { RLIMIT_NOFILE, { 10, 20 } } };
static struct taskgroup_limits limits = { .memory_max_bytes = 4711, .cpuset_cpus = "0-3" };
static const char *const layers[] = { "0a", "0b", "0c" };
static const struct launch_mount mounts[] = {
	{ .source_fd = 0, .target = "/data", .sub_path = NULL, .read_only = true },
	{ .source_fd = 1, .target = "/more", .sub_path = "a/b", .map_ids = true },
	{ .source_fd = -1, .target = "/models", .layers = layers, .layer_count = 2 },
};

static struct launch_spec full_spec(void)
{
	struct launch_spec spec;

	launch_spec_init(&spec);
	spec.workload = "t-42";
	spec.container = "main";
	spec.attempt = 3;
	spec.namespaces.net_fd = 2;
	spec.host_id_first = 100000;
	spec.group_path = "workloads/batch/t-42.1/main.3";
	spec.limits = &limits;
	spec.root_fd = 0;
	spec.root_layers = (struct layer_root){ .hexes = layers, .count = 3, .writable_bytes = 7 };
	spec.mounts = mounts;
	spec.mount_count = ARRAY_SIZE(mounts);
	spec.argv = argv;
	spec.env = env;
	spec.user = "";
	spec.groups = groups;
	spec.group_count = ARRAY_SIZE(groups);
	spec.capabilities = 1ULL << 40;
	spec.rlimits = rlimits;
	spec.rlimit_count = ARRAY_SIZE(rlimits);
	spec.page_fd = 1;
	spec.gate_open = true;
	return spec;
}

/* As the other process gets it: other numbers for the descriptors. */
static void deliver(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(launcher_send(pair[0], &packet), 0);
	assert_int_equal(launcher_receive(pair[1], &arrived), 1);
	(void)close(pair[0]);
	assert_int_equal(launcher_receive(pair[1], &packet), 0);
	(void)close(pair[1]);
}

static void close_arrived(void)
{
	while (arrived.fd_count > 0)
		(void)close(arrived.fds[--arrived.fd_count]);
}

static void a_launch_arrives_whole(void **state)
{
	struct launch_spec spec = full_spec(), got;
	int control_fd = -1;

	assert_int_equal(launcher_pack_launch(&spec, 2, &packet), 0);
	deliver();
	assert_int_equal(launcher_unpack_launch(&arrived, &got, &control_fd), 0);
	assert_true(control_fd > 2 && fcntl(control_fd, F_GETFD) == FD_CLOEXEC);
	assert_string_equal(got.workload, "t-42");
	assert_string_equal(got.container, "main");
	assert_int_equal(got.attempt, 3);
	assert_true(got.namespaces.net_fd > 2);
	assert_int_equal(got.namespaces.user_fd, -1);
	assert_string_equal(got.group_path, spec.group_path);
	assert_memory_equal(got.limits, &limits, sizeof(limits));
	assert_int_equal(got.mount_count, 3);
	assert_string_equal(got.mounts[0].target, "/data");
	assert_null(got.mounts[0].sub_path);
	assert_true(got.mounts[0].read_only && got.mounts[0].source_fd > 2);
	assert_string_equal(got.mounts[1].sub_path, "a/b");
	assert_true(got.mounts[1].map_ids);
	assert_int_equal(got.mounts[1].layer_count, 0);
	assert_int_equal(got.mounts[2].source_fd, -1);
	assert_int_equal(got.mounts[2].layer_count, 2);
	assert_string_equal(got.mounts[2].layers[1], "0b");
	assert_int_equal(got.root_layers.count, 3);
	assert_string_equal(got.root_layers.hexes[2], "0c");
	assert_int_equal(got.root_layers.writable_bytes, 7);
	assert_string_equal(got.argv[1], "-c");
	assert_string_equal(got.argv[2], "");
	assert_null(got.argv[3]);
	assert_string_equal(got.env[0], "A=1");
	assert_null(got.working_dir);
	assert_string_equal(got.groups[1], "audio");
	assert_int_equal(got.group_count, 2);
	assert_int_equal(got.capabilities, spec.capabilities);
	assert_memory_equal(got.rlimits, rlimits, sizeof(rlimits));
	assert_true(got.page_fd > 2 && got.gate_open);
	assert_int_equal(got.log.max_files, 3);
	assert_null(got.filter);
	assert_int_equal(got.monitor_program_fd, -1);
	launcher_launch_done(&got);
	close_arrived();
}

static void a_launch_without_anything_optional_arrives(void **state)
{
	struct launch_spec spec, got;
	int control_fd;

	launch_spec_init(&spec);
	spec.limits = &limits;
	spec.argv = argv;
	assert_int_equal(launcher_pack_launch(&spec, 0, &packet), 0);
	assert_int_equal(packet.fd_count, 1);
	assert_int_equal(launcher_unpack_launch(&packet, &got, &control_fd), 0);
	assert_null(got.workload);
	assert_null(got.mounts);
	assert_non_null(got.env);
	assert_null(got.env[0]);
	assert_int_equal(got.root_fd, -1);
	launcher_launch_done(&got);
}

static void what_is_too_long_is_refused(void **state)
{
	struct launch_spec spec = full_spec();
	char *word = calloc(1, LAUNCHER_BYTES_MAX);
	const char *words[] = { word, NULL };

	memset(word, 'x', LAUNCHER_BYTES_MAX - 1);
	spec.env = words;
	assert_int_equal(launcher_pack_launch(&spec, 0, &packet), -E2BIG);
	free(word);
}

static void what_was_cut_is_refused(void **state)
{
	struct launch_spec spec = full_spec(), got;
	int control_fd;
	size_t length;

	assert_int_equal(launcher_pack_launch(&spec, 0, &packet), 0);
	length = packet.length;
	for (size_t cut = 0; cut < length; cut++) {
		packet.length = cut;
		memset(&got, 0, sizeof(got));
		assert_int_equal(launcher_unpack_launch(&packet, &got, &control_fd), -EBADMSG);
		launcher_launch_done(&got);
	}
	packet.length = length;
	packet.fd_count--;
	assert_int_equal(launcher_unpack_launch(&packet, &got, &control_fd), -EBADMSG);
	launcher_launch_done(&got);
}

static void a_host_arrives_whole_and_is_no_launch(void **state)
{
	struct launcher_host host = { .monitors_fd = 1, .device_filters = true }, got;
	struct hierarchy *hierarchy = &host.hierarchy;
	struct launch_spec spec;
	int control_fd;

	hierarchy->base = (char *)"/berth";
	hierarchy->unified = 1;
	hierarchy->mount_count = 2;
	hierarchy->mounts[0] = (struct hierarchy_mount){ .path = (char *)"/a", .base_fd = 0 };
	hierarchy->mounts[1] =
		(struct hierarchy_mount){ .path = (char *)"/b", .base_fd = 1, .v2 = true };
	hierarchy->feature_count = 1;
	hierarchy->features[0] = (struct hierarchy_feature){ "cgroup.kill", true, "it can" };
	assert_int_equal(launcher_pack_host(&host, &packet), 0);
	deliver();
	memset(&spec, 0, sizeof(spec));
	assert_int_equal(launcher_unpack_launch(&arrived, &spec, &control_fd), -EBADMSG);
	launcher_launch_done(&spec);
	assert_int_equal(launcher_unpack_host(&arrived, &got), 0);
	assert_true(got.monitors_fd > 2 && got.device_filters);
	assert_string_equal(got.hierarchy.base, "/berth");
	assert_null(got.hierarchy.cpuset_cpus);
	assert_string_equal(got.hierarchy.mounts[1].path, "/b");
	assert_true(got.hierarchy.mounts[1].v2 && got.hierarchy.mounts[1].base_fd > 2);
	assert_string_equal(got.hierarchy.features[0].name, "cgroup.kill");
	assert_string_equal(got.hierarchy.features[0].sentence, "it can");
	close_arrived();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_launch_arrives_whole),
		cmocka_unit_test(a_launch_without_anything_optional_arrives),
		cmocka_unit_test(what_is_too_long_is_refused),
		cmocka_unit_test(what_was_cut_is_refused),
		cmocka_unit_test(a_host_arrives_whole_and_is_no_launch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

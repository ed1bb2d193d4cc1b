#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "sandbox/record.h"
#include "sandbox/sandboxd.h"

static char dir[64];
static int dir_fd;

static int set_up(void **state)
{
	strcpy(dir, "/tmp/berth-record-XXXXXX");
	assert_non_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0;
}

static int tear_down(void **state)
{
	record_remove_dir(AT_FDCWD, dir);
	fd_close(&dir_fd);
	return access(dir, F_OK) == 0;
}

static void a_workloads_record_reads_back(void **state)
{
	char *volumes[] = { (char *)"t:tmpfs:4096:7", (char *)"h:host:/srv/with space:ro", NULL };
	const struct record_workload record = { .version = RECORD_VERSION,
						.boot_id = (char *)"boot",
						.workload = (char *)"w-1",
						.instance = UINT64_MAX,
						.band = 3,
						.host_network = true,
						.id_first = 1342177280,
						.group_id = 99,
						.hostname = (char *)"",
						.volumes = { volumes, 2 } };
	struct record_workload back = { 0 };
	struct volume_wish wish;
	struct err err = { 0 };

	assert_int_equal(record_write_workload(dir_fd, &record, &err), 0);
	if (record_read_workload(dir, &back, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(back.workload, "w-1");
	assert_true(back.instance == UINT64_MAX && back.band == 3 && back.host_network);
	assert_int_equal(back.id_first, 1342177280);
	assert_int_equal(back.volumes.n, 2);
	assert_int_equal(record_parse_volume(back.volumes.items[0], &wish, &err), 0);
	assert_true(wish.tmpfs_bytes == 4096 && wish.tmpfs_inodes == 7 && !wish.host_directory);
	assert_int_equal(record_parse_volume(back.volumes.items[1], &wish, &err), 0);
	assert_string_equal(wish.host_directory, "/srv/with space:ro");
	record_workload_done(&back);
}

static void a_containers_record_reads_back_with_its_profile(void **state)
{
	struct sandboxd host = { 0 };
	struct workload *workload = registry_add(&host.registry, "w-1", 1);
	struct container *container = container_new(&host, workload, "main", 4);
	struct container_settings settings = { 0 };
	struct record_container back = { 0 };
	struct err err = { 0 };
	char *layers;

	container->group_id = 12345678901ULL;
	container->settings.capabilities = 0x21;
	container->settings.filter_source = FILTER_OCI;
	container->settings.json = strdup("{\"a\":\n1}");
	container->settings.n_rlimits = 1;
	container->settings.rlimits[0] = (struct identity_limit){ RLIMIT_NOFILE,
								  { 10, RLIM_INFINITY } };
	/* As many as there can be, in more than a line of a configuration may have. */
	layers = container->settings.layers = calloc(256, 65);
	for (int i = 0; i < 256; i++)
		(void)sprintf(layers + 65 * (ptrdiff_t)i, "%064x%s", i, i < 255 ? " " : "");
	assert_int_equal(record_write_container(dir_fd, "boot", container, &err), 0);
	if (record_read_container(dir, dir_fd, &back, &settings, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(back.attempt, 4);
	assert_int_equal(back.group_id, 12345678901ULL);
	assert_int_equal(settings.capabilities, 0x21);
	assert_string_equal(settings.json, "{\"a\":\n1}");
	assert_string_equal(settings.layers, layers);
	assert_true(settings.n_rlimits == 1 && settings.rlimits[0].value.rlim_cur == 10 &&
		    settings.rlimits[0].value.rlim_max == RLIM_INFINITY);
	free(settings.json);
	free(settings.layers);
	record_container_done(&back);
	registry_clear(&host.registry);
}

static void write_text(const char *name, const char *text)
{
	cleanup_fd int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* As the first release wrote them; a daemon after an upgrade finds such. */
static void records_of_the_first_release_are_read(void **state)
{
	struct container_settings settings = { 0 };
	struct record_container container = { 0 };
	struct record_workload workload = { 0 };
	struct err err = { 0 };

	write_text("workload", "[Workload]\nVersion=1\nBootId=0c2f\nWorkload=web-1\nInstance=12\n"
			       "Band=1\nHostNetwork=no\nHostIds=no\nIdFirst=1342242816\n"
			       "GroupId=4711\nHostname=web-1\nSysctls=net.ipv4.tcp_syncookies=1\n"
			       "Volumes=t:tmpfs:4096:7 \"h:host:/srv/with space\"\n");
	if (record_read_workload(dir, &workload, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(workload.boot_id, "0c2f");
	assert_true(workload.instance == 12 && workload.band == 1 && workload.group_id == 4711 &&
		    workload.id_first == 1342242816 && workload.sysctls.n == 1);
	assert_string_equal(workload.volumes.items[1], "h:host:/srv/with space");
	record_workload_done(&workload);
	write_text("container", "[Container]\nVersion=1\nBootId=0c2f\nContainer=main\nAttempt=3\n"
				"GroupId=4712\nFirstPid=99\nCapabilities=1024\nFilterSource=1\n"
				"Rlimits=7:1024:1024\n");
	if (record_read_container(dir, dir_fd, &container, &settings, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(container.attempt == 3 && container.group_id == 4712 && !settings.tty &&
		    settings.capabilities == 1024 && settings.n_rlimits == 1 &&
		    settings.log_max_file_bytes == 10 << 20 && settings.log_max_files == 5);
	record_container_done(&container);
}

static void what_a_later_release_adds_to_a_record_is_passed_over(void **state)
{
	struct record_workload workload = { 0 };
	struct err err = { 0 };

	write_text("workload", "[Workload]\nVersion=1\nBootId=b\nWorkload=w\nColour=green\n"
			       "[Later]\nWorkload=x\n[Workload]\nInstance=9\n");
	if (record_read_workload(dir, &workload, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(workload.workload, "w");
	assert_int_equal(workload.instance, 9);
	record_workload_done(&workload);
}

static void another_version_or_a_damaged_record_is_refused(void **state)
{
	struct record_workload record = { .version = RECORD_VERSION + 1,
					  .boot_id = (char *)"b",
					  .workload = (char *)"w",
					  .hostname = (char *)"" };
	struct record_workload back = { 0 };
	struct err err = { 0 };
	int fd;

	assert_int_equal(record_write_workload(dir_fd, &record, &err), 0);
	assert_true(record_read_workload(dir, &back, &err) < 0);
	assert_non_null(strstr(err.text, "version 2"));
	record_workload_done(&back);
	fd = openat(dir_fd, RECORD_WORKLOAD_NAME, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "[Workload]\nVersion=1\nInst", 25), 25); /* cut */
	fd_close(&fd);
	assert_true(record_read_workload(dir, &back, &err) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_workloads_record_reads_back),
		TEST(a_containers_record_reads_back_with_its_profile),
		TEST(records_of_the_first_release_are_read),
		TEST(what_a_later_release_adds_to_a_record_is_passed_over),
		TEST(another_version_or_a_damaged_record_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

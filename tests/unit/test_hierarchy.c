/* Which mounts are found and what is made of them, from the tables of hosts of each kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "proto/cpulist.h"
#include "sandbox/group_file.h"
#include "sandbox/hierarchy_internal.h"

static const char unified_host[] =
	"25 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
	"31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

static const char systemd_hybrid_host[] =
	"31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
	"32 31 0:29 / /sys/fs/cgroup/unified rw shared:10 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
	"33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	"34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	"36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
	"37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
	"38 31 0:35 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
	"39 31 0:36 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio\n"
	"40 31 0:37 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix\n";

struct found {
	struct hierarchy hierarchy;
	char *systemd_mount;
	struct err err;
	int r;
};

static void find(struct found *found, const char *mountinfo)
{
	FILE *file = fmemopen((void *)(uintptr_t)mountinfo, strlen(mountinfo), "r");

	assert_non_null(file);
	*found = (struct found){ .hierarchy.unified = -1 };
	for (int i = 0; i < CONTROLLER_COUNT; i++)
		found->hierarchy.where[i] = -1;
	found->r = hierarchy_read_mounts(&found->hierarchy, file, &found->systemd_mount,
					 &found->err);
	(void)fclose(file);
}

static void forget(struct found *found)
{
	for (size_t i = 0; i < found->hierarchy.mount_count; i++)
		free(found->hierarchy.mounts[i].path);
	free(found->systemd_mount);
}

static const char *path_of(const struct found *found, enum hierarchy_controller controller)
{
	int where = found->hierarchy.where[controller];

	return where < 0 ? "" : found->hierarchy.mounts[where].path;
}

static void cgroup2_alone_is_unified(void **state)
{
	struct found found;

	find(&found, unified_host);
	assert_int_equal(found.r, 0);
	hierarchy_take_v2_controllers(&found.hierarchy, "cpuset cpu io memory hugetlb pids");
	hierarchy_settle_layout(&found.hierarchy);
	assert_int_equal(found.hierarchy.layout, HIERARCHY_UNIFIED);
	assert_int_equal(found.hierarchy.mount_count, 1);
	assert_string_equal(path_of(&found, CONTROLLER_MEMORY), "/sys/fs/cgroup");
	assert_true(hierarchy_is_v2(&found.hierarchy, CONTROLLER_IO));
	assert_int_equal(found.hierarchy.where[CONTROLLER_CPUACCT], -1);
	assert_int_equal(found.hierarchy.where[CONTROLLER_FREEZER], -1);
	forget(&found);
}

static void a_controller_that_cgroup2_does_not_list_is_not_usable(void **state)
{
	struct found found;

	find(&found, unified_host);
	hierarchy_take_v2_controllers(&found.hierarchy, "cpu memory pids");
	assert_int_equal(found.hierarchy.where[CONTROLLER_CPUSET], -1); /* "cpu" is not "cpuset" */
	assert_int_equal(found.hierarchy.where[CONTROLLER_IO], -1);
	forget(&found);
}

static void both_together_are_hybrid_and_cgroup2_freezes_and_guards(void **state)
{
	struct found found;

	find(&found, systemd_hybrid_host);
	assert_int_equal(found.r, 0);
	assert_string_equal(found.systemd_mount, "/sys/fs/cgroup/systemd");
	hierarchy_take_v2_controllers(&found.hierarchy, "hugetlb");
	hierarchy_settle_layout(&found.hierarchy);
	assert_int_equal(found.hierarchy.layout, HIERARCHY_HYBRID);
	assert_int_equal(found.hierarchy.mount_count, 5);
	assert_string_equal(found.hierarchy.mounts[found.hierarchy.unified].path,
			    "/sys/fs/cgroup/unified");
	assert_string_equal(path_of(&found, CONTROLLER_CPU), "/sys/fs/cgroup/cpu,cpuacct");
	assert_string_equal(path_of(&found, CONTROLLER_CPUACCT), "/sys/fs/cgroup/cpu,cpuacct");
	assert_string_equal(path_of(&found, CONTROLLER_CPUSET), "/sys/fs/cgroup/cpuset");
	assert_string_equal(path_of(&found, CONTROLLER_DEVICES), "");
	assert_string_equal(path_of(&found, CONTROLLER_FREEZER), "");
	forget(&found);
}

static void without_cgroup2_it_is_legacy_and_v1_freezes_and_guards(void **state)
{
	struct found found;

	find(&found, systemd_hybrid_host);
	hierarchy_forget_unified(&found.hierarchy); /* as with a kernel before cgroup.kill */
	hierarchy_settle_layout(&found.hierarchy);
	assert_int_equal(found.hierarchy.layout, HIERARCHY_LEGACY);
	assert_int_equal(found.hierarchy.unified, -1);
	assert_string_equal(path_of(&found, CONTROLLER_FREEZER), "/sys/fs/cgroup/freezer");
	assert_string_equal(path_of(&found, CONTROLLER_DEVICES), "/sys/fs/cgroup/devices");
	assert_string_equal(path_of(&found, CONTROLLER_MEMORY), "/sys/fs/cgroup/memory");
	forget(&found);
}

static void a_part_of_a_hierarchy_or_a_second_mount_is_not_used(void **state)
{
	struct found found;

	find(&found, "1 2 0:3 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		     "1 2 0:3 / /mnt/with\\040space rw - cgroup cgroup rw,memory\n"
		     "1 2 0:3 / /mnt/again rw - cgroup cgroup rw,memory\n");
	assert_int_equal(found.r, 0);
	assert_int_equal(found.hierarchy.mount_count, 1);
	assert_string_equal(path_of(&found, CONTROLLER_MEMORY), "/mnt/with space");
	forget(&found);
}

static void a_host_without_cgroups_is_refused_with_advice(void **state)
{
	static const char *const tables[] = { "",
					      "junk\n",
					      "1 2 0:3 / /\n",
					      "1 2 0:3 / / rw - ext4\n",
					      " - \n",
					      "25 1 254:0 / / rw - ext4 /dev/vda rw\n" };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		struct found found;

		find(&found, *tables[i] ? tables[i] : "\n");
		assert_true(found.r < 0);
		assert_int_equal(found.err.kind, ERR_UNSUPPORTED);
		assert_non_null(strstr(found.err.text, "mount cgroup2"));
		forget(&found);
	}
}

static void the_own_group_is_found_in_either_version(void **state)
{
	char text[] = "12:memory:/a.service\n1:name=systemd:/b.service\n0::/c.service/supervisor\n";
	FILE *file = fmemopen(text, strlen(text), "r");
	char *path = hierarchy_own_group(file, "");

	assert_string_equal(path, "/c.service/supervisor");
	free(path);
	rewind(file);
	path = hierarchy_own_group(file, "name=systemd");
	assert_string_equal(path, "/b.service");
	free(path);
	rewind(file);
	assert_null(hierarchy_own_group(file, "pids"));
	(void)fclose(file);
}

static void a_base_is_a_plain_absolute_path(void **state)
{
	static const char *const good[] = { "/berth", "/berth.slice/berth-workloads.service",
					    "/berth-test-7", "/a/b@c:d_e" };
	static const char *const bad[] = { "",    "/",  "berth", "/..",   "/a/../b", "/a//b",
					   "/a/", "/.", "/a b",  "/a\nb", "/-a",     "/\xc3\xa9" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(hierarchy_is_base_path(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (hierarchy_is_base_path(bad[i]))
			fail_msg("\"%s\" was taken", bad[i]);
	}
}

static void cpu_lists_are_compared_as_sets(void **state)
{
	static const char *const bad[] = { "",     "a",    "1-", "-1",  "3-1",  "1,",
					   ",1",   "1,,2", "1 ", "0x1", "8192", "1-99999999999",
					   "1--2", "0-3\n" };

	assert_true(cpulist_is_subset("0-3,7", "0-7"));
	assert_true(cpulist_is_subset("8191", "0-8191"));
	assert_false(cpulist_is_subset("0-3,8", "0-7"));
	assert_false(cpulist_is_subset("5", "0-3,7"));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (cpulist_is_valid(bad[i]))
			fail_msg("\"%s\" was taken", bad[i]);
	}
}

static void numbers_are_found_by_their_whole_key(void **state)
{
	static const char text[] = "oom 7\noom_kill 3\nlow 18446744073709551616\nhigh max\nx -1";
	uint64_t value = 0;

	assert_true(group_file_find_u64(text, "oom_kill", &value));
	assert_int_equal(value, 3);
	assert_true(group_file_find_u64(text, "oom", &value));
	assert_int_equal(value, 7);
	assert_true(group_file_find_u64(text, "high", &value));
	assert_true(value == UINT64_MAX - 1);
	assert_false(group_file_find_u64(text, "low", &value)); /* more than 64 bits */
	assert_false(group_file_find_u64(text, "x", &value));
	assert_false(group_file_find_u64(text, "kill", &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cgroup2_alone_is_unified),
		cmocka_unit_test(a_controller_that_cgroup2_does_not_list_is_not_usable),
		cmocka_unit_test(both_together_are_hybrid_and_cgroup2_freezes_and_guards),
		cmocka_unit_test(without_cgroup2_it_is_legacy_and_v1_freezes_and_guards),
		cmocka_unit_test(a_part_of_a_hierarchy_or_a_second_mount_is_not_used),
		cmocka_unit_test(a_host_without_cgroups_is_refused_with_advice),
		cmocka_unit_test(the_own_group_is_found_in_either_version),
		cmocka_unit_test(a_base_is_a_plain_absolute_path),
		cmocka_unit_test(cpu_lists_are_compared_as_sets),
		cmocka_unit_test(numbers_are_found_by_their_whole_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

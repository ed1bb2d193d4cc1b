/*
 * Stopping, ending, and knowing when it is done. cgroup2 does each with one write and tells by
 * cgroup.events. v1 can freeze a group and list it, and tells nobody: there a kill is to freeze,
 * signal each, thaw, until nothing is left.
 */
#include "sandbox/taskgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/group_file.h"

#define V1_ASK_AGAIN_MS   10
#define V1_FREEZE_WAIT_MS 20
#define GROUP_DEPTH_MAX   4

static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENODEV;
}

/* Whether @pid stands in the group's list now. */
static bool lists_pid(int dir_fd, long pid)
{
	cleanup_file FILE *file = NULL;
	int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char line[32];

	if (fd < 0)
		return false;
	file = fdopen(fd, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (strtol(line, NULL, 10) == pid)
			return true;
	}
	return false;
}

/*
 * The pidfd is taken first and the list read again after it. A process that stands in the list then
 * and has the number is the one that the pidfd holds, or that one is gone and the signal fails.
 */
static void kill_one(int dir_fd, pid_t pid)
{
	cleanup_fd int pidfd = pidfd_open(pid, 0);

	if (pidfd >= 0 && lists_pid(dir_fd, pid))
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}

/* -errno, or how many processes the group has; signals each where @signal_them. */
static int visit_processes(int dir_fd, bool signal_them)
{
	cleanup_file FILE *file = NULL;
	int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char line[32];
	int count = 0;

	if (fd < 0)
		return -errno;
	file = fdopen(fd, "r");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		count++;
		if (signal_them && pid > 0) /* 0: of a pid namespace that is not ours */
			kill_one(dir_fd, pid);
	}
	return count;
}

/* The same for @dir_fd and the groups below it. */
static int visit_tree(int dir_fd, bool signal_them, int depth)
{
	int count = visit_processes(dir_fd, signal_them), fd;
	struct dirent *entry;
	DIR *dir;

	if (count < 0 || depth == 0)
		return count;
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(&fd);
		return -errno;
	}
	while (count >= 0 && (entry = readdir(dir)) != NULL) {
		cleanup_fd int child = -1;
		int below;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		child = openat(dir_fd, entry->d_name,
			       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		below = child < 0 ? -errno : visit_tree(child, signal_them, depth - 1);
		if (below < 0 && !is_gone(below))
			count = below;
		else if (below > 0)
			count += below;
	}
	(void)closedir(dir);
	return count;
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int v1_is_frozen(int dir_fd, bool *ret_frozen)
{
	char state[32];
	ssize_t n = group_file_read(dir_fd, "freezer.state", state, sizeof(state));

	if (n < 0)
		return (int)n;
	*ret_frozen = strcmp(state, "FROZEN") == 0;
	return 0;
}

/* One round; see taskgroup_kill(). That not all freezes, for a process in the kernel that cannot be
 * interrupted, only makes it likelier that another round is needed. */
static int v1_kill(int dir_fd)
{
	int64_t end = now_ms() + V1_FREEZE_WAIT_MS;
	bool frozen = false;
	int r, thaw;

	r = group_file_write(dir_fd, "freezer.state", "FROZEN");
	while (r == 0 && !frozen && now_ms() < end)
		r = v1_is_frozen(dir_fd, &frozen);
	if (r == 0)
		r = visit_tree(dir_fd, true, GROUP_DEPTH_MAX);
	thaw = group_file_write(dir_fd, "freezer.state", "THAWED");
	return r < 0 ? r : thaw;
}

int taskgroup_kill(const struct taskgroup *group, struct err *err)
{
	int dir = taskgroup_main_dir(group), r;

	if (dir < 0)
		return 0;
	r = group->hierarchy->unified >= 0 ? group_file_write(dir, "cgroup.kill", "1")
					   : v1_kill(dir);
	if (r == 0 || is_gone(r))
		return 0;
	return err_set(err, ERR_INTERNAL, -r, "cannot kill cgroup %s: %m", group->path);
}

int taskgroup_freeze(const struct taskgroup *group, bool freeze, struct err *err)
{
	int dir = taskgroup_main_dir(group), r;

	if (dir < 0)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "there is no cgroup %s", group->path);
	if (group->hierarchy->unified >= 0)
		r = group_file_write(dir, "cgroup.freeze", freeze ? "1" : "0");
	else
		r = group_file_write(dir, "freezer.state", freeze ? "FROZEN" : "THAWED");
	if (r == 0)
		return 0;
	return err_set(err, is_gone(r) ? ERR_NOT_FOUND : ERR_INTERNAL, -r,
		       "cannot %s cgroup %s: %m", freeze ? "freeze" : "thaw", group->path);
}

static int parse_events(const char *text, bool *ret_populated, bool *ret_frozen)
{
	uint64_t populated, frozen;

	if (!group_file_find_u64(text, "populated", &populated) ||
	    !group_file_find_u64(text, "frozen", &frozen))
		return -EBADMSG;
	*ret_populated = populated != 0;
	*ret_frozen = frozen != 0;
	return 0;
}

/* Both facts, in either version. */
static int read_state(const struct taskgroup *group, bool *ret_populated, bool *ret_frozen)
{
	int dir = taskgroup_main_dir(group), r;
	bool populated = false, frozen = false;
	char text[256];

	if (dir < 0) {
		r = -ENOENT;
	} else if (group->hierarchy->unified >= 0) {
		ssize_t n = group_file_read(dir, "cgroup.events", text, sizeof(text));

		r = n < 0 ? (int)n : parse_events(text, &populated, &frozen);
	} else {
		r = visit_tree(dir, false, GROUP_DEPTH_MAX);
		populated = r > 0;
		if (r >= 0)
			r = v1_is_frozen(dir, &frozen);
	}
	if (r < 0 && !is_gone(r))
		return r;
	*ret_populated = populated;
	*ret_frozen = frozen;
	return 0;
}

int taskgroup_is_frozen(const struct taskgroup *group, bool *ret_frozen)
{
	bool populated;

	return read_state(group, &populated, ret_frozen);
}

int taskgroup_is_populated(const struct taskgroup *group, bool *ret_populated)
{
	bool frozen;

	return read_state(group, ret_populated, &frozen);
}

int taskgroup_wait_fd(const struct taskgroup *group)
{
	int fd;

	if (group->hierarchy->unified < 0)
		return -EOPNOTSUPP;
	fd = openat(taskgroup_main_dir(group), "cgroup.events", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int taskgroup_read_events(int wait_fd, bool *ret_populated, bool *ret_frozen)
{
	char text[256];
	ssize_t n = pread(wait_fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return parse_events(text, ret_populated, ret_frozen);
}

static bool holds(enum taskgroup_condition condition, bool populated, bool frozen)
{
	switch (condition) {
	case TASKGROUP_EMPTY:
		return !populated;
	case TASKGROUP_FROZEN:
		return frozen;
	case TASKGROUP_THAWED:
		return !frozen;
	}
	return false;
}

int taskgroup_wait(const struct taskgroup *group, enum taskgroup_condition condition,
		   unsigned int timeout_ms)
{
	cleanup_fd int fd = taskgroup_wait_fd(group);
	int64_t end = now_ms() + timeout_ms;

	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLPRI };
		bool populated = false, frozen = false;
		int64_t left;
		/* Through the descriptor where there is one: reading is what rearms it. */
		int r = fd >= 0 ? taskgroup_read_events(fd, &populated, &frozen)
				: read_state(group, &populated, &frozen);

		if (r < 0 && !is_gone(r))
			return r;
		if (holds(condition, populated, frozen))
			return 0;
		left = end - now_ms();
		if (left <= 0)
			return -ETIME;
		if (fd < 0 && left > V1_ASK_AGAIN_MS)
			left = V1_ASK_AGAIN_MS;
		if (poll(&wait, fd >= 0, (int)left) < 0 && errno != EINTR)
			return -errno;
	}
}

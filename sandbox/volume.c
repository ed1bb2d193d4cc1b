#include "sandbox/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/path.h"

#define TMPFS_BYTES_MIN    (64ULL << 10)
#define TMPFS_INODE_BYTES  (16ULL << 10)
#define TMPFS_INODES_FLOOR 64ULL
#define PLACE_MAX          (NAME_ID_MAX + 16)

/* The name in the run directory; those of containers have a dot, and this one has none. */
static void place_of(const char *name, char place[static PLACE_MAX])
{
	(void)snprintf(place, PLACE_MAX, "volume-%s", name);
}

static int set_option(int fs_fd, const char *key, uint64_t value, bool octal)
{
	char text[32];

	(void)snprintf(text, sizeof(text), octal ? "%llo" : "%llu", (unsigned long long)value);
	return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, text, 0);
}

static int make_tmpfs(const struct volume_wish *wish, uint32_t id_first, struct err *err)
{
	uint64_t inodes = wish->tmpfs_inodes;
	cleanup_fd int fs_fd = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (inodes == 0)
		inodes = TMPFS_INODES_FLOOR + wish->tmpfs_bytes / TMPFS_INODE_BYTES;
	if (fs_fd < 0 || set_option(fs_fd, "size", wish->tmpfs_bytes, false) < 0 ||
	    set_option(fs_fd, "nr_inodes", inodes, false) < 0 ||
	    set_option(fs_fd, "mode", 0777, true) < 0 ||
	    set_option(fs_fd, "uid", id_first, false) < 0 ||
	    set_option(fs_fd, "gid", id_first, false) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make the tmpfs of volume %s: %m",
			       wish->name);
	fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot mount the tmpfs of volume %s: %m",
			       wish->name);
	return fd;
}

/* A mount must lie in a mount namespace to be cloned for containers: a detached one cannot be before
 * Linux 6.15. */
static int mount_tmpfs(int run_fd, uint32_t id_first, const struct volume_wish *wish,
		       struct err *err)
{
	cleanup_fd int fd = -1;
	char place[PLACE_MAX];

	if (wish->tmpfs_bytes < TMPFS_BYTES_MIN)
		return err_set(err, ERR_INVALID, EINVAL,
			       "volume %s: tmpfs_bytes is %llu, at least %llu are needed",
			       wish->name, (unsigned long long)wish->tmpfs_bytes, TMPFS_BYTES_MIN);
	place_of(wish->name, place);
	if (mkdirat(run_fd, place, 0700) < 0 && errno != EEXIST)
		return err_set(err, ERR_INTERNAL, errno, "cannot make %s: %m", place);
	fd = make_tmpfs(wish, id_first, err);
	if (fd < 0)
		return fd;
	if (move_mount(fd, "", run_fd, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot mount volume %s: %m", wish->name);
	return take_fd(&fd);
}

static int check_wish(const struct volumes *volumes, const struct volume_wish *wish,
		      struct err *err)
{
	int r = names_check_volume(wish->name, err);

	if (r < 0)
		return r;
	if (volumes_find(volumes, wish->name))
		return err_set(err, ERR_EXISTS, EEXIST, "two volumes are named %s", wish->name);
	if (volumes->n == VOLUMES_MAX)
		return err_set(err, ERR_EXHAUSTED, E2BIG,
			       "a workload has at most %d volumes on this host", VOLUMES_MAX);
	if (wish->host_directory && wish->host_directory[0] && wish->tmpfs_bytes)
		return err_set(err, ERR_INVALID, EINVAL,
			       "volume %s: a host directory and a tmpfs at once", wish->name);
	return 0;
}

static int append(struct volumes *volumes, const struct volume_wish *wish, int *fd, bool read_only,
		  bool is_tmpfs, struct err *err)
{
	struct volume *list = reallocarray(volumes->list, volumes->n + 1, sizeof(*list));
	struct volume *volume;

	if (!list)
		return err_oom(err);
	volumes->list = list;
	volume = &list[volumes->n];
	*volume = (struct volume){ .fd = -1,
				   .read_only = read_only,
				   .is_tmpfs = is_tmpfs,
				   .tmpfs_bytes = wish->tmpfs_bytes,
				   .tmpfs_inodes = wish->tmpfs_inodes };
	(void)snprintf(volume->name, sizeof(volume->name), "%s", wish->name);
	if (!is_tmpfs) {
		volume->host_directory = strdup(wish->host_directory);
		if (!volume->host_directory)
			return err_oom(err);
	}
	volume->fd = take_fd(fd);
	volumes->n++;
	return 0;
}

static bool unmount_place(int run_fd, const char *place)
{
	char path[PLACE_MAX + 32];
	bool mounted;

	/* umount2(2) takes names only. The directory is one that only root can write to. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", run_fd, place);
	mounted = umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0;
	(void)unlinkat(run_fd, place, AT_REMOVEDIR);
	return mounted;
}

static void unmount(int run_fd, const char *name)
{
	char place[PLACE_MAX];

	place_of(name, place);
	(void)unmount_place(run_fd, place);
}

bool volume_discard(int run_fd, const char *place)
{
	return strncmp(place, "volume-", strlen("volume-")) == 0 && strlen(place) < PLACE_MAX &&
	       unmount_place(run_fd, place);
}

int volumes_add(struct volumes *volumes, const struct policy *policy, int run_fd, uint32_t id_first,
		const struct volume_wish *wish, struct err *err)
{
	bool is_tmpfs = !wish->host_directory || !wish->host_directory[0];
	bool read_only = false;
	cleanup_fd int fd = -1;
	struct stat st;
	int r = check_wish(volumes, wish, err);

	if (r < 0)
		return r;
	if (is_tmpfs)
		fd = mount_tmpfs(run_fd, id_first, wish, err);
	else
		fd = policy_open_host_directory(policy, wish->host_directory, &read_only, err);
	if (fd < 0)
		return is_tmpfs ? fd : err_prefix(err, fd, "volume %s", wish->name);
	if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID, ENOTDIR, "volume %s: %s is not a directory",
			       wish->name, wish->host_directory);
	r = append(volumes, wish, &fd, read_only, is_tmpfs, err);
	if (r < 0 && is_tmpfs)
		unmount(run_fd, wish->name);
	return r;
}

/* The tmpfs of @name that is still mounted, or -1. */
static int open_mounted(int run_fd, const char *name)
{
	cleanup_fd int fd = -1;
	struct statfs fs;
	struct stat here;
	struct stat parent;
	char place[PLACE_MAX];

	place_of(name, place);
	fd = openat(run_fd, place, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC || fstat(fd, &here) < 0 ||
	    fstat(run_fd, &parent) < 0 || here.st_dev == parent.st_dev)
		return -1;
	return take_fd(&fd);
}

int volumes_add_known(struct volumes *volumes, const struct policy *policy, int run_fd,
		      uint32_t id_first, const struct volume_wish *wish, bool *ret_lost,
		      struct err *err)
{
	bool is_tmpfs = !wish->host_directory || !wish->host_directory[0];
	cleanup_fd int fd = -1;
	int r = check_wish(volumes, wish, err);

	if (r < 0)
		return r;
	fd = is_tmpfs ? open_mounted(run_fd, wish->name) : -1;
	*ret_lost = is_tmpfs && fd < 0;
	if (fd >= 0)
		return append(volumes, wish, &fd, false, true, err);
	return volumes_add(volumes, policy, run_fd, id_first, wish, err);
}

const struct volume *volumes_find(const struct volumes *volumes, const char *name)
{
	for (size_t i = 0; i < volumes->n; i++)
		if (strcmp(volumes->list[i].name, name) == 0)
			return &volumes->list[i];
	return NULL;
}

void volumes_done(struct volumes *volumes)
{
	for (size_t i = 0; i < volumes->n; i++) {
		fd_close(&volumes->list[i].fd);
		free(volumes->list[i].host_directory);
	}
	free(volumes->list);
	*volumes = (struct volumes){ 0 };
}

void volumes_remove(struct volumes *volumes, int run_fd)
{
	for (size_t i = 0; i < volumes->n; i++) {
		fd_close(&volumes->list[i].fd);
		if (volumes->list[i].is_tmpfs)
			unmount(run_fd, volumes->list[i].name);
	}
	volumes_done(volumes);
}

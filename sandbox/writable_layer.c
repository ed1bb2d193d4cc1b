#include "sandbox/writable_layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "sandbox/loop_device.h"
#include "sandbox/rootfs.h"

#define MKE2FS           "/sbin/mke2fs"
#define TEMPLATE_VERSION 1
#define TEMPLATES_MAX    64 /* more sizes than that are made anew each time */
#define INODE_BYTES      256ULL
#define BYTES_PER_INODE  16384ULL
/* ext4 keeps 10 and lost+found; upper, work and what overlayfs has in it; see take_in(). */
#define INODES_OVERHEAD 18ULL
#define PROGRAM_FD      3

void writable_layer_done(struct writable_layer *layer)
{
	fd_close(&layer->upper_fd);
	fd_close(&layer->work_fd);
	fd_close(&layer->mount_fd);
}

static uint64_t inodes_of(uint64_t bytes, uint64_t inodes)
{
	if (inodes == 0)
		inodes = bytes / BYTES_PER_INODE;
	return inodes < WRITABLE_LAYER_INODES_MIN ? WRITABLE_LAYER_INODES_MIN : inodes;
}

int writable_layer_check(uint64_t bytes, uint64_t inodes, struct err *err)
{
	if (bytes < WRITABLE_LAYER_BYTES_MIN || bytes > WRITABLE_LAYER_BYTES_MAX)
		return err_set(err, ERR_INVALID, ERANGE,
			       "writable_layer_bytes: %" PRIu64 ", from %llu to %llu are possible",
			       bytes, WRITABLE_LAYER_BYTES_MIN, WRITABLE_LAYER_BYTES_MAX);
	if (inodes > bytes / 2 / INODE_BYTES)
		return err_set(
			err, ERR_INVALID, ERANGE,
			"writable_layer_inodes: %" PRIu64
			" take more than half of writable_layer_bytes: at most %llu of %llu bytes each",
			inodes, (unsigned long long)(bytes / 2 / INODE_BYTES), INODE_BYTES);
	return 0;
}

static int failed(const char *what, struct err *err)
{
	bool full = errno == ENOSPC || errno == EDQUOT;

	return err_set(err, full ? ERR_EXHAUSTED : ERR_INTERNAL, errno, "cannot %s: %m%s", what,
		       full ? " (the file system of LayerDirectory)" : "");
}

/* ---- the image ---- */

static int new_file(int dir_fd, uint64_t bytes, struct err *err)
{
	cleanup_fd int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return failed("make a file in LayerDirectory", err);
	return take_fd(&fd);
}

/*
 * Nothing of the host's configuration; no journal and no reserve, as nothing in it is worth either; tables of inodes
 * are not written, as a hole reads as zeroes.
 */
static int start_mke2fs(int fd, uint64_t inodes, pid_t *ret_pid)
{
	static const char *const options[] = {
		"mke2fs",
		"-F",
		"-q",
		"-t",
		"ext4",
		"-b",
		"4096",
		"-m",
		"0",
		"-I",
		"256",
		"-O",
		"none,ext_attr,dir_index,filetype,extent,flex_bg,uninit_bg,large_file,huge_file,dir_nlink,extra_isize,sparse_super2",
		"-E",
		"lazy_itable_init=1,nodiscard,num_backup_sb=0",
		"-N",
	};
	const char *argv[ARRAY_SIZE(options) + 3];
	char *const env[] = { (char *)"MKE2FS_CONFIG=/dev/null", NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	char number[24];
	sigset_t none;
	int r;

	(void)snprintf(number, sizeof(number), "%" PRIu64, inodes);
	memcpy(argv, options, sizeof(options));
	argv[ARRAY_SIZE(options)] = number;
	argv[ARRAY_SIZE(options) + 1] = "/proc/self/fd/3";
	argv[ARRAY_SIZE(options) + 2] = NULL;
	(void)sigemptyset(&none);
	r = posix_spawn_file_actions_init(&files);
	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r == 0) {
		(void)posix_spawnattr_setsigmask(&attributes, &none);
		(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
		for (int stream = 0; r == 0 && stream < PROGRAM_FD; stream++)
			r = posix_spawn_file_actions_addopen(&files, stream, "/dev/null", O_RDWR,
							     0);
		if (r == 0)
			r = posix_spawn_file_actions_adddup2(&files, fd, PROGRAM_FD);
		if (r == 0)
			r = posix_spawn(ret_pid, MKE2FS, &files, &attributes, (char *const *)argv,
					env);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&files);
	return -r;
}

static int make_file_system(int fd, uint64_t inodes, struct err *err)
{
	int status = 0;
	pid_t pid = 0;
	int r = start_mke2fs(fd, inodes, &pid);

	if (r < 0)
		return err_set(err, r == -ENOENT ? ERR_UNSUPPORTED : ERR_INTERNAL, -r,
			       "cannot start " MKE2FS ", which makes writable layers: %m%s",
			       r == -ENOENT ? " (install e2fsprogs)" : "");
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return err_set(err, ERR_INTERNAL, EIO,
			       MKE2FS " could not make a file system in LayerDirectory: %s %d",
			       WIFSIGNALED(status) ? "signal" : "status",
			       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}

/* What is written of @from, the rest being a hole in both. */
static int copy(int from, int to)
{
	off_t at = 0;

	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(from, at, SEEK_HOLE), there = at;

		while (at < end) {
			ssize_t n = copy_file_range(from, &at, to, &there, (size_t)(end - at), 0);

			if (n <= 0)
				return n < 0 ? -errno : -EIO;
		}
	}
	return errno == ENXIO ? 0 : -errno;
}

/* ---- templates ---- */

static bool has_room(int dir_fd)
{
	DIR *dir = fdopendir(fcntl(dir_fd, F_DUPFD_CLOEXEC, 0));
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir);
	return n < TEMPLATES_MAX;
}

/* One that has its name is whole, also after a crash of the host. Two who make the same one make the same. */
static void keep_template(int dir_fd, const char *name, int fd)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (has_room(dir_fd) && fsync(fd) == 0)
		(void)!linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW);
}

/* Its descriptor. */
static int find_template(int store_fd, uint64_t bytes, uint64_t inodes, struct err *err)
{
	cleanup_fd int dir_fd = -1, fd = -1;
	char name[64];
	int r;

	if (mkdirat(store_fd, WRITABLE_LAYER_TEMPLATES, 0700) < 0 && errno != EEXIST)
		return failed("make the directory of templates in LayerDirectory", err);
	dir_fd = openat(store_fd, WRITABLE_LAYER_TEMPLATES,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir_fd < 0)
		return failed("open the directory of templates in LayerDirectory", err);
	(void)snprintf(name, sizeof(name), "%d-%" PRIu64 "-%" PRIu64, TEMPLATE_VERSION, bytes,
		       inodes);
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return take_fd(&fd);
	fd = new_file(dir_fd, bytes, err);
	if (fd < 0)
		return fd;
	r = make_file_system(fd, inodes, err);
	if (r < 0)
		return r;
	FAILPOINT_RETURN("monitor.layer.template", err);
	keep_template(dir_fd, name, fd);
	return take_fd(&fd);
}

static int new_image(int store_fd, uint64_t bytes, uint64_t inodes, struct err *err)
{
	cleanup_fd int template_fd = find_template(store_fd, bytes, inodes, err);
	cleanup_fd int fd = -1;
	int r;

	if (template_fd < 0)
		return template_fd;
	fd = new_file(store_fd, bytes, err);
	if (fd < 0)
		return fd;
	r = copy(template_fd, fd);
	if (r < 0) {
		errno = -r;
		return failed("write a new writable layer", err);
	}
	return take_fd(&fd);
}

/* ---- the mount ---- */

static int mount_image(int image_fd, struct err *err)
{
	char name[LOOP_DEVICE_NAME_MAX], source[LOOP_DEVICE_NAME_MAX + 8];
	/* What was freed is given back to the host; tables of inodes stay holes; nobody waits for the disk. */
	const char *const options[] = { source, "noinit_itable", "nobarrier", "discard", NULL };
	cleanup_fd int loop_fd = loop_device_attach(image_fd, name, err);
	int r;

	if (loop_fd < 0)
		return loop_fd;
	FAILPOINT_RETURN("monitor.layer.attached", err);
	(void)snprintf(source, sizeof(source), "source=%s", name);
	r = rootfs_new_mount("ext4", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	return r < 0 ? err_prefix(err, r, "writable layer") : r;
}

static int make_dir(int fd, const char *name, const struct stat *look, struct err *err)
{
	cleanup_fd int dir_fd = -1;

	if (mkdirat(fd, name, 0700) < 0 ||
	    (dir_fd = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return failed("make a directory in a writable layer", err);
	if (look && (fchown(dir_fd, look->st_uid, look->st_gid) < 0 ||
		     fchmod(dir_fd, look->st_mode & 07777) < 0))
		return failed("give the root of a writable layer away", err);
	return take_fd(&dir_fd);
}

int writable_layer_make(int store_fd, uint64_t bytes, uint64_t inodes, const struct stat *root,
			struct writable_layer *ret, struct err *err)
{
	cleanup_writable_layer struct writable_layer layer = WRITABLE_LAYER_EMPTY;
	cleanup_fd int image_fd = new_image(store_fd, bytes,
					    inodes_of(bytes, inodes) + INODES_OVERHEAD, err);

	if (image_fd < 0)
		return image_fd;
	layer.mount_fd = mount_image(image_fd, err);
	if (layer.mount_fd < 0)
		return layer.mount_fd;
	layer.upper_fd = make_dir(layer.mount_fd, "upper", root, err);
	if (layer.upper_fd < 0)
		return layer.upper_fd;
	layer.work_fd = make_dir(layer.mount_fd, "work", NULL, err);
	if (layer.work_fd < 0)
		return layer.work_fd;
	FAILPOINT_RETURN("monitor.layer.made", err);
	*ret = layer;
	layer = (struct writable_layer)WRITABLE_LAYER_EMPTY;
	return 0;
}

int writable_layer_probe(int dir_fd, struct err *err)
{
	cleanup_fd int file_fd = new_file(dir_fd, WRITABLE_LAYER_BYTES_MIN, err);
	cleanup_fd int loop_fd = -1, fs_fd = -1;
	char name[LOOP_DEVICE_NAME_MAX];

	if (file_fd < 0)
		return file_fd;
	if (access(MKE2FS, X_OK) < 0)
		return err_set(err, ERR_UNSUPPORTED, errno,
			       "cannot execute " MKE2FS ": %m (install e2fsprogs)");
	loop_fd = loop_device_attach(file_fd, name, err);
	if (loop_fd < 0)
		return loop_fd;
	fs_fd = fsopen("ext4", FSOPEN_CLOEXEC);
	return fs_fd < 0 ? err_set(err, ERR_UNSUPPORTED, errno, "this kernel has no ext4: %m") : 0;
}

/*
 * The only way from a name to an object in a tree that a workload may have written.
 *
 * A name is resolved once, by openat2(2), and from then on the descriptor is used: nothing here
 * looks at a path first and opens it afterwards, since a symlink swapped in between has been the
 * escape of container runtimes for ten years. There is no fallback for a kernel without openat2.
 *
 * Paths of a container are taken relative to its root's descriptor, with or without a leading "/".
 * Everything but path_read_file() is system calls and err_set() only: it may run after fork.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct err;

/* How a name may resolve. Magic links (/proc/N/fd/M and their like) are never followed. */
enum path_rules {
	PATH_IN_ROOT =
		1 << 0, /* symlinks and ".." stay inside the root, as the workload sees them */
	PATH_BENEATH = 1 << 1, /* no symlink at all, no way out by ".." : for trees that are ours */
	PATH_NO_XDEV = 1 << 2, /* or-ed to either: not across a mount */
};

/* Call once at start: ERR_UNSUPPORTED with a sentence when the kernel has no openat2(2), which came
 * with Linux 5.6, or when a filter hides it. */
int path_check_kernel(struct err *err);

/*
 * openat2(2) of @path below @root_fd by @rules; O_CLOEXEC is added, EAGAIN (the kernel saw a rename
 * while it resolved "..") is tried again a bounded number of times.
 *
 * Returns a descriptor or a negative errno: EXDEV and ELOOP mean that @rules were broken.
 */
int path_open(int root_fd, const char *path, unsigned int rules, int flags, mode_t mode);

/* As path_open(), with O_PATH|O_DIRECTORY and the sentence for a person:
 *   ERR_NOT_FOUND  nothing is there, or a parent is no directory
 *   ERR_DENIED     the name leaves the root, or holds a symlink that @rules forbid */
int path_open_dir(int root_fd, const char *path, unsigned int rules, struct err *err);

/*
 * The place in a container's root where something is to be mounted, made where it is missing: a
 * directory, or an empty file. Parents that exist are resolved as the workload sees them (/var/run
 * may be a symlink to /run), those that do not are made one by one, by descriptor, with mode 0755.
 * The last component is never followed: a symlink there is refused, and so is ".." anywhere.
 *
 * Returns an O_PATH descriptor, the target of move_mount(2) with MOVE_MOUNT_T_EMPTY_PATH, or a
 * negative errno with @err filled in:
 *   ERR_INVALID  @path has a ".." component, is empty or the root itself
 *   ERR_START    the image has something else there: a symlink, a file for a directory
 */
int path_make_dir(int root_fd, const char *path, struct err *err);
int path_make_file(int root_fd, const char *path, struct err *err);

/* ERR_START when /proc, /sys or /dev of the image below @root_fd is a symlink or anything else but
 * a directory (CVE-2019-19921 and its line). Absent is fine. */
int path_check_rootfs(int root_fd, struct err *err);

/* Does @path (absolute, as given for a volume or a mount) lie at or under /proc, /sys or /dev,
 * however it is spelled? Volumes there are refused. A path with a ".." component counts as one that
 * does. */
bool path_is_reserved(const char *path);

/* Is @fd on a filesystem of this magic (PROC_SUPER_MAGIC, ...)? ERR_DENIED, EXDEV, if not; @what
 * names the object in the sentence. */
int path_check_fs(int fd, unsigned long magic, const char *what, struct err *err);

/*
 * Write @length bytes to the file @path of the procfs whose root is @proc_fd, in one write(2). The
 * descriptor comes from fsopen("proc") or from the host's own /proc before any workload ran; the
 * file must be on procfs, reached without a symlink and without crossing a mount (CVE-2025-52881).
 */
int path_write_proc(int proc_fd, const char *path, const void *data, size_t length,
		    struct err *err);

/*
 * The whole content of the regular file @path in the container's root @root_fd, by PATH_IN_ROOT.
 * *ret_data is malloc'ed, ends in a NUL that is not counted, and is the caller's. Needs /proc
 * mounted.
 *   ERR_NOT_FOUND  no such file
 *   ERR_START      it is no regular file, a loop of symlinks, or larger than @limit_bytes
 */
int path_read_file(int root_fd, const char *path, size_t limit_bytes, char **ret_data,
		   size_t *ret_length, struct err *err);

/*
 * Open the host's @path with O_PATH, for use as a mount source: absolute, no symlink and no magic
 * link on the way; then the name that the kernel gives to what was opened must be one of @allowed
 * or lie below one, on a component boundary. Needs /proc mounted.
 *
 * Returns the descriptor, or a negative errno with @err filled in:
 *   ERR_INVALID    not absolute, or with a control byte
 *   ERR_NOT_FOUND  nothing is there
 *   ERR_DENIED     a symlink on the way, or not below an allowed prefix
 */
int path_open_host(const char *path, const char *const *allowed, size_t allowed_count,
		   struct err *err);

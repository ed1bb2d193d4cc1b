#include "sandbox/unpack/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/names.h"
#include "sandbox/unpack/below.h"

#define ID_MAX      65535
#define ID_NOBODY   65534
#define SECONDS_MAX 0x37fffffffLL /* what ext4 can keep */

struct kept_time {
	struct timespec mtime;
	uint32_t length; /* of the name that follows */
};

/* ERR_INVALID blames the archive, the rest this host. */
static int failed(struct err *err, const char *name, const char *what)
{
	char quoted[NAME_QUOTED_MAX];
	enum err_kind kind = errno == ENOSPC || errno == EDQUOT ? ERR_EXHAUSTED : ERR_INTERNAL;

	if (errno == ELOOP || errno == ENOTDIR || errno == EXDEV)
		return err_set(
			err, ERR_INVALID, errno,
			"entry %s: the way to it leads over a link or a file, not directories",
			names_quote(name, quoted));
	return err_set(err, kind, errno, "entry %s: cannot %s: %m", names_quote(name, quoted),
		       what);
}

static int open_directory(int fd, const char *path)
{
	return below_open(fd, *path ? path : ".", O_RDONLY | O_DIRECTORY, 0);
}

int tree_open(int root_fd, int times_fd, uint64_t max_bytes, uint64_t max_entries,
	      struct tree *ret_tree, struct err *err)
{
	*ret_tree = (struct tree){ .root_fd = root_fd,
				   .max_bytes = max_bytes,
				   .max_entries = max_entries,
				   .parent_fd = -1,
				   .times = fdopen(times_fd, "w+") };
	if (!ret_tree->times) {
		(void)close(times_fd);
		tree_done(ret_tree);
		return err_oom(err);
	}
	return 0;
}

void tree_done(struct tree *tree)
{
	fd_close(&tree->root_fd);
	fd_close(&tree->parent_fd);
	close_file(&tree->times);
	tree->times = NULL;
}

/* Directories that no entry names are root's, as everywhere. */
static int make_parents(struct tree *tree, const char *path)
{
	cleanup_fd int at = open_directory(tree->root_fd, "");
	char copy[ENTRY_PATH_MAX + 1], *rest = copy, *component;

	(void)snprintf(copy, sizeof(copy), "%s", path);
	while (at >= 0 && (component = strsep(&rest, "/"))) {
		int next = open_directory(at, component);

		if (next < 0 && errno == ENOENT) {
			if (tree->entries++ >= tree->max_entries) {
				errno = EDQUOT;
				return -1;
			}
			if (mkdirat(at, component, 0755) < 0)
				return -1;
			next = open_directory(at, component);
		}
		(void)close(at);
		at = next;
	}
	return take_fd(&at);
}

/* The directory of @name, the tree's own. */
static int find_parent(struct tree *tree, const struct entry_name *name, struct err *err)
{
	int fd;

	if (tree->parent_fd >= 0 && strcmp(tree->parent, name->parent) == 0)
		return tree->parent_fd;
	fd = open_directory(tree->root_fd, name->parent);
	if (fd < 0 && errno == ENOENT)
		fd = make_parents(tree, name->parent);
	if (fd < 0)
		return failed(err, name->parent, "open the directory");
	fd_close(&tree->parent_fd);
	tree->parent_fd = fd;
	(void)snprintf(tree->parent, sizeof(tree->parent), "%s", name->parent);
	return fd;
}

/* 0 where there is nothing of that name, else its type. */
static mode_t type_of(int parent_fd, const char *name)
{
	struct stat st;

	return fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_mode & S_IFMT;
}

static int make_opaque(int fd, const char *name, struct err *err)
{
	return fsetxattr(fd, TREE_OPAQUE, "y", 1, 0) < 0
		       ? failed(err, name, "mark it as hiding what is below")
		       : 0;
}

static int put_opaque(struct tree *tree, const struct entry_name *name, struct err *err)
{
	int fd = find_parent(tree, name, err);

	if (fd < 0)
		return fd;
	if (!name->parent[0])
		tree->cut = true;
	return make_opaque(fd, name->parent, err);
}

/* Of the same layer the file counts, whichever comes first: the mark is for the layers below. */
static int put_whiteout(struct tree *tree, const struct entry_name *name, struct err *err)
{
	int parent_fd = find_parent(tree, name, err);
	mode_t type;

	if (parent_fd < 0)
		return parent_fd;
	type = type_of(parent_fd, name->last);
	if (type == S_IFDIR) {
		cleanup_fd int fd = open_directory(parent_fd, name->last);

		return fd < 0 ? failed(err, name->last, "open it")
			      : make_opaque(fd, name->last, err);
	}
	if (type || mknodat(parent_fd, name->last, S_IFCHR, makedev(0, 0)) == 0)
		return 0;
	return failed(err, name->last, "mark it as removed");
}

/* What an earlier entry put there goes, except a directory that is in use, or one for another. Returns
 * whether it was a mark of a removed name, or a negative errno. */
static int make_room(int parent_fd, const struct entry_name *name, mode_t type, struct err *err)
{
	mode_t old = type_of(parent_fd, name->last);
	char quoted[NAME_QUOTED_MAX];

	if (!old || (old == S_IFDIR && type == S_IFDIR))
		return 0;
	if (unlinkat(parent_fd, name->last, old == S_IFDIR ? AT_REMOVEDIR : 0) == 0)
		return old == S_IFCHR;
	if (errno == ENOTEMPTY || errno == EEXIST)
		return err_set(
			err, ERR_INVALID, errno,
			"entry %s: it would replace a directory of the same layer that is not empty",
			names_quote(name->last, quoted));
	return failed(err, name->last, "replace it");
}

static uid_t id_of(int64_t id)
{
	return id >= 0 && id <= ID_MAX ? (uid_t)id : ID_NOBODY;
}

static struct timespec time_of(struct timespec wish)
{
	if (wish.tv_sec < 0 || wish.tv_sec > SECONDS_MAX || wish.tv_nsec < 0 ||
	    wish.tv_nsec > 999999999)
		return (struct timespec){ 0 };
	return wish;
}

/* The owner first: a change of it takes the set-id bits away. */
static int set_meta(int fd, const struct tree_entry *entry, struct err *err)
{
	if (fchown(fd, id_of(entry->uid), id_of(entry->gid)) < 0)
		return failed(err, entry->name, "set its owner");
	if (fchmod(fd, entry->mode & 07777) < 0)
		return failed(err, entry->name, "set its mode");
	return 0;
}

static int keep_time(struct tree *tree, const char *path, struct timespec mtime, struct err *err)
{
	struct kept_time kept = { .mtime = time_of(mtime), .length = (uint32_t)strlen(path) };

	if (fwrite(&kept, sizeof(kept), 1, tree->times) != 1 ||
	    fwrite(path, 1, kept.length, tree->times) != kept.length)
		return failed(err, path, "keep its time");
	return 0;
}

static void path_of(const struct entry_name *name, char path[static ENTRY_PATH_MAX + NAME_MAX + 2])
{
	(void)snprintf(path, ENTRY_PATH_MAX + NAME_MAX + 2, "%s%s%s", name->parent,
		       name->parent[0] ? "/" : "", name->last);
}

static int put_directory(struct tree *tree, const struct tree_entry *entry,
			 const struct entry_name *name, struct err *err)
{
	char path[ENTRY_PATH_MAX + NAME_MAX + 2];
	cleanup_fd int fd = -1;
	int parent_fd;
	int r = 0;

	path_of(name, path);
	if (name->kind == ENTRY_ROOT) {
		fd = open_directory(tree->root_fd, "");
	} else {
		parent_fd = find_parent(tree, name, err);
		if (parent_fd < 0)
			return parent_fd;
		r = make_room(parent_fd, name, S_IFDIR, err);
		if (r < 0)
			return r;
		if (mkdirat(parent_fd, name->last, 0700) < 0 && errno != EEXIST)
			return failed(err, entry->name, "make the directory");
		fd = open_directory(parent_fd, name->last);
	}
	if (fd < 0)
		return failed(err, entry->name, "open the directory");
	if (r ==
	    1) /* it stood for removed: nothing of the one below is to be seen in the new one */
		r = make_opaque(fd, entry->name, err);
	if (r == 0)
		r = set_meta(fd, entry, err);
	return r < 0 ? r : keep_time(tree, path, entry->mtime, err);
}

static int put_hardlink(struct tree *tree, const struct tree_entry *entry,
			const struct entry_name *name, int parent_fd, struct err *err)
{
	static struct entry_name target;
	char quoted[NAME_QUOTED_MAX];
	cleanup_fd int from_fd = -1;
	mode_t type;
	int r = entry_name_parse(entry->hardlink, &target, err);

	if (r < 0)
		return err_prefix(err, r, "hard link");
	if (target.kind != ENTRY_NAMED)
		return err_set(err, ERR_INVALID, EINVAL, "entry %s: a hard link to no file",
			       names_quote(entry->name, quoted));
	from_fd = open_directory(tree->root_fd, target.parent);
	if (from_fd < 0 && errno != ENOENT)
		return failed(err, entry->hardlink, "open its directory");
	type = from_fd < 0 ? 0 : type_of(from_fd, target.last);
	if (type != S_IFREG && type != S_IFLNK)
		return err_set(err, ERR_INVALID, ENOENT,
			       "entry %s: a hard link to what is no file of this layer",
			       names_quote(entry->name, quoted));
	if (strcmp(target.parent, name->parent) == 0 && strcmp(target.last, name->last) == 0)
		return 0; /* to itself */
	r = make_room(parent_fd, name, S_IFREG, err);
	if (r < 0)
		return r;
	return linkat(from_fd, target.last, parent_fd, name->last, 0) < 0
		       ? failed(err, entry->name, "make the hard link")
		       : 0;
}

static int put_symlink(int parent_fd, const struct tree_entry *entry, const struct entry_name *name,
		       struct err *err)
{
	const struct timespec times[2] = { time_of(entry->mtime), time_of(entry->mtime) };
	char quoted[NAME_QUOTED_MAX];

	if (!entry->symlink || !*entry->symlink || strlen(entry->symlink) > ENTRY_PATH_MAX)
		return err_set(err, ERR_INVALID, EINVAL,
			       "entry %s: a symbolic link to nothing, or too long",
			       names_quote(entry->name, quoted));
	if (symlinkat(entry->symlink, parent_fd, name->last) < 0 ||
	    fchownat(parent_fd, name->last, id_of(entry->uid), id_of(entry->gid),
		     AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(parent_fd, name->last, times, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(err, entry->name, "make the symbolic link");
	return 0;
}

static int put_file(struct tree *tree, int parent_fd, const struct tree_entry *entry,
		    const struct entry_name *name, int *ret_fd, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];

	if (entry->size > tree->max_bytes - tree->bytes)
		return err_set(err, ERR_EXHAUSTED, EFBIG,
			       "entry %s: with it the layer's files have more than %llu bytes",
			       names_quote(entry->name, quoted),
			       (unsigned long long)tree->max_bytes);
	tree->bytes += entry->size;
	*ret_fd = below_open(parent_fd, name->last, O_WRONLY | O_CREAT | O_EXCL, 0600);
	return *ret_fd < 0 ? failed(err, entry->name, "make the file") : 0;
}

static int put_named(struct tree *tree, const struct tree_entry *entry,
		     const struct entry_name *name, int *ret_fd, struct err *err)
{
	mode_t type = entry->mode & S_IFMT;
	int parent_fd;
	int r;

	if (!entry->hardlink && type != S_IFREG && type != S_IFLNK) {
		tree->dropped++; /* a device, a socket, a pipe: what runs has its own */
		return 0;
	}
	parent_fd = find_parent(tree, name, err);
	if (parent_fd < 0)
		return parent_fd;
	if (entry->hardlink)
		return put_hardlink(tree, entry, name, parent_fd, err);
	r = make_room(parent_fd, name, type, err);
	if (r < 0)
		return r;
	return type == S_IFLNK ? put_symlink(parent_fd, entry, name, err)
			       : put_file(tree, parent_fd, entry, name, ret_fd, err);
}

int tree_put(struct tree *tree, const struct tree_entry *entry, int *ret_fd, struct err *err)
{
	static struct entry_name name; /* large, and one at a time */
	char quoted[NAME_QUOTED_MAX];
	int r = entry_name_parse(entry->name, &name, err);

	*ret_fd = -1;
	if (r < 0)
		return r;
	if (tree->entries++ >= tree->max_entries)
		return err_set(err, ERR_EXHAUSTED, E2BIG, "the layer has more than %llu entries",
			       (unsigned long long)tree->max_entries);
	switch (name.kind) {
	case ENTRY_IGNORED:
		return 0;
	case ENTRY_OPAQUE:
		return put_opaque(tree, &name, err);
	case ENTRY_WHITEOUT:
		return put_whiteout(tree, &name, err);
	case ENTRY_ROOT:
		if (entry->hardlink || !S_ISDIR(entry->mode))
			return err_set(err, ERR_INVALID, EINVAL,
				       "entry %s: the layer's root is no directory",
				       names_quote(entry->name, quoted));
		return put_directory(tree, entry, &name, err);
	case ENTRY_NAMED:
		break;
	}
	return !entry->hardlink && S_ISDIR(entry->mode)
		       ? put_directory(tree, entry, &name, err)
		       : put_named(tree, entry, &name, ret_fd, err);
}

int tree_open_dir(struct tree *tree, const char *name)
{
	static struct entry_name parsed;
	char path[ENTRY_PATH_MAX + NAME_MAX + 2];
	int fd;

	if (entry_name_parse(name, &parsed, NULL) < 0)
		return -EINVAL;
	path_of(&parsed, path);
	fd = open_directory(tree->root_fd, path);
	return fd < 0 ? -errno : fd;
}

/* Programs' own attributes. Not the kernel's: capabilities mean nothing where no_new_privs is set, and
 * overlayfs would believe those of its own. */
static bool is_kept(const char *name)
{
	return strncmp(name, "user.", 5) == 0 && name[5] && strlen(name) <= 255 &&
	       strncmp(name, "user.overlay.", strlen("user.overlay.")) != 0;
}

int tree_put_attribute(struct tree *tree, int fd, const char *name, const void *value, size_t size,
		       struct err *err)
{
	char quoted[NAME_QUOTED_MAX];

	if (!is_kept(name)) {
		tree->dropped++;
		return 0;
	}
	if (fsetxattr(fd, name, value, size, 0) == 0)
		return 0;
	return err_set(err, errno == E2BIG || errno == ERANGE ? ERR_INVALID : ERR_EXHAUSTED, errno,
		       "cannot set the attribute %s of an entry: %m", names_quote(name, quoted));
}

int tree_end_file(const struct tree_entry *entry, int fd, struct err *err)
{
	const struct timespec times[2] = { time_of(entry->mtime), time_of(entry->mtime) };
	int r;

	if (ftruncate(fd, (off_t)entry->size) < 0)
		return failed(err, entry->name, "set its size");
	r = set_meta(fd, entry, err);
	if (r < 0)
		return r;
	return futimens(fd, times) < 0 ? failed(err, entry->name, "set its time") : 0;
}

int tree_finish(struct tree *tree, struct err *err)
{
	struct kept_time kept;
	char path[ENTRY_PATH_MAX + NAME_MAX + 2];

	if (fflush(tree->times) != 0)
		return failed(err, ".", "keep the times of directories");
	rewind(tree->times);
	while (fread(&kept, sizeof(kept), 1, tree->times) == 1) {
		const struct timespec times[2] = { kept.mtime, kept.mtime };
		cleanup_fd int fd = -1;

		if (kept.length >= sizeof(path) ||
		    fread(path, 1, kept.length, tree->times) != kept.length)
			return err_set(err, ERR_INTERNAL, EIO,
				       "cannot read the times of directories again");
		path[kept.length] = '\0';
		fd = open_directory(tree->root_fd, path);
		/* A later entry may have put something else there. */
		if (fd >= 0 && futimens(fd, times) < 0)
			return failed(err, path, "set its time");
	}
	return 0;
}

#include "sandbox/unpack/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/names.h"
#include "sandbox/unpack/below.h"
#include "sandbox/unpack/entry_name.h"

#define BLOCK_BYTES      (128U * 1024)
#define LINE_BYTES_MAX   (4 * (ENTRY_PATH_MAX + 1) + 256)
#define ATTRIBUTES_BYTES (64U * 1024)
#define DEPTH_MAX        (ENTRY_DEPTH_MAX + 8)

struct walk {
	FILE *file;
	bool comparing;
	bool damaged;
	unsigned int depth;
	EVP_MD_CTX *content;  /* of one file */
	EVP_MD_CTX *manifest; /* of the lines */
	size_t path_length;
	char path[ENTRY_PATH_MAX + NAME_MAX + 2];
	char line[LINE_BYTES_MAX];
	char expected[LINE_BYTES_MAX];
	char names[ATTRIBUTES_BYTES];
	unsigned char block[BLOCK_BYTES];
	struct err *err;
};

static int host_failed(struct walk *walk, const char *what)
{
	char quoted[NAME_QUOTED_MAX];

	return err_set(walk->err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
		       "cannot %s %s: %m", what, names_quote(walk->path, quoted));
}

static int differs(struct walk *walk, const char *what)
{
	char quoted[NAME_QUOTED_MAX];

	if (!walk->damaged)
		(void)err_set(walk->err, ERR_PRECONDITION, EUCLEAN, "%s %s",
			      names_quote(walk->path, quoted), what);
	walk->damaged = true;
	return 1;
}

/* Returns how many bytes the escaped form of @text has; @out has room for four times as many, and one. */
static size_t escape(const char *text, char *out)
{
	char *at = out;

	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte > ' ' && byte < 0x7f && byte != '\\')
			*at++ = (char)byte;
		else
			at += sprintf(at, "\\%03o", byte);
	}
	*at = '\0';
	return (size_t)(at - out);
}

static const char *path_in(const char *line)
{
	const char *space = strrchr(line, ' ');

	return space ? space + 1 : line;
}

/* The next line: written, or compared. 1: they differ. */
static int line_done(struct walk *walk)
{
	size_t length = strlen(walk->line);

	walk->line[length++] = '\n';
	walk->line[length] = '\0';
	if (!walk->comparing) {
		if (fwrite(walk->line, 1, length, walk->file) != length)
			return host_failed(walk, "write the manifest at");
		return EVP_DigestUpdate(walk->manifest, walk->line, length) == 1 ? 0 : -ENOMEM;
	}
	if (!fgets(walk->expected, sizeof(walk->expected), walk->file))
		return differs(walk, "was not there");
	if (strcmp(walk->line, walk->expected) == 0)
		return 0;
	if (strcmp(path_in(walk->line), path_in(walk->expected)) == 0)
		return differs(walk, "is not as it was unpacked");
	return differs(walk, "was not there, or one before it is missing");
}

static int digest_text(struct walk *walk, const void *bytes, size_t size,
		       char hex[static DIGEST_HEX_MAX])
{
	if (EVP_DigestInit_ex(walk->content, digest_algorithm(), NULL) != 1 ||
	    EVP_DigestUpdate(walk->content, bytes, size) != 1)
		return err_oom(walk->err);
	return digest_end(walk->content, hex, walk->err);
}

static int digest_file(struct walk *walk, int fd, char hex[static DIGEST_HEX_MAX])
{
	ssize_t n;

	if (EVP_DigestInit_ex(walk->content, digest_algorithm(), NULL) != 1)
		return err_oom(walk->err);
	while ((n = read(fd, walk->block, sizeof(walk->block))) > 0)
		if (EVP_DigestUpdate(walk->content, walk->block, (size_t)n) != 1)
			return err_oom(walk->err);
	if (n < 0)
		return host_failed(walk, "read");
	return digest_end(walk->content, hex, walk->err);
}

static int digest_link(struct walk *walk, int dir_fd, const char *name,
		       char hex[static DIGEST_HEX_MAX])
{
	ssize_t n = readlinkat(dir_fd, name, (char *)walk->block, sizeof(walk->block));

	if (n < 0)
		return host_failed(walk, "read the link");
	return digest_text(walk, walk->block, (size_t)n, hex);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int put_attribute(struct walk *walk, int fd, const char *name)
{
	char hex[DIGEST_HEX_MAX];
	ssize_t n = fgetxattr(fd, name, walk->block, sizeof(walk->block));
	size_t at;
	int r;

	if (n < 0)
		return host_failed(walk, "read an attribute of");
	r = digest_text(walk, walk->block, (size_t)n, hex);
	if (r < 0)
		return r;
	at = (size_t)sprintf(walk->line, "x %s ", hex);
	(void)escape(name, walk->line + at);
	return line_done(walk);
}

/* Only those that an unpacked file may have: others come and go with the host's security modules. */
static int put_attributes(struct walk *walk, int fd)
{
	char *list[1024];
	ssize_t size = flistxattr(fd, walk->names, sizeof(walk->names));
	size_t n = 0;
	int r = 0;

	if (size < 0)
		return errno == EOPNOTSUPP ? 0 : host_failed(walk, "list the attributes of");
	for (char *name = walk->names; name < walk->names + size; name += strlen(name) + 1)
		if (strncmp(name, "user.", 5) == 0 && n < ARRAY_SIZE(list))
			list[n++] = name;
	qsort(list, n, sizeof(*list), compare_names);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = put_attribute(walk, fd, list[i]);
	return r;
}

static int put_line(struct walk *walk, const struct stat *st, const char *hex)
{
	int at = sprintf(walk->line, "%o %u %u %jd %jd %s ", st->st_mode, st->st_uid, st->st_gid,
			 S_ISREG(st->st_mode) ? (intmax_t)st->st_size : (intmax_t)0,
			 (intmax_t)st->st_mtim.tv_sec, hex);

	(void)escape(walk->path_length ? walk->path : ".", walk->line + at);
	return line_done(walk);
}

static int walk_directory(struct walk *walk, int fd);

static int walk_one(struct walk *walk, int dir_fd, const char *name)
{
	char hex[DIGEST_HEX_MAX] = "-";
	cleanup_fd int fd = -1;
	struct stat st;
	int r = 0;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return host_failed(walk, "look at");
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
		fd = below_open(dir_fd, name, O_RDONLY | O_NONBLOCK, 0);
		if (fd < 0)
			return host_failed(walk, "open");
	}
	if (S_ISREG(st.st_mode))
		r = digest_file(walk, fd, hex);
	else if (S_ISLNK(st.st_mode))
		r = digest_link(walk, dir_fd, name, hex);
	if (r == 0)
		r = put_line(walk, &st, hex);
	if (r == 0 && fd >= 0)
		r = put_attributes(walk, fd);
	if (r == 0 && S_ISDIR(st.st_mode))
		r = walk_directory(walk, fd);
	return r;
}

/* One after the other in one piece of memory, and then pointers to them. */
struct names {
	char *bytes;
	size_t size;
	size_t room;
	size_t n;
};

static int add_name(struct names *names, const char *name)
{
	size_t size = strlen(name) + 1;

	if (names->size + size > names->room) {
		size_t room = names->room ? 2 * names->room : 4096;
		char *bytes = realloc(names->bytes, room);

		if (!bytes)
			return -ENOMEM;
		names->bytes = bytes;
		names->room = room;
	}
	memcpy(names->bytes + names->size, name, size);
	names->size += size;
	names->n++;
	return 0;
}

static int read_names(struct walk *walk, int fd, struct names *names)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		fd_close(&copy);
		return host_failed(walk, "read the directory");
	}
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = add_name(names, entry->d_name);
	if (r == 0 && errno)
		r = host_failed(walk, "read the directory");
	else if (r < 0)
		r = err_oom(walk->err);
	(void)closedir(dir);
	return r;
}

static int walk_names(struct walk *walk, int fd, struct names *names)
{
	cleanup_free char **sorted = calloc(names->n + 1, sizeof(*sorted));
	size_t length = walk->path_length;
	char *name = names->bytes;
	int r = 0;

	if (!sorted)
		return err_oom(walk->err);
	for (size_t i = 0; i < names->n; i++, name += strlen(name) + 1)
		sorted[i] = name;
	qsort(sorted, names->n, sizeof(*sorted), compare_names);
	for (size_t i = 0; r == 0 && i < names->n; i++) {
		int n = snprintf(walk->path + length, sizeof(walk->path) - length, "%s%s",
				 length ? "/" : "", sorted[i]);

		if ((size_t)n >= sizeof(walk->path) - length)
			r = differs(walk, "is longer than anything unpacked");
		walk->path_length = length + (size_t)n;
		if (r == 0)
			r = walk_one(walk, fd, sorted[i]);
	}
	walk->path_length = length;
	walk->path[r == 0 ? length : strlen(walk->path)] = '\0';
	return r;
}

static int walk_directory(struct walk *walk, int fd)
{
	struct names names = { 0 };
	int r;

	if (walk->depth++ > DEPTH_MAX)
		return differs(walk, "is deeper than anything unpacked");
	r = read_names(walk, fd, &names);
	if (r == 0)
		r = walk_names(walk, fd, &names);
	free(names.bytes);
	walk->depth--;
	return r;
}

static struct walk *walk_new(int fd, bool comparing, struct err *err)
{
	struct walk *walk = calloc(1, sizeof(*walk));

	if (!walk)
		return NULL;
	walk->err = err;
	walk->comparing = comparing;
	walk->file = fdopen(fd, comparing ? "r" : "w");
	walk->content = EVP_MD_CTX_new();
	walk->manifest = EVP_MD_CTX_new();
	return walk;
}

static void walk_free(struct walk *walk)
{
	if (!walk)
		return;
	close_file(&walk->file);
	EVP_MD_CTX_free(walk->content);
	EVP_MD_CTX_free(walk->manifest);
	free(walk);
}
DEFINE_CLEANUP(struct walk *, walk_free)

static bool walk_is_whole(const struct walk *walk)
{
	return walk && walk->file && walk->content && walk->manifest &&
	       EVP_DigestInit_ex(walk->manifest, digest_algorithm(), NULL) == 1;
}

int manifest_write(int root_fd, int out_fd, char hex[static DIGEST_HEX_MAX], struct err *err)
{
	cleanup(walk_free_p) struct walk *walk = walk_new(out_fd, false, err);
	int r;

	if (!walk_is_whole(walk))
		return err_oom(err);
	r = walk_one(walk, root_fd, ".");
	if (r > 0)
		return err_set(err, ERR_INTERNAL, EIO, "the tree is not as it was unpacked");
	if (r == 0 && fflush(walk->file) != 0)
		r = host_failed(walk, "write the manifest at");
	return r < 0 ? r : digest_end(walk->manifest, hex, err);
}

/* The manifest is a file like others, and may be what was damaged. */
static int check_manifest(struct walk *walk, int fd, const char *hex)
{
	char actual[DIGEST_HEX_MAX];
	int r = digest_file(walk, fd, actual);

	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return host_failed(walk, "read the manifest at");
	if (strcmp(actual, hex) == 0)
		return 0;
	walk->damaged = true;
	(void)err_set(walk->err, ERR_PRECONDITION, EUCLEAN,
		      "the manifest of its files is not as it was written");
	return 1;
}

int manifest_compare(int root_fd, int in_fd, const char *hex, bool *ret_damaged, struct err *err)
{
	cleanup(walk_free_p) struct walk *walk = walk_new(in_fd, true, err);
	int r;

	if (!walk_is_whole(walk))
		return err_oom(err);
	r = check_manifest(walk, in_fd, hex);
	if (r == 0)
		r = walk_one(walk, root_fd, ".");
	if (r == 0 && fgets(walk->expected, sizeof(walk->expected), walk->file)) {
		walk->expected[strcspn(walk->expected, "\n")] = '\0';
		(void)snprintf(walk->path, sizeof(walk->path), "%.*s", (int)sizeof(walk->path) - 1,
			       path_in(walk->expected));
		r = differs(walk, "is missing");
	}
	if (r < 0)
		return r;
	*ret_damaged = walk->damaged;
	return 0;
}

#include "agent/image/content.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define PART_SUFFIX ".part"
#define NAME_MAX_   (DIGEST_HEX + sizeof(PART_SUFFIX))
/* How much is written between two looks at how full the disk is. */
#define LOOK_BYTES (16U << 20)

struct content {
	char *directory;
	int blobs_fd;
	uint64_t keep_free_bytes;
};

struct content_writer {
	struct content *content;
	struct descriptor piece;
	struct digester *digester;
	int fd;
	uint64_t bytes;
	uint64_t look_at_bytes;
	char name[NAME_MAX_];
};

static int disk_failed(struct err *err, int errnum, const char *what, const char *name)
{
	bool full = errnum == ENOSPC || errnum == EDQUOT;

	return err_set(
		err, full ? ERR_EXHAUSTED : ERR_INTERNAL, errnum,
		full ? "cannot %s %s: the disk is full; remove images (berthctl image rm, gc)"
		     : "cannot %s %s: %m",
		what, name);
}

static int make_directory(const char *path, struct err *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return disk_failed(err, errno, "make the directory", path);
	return 0;
}

int content_open(const char *directory, uint64_t keep_free_bytes, struct content **ret_content,
		 struct err *err)
{
	cleanup(content_free_p) struct content *content = calloc(1, sizeof(*content));
	cleanup_free char *blobs = NULL;
	int r;

	if (!content)
		return err_oom(err);
	content->blobs_fd = -1;
	content->keep_free_bytes = keep_free_bytes;
	content->directory = strdup(directory);
	if (!content->directory || asprintf(&blobs, "%s/blobs", directory) < 0)
		return err_oom(err);
	r = make_directory(directory, err);
	if (r == 0)
		r = make_directory(blobs, err);
	if (r < 0)
		return r;
	content->blobs_fd = open(blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (content->blobs_fd < 0)
		return disk_failed(err, errno, "open the directory", blobs);
	*ret_content = take_ptr(&content);
	return 0;
}

void content_free(struct content *content)
{
	if (!content)
		return;
	fd_close(&content->blobs_fd);
	free(content->directory);
	free(content);
}

bool content_has(const struct content *content, const struct digest *digest,
		 uint64_t *ret_size_bytes)
{
	struct stat st;

	if (fstatat(content->blobs_fd, digest->hex, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(st.st_mode))
		return false;
	if (ret_size_bytes)
		*ret_size_bytes = (uint64_t)st.st_size;
	return true;
}

int content_room(const struct content *content, uint64_t *ret_bytes, struct err *err)
{
	struct statvfs disk;
	uint64_t left;

	if (fstatvfs(content->blobs_fd, &disk) < 0)
		return disk_failed(err, errno, "look at the disk of", content->directory);
	left = (uint64_t)disk.f_bavail * disk.f_frsize;
	*ret_bytes = left > content->keep_free_bytes ? left - content->keep_free_bytes : 0;
	return 0;
}

int content_fill(const struct content *content, unsigned int *ret_percent, struct err *err)
{
	struct statvfs disk;
	uint64_t used, all;

	if (fstatvfs(content->blobs_fd, &disk) < 0)
		return disk_failed(err, errno, "look at the disk of", content->directory);
	used = disk.f_blocks - disk.f_bfree;
	all = used + disk.f_bavail;
	*ret_percent = all ? (unsigned int)(used * 100 / all) : 0;
	return 0;
}

int content_check_room(const struct content *content, uint64_t bytes, struct err *err)
{
	uint64_t left;
	int r = content_room(content, &left, err);

	if (r < 0 || (left > 0 && bytes <= left))
		return r;
	return err_set(err, ERR_EXHAUSTED, ENOSPC,
		       "%" PRIu64 " more bytes are needed below %s, %" PRIu64
		       " may be used (KeepFree in [Images]); remove images (berthctl image rm, gc)",
		       bytes, content->directory, left);
}

/* ---- Writing ---- */

static int forget(struct content_writer *writer, struct err *err)
{
	digester_free(writer->digester);
	writer->digester = digester_new();
	writer->bytes = 0;
	writer->look_at_bytes = LOOK_BYTES;
	if (!writer->digester)
		return err_oom(err);
	if (ftruncate(writer->fd, 0) < 0)
		return disk_failed(err, errno, "truncate", writer->name);
	return 0;
}

int content_writer_restart(struct content_writer *writer, struct err *err)
{
	return forget(writer, err);
}

/* Hash what an earlier try left; anything odd about it begins anew. */
static int take_over(struct content_writer *writer, struct err *err)
{
	cleanup_free char *buffer = malloc(1 << 18);
	ssize_t n;

	if (!buffer)
		return err_oom(err);
	while ((n = pread(writer->fd, buffer, 1 << 18, (off_t)writer->bytes)) > 0) {
		if (digester_add(writer->digester, buffer, (size_t)n) < 0)
			return err_oom(err);
		writer->bytes += (uint64_t)n;
	}
	if (n < 0 || writer->bytes > writer->piece.size_bytes)
		return forget(writer, err);
	return 0;
}

static void writer_free(struct content_writer *writer)
{
	if (!writer)
		return;
	digester_free(writer->digester);
	fd_close(&writer->fd);
	free(writer);
}
DEFINE_CLEANUP(struct content_writer *, writer_free)

int content_write(struct content *content, const struct descriptor *piece,
		  struct content_writer **ret_writer, struct err *err)
{
	cleanup(writer_free_p) struct content_writer *writer = calloc(1, sizeof(*writer));
	int r;

	if (!writer)
		return err_oom(err);
	writer->fd = -1;
	writer->content = content;
	writer->piece = *piece;
	writer->look_at_bytes = LOOK_BYTES;
	writer->digester = digester_new();
	if (!writer->digester)
		return err_oom(err);
	(void)snprintf(writer->name, sizeof(writer->name), "%s" PART_SUFFIX, piece->digest.hex);
	writer->fd = openat(content->blobs_fd, writer->name,
			    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (writer->fd < 0)
		return disk_failed(err, errno, "make", writer->name);
	r = take_over(writer, err);
	if (r < 0)
		return r;
	*ret_writer = take_ptr(&writer);
	return 0;
}

uint64_t content_writer_bytes(const struct content_writer *writer)
{
	return writer->bytes;
}

static int write_all(struct content_writer *writer, const char *bytes, size_t length,
		     struct err *err)
{
	uint64_t at = writer->bytes;

	while (length > 0) {
		ssize_t n = pwrite(writer->fd, bytes, length, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return disk_failed(err, errno, "write", writer->name);
		bytes += n;
		length -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

int content_writer_add(struct content_writer *writer, const void *bytes, size_t length,
		       struct err *err)
{
	int r;

	if (length > writer->piece.size_bytes - writer->bytes) {
		r = err_set(err, ERR_INVALID, EINVAL,
			    "it has more than the %" PRIu64 " bytes that it should",
			    writer->piece.size_bytes);
		(void)forget(writer, NULL);
		return r;
	}
	r = write_all(writer, bytes, length, err);
	if (r < 0)
		return r;
	if (digester_add(writer->digester, bytes, length) < 0)
		return err_oom(err);
	writer->bytes += length;
	if (writer->bytes < writer->look_at_bytes)
		return 0;
	writer->look_at_bytes = writer->bytes + LOOK_BYTES;
	return content_check_room(writer->content, 0, err);
}

static int verify_written(struct content_writer *writer, struct err *err)
{
	struct digest digest;
	char has[DIGEST_TEXT_MAX];

	if (writer->bytes != writer->piece.size_bytes)
		return err_set(err, ERR_INVALID, EINVAL,
			       "it has %" PRIu64 " bytes, and should have %" PRIu64, writer->bytes,
			       writer->piece.size_bytes);
	if (digester_end(writer->digester, &digest) < 0)
		return err_oom(err);
	if (!digest_equal(&digest, &writer->piece.digest))
		return err_set(err, ERR_INVALID, EBADMSG, "its bytes have the digest %s",
			       digest_text(&digest, has));
	return 0;
}

static int put_in_place(const struct content_writer *writer, struct err *err)
{
	int blobs_fd = writer->content->blobs_fd;

	if (fsync(writer->fd) < 0)
		return disk_failed(err, errno, "write out", writer->name);
	if (renameat(blobs_fd, writer->name, blobs_fd, writer->piece.digest.hex) < 0)
		return disk_failed(err, errno, "rename", writer->name);
	if (fsync(blobs_fd) < 0)
		return disk_failed(err, errno, "write out the directory of", writer->name);
	return 0;
}

int content_writer_end(struct content_writer *writer, struct err *err)
{
	int r = verify_written(writer, err);

	if (r == 0)
		r = put_in_place(writer, err);
	if (r < 0) /* after a failed fsync nothing that was written is to be relied on, either */
		(void)unlinkat(writer->content->blobs_fd, writer->name, 0);
	writer_free(writer);
	return r;
}

void content_writer_stop(struct content_writer *writer)
{
	writer_free(writer);
}

/* ---- Reading ---- */

int content_open_piece(const struct content *content, const struct digest *digest, int *ret_fd,
		       struct err *err)
{
	int fd = openat(content->blobs_fd, digest->hex, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, errno,
			       "cannot open the piece sha256:%s: %m", digest->hex);
	*ret_fd = fd;
	return 0;
}

static int read_all(int fd, char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = read(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		length -= (size_t)n;
	}
	return 0;
}

int content_read(const struct content *content, const struct digest *digest, void **ret_bytes,
		 size_t *ret_length, struct err *err)
{
	cleanup_free char *bytes = NULL;
	cleanup_fd int fd = -1;
	struct digest found;
	struct stat st;
	size_t length;
	int r = content_open_piece(content, digest, &fd, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || st.st_size > (off_t)DOCUMENT_BYTES_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "sha256:%s is too large for a document",
			       digest->hex);
	length = (size_t)st.st_size;
	bytes = malloc(length + 1);
	if (!bytes)
		return err_oom(err);
	r = read_all(fd, bytes, length);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot read the piece sha256:%s: %m",
			       digest->hex);
	if (digest_of(bytes, length, &found) < 0)
		return err_oom(err);
	if (!digest_equal(&found, digest))
		return err_set(
			err, ERR_INVALID, EBADMSG,
			"the piece sha256:%s is damaged on this host's disk; remove the image and pull it again",
			digest->hex);
	bytes[length] = '\0';
	*ret_bytes = take_ptr(&bytes);
	*ret_length = length;
	return 0;
}

int content_remove(struct content *content, const struct digest *digest, struct err *err)
{
	char part[NAME_MAX_];

	(void)snprintf(part, sizeof(part), "%s" PART_SUFFIX, digest->hex);
	if ((unlinkat(content->blobs_fd, digest->hex, 0) < 0 && errno != ENOENT) ||
	    (unlinkat(content->blobs_fd, part, 0) < 0 && errno != ENOENT))
		return disk_failed(err, errno, "remove", digest->hex);
	return 0;
}

static bool parse_name(const char *name, struct digest *ret_digest, bool *ret_whole)
{
	char hex[DIGEST_HEX + 1];
	size_t length = strlen(name);

	*ret_whole = length == DIGEST_HEX;
	if (!*ret_whole && (length != DIGEST_HEX + strlen(PART_SUFFIX) ||
			    strcmp(name + DIGEST_HEX, PART_SUFFIX) != 0))
		return false;
	memcpy(hex, name, DIGEST_HEX);
	hex[DIGEST_HEX] = '\0';
	return digest_parse_hex(hex, ret_digest);
}

static void close_directory(DIR **directory)
{
	if (*directory)
		(void)closedir(*directory);
}

int content_each(const struct content *content,
		 bool (*visit)(const struct digest *digest, uint64_t size_bytes, bool whole,
			       void *user),
		 void *user, struct err *err)
{
	cleanup_fd int fd = openat(content->blobs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup(close_directory) DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!directory)
		return disk_failed(err, errno, "list", content->directory);
	(void)take_fd(&fd);
	while ((entry = readdir(directory))) {
		struct digest digest;
		struct stat st;
		bool whole;

		if (!parse_name(entry->d_name, &digest, &whole) ||
		    fstatat(content->blobs_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!visit(&digest, (uint64_t)st.st_size, whole, user))
			break;
	}
	return 0;
}

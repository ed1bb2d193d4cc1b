#include "sandbox/unpack/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/names.h"
#include "sandbox/unpack/digest.h"

#define BLOCK_BYTES (128U * 1024)
/* Of what compresses well, as logs and zeros do; what grows more was made to. */
#define RATIO_MAX   256
#define RATIO_FLOOR (256ULL << 20) /* so much may come from any blob */

#define ATTRIBUTE_BYTES_MAX (64U * 1024)

struct stream {
	int fd;
	const struct unpack_order *order;
	uint64_t at;         /* in the blob */
	uint64_t out_bytes;  /* uncompressed */
	struct archive *raw; /* what decompresses; NULL: nothing does */
	struct archive *tar;
	EVP_MD_CTX *digest;
	struct err err; /* of the callbacks: libarchive's own words would hide it */
	char block[BLOCK_BYTES];
};

int stream_prepare(struct err *err)
{
	/* Names are bytes to us, but libarchive wants to know of which charset. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return err_set(err, ERR_INTERNAL, ENOENT, "there is no locale C.UTF-8");
	return digest_prepare(err);
}

static ssize_t fail(struct stream *stream, struct archive *archive)
{
	archive_set_error(archive, stream->err.errnum ? stream->err.errnum : EIO, "%s",
			  stream->err.text);
	return -1;
}

/* The next bytes of the blob: how many, 0 at its end. */
static ssize_t read_blob(struct archive *archive, void *context, const void **ret_bytes)
{
	struct stream *stream = context;
	uint64_t left = stream->order->blob_bytes - stream->at;
	ssize_t n;

	if (left == 0)
		return 0;
	n = pread(stream->fd, stream->block, left < BLOCK_BYTES ? left : BLOCK_BYTES,
		  (off_t)stream->at);
	if (n == 0)
		errno = ENODATA;
	if (n <= 0) {
		(void)err_set(&stream->err, n == 0 ? ERR_INVALID : ERR_INTERNAL, errno,
			      "cannot read the blob at %llu of %llu bytes: %m",
			      (unsigned long long)stream->at,
			      (unsigned long long)stream->order->blob_bytes);
		return fail(stream, archive);
	}
	stream->at += (uint64_t)n;
	*ret_bytes = stream->block;
	return n;
}

static int check_growth(struct stream *stream)
{
	if (stream->out_bytes > stream->order->max_bytes)
		return err_set(&stream->err, ERR_EXHAUSTED, EFBIG,
			       "uncompressed it has more than %llu bytes",
			       (unsigned long long)stream->order->max_bytes);
	if (stream->raw && stream->out_bytes > RATIO_FLOOR &&
	    stream->out_bytes / RATIO_MAX > stream->at)
		return err_set(&stream->err, ERR_EXHAUSTED, EFBIG,
			       "its first %llu bytes grow to more than %d times as many",
			       (unsigned long long)stream->at, RATIO_MAX);
	return 0;
}

/* What the filter says it is has to be what the manifest of the image says, and once. */
static ssize_t read_uncompressed(struct stream *stream, const void **ret_bytes)
{
	size_t size = 0;
	la_int64_t offset;
	int r;

	if (!stream->raw)
		return read_blob(stream->tar, stream, ret_bytes);
	r = archive_read_data_block(stream->raw, ret_bytes, &size, &offset);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK) {
		if (stream->err.kind == ERR_NONE)
			(void)err_set(&stream->err, ERR_INVALID, EBADMSG, "cannot decompress: %s",
				      archive_error_string(stream->raw));
		return -1;
	}
	return (ssize_t)size;
}

/* Blocks of size 0 are possible, and would be taken for the end. */
static ssize_t read_archive(struct archive *archive, void *context, const void **ret_bytes)
{
	struct stream *stream = context;
	ssize_t n = read_uncompressed(stream, ret_bytes);

	if (n > 0) {
		stream->out_bytes += (uint64_t)n;
		if (check_growth(stream) < 0)
			n = -1;
		else if (EVP_DigestUpdate(stream->digest, *ret_bytes, (size_t)n) != 1)
			n = err_oom(&stream->err);
	}
	return n < 0 ? fail(stream, archive) : n;
}

static int open_raw(struct stream *stream, struct err *err)
{
	static const int codes[UNPACK_COMPRESSION_COUNT] = {
		[UNPACK_GZIP] = ARCHIVE_FILTER_GZIP, [UNPACK_ZSTD] = ARCHIVE_FILTER_ZSTD
	};
	uint32_t compression = stream->order->compression;
	struct archive_entry *entry;

	if (compression == UNPACK_PLAIN)
		return 0;
	stream->raw = archive_read_new();
	if (!stream->raw ||
	    (compression == UNPACK_GZIP
		     ? archive_read_support_filter_gzip(stream->raw)
		     : archive_read_support_filter_zstd(stream->raw)) != ARCHIVE_OK ||
	    archive_read_support_format_raw(stream->raw) != ARCHIVE_OK)
		return err_oom(err);
	if (archive_read_open(stream->raw, stream, NULL, read_blob, NULL) != ARCHIVE_OK ||
	    archive_read_next_header(stream->raw, &entry) != ARCHIVE_OK) {
		if (stream->err.kind != ERR_NONE)
			return (*err = stream->err, -EIO);
		return err_set(err, ERR_INVALID, EBADMSG, "cannot decompress: %s",
			       archive_error_string(stream->raw));
	}
	if (archive_filter_count(stream->raw) != 2 ||
	    archive_filter_code(stream->raw, 0) != codes[compression])
		return err_set(err, ERR_INVALID, EBADMSG,
			       "it is not compressed once with %s, as its media type says",
			       compression == UNPACK_GZIP ? "gzip" : "zstd");
	return 0;
}

static int open_tar(struct stream *stream, struct err *err)
{
	stream->tar = archive_read_new();
	stream->digest = EVP_MD_CTX_new();
	if (!stream->tar || !stream->digest ||
	    EVP_DigestInit_ex(stream->digest, digest_algorithm(), NULL) != 1 ||
	    archive_read_support_format_tar(stream->tar) != ARCHIVE_OK ||
	    archive_read_support_format_empty(stream->tar) != ARCHIVE_OK)
		return err_oom(err);
	return 0;
}

static int archive_failed(struct stream *stream, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	const char *why = archive_error_string(stream->tar);

	if (stream->err.kind != ERR_NONE) {
		*err = stream->err;
		return err->errnum ? -err->errnum : -EIO;
	}
	return err_set(err, ERR_INVALID, EBADMSG, "it is no tar archive that can be read: %s",
		       names_quote(why ? why : "no reason given", quoted));
}

/* Without conversion where there is none. */
static const char *either(const char *native, const char *utf8)
{
	return native ? native : utf8;
}

static int describe(struct archive_entry *from, struct tree_entry *ret, struct err *err)
{
	*ret = (struct tree_entry){
		.name = either(archive_entry_pathname(from), archive_entry_pathname_utf8(from)),
		.mode = archive_entry_mode(from),
		.hardlink = either(archive_entry_hardlink(from), archive_entry_hardlink_utf8(from)),
		.symlink = either(archive_entry_symlink(from), archive_entry_symlink_utf8(from)),
		.uid = archive_entry_uid(from),
		.gid = archive_entry_gid(from),
		.mtime = { archive_entry_mtime(from), archive_entry_mtime_nsec(from) },
	};
	if (!ret->name)
		return err_set(err, ERR_INVALID, EILSEQ, "an entry has a name of no charset");
	if (!ret->hardlink && S_ISREG(ret->mode)) {
		la_int64_t size = archive_entry_size(from);

		if (size < 0)
			return err_set(err, ERR_INVALID, EINVAL, "an entry has a negative size");
		ret->size = (uint64_t)size;
	}
	return 0;
}

static int put_attributes(struct tree *tree, struct archive_entry *from, int fd, struct err *err)
{
	const char *name;
	const void *value;
	size_t size;
	size_t total = 0;
	int r = 0;

	(void)archive_entry_xattr_reset(from);
	while (r == 0 && archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
		total += size;
		if (total > ATTRIBUTE_BYTES_MAX)
			return err_set(err, ERR_INVALID, E2BIG,
				       "an entry has more than %u bytes of attributes",
				       ATTRIBUTE_BYTES_MAX);
		r = tree_put_attribute(tree, fd, name, value, size, err);
	}
	return r;
}

static int write_all(int fd, const char *bytes, size_t size, off_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, bytes, size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		offset += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Holes stay holes. */
static int put_content(struct stream *stream, const struct tree_entry *entry, int fd,
		       struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	const void *bytes;
	size_t size;
	la_int64_t offset;
	int r;

	while ((r = archive_read_data_block(stream->tar, &bytes, &size, &offset)) == ARCHIVE_OK) {
		if (offset < 0 || (uint64_t)offset > entry->size ||
		    size > entry->size - (uint64_t)offset)
			return err_set(err, ERR_INVALID, EBADMSG,
				       "entry %s: there is more of it than its size says",
				       names_quote(entry->name, quoted));
		r = write_all(fd, bytes, size, offset);
		if (r < 0)
			return err_set(
				err, r == -ENOSPC || r == -EDQUOT ? ERR_EXHAUSTED : ERR_INTERNAL,
				-r, "entry %s: cannot write: %m", names_quote(entry->name, quoted));
	}
	return r == ARCHIVE_EOF ? 0 : archive_failed(stream, err);
}

static int put_one(struct stream *stream, struct archive_entry *from, struct tree *tree,
		   struct err *err)
{
	struct tree_entry entry;
	cleanup_fd int fd = -1;
	int r = describe(from, &entry, err);

	if (r == 0)
		r = tree_put(tree, &entry, &fd, err);
	if (r < 0)
		return r;
	if (fd >= 0) {
		r = put_content(stream, &entry, fd, err);
		if (r == 0)
			r = put_attributes(tree, from, fd, err);
		return r < 0 ? r : tree_end_file(&entry, fd, err);
	}
	if (!S_ISDIR(entry.mode) || entry.hardlink || archive_entry_xattr_count(from) == 0)
		return 0;
	fd = tree_open_dir(tree, entry.name);
	return fd < 0 ? 0 : put_attributes(tree, from, fd, err);
}

static int put_all(struct stream *stream, struct tree *tree, struct err *err)
{
	struct archive_entry *entry;
	int r;

	if (archive_read_open(stream->tar, stream, NULL, read_archive, NULL) != ARCHIVE_OK)
		return archive_failed(stream, err);
	while ((r = archive_read_next_header(stream->tar, &entry)) == ARCHIVE_OK ||
	       r == ARCHIVE_WARN) {
		r = put_one(stream, entry, tree, err);
		if (r < 0)
			return r;
	}
	return r == ARCHIVE_EOF ? 0 : archive_failed(stream, err);
}

/* What follows the archive's end is of the digest too. */
static int check_rest(struct stream *stream, struct err *err)
{
	char hex[DIGEST_HEX_MAX];
	const void *bytes;
	ssize_t n;
	int r;

	while ((n = read_archive(stream->tar, stream, &bytes)) > 0)
		;
	if (n < 0)
		return archive_failed(stream, err);
	r = digest_end(stream->digest, hex, err);
	if (r < 0)
		return r;
	if (strcmp(hex, stream->order->digest) != 0)
		return err_set(
			err, ERR_INVALID, EBADMSG,
			"its uncompressed bytes are sha256:%s, not what the image's configuration says",
			hex);
	return 0;
}

int stream_unpack(int blob_fd, const struct unpack_order *order, struct tree *tree, struct err *err)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	int r;

	if (!stream)
		return err_oom(err);
	stream->fd = blob_fd;
	stream->order = order;
	r = open_tar(stream, err);
	if (r == 0)
		r = open_raw(stream, err);
	if (r == 0)
		r = put_all(stream, tree, err);
	if (r == 0)
		r = check_rest(stream, err);
	(void)archive_read_free(stream->tar);
	(void)archive_read_free(stream->raw);
	EVP_MD_CTX_free(stream->digest);
	free(stream);
	return r;
}

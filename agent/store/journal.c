#include "agent/store/journal.h"

#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"

/* https://sqlite.org/fileformat2.html#walformat */
#define MAGIC        0x377f0682 /* its last bit: checksums are of big-endian words */
#define HEADER_BYTES 32
#define FRAME_BYTES  24
#define SMALLEST     (HEADER_BYTES + FRAME_BYTES + 512)
#define JOURNAL_MAX  (256U << 20)

struct journal {
	uint8_t *bytes;
	size_t n;
	size_t frame; /* bytes of one, with its page */
	bool big_endian;
	uint32_t sum[2];
};

static uint32_t word(const uint8_t *at)
{
	uint32_t big;

	memcpy(&big, at, sizeof(big));
	return be32toh(big);
}

static void add_sum(struct journal *journal, const uint8_t *at, size_t n)
{
	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint32_t pair[2];

		memcpy(pair, at + i, sizeof(pair));
		for (size_t j = 0; j < 2; j++)
			pair[j] = journal->big_endian ? be32toh(pair[j]) : le32toh(pair[j]);
		journal->sum[0] += pair[0] + journal->sum[1];
		journal->sum[1] += pair[1] + journal->sum[0];
	}
}

static bool sum_is(const struct journal *journal, const uint8_t *at)
{
	return word(at) == journal->sum[0] && word(at + 4) == journal->sum[1];
}

static bool read_whole(const char *path, struct journal *journal)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < SMALLEST || st.st_size > JOURNAL_MAX)
		return false;
	journal->bytes = malloc((size_t)st.st_size);
	while (journal->bytes && journal->n < (size_t)st.st_size &&
	       (n = read(fd, journal->bytes + journal->n, (size_t)st.st_size - journal->n)) > 0)
		journal->n += (size_t)n;
	return journal->bytes && journal->n >= SMALLEST;
}

static bool read_header(struct journal *journal)
{
	uint32_t page = word(journal->bytes + 8);

	if ((word(journal->bytes) & ~1U) != MAGIC || page < 512 || page > 65536)
		return false;
	journal->big_endian = word(journal->bytes) & 1;
	journal->frame = FRAME_BYTES + page;
	add_sum(journal, journal->bytes, 24);
	return sum_is(journal, journal->bytes + 24);
}

/* Of this journal, and not of what the file held before SQLite began at its front again. */
static bool is_ours(const struct journal *journal, const uint8_t *frame)
{
	return memcmp(frame + 8, journal->bytes + 16, 8) == 0;
}

static bool is_commit(const uint8_t *frame)
{
	return word(frame + 4) != 0;
}

static size_t commits_behind_the_break(struct journal *journal)
{
	size_t commits = 0;
	bool whole = true;

	for (size_t at = HEADER_BYTES; at + journal->frame <= journal->n; at += journal->frame) {
		const uint8_t *frame = journal->bytes + at;

		if (whole) {
			add_sum(journal, frame, 8);
			add_sum(journal, frame + FRAME_BYTES, journal->frame - FRAME_BYTES);
			whole = is_ours(journal, frame) && sum_is(journal, frame + 16);
		}
		if (!whole && is_ours(journal, frame) && is_commit(frame))
			commits++;
	}
	return commits;
}

bool journal_is_damaged(const char *path)
{
	struct journal journal = { 0 };
	bool damaged = false;

	/* The header is of one sector, and on disk before the first frame is written. */
	if (read_whole(path, &journal))
		damaged = !read_header(&journal) || commits_behind_the_break(&journal) > 1;
	free(journal.bytes);
	return damaged;
}

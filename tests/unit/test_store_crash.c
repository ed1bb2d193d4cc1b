/*
 * The durable store after a crash at any instant, and after bits have changed: it opens, what was answered is
 * there, and what is damaged is said.
 *
 * BERTH_EVERY_BIT=1 changes each bit of a store, one after the other, instead of some that are drawn.
 */
#include "store_desk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "played_disk.h"
#include "proto/log.h"

#define STEPS      10
#define DRAWN_BITS 300

/* ---- what is played ------------------------------------------------------------------------------- */

static const char *name_of(uint64_t step)
{
	static char name[16];

	(void)snprintf(name, sizeof(name), "w-%d", (int)(step % 5));
	return name;
}

/* One transaction with a little of everything. */
static void step(struct desk *desk, uint64_t n)
{
	char spec[300];

	memset(spec, 's', sizeof(spec));
	desk_put_intent(desk, name_of(n), spec, sizeof(spec), false);
	desk_put_life(desk, name_of(n), "alive");
	desk_put_event(desk, n);
	desk_put_record(desk, n);
	if (n > 4) {
		struct store_done nobody = { 0 };

		desk_put_tombstone(desk, name_of(n - 4), n);
		desk->store->ops->drop_record(desk->store, n - 4, &nobody);
	}
	desk->n_answers = 0;
	desk_submit(desk);
	desk_until_answered(desk, n > 4 ? 5 : 4);
}

/* What is loaded is what was there after the step whose event is the last. */
static bool is_whole(const struct desk *desk)
{
	uint64_t n = desk->last_event;
	uint64_t four = n < 4 ? n : 4;

	return desk->wrong == 0 && desk->events == n && desk->records == four &&
	       desk->last_record == n && desk->intents == four && desk->lives == four &&
	       desk->tombstones == (n > 4 ? (n - 4 < 5 ? n - 4 : 5) : 0);
}

/* ---- files as a crash leaves them ----------------------------------------------------------------- */

struct image {
	char name[32];
	bool exists;
	uint8_t *bytes;
	size_t n;
};

struct disk_image {
	struct image files[4];
	size_t n;
};

static struct image *find_image(struct disk_image *disk, const char *name)
{
	for (size_t i = 0; i < disk->n; i++)
		if (strcmp(disk->files[i].name, name) == 0)
			return &disk->files[i];
	assert_true(disk->n < 4);
	(void)snprintf(disk->files[disk->n].name, sizeof(disk->files[0].name), "%s", name);
	return &disk->files[disk->n++];
}

static void resize(struct image *image, size_t n)
{
	image->exists = true;
	image->bytes = realloc(image->bytes, n ? n : 1);
	assert_non_null(image->bytes);
	if (n > image->n)
		memset(image->bytes + image->n, 0, n - image->n);
	image->n = n;
}

/* @op, of which a crash let the first @n bytes through. */
static void apply(struct disk_image *disk, const struct played_op *op, size_t n)
{
	struct image *image = find_image(disk, op->name);

	if (op->kind == OP_DELETE) {
		image->exists = false;
		image->n = 0;
	} else if (op->kind == OP_TRUNCATE) {
		resize(image, op->offset);
	} else if (op->kind == OP_WRITE && n) {
		if (op->offset + n > image->n)
			resize(image, op->offset + n);
		memcpy(image->bytes + op->offset, op->bytes, n);
	} else if (op->kind == OP_WRITE) {
		image->exists = true;
	}
}

static void copy_image(struct image *to, const struct image *from)
{
	memcpy(to->name, from->name, sizeof(to->name));
	resize(to, from->n);
	if (from->n)
		memcpy(to->bytes, from->bytes, from->n);
	to->exists = from->exists;
}

static void copy_disk(struct disk_image *to, const struct disk_image *from)
{
	for (size_t i = 0; i < from->n; i++)
		copy_image(find_image(to, from->files[i].name), &from->files[i]);
}

static void free_disk(struct disk_image *disk)
{
	for (size_t i = 0; i < disk->n; i++)
		free(disk->files[i].bytes);
	disk->n = 0;
}

static void read_image(const struct desk *desk, struct disk_image *disk, const char *name)
{
	struct image *image;
	struct stat st;
	int fd = open(desk_file(desk, name), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	image = find_image(disk, name);
	assert_int_equal(fstat(fd, &st), 0);
	resize(image, (size_t)st.st_size);
	assert_int_equal(read(fd, image->bytes, image->n), image->n);
	(void)close(fd);
}

static void write_image(const struct desk *desk, const struct image *image)
{
	int fd;

	if (!image->exists)
		return;
	fd = open(desk_file(desk, image->name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image->bytes, image->n), image->n);
	(void)close(fd);
}

static void open_image(struct desk *desk, const struct disk_image *disk)
{
	desk_empty_directory(desk);
	for (size_t i = 0; i < disk->n; i++)
		write_image(desk, &disk->files[i]);
	desk_open(desk, 0);
	desk_load(desk);
}

/* ---- any instant ---------------------------------------------------------------------------------- */

static size_t acknowledged_at[STEPS + 1]; /* operations by then */

static size_t count_ops(void)
{
	size_t n;

	(void)played_disk_ops(&n);
	return n;
}

/* In two lives of the process, with a checkpoint in between. */
static void play(struct desk *desk, struct disk_image *baseline)
{
	desk_open(desk, 0);
	read_image(desk, baseline, "agent.db");
	read_image(desk, baseline, "agent.db-wal");
	played_disk_record(true);
	for (uint64_t n = 1; n <= STEPS; n++) {
		if (n == STEPS / 2) {
			desk_close(desk);
			desk_open(desk, 0);
		}
		step(desk, n);
		acknowledged_at[n] = count_ops();
	}
	desk_close(desk);
}

static void check_crash(struct desk *desk, const struct disk_image *disk, size_t ops,
			const char *how)
{
	uint64_t promised = 0;

	while (promised < STEPS && acknowledged_at[promised + 1] <= ops)
		promised++;
	open_image(desk, disk);
	if (desk->store->damage[0] || !is_whole(desk) || desk->last_event < promised)
		fail_msg("crash at operation %zu (%s): %s, events to %llu, promised %llu", ops, how,
			 desk->store->damage, (unsigned long long)desk->last_event,
			 (unsigned long long)promised);
	desk_close(desk);
}

/* A sector is written or not: how much of @op is there, up to the sector boundary number @i in it. */
static size_t part_of(const struct played_op *op, size_t i)
{
	size_t n = (512 - op->offset % 512) + 512 * i;

	return op->kind == OP_WRITE && n < op->n ? n : 0;
}

/* All before it is on disk, and a part of it. */
static void crash_in_order(struct desk *desk, const struct disk_image *before,
			   const struct played_op *op, size_t ops)
{
	const size_t sectors[] = { 0, 5 };
	struct disk_image disk = { 0 };

	check_crash(desk, before, ops, "between two");
	for (size_t i = 0; i < sizeof(sectors) / sizeof(sectors[0]); i++) {
		size_t n = part_of(op, sectors[i]);

		if (n == 0)
			continue;
		copy_disk(&disk, before);
		apply(&disk, op, n);
		check_crash(desk, &disk, ops, "torn");
	}
	free_disk(&disk);
}

/* What was not synced is on disk in part, in any order: @keep of 4. */
static void crash_out_of_order(struct desk *desk, const struct disk_image *synced,
			       const size_t *last_sync, const struct played_op *op, size_t ops,
			       unsigned int keep)
{
	struct disk_image disk = { 0 };

	copy_disk(&disk, synced);
	for (size_t i = 0; i < ops; i++) {
		const struct image *image = find_image(&disk, op[i].name);

		if (i >= last_sync[image - disk.files] && op[i].kind != OP_SYNC &&
		    (op[i].kind == OP_DELETE || (unsigned int)random() % 4 < keep))
			apply(&disk, &op[i], op[i].n);
	}
	check_crash(desk, &disk, ops, "out of order");
	free_disk(&disk);
}

static void after_a_crash_at_any_instant_all_that_was_answered_is_there(void **state)
{
	struct desk *desk = *state;
	struct disk_image now = { 0 };
	struct disk_image synced = { 0 };
	size_t last_sync[4] = { 0 };
	struct played_op *ops;
	size_t n;

	srandom(1);
	play(desk, &now);
	copy_disk(&synced, &now);
	{
		const struct played_op *recorded = played_disk_ops(&n);

		ops = calloc(n, sizeof(*ops));
		memcpy(ops, recorded, n * sizeof(*ops));
		played_disk_pause();
	}
	assert_true(n > 10 * (size_t)STEPS);
	for (size_t i = 0; i < n; i++) {
		crash_in_order(desk, &now, &ops[i], i);
		crash_out_of_order(desk, &synced, last_sync, ops, i, i % 4);
		apply(&now, &ops[i], ops[i].n);
		if (ops[i].kind == OP_SYNC || ops[i].kind == OP_DELETE) {
			struct image *image = find_image(&synced, ops[i].name);

			copy_image(image, find_image(&now, ops[i].name));
			last_sync[image - synced.files] = i + 1;
		}
	}
	check_crash(desk, &now, n, "at the end");
	free_disk(&now);
	free_disk(&synced);
	free(ops);
	played_disk_record(false);
}

/* ---- damage --------------------------------------------------------------------------------------- */

static void check_damage(struct desk *desk, const struct disk_image *disk, const char *what,
			 size_t at)
{
	open_image(desk, disk);
	/* Of what is told nothing is wrong; where something is missing that is said, and the file kept. */
	if (desk->wrong)
		fail_msg("%s at %zu: a record that nobody wrote", what, at);
	if (!is_whole(desk) || desk->last_event != STEPS) {
		if (!desk->store->damage[0] || !desk->store->fresh)
			fail_msg("%s at %zu: passed over in silence: %s", what, at,
				 desk->store->failure);
	}
	desk_close(desk);
}

/* With bit @bit of the byte @at of @image changed. */
static void change_bit(struct desk *desk, struct disk_image *disk, struct image *image, size_t at,
		       unsigned int bit, bool last_commit_may_go)
{
	image->bytes[at] ^= (uint8_t)(1U << bit);
	if (!last_commit_may_go) {
		check_damage(desk, disk, image->name, at);
	} else {
		open_image(desk, disk);
		assert_int_equal(desk->wrong, 0);
		if (desk->last_event < STEPS - 1 && !desk->store->damage[0])
			fail_msg("a bit of %s at %zu: passed over in silence", image->name, at);
		desk_close(desk);
	}
	image->bytes[at] ^= (uint8_t)(1U << bit);
}

/* Drawn among the bytes that are not empty, but for one time in eight. */
static size_t draw(const struct image *image)
{
	bool any = random() % 8 == 0;
	size_t at;

	do
		at = (size_t)random() % image->n;
	while (!any && !image->bytes[at]);
	return at;
}

static void change_bits(struct desk *desk, const struct disk_image *whole, const char *name,
			bool last_commit_may_go)
{
	struct disk_image disk = { 0 };
	struct image *image;

	copy_disk(&disk, whole);
	image = find_image(&disk, name);
	if (getenv("BERTH_EVERY_BIT"))
		for (size_t i = 0; i < image->n * 8; i++)
			change_bit(desk, &disk, image, i / 8, i % 8, last_commit_may_go);
	/* The headers are small, and have most to say. */
	for (size_t i = 0; i < 100; i++)
		change_bit(desk, &disk, image, i, (unsigned int)random() % 8, last_commit_may_go);
	for (size_t i = 0; i < DRAWN_BITS; i++)
		change_bit(desk, &disk, image, draw(image), (unsigned int)random() % 8,
			   last_commit_may_go);
	free_disk(&disk);
}

/* The files of a process that was killed: with its journal, or after it was closed. */
static void take_files(struct desk *desk, bool closed, struct disk_image *ret)
{
	desk_open(desk, 0);
	for (uint64_t n = 1; n <= STEPS; n++)
		step(desk, n);
	if (closed)
		desk_close(desk);
	read_image(desk, ret, "agent.db");
	read_image(desk, ret, "agent.db-wal");
	if (!closed)
		desk_close(desk);
}

static void a_bit_that_changed_is_noticed(void **state)
{
	struct desk *desk = *state;
	struct disk_image whole = { 0 };

	take_files(desk, true, &whole);
	assert_int_equal(whole.n, 1);
	change_bits(desk, &whole, "agent.db", false);
	free_disk(&whole);
}

/* But for the last commit, which cannot be told from one that a crash cut short. */
static void a_bit_of_the_journal_that_changed_is_noticed(void **state)
{
	struct desk *desk = *state;
	struct disk_image whole = { 0 };

	take_files(desk, false, &whole);
	assert_int_equal(whole.n, 2);
	change_bits(desk, &whole, "agent.db-wal", true);
	free_disk(&whole);
}

static void a_file_that_is_cut_anywhere_is_no_reason_not_to_start(void **state)
{
	struct desk *desk = *state;
	struct disk_image whole = { 0 };
	size_t size;

	take_files(desk, true, &whole);
	size = whole.files[0].n;
	for (size_t at = 0; at < size; at += 509) {
		whole.files[0].n = at;
		check_damage(desk, &whole, "cut", at);
	}
	free_disk(&whole);
}

static void a_journal_that_is_cut_loses_the_end_and_nothing_else(void **state)
{
	struct desk *desk = *state;
	struct disk_image whole = { 0 };
	struct image *journal;
	uint64_t before = STEPS;
	size_t size;

	take_files(desk, false, &whole);
	journal = find_image(&whole, "agent.db-wal");
	size = journal->n;
	for (size_t at = size; at > 0; at -= at < 1021 ? at : 1021) {
		journal->n = at;
		open_image(desk, &whole);
		assert_string_equal(desk->store->damage, "");
		assert_true(is_whole(desk));
		assert_true(desk->last_event <= before);
		before = desk->last_event;
		desk_close(desk);
	}
	assert_true(before < STEPS / 2);
	free_disk(&whole);
}

/* A new file that is complete takes its place after a crash, one that is not is nothing. */
static void a_file_that_was_being_written_anew(void **state)
{
	struct desk *desk = *state;
	struct disk_image old = { 0 };
	struct disk_image fresh = { 0 };

	take_files(desk, false, &old);
	desk_open(desk, 0);
	desk_load(desk);
	step(desk, STEPS + 1);
	desk_close(desk);
	read_image(desk, &fresh, "agent.db");

	strcpy(fresh.files[0].name, "agent.db.tmp");
	fresh.files[0].n /= 2;
	desk_empty_directory(desk);
	write_image(desk, &fresh.files[0]);
	write_image(desk, &old.files[0]);
	write_image(desk, &old.files[1]);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->last_event, STEPS);
	desk_close(desk);

	fresh.files[0].n *= 2;
	strcpy(fresh.files[0].name, "agent.db.new");
	for (size_t kept = 0; kept <= 2; kept++) { /* of the old ones */
		desk_empty_directory(desk);
		write_image(desk, &fresh.files[0]);
		for (size_t i = 0; i < kept; i++)
			write_image(desk, &old.files[i]);
		desk_open(desk, 0);
		desk_load(desk);
		assert_int_equal(desk->last_event, STEPS + 1);
		assert_true(is_whole(desk));
		assert_int_equal(access(desk_file(desk, "agent.db.new"), F_OK), -1);
		desk_close(desk);
	}
	free_disk(&old);
	free_disk(&fresh);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, desk_begin, desk_end)
	const struct CMUnitTest tests[] = {
		T(after_a_crash_at_any_instant_all_that_was_answered_is_there),
		T(a_bit_that_changed_is_noticed),
		T(a_bit_of_the_journal_that_changed_is_noticed),
		T(a_file_that_is_cut_anywhere_is_no_reason_not_to_start),
		T(a_journal_that_is_cut_loses_the_end_and_nothing_else),
		T(a_file_that_was_being_written_anew),
	};

	/* Thousands of small disks, whose own syncs are not what is tried. */
	if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		(void)setenv("TMPDIR", "/dev/shm", 1);
	log_set_priority_max(0); /* what is damaged is meant to be */
	played_disk_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

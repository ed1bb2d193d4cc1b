/*
 * A disk that tests own, between SQLite and the real one: it can be full, fail by plan, hold every write
 * until it is let go, and remember what was written in which order. It is the default VFS of the process
 * from played_disk_install() on; the code under test knows nothing of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum played_op_kind { OP_WRITE = 1, OP_TRUNCATE = 2, OP_SYNC = 4, OP_DELETE = 8 };

struct played_op {
	enum played_op_kind kind;
	char name[32];   /* of the file, without its directory */
	uint64_t offset; /* or the length after OP_TRUNCATE */
	size_t n;
	uint8_t *bytes;
};

void played_disk_install(void);

/* From now on, after @skip more of @kinds on the file @name (NULL: any), @times of them fail with errno
 * @number; 0 times: for ever. */
void played_disk_fail(const char *name, unsigned int kinds, size_t skip, size_t times, int number);
/* All is well again. */
void played_disk_mend(void);
/* How many operations have failed since. */
size_t played_disk_failures(void);

/* Every sync waits from now on; let go of all. */
void played_disk_hold(void);
void played_disk_let_go(void);
/* Wait until a sync is held. */
void played_disk_until_held(void);

/* Remember operations from now on; what was remembered is forgotten. */
void played_disk_record(bool on);
/* No more of them; what is remembered stays. */
void played_disk_pause(void);
/* Valid until the next played_disk_record(). */
const struct played_op *played_disk_ops(size_t *ret_n);

/*
 * The file of the durable store: its schema, what is written and read, and what happens when it is
 * damaged. Used by one thread at a time; SQLite's codes do not leave database.c.
 */
#pragma once

#include <sys/queue.h>

#include "agent/store/store.h"

enum write_kind {
	WRITE_INTENT,
	WRITE_LIFE,
	WRITE_EVENT,
	WRITE_RECORD,
	WRITE_DROP_RECORD,
	WRITE_EPOCH,
	WRITE_TOMBSTONE,
	WRITE_NODE,
	WRITE_BARRIER,
};

struct write {
	STAILQ_ENTRY(write) link;
	enum write_kind kind;
	struct store_done done;
	uint64_t instance;
	uint64_t generation; /* or epoch, or sequence */
	uint64_t epoch;
	bool stop;
	bool is_new; /* an intent that goes first when the disk is full */
	bool failed;
	char id[64];
	size_t n_bytes;
	uint8_t bytes[];
};
STAILQ_HEAD(write_list, write);

struct database;

/* What opening found beside the database itself. */
struct database_found {
	bool fresh;                      /* nothing was kept, or not all of it can be read */
	char damage[STORE_SENTENCE_MAX]; /* what was wrong, and where the old file is; or "" */
};

/*
 * Open <directory>/agent.db, making or migrating it, and check it whole. A damaged file is kept under
 * another name, and a new one takes over what can be read of it. With @distrust all is written anew:
 * after a failure of the disk what reads well may not be on it.
 *
 * Returns 0, or a negative errno with @err and nothing lost:
 *   ERR_UNSUPPORTED  it was written by a later release, which says that this one cannot use it
 *   ERR_UNAVAILABLE  the directory or the disk does not let us, or another process has it open
 *   ERR_INTERNAL     no memory
 */
int database_open(const char *directory, bool distrust, struct database **ret_database,
		  struct database_found *ret_found, struct err *err);
void database_close(struct database *database); /* NULL is fine */

/*
 * All of @writes but those that are marked as failed in one transaction, on disk when this returns, or
 * none: a negative errno with @err, ERR_UNAVAILABLE. Of events the last @events_max are kept.
 */
int database_write(struct database *database, const struct write_list *writes, uint64_t events_max,
		   struct err *err);

/* Move the journal into the file where that is due, or @now: 0, or a negative errno with @err. */
int database_tidy(struct database *database, struct err *err);
int database_checkpoint(struct database *database, struct err *err);

/* Whether the last failure leaves in doubt what of the file is on disk: database_open() with @distrust. */
bool database_is_doubtful(const struct database *database);

/* Tell @visitor all; records whose checksum is wrong are left out, and counted. */
int database_load(struct database *database, const struct store_visitor *visitor,
		  size_t *ret_damaged, struct err *err);

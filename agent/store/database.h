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
 * Open <directory>/agent.db, making or migrating it, and check it whole. A damaged file is renamed, and a
 * new one takes over what can be read of it. With @discard whatever is there is renamed unread.
 *
 * Returns 0, or a negative errno with @err and nothing changed:
 *   ERR_UNSUPPORTED  it was written by a later release
 *   ERR_UNAVAILABLE  the directory or the disk does not let us, or another process has it open
 *   ERR_INTERNAL     no memory
 */
int database_open(const char *directory, bool discard, struct database **ret_database,
		  struct database_found *ret_found, struct err *err);
void database_close(struct database *database); /* NULL is fine */

/* All of @writes in one transaction, on disk when this returns, or none: a negative errno with @err,
 * ERR_UNAVAILABLE. Of events the last @events_max are kept. */
int database_write(struct database *database, const struct write_list *writes, uint64_t events_max,
		   struct err *err);

/* Tell @visitor all; records whose checksum is wrong are left out, and counted. */
int database_load(struct database *database, const struct store_visitor *visitor,
		  size_t *ret_damaged, struct err *err);

/* What the files of the durable store's file share: for agent/store alone. */
#pragma once

#include <sqlite3.h>

#include "agent/store/database.h"
#include "proto/cleanup.h"

enum statement {
	PUT_INTENT,
	PUT_LIFE,
	PUT_EVENT,
	PUT_RECORD,
	PUT_META,
	PUT_TOMBSTONE,
	DROP_INTENT,
	DROP_LIFE,
	DROP_EVENTS,
	DROP_RECORD,
	DROP_TOMBSTONES,
	BEGIN,
	COMMIT,
	STATEMENTS,
};

struct database {
	sqlite3 *handle;
	sqlite3_stmt *prepared[STATEMENTS];
	int journal_pages;
	bool doubtful; /* a write failed in a way that leaves open what is on disk */
};

DEFINE_CLEANUP(struct database *, database_close)

/* SQLite's codes stay in this folder. */
bool database_is_damage(int code);
/* @number: the errno behind it, or 0. */
int database_failed(struct err *err, int code, int number, const char *doing);
int database_prepare(struct database *database);

/* schema.c. What the file at @path was made by. */
struct schema_found {
	int version; /* 0: nothing yet */
	bool later; /* of a later release, which says that we cannot use it: it was left as it is */
	int errnum; /* behind a failure, or 0 */
};

/*
 * Open the file @path, check it whole, and bring it to the present schema. Returns a code of SQLite's;
 * *ret_database is set on SQLITE_OK only, and is not where the file is @ret_found->later.
 */
int schema_open(const char *path, struct database **ret_database, struct schema_found *ret_found);

/* For reading what is damaged: as far as it goes, and nothing is changed. *ret_database may be half open,
 * and is NULL without memory. */
void schema_open_damaged(const char *path, struct database **ret_database);

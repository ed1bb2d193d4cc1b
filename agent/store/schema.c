/*
 * The tables, and how a file of an earlier release comes to have them.
 *
 * user_version is the schema's. application_id says who may use the file: "BR" and the oldest version that
 * understands it. A step that only adds what an older release can do without names that release's version,
 * so that going back to it works; a file that names a later one than ours is left as it is.
 */
#include <stdio.h>
#include <string.h>

#include "agent/store/database_private.h"
#include "proto/failpoint.h"

#define APPLICATION_MARK 0x42520000 /* "BR" */

/* steps[i] makes version i + 1 of version i; what was released is never changed. */
static const struct {
	const char *sql;
	int oldest_reader;
} steps[] = {
	{ "CREATE TABLE meta (key TEXT PRIMARY KEY, number INTEGER, bytes BLOB, sum INTEGER) WITHOUT ROWID;"
	  "CREATE TABLE intent (id TEXT PRIMARY KEY, instance INTEGER, generation INTEGER, epoch INTEGER,"
	  " stop INTEGER, spec BLOB, sum INTEGER);"
	  "CREATE TABLE life (id TEXT PRIMARY KEY, bytes BLOB, sum INTEGER);"
	  "CREATE TABLE tombstone (id TEXT PRIMARY KEY, generation INTEGER, sum INTEGER);"
	  "CREATE TABLE event (sequence INTEGER PRIMARY KEY, bytes BLOB, sum INTEGER);",
	  1 },
	{ "CREATE TABLE record (sequence INTEGER PRIMARY KEY, bytes BLOB, sum INTEGER);", 1 },
};

#define VERSION ((int)ARRAY_SIZE(steps))

/* With @forgive a file that is shorter than it says is read as far as it goes. */
static int open_handle(const char *path, bool forgive, struct database **ret_database)
{
	struct database *database = calloc(1, sizeof(*database));
	int code;

	if (!database)
		return SQLITE_NOMEM;
	/* One thread at a time uses it: the hand-over is ours. */
	code = sqlite3_open_v2(path, &database->handle,
			       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
				       SQLITE_OPEN_NOFOLLOW,
			       NULL);
	(void)sqlite3_extended_result_codes(database->handle, 1);
	(void)sqlite3_busy_timeout(database->handle, 2000);
	(void)sqlite3_db_config(database->handle, SQLITE_DBCONFIG_WRITABLE_SCHEMA, forgive ? 1 : 0,
				NULL);
	(void)sqlite3_db_config(database->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, forgive ? 1 : 0,
				NULL);
	if (code == SQLITE_OK)
		code = sqlite3_exec(database->handle,
				    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY;"
				    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
				    "PRAGMA journal_size_limit=8388608; PRAGMA trusted_schema=OFF;",
				    NULL, NULL, NULL);
	*ret_database = database;
	return code;
}

static int read_number(struct database *database, const char *question, int *ret_number)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(database->handle, question, -1, &statement, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		*ret_number = sqlite3_column_int(statement, 0);
		code = SQLITE_OK;
	}
	(void)sqlite3_finalize(statement);
	return code;
}

static int check_whole(struct database *database)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(database->handle, "PRAGMA integrity_check(1)", -1, &statement,
				      NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		const char *verdict = (const char *)sqlite3_column_text(statement, 0);

		code = verdict && strcmp(verdict, "ok") == 0 ? SQLITE_OK : SQLITE_CORRUPT;
	}
	(void)sqlite3_finalize(statement);
	return code;
}

/* All steps from @version on are one transaction: a file is of one version or of another. */
static int migrate(struct database *database, int version)
{
	int code = sqlite3_exec(database->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	char text[128];

	FAILPOINT("berthd.store.migrate");
	for (int i = version; i < VERSION && code == SQLITE_OK; i++)
		code = sqlite3_exec(database->handle, steps[i].sql, NULL, NULL, NULL);
	(void)snprintf(text, sizeof(text),
		       "PRAGMA user_version=%d; PRAGMA application_id=%d; COMMIT", VERSION,
		       APPLICATION_MARK + steps[VERSION - 1].oldest_reader);
	return code == SQLITE_OK ? sqlite3_exec(database->handle, text, NULL, NULL, NULL) : code;
}

/* Whether we may use a file of the later @version. */
static bool is_readable(int version, int mark)
{
	int oldest = mark - APPLICATION_MARK;

	return version <= VERSION || (oldest > 0 && oldest <= VERSION);
}

static int open_checked(const char *path, struct database **database, struct schema_found *found)
{
	int mark = 0;
	int code = open_handle(path, false, database);

	if (code == SQLITE_OK)
		code = check_whole(*database);
	if (code == SQLITE_OK)
		code = read_number(*database, "PRAGMA user_version", &found->version);
	if (code == SQLITE_OK)
		code = read_number(*database, "PRAGMA application_id", &mark);
	if (code == SQLITE_OK && found->version < 0)
		code = SQLITE_CORRUPT;
	found->later = code == SQLITE_OK && !is_readable(found->version, mark);
	if (code != SQLITE_OK || found->later)
		return code;
	if (found->version < VERSION)
		code = migrate(*database, found->version);
	if (code == SQLITE_OK)
		code = database_prepare(*database);
	/* A table that is missing under a version that has it. */
	return code == SQLITE_ERROR ? SQLITE_CORRUPT : code;
}

int schema_open(const char *path, struct database **ret_database, struct schema_found *ret_found)
{
	cleanup(database_close_p) struct database *database = NULL;
	int code;

	*ret_found = (struct schema_found){ 0 };
	code = open_checked(path, &database, ret_found);
	if (code != SQLITE_OK && database)
		ret_found->errnum = sqlite3_system_errno(database->handle);
	if (code == SQLITE_OK && !ret_found->later)
		*ret_database = take_ptr(&database);
	return code;
}

void schema_open_damaged(const char *path, struct database **ret_database)
{
	*ret_database = NULL;
	(void)open_handle(path, true, ret_database);
}

/*
 * Every record carries a checksum of all its fields: SQLite notices a damaged page only where that page
 * makes no sense.
 *
 * The journal is a WAL with the index in memory (locking_mode=EXCLUSIVE), so that there is no file that
 * two processes map, and one fdatasync(2) makes a transaction durable.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/store/database_private.h"
#include "proto/failpoint.h"

#define EVENTS_DEFAULT    16384
#define TOMBSTONES_KEPT   65536
#define JOURNAL_PAGES_MAX 1000

static const char *const statements[STATEMENTS] = {
	[PUT_INTENT] = "INSERT OR REPLACE INTO intent VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[PUT_LIFE] = "INSERT OR REPLACE INTO life VALUES (?1, ?6, ?7)",
	[PUT_EVENT] = "INSERT OR REPLACE INTO event VALUES (?3, ?6, ?7)",
	[PUT_META] = "INSERT OR REPLACE INTO meta VALUES (?1, ?3, ?6, ?7)",
	[PUT_RECORD] = "INSERT OR REPLACE INTO record VALUES (?3, ?6, ?7)",
	[PUT_TOMBSTONE] = "INSERT OR REPLACE INTO tombstone VALUES (?1, ?3, ?7)",
	[DROP_INTENT] = "DELETE FROM intent WHERE id = ?1",
	[DROP_LIFE] = "DELETE FROM life WHERE id = ?1",
	[DROP_RECORD] = "DELETE FROM record WHERE sequence = ?3",
	[DROP_EVENTS] = "DELETE FROM event WHERE sequence <= ?3",
	[DROP_TOMBSTONES] =
		"DELETE FROM tombstone WHERE rowid <= (SELECT max(rowid) FROM tombstone) - ?3",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
};

/* ---- failures ------------------------------------------------------------------------------------- */

bool database_is_damage(int code)
{
	return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

int database_failed(struct err *err, int code, int number, const char *doing)
{
	switch (code & 0xff) {
	case SQLITE_NOMEM:
		return err_oom(err);
	case SQLITE_BUSY:
		return err_set(err, ERR_UNAVAILABLE, EBUSY,
			       "%s: another process has it open (is a second berthd running?)",
			       doing);
	case SQLITE_FULL:
		return err_set(err, ERR_UNAVAILABLE, ENOSPC, "%s: %m", doing);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_set(err, ERR_UNAVAILABLE, EUCLEAN, "%s: the file is damaged", doing);
	default:
		return err_set(err, ERR_UNAVAILABLE, number ? number : EIO, "%s: %s%s%s", doing,
			       sqlite3_errstr(code), number ? ": " : "",
			       number ? strerror(number) : "");
	}
}

/* ---- records -------------------------------------------------------------------------------------- */

/* FNV-1a, 64 bits: each step can be undone, so that a single wrong byte always shows. */
static uint64_t sum_bytes(uint64_t sum, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < n; i++)
		sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static uint64_t sum_of(const char *id, uint64_t instance, uint64_t generation, uint64_t epoch,
		       bool stop, const void *bytes, size_t n)
{
	const uint64_t numbers[] = { instance, generation, epoch, stop, n };
	uint64_t sum = sum_bytes(UINT64_C(0xcbf29ce484222325), id, strlen(id));

	sum = sum_bytes(sum, numbers, sizeof(numbers));
	return sum_bytes(sum, bytes, n);
}

static int run(struct database *database, enum statement which, const struct write *write)
{
	sqlite3_stmt *statement = database->prepared[which];
	int code = SQLITE_OK;

	if (write) {
		uint64_t sum = sum_of(write->id, write->instance, write->generation, write->epoch,
				      write->stop, write->bytes, write->n_bytes);

		/* A number that the statement does not have is no failure: SQLITE_RANGE. */
		(void)sqlite3_bind_text(statement, 1, write->id, -1, SQLITE_STATIC);
		(void)sqlite3_bind_int64(statement, 2, (sqlite3_int64)write->instance);
		(void)sqlite3_bind_int64(statement, 3, (sqlite3_int64)write->generation);
		(void)sqlite3_bind_int64(statement, 4, (sqlite3_int64)write->epoch);
		(void)sqlite3_bind_int(statement, 5, write->stop);
		(void)sqlite3_bind_blob(statement, 6, write->bytes, (int)write->n_bytes,
					SQLITE_STATIC);
		(void)sqlite3_bind_int64(statement, 7, (sqlite3_int64)sum);
	}
	code = sqlite3_step(statement);
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

static int apply(struct database *database, const struct write *write)
{
	int code;

	switch (write->kind) {
	case WRITE_INTENT:
		return run(database, PUT_INTENT, write);
	case WRITE_LIFE:
		return run(database, PUT_LIFE, write);
	case WRITE_EVENT:
		return run(database, PUT_EVENT, write);
	case WRITE_RECORD:
		return run(database, PUT_RECORD, write);
	case WRITE_DROP_RECORD:
		return run(database, DROP_RECORD, write);
	case WRITE_EPOCH:
	case WRITE_NODE:
		return run(database, PUT_META, write);
	case WRITE_TOMBSTONE:
		code = run(database, DROP_INTENT, write);
		if (code == SQLITE_OK)
			code = run(database, DROP_LIFE, write);
		if (code == SQLITE_OK && write->generation)
			code = run(database, PUT_TOMBSTONE, write);
		return code;
	case WRITE_BARRIER:
		break;
	}
	return SQLITE_OK;
}

/* What is too old goes with the transaction that made it so. */
static int trim(struct database *database, const struct write_list *writes, uint64_t events_max)
{
	struct write limit = { .id = "" };
	bool tombstones = false;
	uint64_t newest = 0;
	const struct write *write;
	int code = SQLITE_OK;

	STAILQ_FOREACH(write, writes, link)
	{
		if (write->kind == WRITE_EVENT)
			newest = write->generation;
		tombstones |= write->kind == WRITE_TOMBSTONE;
	}
	if (!events_max)
		events_max = EVENTS_DEFAULT;
	if (newest > events_max) {
		limit.generation = newest - events_max;
		code = run(database, DROP_EVENTS, &limit);
	}
	limit.generation = TOMBSTONES_KEPT;
	return code == SQLITE_OK && tombstones ? run(database, DROP_TOMBSTONES, &limit) : code;
}

static bool is_empty(const struct write_list *writes)
{
	const struct write *write;

	STAILQ_FOREACH(write, writes, link)
	if (write->kind != WRITE_BARRIER && !write->failed)
		return false;
	return true;
}

static int last_errno(sqlite3_file *file)
{
	int number = 0;

	if (!file || !file->pMethods ||
	    file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number) != SQLITE_OK)
		return 0;
	return number;
}

/* SQLite has forgotten the errno of a commit by the time it returns; its files have not. */
static int errno_behind(sqlite3 *handle)
{
	sqlite3_file *journal = NULL;
	sqlite3_file *file = NULL;
	int number = sqlite3_system_errno(handle);

	(void)sqlite3_file_control(handle, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &journal);
	(void)sqlite3_file_control(handle, NULL, SQLITE_FCNTL_FILE_POINTER, &file);
	if (!number)
		number = last_errno(journal);
	return number ? number : last_errno(file);
}

/* After these the kernel may have dropped what it could not write, and reads it back as if it were there. */
static bool is_doubtful(int code, int number)
{
	return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC ||
	       ((code & 0xff) == SQLITE_IOERR && number == EIO);
}

static int failed(struct database *database, int code, struct err *err)
{
	int number = errno_behind(database->handle);

	database->doubtful |= is_doubtful(code, number);
	return database_failed(err, code, number, "cannot write the agent's store");
}

bool database_is_doubtful(const struct database *database)
{
	return database && database->doubtful;
}

/* What is written into a file that has no name any more is lost with the process. */
static int check_place(struct database *database, struct err *err)
{
	int moved = 0;

	if (sqlite3_file_control(database->handle, NULL, SQLITE_FCNTL_HAS_MOVED, &moved) !=
		    SQLITE_OK ||
	    !moved)
		return 0;
	return err_set(err, ERR_UNAVAILABLE, ENOENT,
		       "cannot write the agent's store: %s was moved or removed",
		       sqlite3_db_filename(database->handle, NULL));
}

int database_write(struct database *database, const struct write_list *writes, uint64_t events_max,
		   struct err *err)
{
	const struct write *write;
	int code;
	int r;

	if (is_empty(writes))
		return 0;
	FAILPOINT_RETURN("berthd.store.begin", err);
	if (check_place(database, err) < 0)
		return -ENOENT;
	code = run(database, BEGIN, NULL);
	STAILQ_FOREACH(write, writes, link)
	if (code == SQLITE_OK && !write->failed)
		code = apply(database, write);
	FAILPOINT("berthd.store.written");
	if (code == SQLITE_OK)
		code = trim(database, writes, events_max);
	FAILPOINT("berthd.store.commit");
	if (code == SQLITE_OK)
		code = run(database, COMMIT, NULL);
	if (code == SQLITE_OK)
		return 0;
	r = failed(database, code, err);
	if (!sqlite3_get_autocommit(database->handle)) /* else SQLite has done it by itself */
		(void)sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int database_checkpoint(struct database *database, struct err *err)
{
	int code;

	FAILPOINT_RETURN("berthd.store.checkpoint", err);
	/* RESTART: the next write begins at the journal's front, in room that the disk has given. */
	code = sqlite3_wal_checkpoint_v2(database->handle, NULL, SQLITE_CHECKPOINT_RESTART, NULL,
					 NULL);

	database->journal_pages = 0;
	return code == SQLITE_OK ? 0 : failed(database, code, err);
}

int database_tidy(struct database *database, struct err *err)
{
	return database->journal_pages < JOURNAL_PAGES_MAX ? 0 : database_checkpoint(database, err);
}

/* ---- reading -------------------------------------------------------------------------------------- */

struct reading {
	const struct store_visitor *visitor;
	size_t damaged;
	int r;
};

/* The columns of every question: key or id, instance, generation or number, epoch, stop, bytes, sum. */
struct row {
	const char *id;
	uint64_t instance, generation, epoch;
	bool stop;
	const uint8_t *bytes;
	size_t n_bytes;
};

static bool read_row(sqlite3_stmt *statement, struct row *row)
{
	const char *id = (const char *)sqlite3_column_text(statement, 0);

	*row = (struct row){
		.id = id ? id : "",
		.instance = (uint64_t)sqlite3_column_int64(statement, 1),
		.generation = (uint64_t)sqlite3_column_int64(statement, 2),
		.epoch = (uint64_t)sqlite3_column_int64(statement, 3),
		.stop = sqlite3_column_int(statement, 4) != 0,
		.bytes = sqlite3_column_blob(statement, 5),
		.n_bytes = (size_t)sqlite3_column_bytes(statement, 5),
	};
	return strlen(row->id) < sizeof(((struct write *)NULL)->id) &&
	       sum_of(row->id, row->instance, row->generation, row->epoch, row->stop, row->bytes,
		      row->n_bytes) == (uint64_t)sqlite3_column_int64(statement, 6);
}

static int tell_meta(const struct store_visitor *v, const struct row *row)
{
	if (strcmp(row->id, "epoch") == 0)
		return v->epoch(v->userdata, row->generation);
	if (strcmp(row->id, "node") == 0)
		return v->node(v->userdata, row->bytes, row->n_bytes);
	return 0; /* of a later release */
}

static int tell_tombstone(const struct store_visitor *v, const struct row *row)
{
	return v->generation(v->userdata, row->id, row->generation);
}

static int tell_intent(const struct store_visitor *v, const struct row *row)
{
	const struct store_intent intent = { .id = row->id,
					     .instance = row->instance,
					     .generation = row->generation,
					     .epoch = row->epoch,
					     .spec = row->bytes,
					     .spec_bytes = row->n_bytes,
					     .stop = row->stop };

	return v->intent(v->userdata, &intent);
}

static int tell_life(const struct store_visitor *v, const struct row *row)
{
	return v->life(v->userdata, row->id, row->bytes, row->n_bytes);
}

static int tell_event(const struct store_visitor *v, const struct row *row)
{
	return v->event(v->userdata, row->generation, row->bytes, row->n_bytes);
}

static int tell_record(const struct store_visitor *v, const struct row *row)
{
	return v->record(v->userdata, row->generation, row->bytes, row->n_bytes);
}

static const struct {
	const char *question;
	int (*tell)(const struct store_visitor *visitor, const struct row *row);
} tables[] = {
	{ "SELECT key, 0, number, 0, 0, bytes, sum FROM meta", tell_meta },
	{ "SELECT id, 0, generation, 0, 0, NULL, sum FROM tombstone ORDER BY rowid",
	  tell_tombstone },
	{ "SELECT '', 0, sequence, 0, 0, bytes, sum FROM event ORDER BY sequence", tell_event },
	{ "SELECT '', 0, sequence, 0, 0, bytes, sum FROM record ORDER BY sequence", tell_record },
	{ "SELECT id, instance, generation, epoch, stop, spec, sum FROM intent ORDER BY rowid",
	  tell_intent },
	{ "SELECT id, 0, 0, 0, 0, bytes, sum FROM life ORDER BY rowid", tell_life },
};

/* Ends at a page that cannot be read: what comes before it is told. */
static int read_table(struct database *database, size_t which, struct reading *reading)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(database->handle, tables[which].question, -1, &statement,
				      NULL);

	if (code != SQLITE_OK)
		return code;
	while (reading->r >= 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		struct row row;

		if (read_row(statement, &row))
			reading->r = tables[which].tell(reading->visitor, &row);
		else
			reading->damaged++;
	}
	(void)sqlite3_finalize(statement);
	return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

int database_load(struct database *database, const struct store_visitor *visitor,
		  size_t *ret_damaged, struct err *err)
{
	struct reading reading = { .visitor = visitor };

	for (size_t i = 0; i < ARRAY_SIZE(tables) && reading.r >= 0; i++) {
		int code = read_table(database, i, &reading);

		/* SQLITE_ERROR: it lacks a column, or what should be its name is damaged. */
		if (code != SQLITE_OK && code != SQLITE_ERROR && !database_is_damage(code))
			return database_failed(err, code, sqlite3_system_errno(database->handle),
					       "cannot read the agent's store");
		reading.damaged += code != SQLITE_OK;
	}
	*ret_damaged = reading.damaged;
	if (reading.r < 0)
		return err_set(err, ERR_INTERNAL, -reading.r,
			       "cannot take over the agent's store: %m");
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* Instead of SQLite's own checkpoints, which come before the answer and hide their failures. */
static int on_written(void *userdata, sqlite3 *handle, const char *name, int pages)
{
	struct database *database = userdata;

	database->journal_pages = pages;
	return SQLITE_OK;
}

int database_prepare(struct database *database)
{
	int code = SQLITE_OK;

	for (size_t i = 0; i < STATEMENTS && code == SQLITE_OK; i++)
		code = sqlite3_prepare_v3(database->handle, statements[i], -1,
					  SQLITE_PREPARE_PERSISTENT, &database->prepared[i], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(tables) && code == SQLITE_OK; i++) {
		sqlite3_stmt *question = NULL;

		code = sqlite3_prepare_v2(database->handle, tables[i].question, -1, &question,
					  NULL);
		(void)sqlite3_finalize(question);
	}
	(void)sqlite3_wal_hook(database->handle, on_written, database);
	return code;
}

void database_close(struct database *database)
{
	if (!database)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(database->prepared[i]);
	(void)sqlite3_close(database->handle);
	free(database);
}

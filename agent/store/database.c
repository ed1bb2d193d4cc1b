/*
 * Every record carries a checksum of all its fields: SQLite notices a damaged page only where that page
 * makes no sense.
 *
 * The journal is a WAL with the index in memory (locking_mode=EXCLUSIVE), so that there is no file that
 * two processes map, and one fdatasync(2) makes a transaction durable.
 */
#include "agent/store/database.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"

#define FILE_NAME       "agent.db"
#define EVENTS_DEFAULT  16384
#define TOMBSTONES_KEPT 65536

enum statement {
	PUT_INTENT,
	PUT_LIFE,
	PUT_EVENT,
	PUT_META,
	PUT_TOMBSTONE,
	DROP_INTENT,
	DROP_LIFE,
	DROP_EVENTS,
	DROP_TOMBSTONES,
	BEGIN,
	COMMIT,
	STATEMENTS,
};

static const char *const statements[STATEMENTS] = {
	[PUT_INTENT] = "INSERT OR REPLACE INTO intent VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[PUT_LIFE] = "INSERT OR REPLACE INTO life VALUES (?1, ?6, ?7)",
	[PUT_EVENT] = "INSERT OR REPLACE INTO event VALUES (?3, ?6, ?7)",
	[PUT_META] = "INSERT OR REPLACE INTO meta VALUES (?1, ?3, ?6, ?7)",
	[PUT_TOMBSTONE] = "INSERT OR REPLACE INTO tombstone VALUES (?1, ?3, ?7)",
	[DROP_INTENT] = "DELETE FROM intent WHERE id = ?1",
	[DROP_LIFE] = "DELETE FROM life WHERE id = ?1",
	[DROP_EVENTS] = "DELETE FROM event WHERE sequence <= ?3",
	[DROP_TOMBSTONES] =
		"DELETE FROM tombstone WHERE rowid <= (SELECT max(rowid) FROM tombstone) - ?3",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
};

/* migrations[i] makes version i + 1 of version i; what was released is never changed. */
static const char *const migrations[] = {
	"CREATE TABLE meta (key TEXT PRIMARY KEY, number INTEGER, bytes BLOB, sum INTEGER) WITHOUT ROWID;"
	"CREATE TABLE intent (id TEXT PRIMARY KEY, instance INTEGER, generation INTEGER, epoch INTEGER,"
	" stop INTEGER, spec BLOB, sum INTEGER);"
	"CREATE TABLE life (id TEXT PRIMARY KEY, bytes BLOB, sum INTEGER);"
	"CREATE TABLE tombstone (id TEXT PRIMARY KEY, generation INTEGER, sum INTEGER);"
	"CREATE TABLE event (sequence INTEGER PRIMARY KEY, bytes BLOB, sum INTEGER);",
};

#define VERSION ((int)ARRAY_SIZE(migrations))

struct database {
	sqlite3 *handle;
	sqlite3_stmt *prepared[STATEMENTS];
};

/* ---- failures ------------------------------------------------------------------------------------- */

static bool is_damage(int code)
{
	return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

static int sqlite_failed(struct err *err, sqlite3 *handle, int code, const char *doing)
{
	int number = handle ? sqlite3_system_errno(handle) : 0;

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
	case WRITE_EPOCH:
	case WRITE_NODE:
		return run(database, PUT_META, write);
	case WRITE_TOMBSTONE:
		code = run(database, DROP_INTENT, write);
		if (code == SQLITE_OK)
			code = run(database, DROP_LIFE, write);
		return code == SQLITE_OK ? run(database, PUT_TOMBSTONE, write) : code;
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
	if (write->kind != WRITE_BARRIER)
		return false;
	return true;
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
	code = run(database, BEGIN, NULL);
	STAILQ_FOREACH(write, writes, link)
	if (code == SQLITE_OK)
		code = apply(database, write);
	FAILPOINT("berthd.store.written");
	if (code == SQLITE_OK)
		code = trim(database, writes, events_max);
	FAILPOINT("berthd.store.commit");
	if (code == SQLITE_OK)
		code = run(database, COMMIT, NULL);
	if (code == SQLITE_OK)
		return 0;
	r = sqlite_failed(err, database->handle, code, "cannot write the agent's store");
	if (!sqlite3_get_autocommit(database->handle)) /* else SQLite has done it by itself */
		(void)sqlite3_exec(database->handle, "ROLLBACK", NULL, NULL, NULL);
	return r;
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

static const struct {
	const char *question;
	int (*tell)(const struct store_visitor *visitor, const struct row *row);
} tables[] = {
	{ "SELECT key, 0, number, 0, 0, bytes, sum FROM meta", tell_meta },
	{ "SELECT id, 0, generation, 0, 0, NULL, sum FROM tombstone ORDER BY rowid",
	  tell_tombstone },
	{ "SELECT '', 0, sequence, 0, 0, bytes, sum FROM event ORDER BY sequence", tell_event },
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

		if (code != SQLITE_OK && !is_damage(code))
			return sqlite_failed(err, database->handle, code,
					     "cannot read the agent's store");
		reading.damaged += code != SQLITE_OK;
	}
	*ret_damaged = reading.damaged;
	if (reading.r < 0)
		return err_set(err, ERR_INTERNAL, -reading.r,
			       "cannot take over the agent's store: %m");
	return 0;
}

/* ---- opening -------------------------------------------------------------------------------------- */

void database_close(struct database *database)
{
	if (!database)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(database->prepared[i]);
	(void)sqlite3_close(database->handle);
	free(database);
}

DEFINE_CLEANUP(struct database *, database_close)

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

static int migrate(struct database *database, int version)
{
	int code = sqlite3_exec(database->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
	char text[64];

	FAILPOINT("berthd.store.migrate");
	for (int i = version; i < VERSION && code == SQLITE_OK; i++)
		code = sqlite3_exec(database->handle, migrations[i], NULL, NULL, NULL);
	(void)snprintf(text, sizeof(text), "PRAGMA user_version=%d; COMMIT", VERSION);
	return code == SQLITE_OK ? sqlite3_exec(database->handle, text, NULL, NULL, NULL) : code;
}

static int prepare(struct database *database)
{
	int code = SQLITE_OK;

	for (size_t i = 0; i < STATEMENTS && code == SQLITE_OK; i++)
		code = sqlite3_prepare_v3(database->handle, statements[i], -1,
					  SQLITE_PREPARE_PERSISTENT, &database->prepared[i], NULL);
	return code;
}

/* A code of SQLite's; *ret_version is what the file has, 0 for a new one. */
static int open_whole(const char *path, struct database **ret_database, int *ret_version)
{
	cleanup(database_close_p) struct database *database = NULL;
	int code = open_handle(path, false, &database);

	if (code == SQLITE_OK)
		code = check_whole(database);
	if (code == SQLITE_OK)
		code = read_number(database, "PRAGMA user_version", ret_version);
	if (code == SQLITE_OK && *ret_version < VERSION)
		code = migrate(database, *ret_version);
	if (code == SQLITE_OK && *ret_version <= VERSION)
		code = prepare(database);
	/* A table that is missing under a version that has it. */
	if (code == SQLITE_ERROR)
		code = SQLITE_CORRUPT;
	if (code == SQLITE_OK)
		*ret_database = take_ptr(&database);
	return code;
}

/* ---- damage --------------------------------------------------------------------------------------- */

struct salvage {
	struct write_list writes;
	size_t records;
};

static int keep(struct salvage *salvage, enum write_kind kind, const struct store_intent *fields,
		const uint8_t *bytes, size_t n)
{
	struct write *write = calloc(1, sizeof(*write) + n);

	if (!write)
		return -ENOMEM;
	write->kind = kind;
	write->instance = fields->instance;
	write->generation = fields->generation;
	write->epoch = fields->epoch;
	write->stop = fields->stop;
	(void)snprintf(write->id, sizeof(write->id), "%s", fields->id);
	write->n_bytes = n;
	if (n)
		memcpy(write->bytes, bytes, n);
	STAILQ_INSERT_TAIL(&salvage->writes, write, link);
	salvage->records++;
	return 0;
}

static int keep_epoch(void *userdata, uint64_t epoch)
{
	return keep(userdata, WRITE_EPOCH,
		    &(struct store_intent){ .id = "epoch", .generation = epoch }, NULL, 0);
}

static int keep_generation(void *userdata, const char *id, uint64_t generation)
{
	return keep(userdata, WRITE_TOMBSTONE,
		    &(struct store_intent){ .id = id, .generation = generation }, NULL, 0);
}

static int keep_node(void *userdata, const uint8_t *bytes, size_t n)
{
	return keep(userdata, WRITE_NODE, &(struct store_intent){ .id = "node" }, bytes, n);
}

static int keep_intent(void *userdata, const struct store_intent *intent)
{
	return keep(userdata, WRITE_INTENT, intent, intent->spec, intent->spec_bytes);
}

static int keep_life(void *userdata, const char *id, const uint8_t *bytes, size_t n)
{
	return keep(userdata, WRITE_LIFE, &(struct store_intent){ .id = id }, bytes, n);
}

static int keep_event(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	return keep(userdata, WRITE_EVENT,
		    &(struct store_intent){ .id = "", .generation = sequence }, bytes, n);
}

/* What can be read of the file @path, which stays as it is. */
static void salvage_read(const char *path, struct salvage *salvage)
{
	const struct store_visitor visitor = { .epoch = keep_epoch,
					       .generation = keep_generation,
					       .node = keep_node,
					       .intent = keep_intent,
					       .life = keep_life,
					       .event = keep_event,
					       .userdata = salvage };
	cleanup(database_close_p) struct database *database = NULL;
	size_t damaged;

	(void)open_handle(path, true, &database);
	if (!database || !database->handle)
		return;
	(void)database_load(database, &visitor, &damaged, NULL);
}

static void salvage_done(struct salvage *salvage)
{
	struct write *write;

	while ((write = STAILQ_FIRST(&salvage->writes))) {
		STAILQ_REMOVE_HEAD(&salvage->writes, link);
		free(write);
	}
}

/* Out of the way, with its journal; never over another one. */
static int rename_damaged(const char *path, char renamed[static PATH_MAX], struct err *err)
{
	char from[PATH_MAX + 8];
	char to[PATH_MAX + 8];

	for (long long at = time(NULL);; at++) {
		if (snprintf(renamed, PATH_MAX, "%s.damaged-%lld", path, at) >= PATH_MAX)
			return err_set(err, ERR_UNAVAILABLE, ENAMETOOLONG, "%s: %m", path);
		if (access(renamed, F_OK) < 0)
			break;
	}
	(void)snprintf(from, sizeof(from), "%s-wal", path);
	(void)snprintf(to, sizeof(to), "%s-wal", renamed);
	if (rename(from, to) < 0 && errno != ENOENT)
		return err_set(err, ERR_UNAVAILABLE, errno, "cannot rename %s: %m", from);
	if (rename(path, renamed) < 0 && errno != ENOENT)
		return err_set(err, ERR_UNAVAILABLE, errno, "cannot rename the damaged %s: %m",
			       path);
	return 0;
}

static int begin_anew(const char *path, bool discard, struct database **ret_database,
		      struct database_found *found, struct err *err)
{
	cleanup(salvage_done) struct salvage salvage = { .writes = STAILQ_HEAD_INITIALIZER(
								 salvage.writes) };
	cleanup(database_close_p) struct database *database = NULL;
	char renamed[PATH_MAX];
	int version = 0;
	int code;
	int r;

	FAILPOINT_RETURN("berthd.store.quarantine", err);
	r = rename_damaged(path, renamed, err);
	if (r < 0)
		return r;
	if (!discard)
		salvage_read(renamed, &salvage);
	FAILPOINT("berthd.store.renamed");
	code = open_whole(path, &database, &version);
	if (code != SQLITE_OK)
		return sqlite_failed(err, database ? database->handle : NULL, code,
				     "cannot begin a new agent's store");
	if (database_write(database, &salvage.writes, 0, err) < 0)
		salvage.records = 0;
	found->fresh = true;
	(void)snprintf(
		found->damage, sizeof(found->damage),
		"the agent's store was damaged: %zu records could be taken over, the rest is lost; the file is kept as %.300s",
		salvage.records, renamed);
	*ret_database = take_ptr(&database);
	return 0;
}

int database_open(const char *directory, bool discard, struct database **ret_database,
		  struct database_found *ret_found, struct err *err)
{
	cleanup(database_close_p) struct database *database = NULL;
	char path[PATH_MAX];
	int version = 0;
	struct stat st;
	bool was_there;
	int code;

	*ret_found = (struct database_found){ 0 };
	FAILPOINT_RETURN("berthd.store.open", err);
	if (snprintf(path, sizeof(path), "%s/" FILE_NAME, directory) >= (int)sizeof(path))
		return err_set(err, ERR_UNAVAILABLE, ENAMETOOLONG, "%s: %m", directory);
	was_there = stat(path, &st) == 0;
	/* Empty is not new: what was in it is gone. */
	if (was_there && (discard || st.st_size == 0))
		return begin_anew(path, discard, ret_database, ret_found, err);
	code = open_whole(path, &database, &version);
	if (is_damage(code))
		return begin_anew(path, false, ret_database, ret_found, err);
	if (code != SQLITE_OK) {
		(void)sqlite_failed(err, NULL, code, "cannot open the agent's store");
		return err_prefix(err, -EIO, "%s", path);
	}
	if (version > VERSION)
		return err_set(
			err, ERR_UNSUPPORTED, EPROTO,
			"%s is of a later release (version %d, this one knows %d): it is left as it is",
			path, version, VERSION);
	ret_found->fresh = !was_there;
	*ret_database = take_ptr(&database);
	return 0;
}

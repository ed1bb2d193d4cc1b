/*
 * From one file to the next: what is damaged is set aside, and what a failed disk may have lost although it
 * still reads well is written anew. The new file is complete and on disk under another name before it takes
 * the old one's place, so that a crash in between leaves one of the two.
 *
 *	agent.db.tmp ─(complete, synced)─▶ agent.db.new ─▶ agent.db
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/store/database_private.h"
#include "agent/store/journal.h"
#include "proto/failpoint.h"

#define FILE_NAME   "agent.db"
#define SUFFIX_ROOM 64

/* ---- all that can be read, in memory -------------------------------------------------------------- */

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

static int keep_record(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	return keep(userdata, WRITE_RECORD,
		    &(struct store_intent){ .id = "", .generation = sequence }, bytes, n);
}

static int salvage_read(struct database *database, struct salvage *salvage, size_t *ret_damaged,
			struct err *err)
{
	const struct store_visitor visitor = { .epoch = keep_epoch,
					       .generation = keep_generation,
					       .node = keep_node,
					       .intent = keep_intent,
					       .life = keep_life,
					       .event = keep_event,
					       .record = keep_record,
					       .userdata = salvage };

	return database_load(database, &visitor, ret_damaged, err);
}

static void salvage_done(struct salvage *salvage)
{
	struct write *write;

	while ((write = STAILQ_FIRST(&salvage->writes))) {
		STAILQ_REMOVE_HEAD(&salvage->writes, link);
		free(write);
	}
}

/* ---- names ---------------------------------------------------------------------------------------- */

/* @path and @suffix in @buffer: paths are checked for their room in database_open(). */
static const char *with(const char *path, const char *suffix, char buffer[static PATH_MAX])
{
	size_t n = strnlen(path, PATH_MAX - SUFFIX_ROOM);

	memcpy(buffer, path, n);
	(void)snprintf(buffer + n, SUFFIX_ROOM, "%s", suffix);
	return buffer;
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static int failed(struct err *err, const char *doing, const char *path)
{
	return err_set(err, ERR_UNAVAILABLE, errno, "cannot %s %s: %m", doing, path);
}

static int sync_directory(const char *directory, struct err *err)
{
	cleanup_fd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? failed(err, "sync", directory) : 0;
}

/* A new file that is complete takes its place, whatever came in between. */
static int finish_switch(const char *directory, const char *path, struct err *err)
{
	char fresh[PATH_MAX], journal[PATH_MAX];

	if (!is_there(with(path, ".new", fresh)))
		return 0;
	/* A journal beside a file that it is not of would be taken for the file's own. */
	if (unlink(with(path, "-wal", journal)) < 0 && errno != ENOENT)
		return failed(err, "remove", journal);
	FAILPOINT("berthd.store.switch");
	if (rename(fresh, path) < 0)
		return failed(err, "replace", path);
	return sync_directory(directory, err);
}

/* The file @path under a second name, with its journal; never over another one. */
static int keep_damaged(const char *path, char kept[static PATH_MAX], struct err *err)
{
	char journal[PATH_MAX], kept_journal[PATH_MAX], suffix[48];

	for (long long at = time(NULL);; at++) {
		(void)snprintf(suffix, sizeof(suffix), ".damaged-%lld", at);
		if (!is_there(with(path, suffix, kept)))
			break;
	}
	if (link(with(path, "-wal", journal), with(kept, "-wal", kept_journal)) < 0 &&
	    errno != ENOENT)
		return failed(err, "keep the damaged", journal);
	if (link(path, kept) < 0) {
		int r = failed(err, "keep the damaged", path);

		(void)unlink(kept_journal); /* best effort: r is the news */
		return r;
	}
	return 0;
}

static void drop_kept(const char *kept)
{
	char journal[PATH_MAX];

	(void)unlink(with(kept, "-wal", journal));
	(void)unlink(kept);
}

/* ---- a new file ----------------------------------------------------------------------------------- */

/* The writes into the new file @path, on disk when this returns. */
static int write_whole(const struct salvage *salvage, const char *path, struct err *err)
{
	cleanup(database_close_p) struct database *to = NULL;
	struct schema_found schema;
	char journal[PATH_MAX];
	int code;
	int r;

	if ((unlink(path) < 0 && errno != ENOENT) ||
	    (unlink(with(path, "-wal", journal)) < 0 && errno != ENOENT))
		return failed(err, "remove", path);
	code = schema_open(path, &to, &schema);
	if (code != SQLITE_OK)
		return database_failed(err, code, schema.errnum,
				       "cannot write the agent's store anew");
	r = database_write(to, &salvage->writes, UINT64_MAX, err);
	return r < 0 ? r : database_checkpoint(to, err);
}

/* A new file with @salvage takes the place of what is at @path. */
static int replace(const char *directory, const char *path, const struct salvage *salvage,
		   struct database **ret_database, struct err *err)
{
	char draft[PATH_MAX], fresh[PATH_MAX];
	struct schema_found schema;
	int code;
	int r = write_whole(salvage, with(path, ".tmp", draft), err);

	if (r < 0)
		return r;
	if (rename(draft, with(path, ".new", fresh)) < 0)
		return failed(err, "rename", draft);
	FAILPOINT("berthd.store.written-anew");
	r = sync_directory(directory, err);
	if (r == 0)
		r = finish_switch(directory, path, err);
	if (r < 0)
		return r;
	code = schema_open(path, ret_database, &schema);
	return code == SQLITE_OK ? 0
				 : database_failed(err, code, schema.errnum,
						   "cannot open the agent's store written anew");
}

static int begin_anew(const char *directory, const char *path, struct database **ret_database,
		      struct database_found *found, struct err *err)
{
	cleanup(salvage_done) struct salvage salvage = { .writes = STAILQ_HEAD_INITIALIZER(
								 salvage.writes) };
	struct database *damaged = NULL;
	char kept[PATH_MAX];
	size_t lost = 0;
	int r;

	FAILPOINT_RETURN("berthd.store.quarantine", err);
	r = keep_damaged(path, kept, err);
	if (r < 0)
		return r;
	FAILPOINT("berthd.store.kept-damaged");
	schema_open_damaged(kept, &damaged);
	if (damaged && damaged->handle)
		(void)salvage_read(damaged, &salvage, &lost, NULL);
	database_close(damaged);
	r = replace(directory, path, &salvage, ret_database, err);
	if (r < 0) {
		drop_kept(kept); /* it is still where it was */
		return r;
	}
	found->fresh = true;
	(void)snprintf(
		found->damage, sizeof(found->damage),
		"the agent's store was damaged: %zu records could be taken over, the rest is lost; the file is kept as %.300s",
		salvage.records, kept);
	return 0;
}

/* The file reads well, but its last writes failed: what is in memory may not be on disk, and the kernel
 * has forgotten that it owes it. */
static int renew(const char *directory, const char *path, struct database **database,
		 struct database_found *found, struct err *err)
{
	cleanup(salvage_done) struct salvage salvage = { .writes = STAILQ_HEAD_INITIALIZER(
								 salvage.writes) };
	size_t damaged = 0;
	int r = salvage_read(*database, &salvage, &damaged, err);

	database_close(take_ptr(database));
	if (r == 0)
		r = replace(directory, path, &salvage, database, err);
	if (r == 0)
		(void)snprintf(
			found->damage, sizeof(found->damage),
			"the disk failed to write the agent's store, which was then written anew to a fresh file (%zu records, %zu lost): look at the disk below %.300s",
			salvage.records, damaged, directory);
	return r;
}

static int open_path(const char *directory, const char *path, bool distrust,
		     struct database **ret_database, struct database_found *found, struct err *err)
{
	struct salvage nothing = { .writes = STAILQ_HEAD_INITIALIZER(nothing.writes) };
	cleanup(database_close_p) struct database *database = NULL;
	struct schema_found schema;
	char journal[PATH_MAX];
	struct stat st;
	int code;
	int r = 0;

	if (stat(path, &st) < 0) {
		if (errno != ENOENT)
			return failed(err, "look at", path);
		/* Complete before it has its name: an empty file is one that lost what it had. */
		found->fresh = true;
		return replace(directory, path, &nothing, ret_database, err);
	}
	if (st.st_size == 0 || journal_is_damaged(with(path, "-wal", journal)))
		return begin_anew(directory, path, ret_database, found, err);
	code = schema_open(path, &database, &schema);
	if (database_is_damage(code))
		return begin_anew(directory, path, ret_database, found, err);
	if (code != SQLITE_OK)
		return database_failed(err, code, schema.errnum, "cannot open the agent's store");
	if (schema.later)
		return err_set(
			err, ERR_UNSUPPORTED, EPROTO,
			"it is of a later release (version %d), which says that this one cannot use it: it is left as it is",
			schema.version);
	if (distrust)
		r = renew(directory, path, &database, found, err);
	if (r < 0)
		return r;
	*ret_database = take_ptr(&database);
	return 0;
}

int database_open(const char *directory, bool distrust, struct database **ret_database,
		  struct database_found *ret_found, struct err *err)
{
	char path[PATH_MAX];
	int r;

	*ret_found = (struct database_found){ 0 };
	FAILPOINT_RETURN("berthd.store.open", err);
	if (snprintf(path, sizeof(path), "%s/" FILE_NAME, directory) >= PATH_MAX - 2 * SUFFIX_ROOM)
		return err_set(err, ERR_UNAVAILABLE, ENAMETOOLONG, "%s: %m", directory);
	r = finish_switch(directory, path, err);
	if (r == 0)
		r = open_path(directory, path, distrust, ret_database, ret_found, err);
	return r < 0 ? err_prefix(err, r, "%s", path) : 0;
}

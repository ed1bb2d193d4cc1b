/* The durable store as the loop sees it: what is put, and what is answered. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "agent/store/writer.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "proto/log.h"

#define QUEUE_BYTES_DEFAULT (64U << 20)
#define RETRY_DEFAULT_MS    1000

static struct durable *of(struct store *store)
{
	return (struct durable *)store;
}

/* ---- the loop: answers ---------------------------------------------------------------------------- */

static void answer(const struct write *write, const struct err *why)
{
	if (write->done.call)
		write->done.call(write->done.userdata, write->done.ticket,
				 write->failed ? why : NULL);
}

static void say_failure(struct durable *durable, const struct err *why)
{
	struct store *store = &durable->store;

	if (strcmp(store->failure, why->text) == 0)
		return;
	(void)snprintf(store->failure, sizeof(store->failure), "%s", why->text);
	log_event(LOG_ERR, NULL, "%s: launches are refused until it can be written",
		  store->failure);
}

static void say_recovery(struct durable *durable)
{
	durable->store.failure[0] = '\0';
	log_event(LOG_NOTICE, NULL, "the agent's store can be written again");
}

/* What was answered as failed is missing. */
static void ask_for_all(struct durable *durable)
{
	struct store *store = &durable->store;

	if (durable->damage[0] && strcmp(store->damage, durable->damage) != 0) {
		(void)snprintf(store->damage, sizeof(store->damage), "%s", durable->damage);
		log_event(LOG_ERR, NULL, "%s", store->damage);
	}
	if (store->recovered && !store->unread)
		store->recovered(store->userdata);
}

static void dispatch(struct durable *durable)
{
	struct write_list answered = STAILQ_HEAD_INITIALIZER(answered);
	enum outcome state;
	struct write *write;
	struct err why;
	bool recovered;

	FAILPOINT("berthd.store.answer");
	(void)pthread_mutex_lock(&durable->lock);
	STAILQ_CONCAT(&answered, &durable->answered);
	state = durable->state;
	recovered = durable->recovered && state != FAILED;
	if (recovered)
		durable->recovered = false;
	why = durable->why;
	STAILQ_FOREACH(write, &answered, link)
	durable->bytes -= write->n_bytes + sizeof(*write);
	(void)pthread_mutex_unlock(&durable->lock);

	if (state != GOOD)
		say_failure(durable, &why);
	while ((write = STAILQ_FIRST(&answered))) {
		STAILQ_REMOVE_HEAD(&answered, link);
		answer(write, &why);
		free(write);
	}
	if (state == GOOD && durable->store.failure[0])
		say_recovery(durable);
	if (recovered)
		ask_for_all(durable);
}

static int on_answered(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
	dispatch(userdata);
	return 0;
}

/* ---- the loop: writes ----------------------------------------------------------------------------- */

/* A write that cannot be taken is answered at once; what follows it is still taken, so that the store
 * counts as failed until all was put again. */
static void refuse(struct durable *durable, const struct store_done *done, const struct err *err)
{
	(void)pthread_mutex_lock(&durable->lock);
	durable->state = FAILED;
	durable->why = *err;
	(void)pthread_mutex_unlock(&durable->lock);
	say_failure(durable, err);
	if (done->call)
		done->call(done->userdata, done->ticket, err);
}

/* Its fields are set by the caller; NULL: it was refused. */
static struct write *put(struct durable *durable, enum write_kind kind, const char *id,
			 const uint8_t *bytes, size_t n, const struct store_done *done)
{
	struct write *write = calloc(1, sizeof(*write) + n);
	struct err err = { 0 };
	bool full;

	(void)pthread_mutex_lock(&durable->lock);
	full = durable->bytes + n > durable->bytes_max;
	if (write && !full)
		durable->bytes += sizeof(*write) + n;
	(void)pthread_mutex_unlock(&durable->lock);
	if (!write || full) {
		if (full)
			(void)err_set(&err, ERR_UNAVAILABLE, EBUSY,
				      "the agent's store is too slow: %zu MiB wait for the disk",
				      durable->bytes_max >> 20);
		else
			(void)err_oom(&err);
		free(write);
		refuse(durable, done, &err);
		return NULL;
	}
	write->kind = kind;
	write->done = *done;
	(void)snprintf(write->id, sizeof(write->id), "%s", id);
	write->n_bytes = n;
	if (n)
		memcpy(write->bytes, bytes, n);
	STAILQ_INSERT_TAIL(&durable->pending, write, link);
	return write;
}

static void put_intent(struct store *store, const struct store_intent *intent,
		       const struct store_done *done)
{
	struct write *write = put(of(store), WRITE_INTENT, intent->id, intent->spec,
				  intent->spec_bytes, done);

	if (!write)
		return;
	write->instance = intent->instance;
	write->generation = intent->generation;
	write->epoch = intent->epoch;
	write->stop = intent->stop;
	write->is_new = intent->is_new;
}

static void put_life(struct store *store, const char *id, const uint8_t *bytes, size_t n,
		     const struct store_done *done)
{
	(void)put(of(store), WRITE_LIFE, id, bytes, n, done);
}

static void put_event(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
		      const struct store_done *done)
{
	struct write *write = put(of(store), WRITE_EVENT, "", bytes, n, done);

	if (write)
		write->generation = sequence;
}

static void put_record(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
		       const struct store_done *done)
{
	struct write *write = put(of(store), WRITE_RECORD, "", bytes, n, done);

	if (write)
		write->generation = sequence;
}

static void drop_record(struct store *store, uint64_t sequence, const struct store_done *done)
{
	struct write *write = put(of(store), WRITE_DROP_RECORD, "", NULL, 0, done);

	if (write)
		write->generation = sequence;
}

static void put_epoch(struct store *store, uint64_t epoch, const struct store_done *done)
{
	struct write *write = put(of(store), WRITE_EPOCH, "epoch", NULL, 0, done);

	if (write)
		write->generation = epoch;
}

static void put_tombstone(struct store *store, const char *id, uint64_t generation,
			  const struct store_done *done)
{
	struct write *write = put(of(store), WRITE_TOMBSTONE, id, NULL, 0, done);

	if (write)
		write->generation = generation;
}

static void put_node(struct store *store, const uint8_t *bytes, size_t n,
		     const struct store_done *done)
{
	(void)put(of(store), WRITE_NODE, "node", bytes, n, done);
}

static void put_barrier(struct store *store, const struct store_done *done)
{
	(void)put(of(store), WRITE_BARRIER, "", NULL, 0, done);
}

static void submit(struct store *store)
{
	struct durable *durable = of(store);
	struct err err = { 0 };

	if (STAILQ_EMPTY(&durable->pending))
		return;
	(void)pthread_mutex_lock(&durable->lock);
	STAILQ_CONCAT(&durable->queued, &durable->pending);
	(void)pthread_mutex_unlock(&durable->lock);
	/* Not before: it would wake only to wait for the lock. */
	(void)pthread_cond_signal(&durable->wake);
	if (durable->running)
		return;
	if (writer_start(durable) < 0)
		say_failure(durable, (err_oom(&err), &err));
}

/* ---- load, new and free --------------------------------------------------------------------------- */

static int load(struct store *store, const struct store_visitor *visitor, struct err *err)
{
	struct durable *durable = of(store);
	size_t damaged = 0;
	int r;

	if (!durable->database)
		return 0;
	r = database_load(durable->database, visitor, &damaged, err);
	if (r < 0 || damaged == 0)
		return r;
	store->fresh = true;
	if (!store->damage[0])
		(void)snprintf(store->damage, sizeof(store->damage),
			       "%zu records of the agent's store are damaged and were left out",
			       damaged);
	return 0;
}

static void free_writes(struct write_list *writes)
{
	struct write *write;

	while ((write = STAILQ_FIRST(writes))) {
		STAILQ_REMOVE_HEAD(writes, link);
		free(write);
	}
}

static void durable_free(struct store *store)
{
	struct durable *durable = of(store);

	if (durable->running) {
		submit(store);
		(void)pthread_mutex_lock(&durable->lock);
		durable->ending = true;
		(void)pthread_cond_signal(&durable->wake);
		(void)pthread_mutex_unlock(&durable->lock);
		(void)pthread_join(durable->thread, NULL);
	}
	(void)sd_event_source_disable_unref(durable->source);
	free_writes(&durable->pending);
	free_writes(&durable->queued);
	free_writes(&durable->answered);
	database_close(durable->database);
	(void)pthread_cond_destroy(&durable->wake);
	(void)pthread_mutex_destroy(&durable->lock);
	fd_close(&durable->answered_fd);
	free(durable->directory);
	free(durable);
}

static const struct store_ops durable_ops = {
	.put_intent = put_intent,
	.put_life = put_life,
	.put_event = put_event,
	.put_record = put_record,
	.drop_record = drop_record,
	.put_epoch = put_epoch,
	.put_tombstone = put_tombstone,
	.put_node = put_node,
	.put_barrier = put_barrier,
	.submit = submit,
	.load = load,
	.free = durable_free,
};

static int init(struct durable *durable, sd_event *event, struct err *err)
{
	pthread_condattr_t attributes;
	int r;

	(void)pthread_mutex_init(&durable->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&durable->wake, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	durable->answered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (durable->answered_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "the agent's store: no eventfd: %m");
	r = sd_event_add_io(event, &durable->source, durable->answered_fd, EPOLLIN, on_answered,
			    durable);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the agent's store: %m");
	return 0;
}

static int begin_failed(struct durable *durable, const struct err *why, struct err *err)
{
	int r;

	durable->state = FAILED;
	durable->why = *why;
	durable->hopeless = why->kind == ERR_UNSUPPORTED;
	durable->store.unread = true;
	durable->store.fresh = true;
	say_failure(durable, why);
	r = writer_start(durable);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "the agent's store: no thread: %m") : 0;
}

static int begin_full(struct durable *durable, struct err *err)
{
	int r;

	durable->state = FULL;
	writer_say_full(durable, &durable->why);
	say_failure(durable, &durable->why);
	r = writer_start(durable);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "the agent's store: no thread: %m") : 0;
}

/* Without its file it begins as failed: the writer tries again. */
static int open_first(struct durable *durable, struct err *err)
{
	struct database_found found;
	struct err why = { 0 };

	if (writer_open(durable, &found, &why) < 0) {
		if (why.errnum != EBUSY)
			return begin_failed(durable, &why, err);
		*err = why;
		return -EBUSY;
	}
	durable->store.fresh = found.fresh;
	(void)snprintf(durable->store.damage, sizeof(durable->store.damage), "%s", found.damage);
	if (found.damage[0])
		log_event(LOG_ERR, NULL, "%s", found.damage);
	return writer_take_reserve(durable) == FULL ? begin_full(durable, err) : 0;
}

int store_sqlite_new(sd_event *event, const struct store_sqlite_config *config,
		     struct store **ret_store, struct err *err)
{
	struct durable *durable = calloc(1, sizeof(*durable));
	int r;

	if (!durable)
		return err_oom(err);
	durable->store.ops = &durable_ops;
	durable->store.keeps = true;
	durable->answered_fd = -1;
	durable->events_max = config->events_max;
	durable->retry_ms = config->retry_ms ? config->retry_ms : RETRY_DEFAULT_MS;
	durable->bytes_max = config->queue_max ? config->queue_max : QUEUE_BYTES_DEFAULT;
	STAILQ_INIT(&durable->pending);
	STAILQ_INIT(&durable->queued);
	STAILQ_INIT(&durable->answered);
	durable->directory = strdup(config->directory);
	r = durable->directory ? init(durable, event, err) : err_oom(err);
	if (r == 0)
		r = open_first(durable, err);
	if (r < 0) {
		durable_free(&durable->store);
		return r;
	}
	*ret_store = &durable->store;
	return 0;
}

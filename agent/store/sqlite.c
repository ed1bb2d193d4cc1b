/*
 * The loop's side and the writer's, and nothing between them but three lists under one lock:
 *
 *	put ─▶ pending ─submit─▶ queued ─▶ [writer: one transaction] ─▶ answered ─eventfd─▶ done
 *
 * The writer takes all that is queued at once, so that the slower the disk is, the more go into one
 * commit. After a failure it answers everything as failed, opens the file anew, and when a write
 * succeeds again lets the engine put everything once more: what failed in between is nowhere kept.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "agent/store/database.h"
#include "agent/store/reserve.h"
#include "agent/store/store.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "proto/log.h"

#define QUEUE_BYTES_DEFAULT (64U << 20)
#define RETRY_DEFAULT_MS    1000

enum outcome {
	GOOD,
	FULL,   /* all is written but what is new: out of the reserve */
	FAILED, /* nothing is */
};

struct durable {
	struct store store; /* first */
	sd_event_source *source;
	int answered_fd;
	char *directory;
	uint64_t events_max;
	uint64_t retry_ms;
	size_t bytes_max;
	pthread_t thread;
	bool running;
	bool hopeless;             /* of a later release: never tried again */
	struct database *database; /* the writer's once it runs; NULL: to be opened */
	bool distrust;             /* the writer's: the file is to be written anew */
	struct write_list pending; /* since the last submit; the loop's */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	struct write_list queued;
	struct write_list answered;
	size_t bytes; /* pending, queued and answered */
	bool ending;
	enum outcome state;
	bool recovered; /* from FAILED, until the loop has seen it */
	struct err why; /* it is not GOOD */
	char damage[STORE_SENTENCE_MAX];
};

static struct durable *of(struct store *store)
{
	return (struct durable *)store;
}

/* ---- the writer ----------------------------------------------------------------------------------- */

static void mark_failed(struct write_list *batch)
{
	struct write *write;

	STAILQ_FOREACH(write, batch, link)
	write->failed = true;
}

static bool is_full(const struct err *err)
{
	return err->errnum == ENOSPC || err->errnum == EDQUOT;
}

/* Launches go first: what ends, stops or goes away is still written. */
static void refuse_new(struct write_list *batch)
{
	struct write *write;

	STAILQ_FOREACH(write, batch, link)
	write->failed |= write->is_new;
}

static void say_full(const struct durable *durable, struct err *err)
{
	(void)err_set(err, ERR_UNAVAILABLE, ENOSPC,
		      "the disk below %s is full: what ends is still written, out of a reserve",
		      durable->directory);
}

/* Room of the journal that is not needed any more, then the reserve. */
static int write_full(struct durable *durable, struct write_list *batch, struct err *err)
{
	struct err again = { 0 };
	int r = -ENOSPC;

	refuse_new(batch);
	if (database_checkpoint(durable->database, &again) == 0)
		r = database_write(durable->database, batch, durable->events_max, &again);
	if (r < 0 && is_full(&again) && reserve_give_up(durable->directory))
		r = database_write(durable->database, batch, durable->events_max, &again);
	if (r < 0)
		*err = again;
	return r;
}

static enum outcome write_batch(struct durable *durable, bool full, struct write_list *batch,
				struct err *err)
{
	if (full)
		refuse_new(batch);
	if (database_write(durable->database, batch, durable->events_max, err) == 0)
		return full ? FULL : GOOD;
	if (!is_full(err) || write_full(durable, batch, err) < 0)
		return FAILED;
	return FULL;
}

/* After the answers, so that nobody waits for it. */
static enum outcome tidy(struct durable *durable, enum outcome outcome, struct err *err)
{
	int r;

	if (outcome == FAILED)
		return outcome;
	/* On a full disk the journal is not to grow into what the reserve has left. */
	r = outcome == FULL ? database_checkpoint(durable->database, err)
			    : database_tidy(durable->database, err);
	if (r == 0)
		return outcome;
	if (!is_full(err))
		return FAILED;
	(void)reserve_give_up(durable->directory);
	return FULL; /* the journal grows on, until there is room */
}

static enum outcome take_reserve(struct durable *durable)
{
	int r = reserve_take(durable->directory);

	return r == -ENOSPC || r == -EDQUOT ? FULL : GOOD;
}

static int open_database(struct durable *durable, struct database_found *found, struct err *err)
{
	int r = database_open(durable->directory, durable->distrust, &durable->database, found,
			      err);

	if (r < 0 && (is_full(err) || reserve_disk_is_full(durable->directory)) &&
	    reserve_give_up(durable->directory))
		r = database_open(durable->directory, durable->distrust, &durable->database, found,
				  err);
	if (r == 0)
		durable->distrust = false;
	return r;
}

/* Try the file again, with a write that changes nothing. */
static enum outcome reopen(struct durable *durable, struct err *err)
{
	struct write_list probe = STAILQ_HEAD_INITIALIZER(probe);
	struct write write = { .kind = WRITE_NODE, .id = "probe" };
	struct database_found found;

	durable->distrust |= database_is_doubtful(durable->database);
	database_close(durable->database);
	durable->database = NULL;
	if (open_database(durable, &found, err) < 0)
		return FAILED;
	if (found.damage[0]) {
		(void)pthread_mutex_lock(&durable->lock);
		(void)snprintf(durable->damage, sizeof(durable->damage), "%s", found.damage);
		(void)pthread_mutex_unlock(&durable->lock);
	}
	STAILQ_INSERT_TAIL(&probe, &write, link);
	if (database_write(durable->database, &probe, durable->events_max, err) < 0)
		return FAILED;
	return take_reserve(durable);
}

static void tell_loop(struct durable *durable)
{
	uint64_t one = 1;

	while (write(durable->answered_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static struct timespec after_ms(uint64_t ms)
{
	struct timespec at;

	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += (time_t)(ms / 1000);
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	return at;
}

static bool is_past(const struct timespec *at)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > at->tv_sec || (now.tv_sec == at->tv_sec && now.tv_nsec >= at->tv_nsec);
}

/* With the lock held: what there is to do into @batch. Returns false when that is nothing, ever. With
 * nothing in @batch it is time to try again. */
static bool wait_for_work(struct durable *durable, const struct timespec *retry_at,
			  struct write_list *batch)
{
	for (;;) {
		bool retries = durable->state != GOOD && !durable->hopeless && !durable->ending;

		/* Also where there is always something to do. */
		if (retries && is_past(retry_at))
			return true;
		if (!STAILQ_EMPTY(&durable->queued) || durable->ending)
			break;
		if (retries)
			(void)pthread_cond_timedwait(&durable->wake, &durable->lock, retry_at);
		else
			(void)pthread_cond_wait(&durable->wake, &durable->lock);
	}
	STAILQ_CONCAT(batch, &durable->queued);
	return !STAILQ_EMPTY(batch);
}

/* With the lock held. */
static void take_outcome(struct durable *durable, enum outcome before, enum outcome outcome,
			 const struct err *err)
{
	durable->recovered |= before == FAILED && outcome != FAILED;
	durable->state = outcome;
	if (outcome == FAILED)
		durable->why = *err;
	else if (outcome == FULL)
		say_full(durable, &durable->why);
}

static enum outcome work(struct durable *durable, enum outcome before, struct write_list *batch,
			 struct err *err)
{
	if (!STAILQ_EMPTY(batch))
		return write_batch(durable, before == FULL, batch, err);
	return before == FAILED ? reopen(durable, err) : take_reserve(durable);
}

/* One batch, or one more try. With the lock held, which it gives up meanwhile. */
static void turn(struct durable *durable, struct write_list *batch)
{
	enum outcome before = durable->state;
	enum outcome outcome = FAILED;
	struct err err = { 0 };

	if (before == FAILED && !STAILQ_EMPTY(batch)) {
		mark_failed(batch);
	} else {
		(void)pthread_mutex_unlock(&durable->lock);
		outcome = work(durable, before, batch, &err);
		if (outcome == FAILED)
			mark_failed(batch);
		(void)pthread_mutex_lock(&durable->lock);
		take_outcome(durable, before, outcome, &err);
	}
	FAILPOINT("berthd.store.durable");
	STAILQ_CONCAT(&durable->answered, batch);
	tell_loop(durable);
	if (outcome == FAILED)
		return;
	(void)pthread_mutex_unlock(&durable->lock);
	before = outcome;
	outcome = tidy(durable, outcome, &err);
	(void)pthread_mutex_lock(&durable->lock);
	if (outcome == before)
		return;
	take_outcome(durable, before, outcome, &err);
	tell_loop(durable);
}

static void *writer(void *userdata)
{
	struct durable *durable = userdata;
	struct timespec retry_at = after_ms(durable->retry_ms);

	(void)pthread_mutex_lock(&durable->lock);
	for (;;) {
		struct write_list batch = STAILQ_HEAD_INITIALIZER(batch);

		bool was_good = durable->state == GOOD;
		bool tried;

		if (!wait_for_work(durable, &retry_at, &batch))
			break;
		tried = STAILQ_EMPTY(&batch);
		turn(durable, &batch);
		if (tried || was_good)
			retry_at = after_ms(durable->retry_ms);
	}
	(void)pthread_mutex_unlock(&durable->lock);
	return NULL;
}

static int start_writer(struct durable *durable)
{
	sigset_t all;
	sigset_t before;
	int r;

	(void)sigfillset(&all); /* signals are the loop's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&durable->thread, NULL, writer, durable);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		(void)pthread_setname_np(durable->thread, "store");
	durable->running = r == 0;
	return -r;
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
	(void)pthread_cond_signal(&durable->wake);
	(void)pthread_mutex_unlock(&durable->lock);
	if (durable->running)
		return;
	if (start_writer(durable) < 0)
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
	r = start_writer(durable);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "the agent's store: no thread: %m") : 0;
}

static int begin_full(struct durable *durable, struct err *err)
{
	int r;

	durable->state = FULL;
	say_full(durable, &durable->why);
	say_failure(durable, &durable->why);
	r = start_writer(durable);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "the agent's store: no thread: %m") : 0;
}

/* Without its file it begins as failed: the writer tries again. */
static int open_first(struct durable *durable, struct err *err)
{
	struct database_found found;
	struct err why = { 0 };

	if (open_database(durable, &found, &why) < 0) {
		if (why.errnum != EBUSY)
			return begin_failed(durable, &why, err);
		*err = why;
		return -EBUSY;
	}
	durable->store.fresh = found.fresh;
	(void)snprintf(durable->store.damage, sizeof(durable->store.damage), "%s", found.damage);
	if (found.damage[0])
		log_event(LOG_ERR, NULL, "%s", found.damage);
	return take_reserve(durable) == FULL ? begin_full(durable, err) : 0;
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

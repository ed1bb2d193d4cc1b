/*
 * The writer takes all that is queued at once, so that the slower the disk is, the more go into one
 * commit. After a failure it answers everything as failed, opens the file anew, and when a write
 * succeeds again lets the engine put everything once more: what failed in between is nowhere kept.
 */
#include "agent/store/writer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "agent/store/reserve.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"

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

void writer_say_full(const struct durable *durable, struct err *err)
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

enum outcome writer_take_reserve(struct durable *durable)
{
	int r = reserve_take(durable->directory);

	return r == -ENOSPC || r == -EDQUOT ? FULL : GOOD;
}

int writer_open(struct durable *durable, struct database_found *found, struct err *err)
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
	if (writer_open(durable, &found, err) < 0)
		return FAILED;
	if (found.damage[0]) {
		(void)pthread_mutex_lock(&durable->lock);
		(void)snprintf(durable->damage, sizeof(durable->damage), "%s", found.damage);
		(void)pthread_mutex_unlock(&durable->lock);
	}
	STAILQ_INSERT_TAIL(&probe, &write, link);
	if (database_write(durable->database, &probe, durable->events_max, err) < 0)
		return FAILED;
	return writer_take_reserve(durable);
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
		writer_say_full(durable, &durable->why);
}

static enum outcome work(struct durable *durable, enum outcome before, struct write_list *batch,
			 struct err *err)
{
	if (!STAILQ_EMPTY(batch))
		return write_batch(durable, before == FULL, batch, err);
	return before == FAILED ? reopen(durable, err) : writer_take_reserve(durable);
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
	(void)pthread_mutex_unlock(&durable->lock);
	tell_loop(durable); /* not before: it would wake only to wait for the lock */
	before = outcome;
	if (outcome != FAILED)
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

int writer_start(struct durable *durable)
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

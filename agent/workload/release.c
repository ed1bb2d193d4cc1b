/*
 * berth-sandboxd keeps what it told of an end until it is told to forget. It is told so only when the
 * record is durable here: whichever of the two dies in between, the record is with one of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/failpoint.h"

struct release {
	LIST_ENTRY(release) link;
	struct engine *engine;
	char id[64];
	uint64_t instance;
	char container[64]; /* "": the whole workload */
	uint32_t attempt;
	bool remove_logs;
	bool asked; /* somebody waits for it: a store that fails does not hold it up */
	bool failed;
	struct sandboxlink_call call;
};

bool release_waits(const struct engine *engine, const char *id)
{
	const struct release *release;

	LIST_FOREACH (release, &engine->releases, link)
		if (!*release->container && strcmp(release->id, id) == 0)
			return true;
	return false;
}

static void answer_unsent(const struct release *release, const struct err *err)
{
	struct sandboxlink_reply reply = { .err = err };

	if (release->call.done)
		release->call.done(release->call.userdata, &release->call, &reply);
}

/* What cannot be sent now is found by the inventory of the next connection. */
static void carry_out(const struct release *release)
{
	struct err err = { 0 };

	if (*release->container)
		(void)request_remove_container(release->engine, release->id, release->instance,
					       release->container, release->attempt, NULL);
	else if (request_remove_workload(release->engine, release->id, release->instance,
					 release->remove_logs,
					 release->call.done ? &release->call : NULL, &err) < 0)
		answer_unsent(release, &err);
}

/* The life that waited for the one before it to go. */
static void begin_next(struct workload *workload)
{
	if (!workload || workload->state != STATE(PENDING))
		return;
	workload_attempt_if_it_may(workload);
	if (workload->state != STATE(PENDING))
		FAILPOINT("berthd.release.followed");
}

static void on_durable(void *userdata, uint64_t ticket, const struct err *err)
{
	struct release *release = userdata;
	struct engine *engine = release->engine;

	FAILPOINT("berthd.release.durable");
	if (err && !release->asked) {
		release->failed = true;
		return;
	}
	engine_enter(engine);
	LIST_REMOVE(release, link);
	carry_out(release);
	FAILPOINT("berthd.release.sent");
	begin_next(engine_lookup(engine, release->id));
	free(release);
	engine_leave(engine);
}

static void wait_for_store(struct release *release)
{
	const struct store_done done = { .call = on_durable, .userdata = release };

	release->failed = false;
	release->engine->store->ops->put_barrier(release->engine->store, &done);
}

static void add(const struct release *wanted)
{
	struct release *release = malloc(sizeof(*release));

	if (!release)
		return; /* as if the connection had broken: a later inventory finds it */
	*release = *wanted;
	LIST_INSERT_HEAD(&release->engine->releases, release, link);
	wait_for_store(release);
}

void release_container(struct container *container, uint32_t attempt)
{
	struct release release = { .engine = container->workload->engine,
				   .instance = container->workload->instance,
				   .attempt = attempt };

	(void)snprintf(release.id, sizeof(release.id), "%s", container->workload->id);
	(void)snprintf(release.container, sizeof(release.container), "%s", container->spec->name);
	add(&release);
}

void release_workload(struct engine *engine, const char *id, uint64_t instance, bool remove_logs,
		      const struct sandboxlink_call *call)
{
	struct release release = { .engine = engine,
				   .instance = instance,
				   .remove_logs = remove_logs,
				   .asked = call != NULL };

	(void)snprintf(release.id, sizeof(release.id), "%s", id);
	if (call)
		release.call = *call;
	add(&release);
}

void release_again(struct engine *engine)
{
	struct release *release = LIST_FIRST(&engine->releases);
	struct release *next;

	for (; release; release = next) {
		next = LIST_NEXT(release, link);
		if (release->failed)
			wait_for_store(release);
	}
}

void release_forget(struct engine *engine)
{
	struct release *release;

	while ((release = LIST_FIRST(&engine->releases))) {
		LIST_REMOVE(release, link);
		free(release);
	}
}

/*
 * berth-sandboxd comes and goes; workloads run on. When it is back its inventory is compared with what
 * the engine knows: ends that happened meanwhile are recorded as the kernel told them, what it has
 * forgotten is recorded as unknown, and what the engine does not know (a stray) is killed and removed.
 * Launches wait until that is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/failpoint.h"
#include "proto/log.h"
#include "proto/page.h"

#define LOST_LAUNCHES_MAX 3

static void node_event(struct engine *engine, Berth__V1__Reason reason, const char *sentence)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;

	event.time_unix_ns = timer_wall_ns(&engine->timers);
	event.time_boot_ns = timer_boot_ns(&engine->timers);
	event.reason = reason;
	event.sentence = (char *)sentence;
	(void)events_append(&engine->events, &event);
}

/* ---- strays --------------------------------------------------------------------------------------- */

static struct stray *find_stray(const struct engine *engine, const char *id, uint64_t instance)
{
	struct stray *stray;

	LIST_FOREACH (stray, &engine->strays, link)
		if (stray->instance == instance && strcmp(stray->id, id) == 0)
			return stray;
	return NULL;
}

bool inventory_has_stray(const struct engine *engine, const char *id)
{
	const struct stray *stray;

	LIST_FOREACH (stray, &engine->strays, link)
		if (strcmp(stray->id, id) == 0)
			return true;
	return false;
}

static void forget(struct stray *stray)
{
	LIST_REMOVE(stray, link);
	free(stray);
}

void inventory_forget_strays(struct engine *engine)
{
	while (!LIST_EMPTY(&engine->strays))
		forget(LIST_FIRST(&engine->strays));
}

/* Refused while a container of it still runs: the next end asks again. */
static void on_stray_removed(void *userdata, const struct sandboxlink_call *call,
			     struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct stray *stray;
	struct stray *next;

	if (!reply->message || reply->err->kind == ERR_PRECONDITION)
		return;
	for (stray = LIST_FIRST(&engine->strays); stray; stray = next) {
		next = LIST_NEXT(stray, link);
		if (stray->instance == call->key[0])
			forget(stray);
	}
}

static void remove_stray(struct engine *engine, const struct stray *stray)
{
	const struct sandboxlink_call call = { .done = on_stray_removed,
					       .userdata = engine,
					       .key = { stray->instance } };

	/* The log files of an id that is still known are not the stray's to take along. */
	(void)request_remove_workload(engine, stray->id, stray->instance,
				      !engine_lookup(engine, stray->id), &call, NULL);
}

void inventory_stray_exited(struct engine *engine, const char *id, uint64_t instance)
{
	const struct stray *stray = find_stray(engine, id, instance);

	if (stray)
		remove_stray(engine, stray);
}

bool inventory_end_stray(struct engine *engine, const char *id)
{
	struct stray *stray;
	bool ended = false;

	LIST_FOREACH (stray, &engine->strays, link) {
		if (!stray->stays || strcmp(stray->id, id) != 0)
			continue;
		stray->stays = false;
		ended = true;
		engine->strays_removed++;
		(void)request_kill_workload(engine, stray->id, stray->instance, NULL);
	}
	return ended;
}

static bool is_live(const Berth__Sandbox__V1__KnownContainer *known)
{
	return known->state == PAGE_STARTING || known->state == PAGE_RUNNING;
}

static void add_stray(struct engine *engine, const Berth__Sandbox__V1__KnownWorkload *known)
{
	struct stray *stray = calloc(1, sizeof(*stray));
	bool live = false;

	FAILPOINT("berthd.recovery.stray");
	if (!stray)
		return; /* the next inventory finds it again */
	(void)snprintf(stray->id, sizeof(stray->id), "%s", known->workload);
	stray->instance = known->instance;
	LIST_INSERT_HEAD(&engine->strays, stray, link);
	for (size_t i = 0; i < known->n_containers; i++)
		live |= is_live(known->containers[i]);
	/* Where the store has lost its memory, not to be known is no reason to end. An id that is
	 * known, if only as deleted, has lost nothing. */
	stray->stays = live && engine->forgetful && !engine_lookup(engine, stray->id) &&
		       !fence_tombstone(&engine->fence, stray->id);
	if (stray->stays) {
		hold_release_unknown(engine, known);
		return;
	}
	engine->strays_removed++;
	log_event(LOG_NOTICE, &(struct log_about){ .workload = stray->id },
		  "berth-sandboxd has instance %llu of it, which is not known here: %s",
		  (unsigned long long)stray->instance, live ? "it is killed" : "it is removed");
	if (live)
		(void)request_kill_workload(engine, stray->id, stray->instance, NULL);
	else
		remove_stray(engine, stray);
}

/* ---- comparing ------------------------------------------------------------------------------------ */

static const Berth__Sandbox__V1__KnownContainer *find_known_container(
	const Berth__Sandbox__V1__KnownWorkload *known, const struct container *container)
{
	for (size_t i = 0; known && i < known->n_containers; i++)
		if (known->containers[i]->attempt == container->attempt &&
		    strcmp(known->containers[i]->container, container->spec->name) == 0)
			return known->containers[i];
	return NULL;
}

/* What became of a container that ran, or was on its way, when the connection broke. */
static void compare_container(struct container *container,
			      const Berth__Sandbox__V1__KnownContainer *known)
{
	const struct err failed = { .kind = ERR_UNAVAILABLE,
				    .text = "berth-sandboxd went away during the launch" };

	if (known && known->state == PAGE_EXITED && known->exited) {
		container_took_exited(container, known->exited);
	} else if (known && known->state == PAGE_FAILED) {
		container_took_failed(container, &failed, NULL);
	} else if (known) {
		/* Started comes again by itself. A gate that opened meanwhile: */
		if (container->phase == CONTAINER_LAUNCHING && container->workload->durable)
			(void)request_open_gate(container, NULL);
	} else if (container->phase == CONTAINER_LAUNCHING &&
		   (container->workload->engine->loaded ||
		    container->lost_launches++ < LOST_LAUNCHES_MAX)) {
		/* Decided, and berth-sandboxd, which remembers what it began, never did: it was
		 * ending, or the process here that decided it died. */
		container_reset(container);
	} else if (container->phase == CONTAINER_LAUNCHING) {
		/* Once more, and it may be this launch that ends berth-sandboxd. */
		container_took_failed(container, &failed, NULL);
	} else {
		container_forgotten(container, "berth-sandboxd came back without it");
	}
}

/* It was launched, and the process that knew of it died before that was durable: the launch goes on. */
static void take_attempt(struct container *container,
			 const Berth__Sandbox__V1__KnownContainer *known)
{
	struct workload *workload = container->workload;

	if (known->attempt > workload->attempt) {
		timer_disarm(&workload->engine->timers, &workload->backoff);
		for (size_t i = 0; i < workload->n_containers; i++)
			container_reset(&workload->containers[i]);
		workload->restarts += known->attempt - (workload->attempt ? workload->attempt : 1);
		workload->attempt = known->attempt;
		workload->next_restart_wall_ns = 0;
		workload_set_starting(workload);
	}
	if (workload->state == STATE(PULLING)) /* its images were here by then */
		workload_set_state(workload, STATE(STARTING), REASON(ACCEPTED), "starting");
	container_take_attempt(container, known->attempt);
}

static void take_attempts(struct workload *workload, const Berth__Sandbox__V1__KnownWorkload *known)
{
	uint64_t instance = workload->instance;

	for (size_t i = 0; known && i < known->n_containers; i++) {
		struct container *container = workload_container(workload,
								 known->containers[i]->container);

		if (!container || known->containers[i]->attempt <= container->attempt ||
		    container_is_live(container))
			continue;
		take_attempt(container, known->containers[i]);
		compare_container(container, known->containers[i]);
		if (workload->instance != instance || workload_is_ended(workload))
			return;
	}
}

/* Ends that are on record here, and that berth-sandboxd was not told to forget before a process died. */
static void release_ended(struct workload *workload, const Berth__Sandbox__V1__KnownWorkload *known)
{
	for (size_t i = 0; known && i < known->n_containers; i++) {
		struct container *container = workload_container(workload,
								 known->containers[i]->container);
		uint32_t attempt = known->containers[i]->attempt;

		if (!container || known->containers[i]->state != PAGE_EXITED)
			continue;
		if (attempt < container->attempt ||
		    (attempt == container->attempt && container->phase == CONTAINER_ENDED))
			release_container(container, attempt);
	}
}

/* @known is NULL where berth-sandboxd does not know the workload. */
static void compare_workload(struct workload *workload,
			     const Berth__Sandbox__V1__KnownWorkload *known)
{
	uint64_t instance = workload->instance;
	uint32_t attempt = workload->attempt;

	FAILPOINT("berthd.recovery.workload");
	release_ended(workload, known);
	/* An end can begin a new attempt or a new life, whose containers are not in question. */
	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (container_is_live(container))
			compare_container(container, find_known_container(known, container));
		if (workload->instance != instance || workload->attempt != attempt ||
		    workload->slot == UINT32_MAX)
			return;
	}
	if (!workload_is_ended(workload))
		take_attempts(workload, known);
	if (!known && !workload_is_live(workload))
		workload->created = false;
}

/* Where it stood is lost with a part of the store: what runs shows how far it had come. */
static void take_life_from(struct workload *workload,
			   const Berth__Sandbox__V1__KnownWorkload *known)
{
	uint32_t attempt = 0;

	for (size_t i = 0; i < known->n_containers; i++)
		if (known->containers[i]->attempt > attempt)
			attempt = known->containers[i]->attempt;
	workload->lifeless = false;
	workload->created = true;
	if (attempt == 0)
		return;
	workload->attempt = attempt;
	workload->restarts = attempt - 1;
	workload_set_state(workload, STATE(STARTING), REASON(ACCEPTED),
			   "found again after the agent's store was damaged");
}

static void compare_page(struct engine *engine,
			 const Berth__Sandbox__V1__InventoryResult *inventory)
{
	for (size_t i = 0; i < inventory->n_workloads; i++) {
		const Berth__Sandbox__V1__KnownWorkload *known = inventory->workloads[i];
		struct workload *workload = engine_lookup(engine, known->workload);

		if (workload && workload->instance == known->instance && workload->lifeless)
			take_life_from(workload, known);
		if (!workload || workload->instance != known->instance ||
		    (!workload->created && workload_is_ended(workload))) {
			add_stray(engine, known);
			continue;
		}
		/* Or it was asked to make it by a process that died before that was on record. */
		workload->created = true;
		workload->inventory_round = engine->inventory_round;
		hold_adopt(workload, known);
		compare_workload(workload, known);
	}
}

static void compare_missing(struct engine *engine)
{
	/* By slot: the sorted table moves when a workload goes. */
	for (size_t i = 0; i < engine->n_slots; i++) {
		struct workload *workload = engine->slots[i];

		if (workload && workload->inventory_round != engine->inventory_round)
			compare_workload(workload, NULL);
	}
}

/* What was to follow, where the process died that should have seen to it. */
static void go_on_after_end(struct workload *workload)
{
	if (workload->removing)
		return;
	if (workload->successor)
		workload_succeed(workload);
	else if (workload->delete_when_ended)
		workload_remove(workload);
}

/* What waited for berth-sandboxd goes on. */
static void go_on(struct engine *engine)
{
	for (size_t i = 0; i < engine->n_slots; i++) {
		struct workload *workload = engine->slots[i];

		if (!workload)
			continue;
		stop_resend(workload);
		if (workload_is_ended(workload))
			go_on_after_end(workload);
		else if (workload->no_restart && !workload->ending)
			stop_workload(workload, REASON(STOP_REQUESTED), -1, "asked to stop");
		else if (workload->state == STATE(PENDING))
			workload_attempt_if_it_may(workload);
		else if (workload->state == STATE(PULLING) && !workload->ending)
			images_begin(workload);
		else if (workload->ending)
			stop_advance(workload);
		else if (workload->state == STATE(BACKOFF) && !workload->backoff.armed)
			restart_now(workload);
		else
			workload_advance(workload);
	}
}

/* From here on what is not known was launched by nobody who still is. */
static void stop_being_forgetful(struct engine *engine)
{
	const struct stray *stray;

	LIST_FOREACH (stray, &engine->strays, link)
		if (stray->stays)
			return;
	if (!engine->forgetful)
		return;
	engine->forgetful = false;
	engine_keep_node(engine);
}

static void finish(struct engine *engine)
{
	char sentence[160];

	compare_missing(engine);
	FAILPOINT("berthd.recovery.compared");
	engine->ready = true;
	if (engine->was_ready || engine->strays_removed) {
		(void)snprintf(sentence, sizeof(sentence),
			       "berth-sandboxd is connected; %llu unknown workload%s removed",
			       (unsigned long long)engine->strays_removed,
			       engine->strays_removed == 1 ? " is" : "s are");
		node_event(engine, REASON(SANDBOX_BACK), sentence);
	}
	engine->was_ready = true;
	engine->loaded = false;
	if (!engine->forgetful)
		orphan_logs_remove(engine);
	stop_being_forgetful(engine);
	go_on(engine);
	changes_go_on(engine);
	FAILPOINT("berthd.recovery.going-on");
	if (engine->host.provider)
		engine->host.provider->ops->sweep(engine->host.provider);
	drain_resume(engine);
	engine_start_waiting(engine);
	if (engine->pressure)
		engine->pressure->ready(engine->pressure->userdata);
}

static void on_inventory(void *userdata, const struct sandboxlink_call *call,
			 struct sandboxlink_reply *reply);

/* Launches stay refused until an inventory is whole: where asking fails, the next connection asks. */
static void ask(struct engine *engine, const char *after)
{
	const struct sandboxlink_call call = { .done = on_inventory, .userdata = engine };

	FAILPOINT("berthd.recovery.ask");
	(void)request_inventory(engine, after, &call, NULL);
}

static void on_inventory(void *userdata, const struct sandboxlink_call *call,
			 struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	const Berth__Sandbox__V1__InventoryResult *page;

	if (!reply->message || reply->err->kind != ERR_NONE ||
	    reply->message->result_case != BERTH__SANDBOX__V1__REPLY__RESULT_INVENTORY)
		return;
	page = reply->message->inventory;
	engine_enter(engine);
	compare_page(engine, page);
	if (page->more && page->n_workloads)
		ask(engine, page->workloads[page->n_workloads - 1]->workload);
	else
		finish(engine);
	engine_leave(engine);
}

/* ---- the listener --------------------------------------------------------------------------------- */

/* Only the host's defaults, which berth-sandboxd has, say what workloads without limits are charged. */
static void charge_loaded(struct engine *engine)
{
	uint64_t memory = host_default_memory(&engine->host);

	for (size_t i = 0; i < engine->n_workloads; i++) {
		struct workload *workload = engine->by_id[i];
		struct charge charge;

		if (workload_is_ended(workload))
			continue;
		charge = charge_of(workload->spec->message, memory);
		if (workload->successor) {
			workload->successor->charge = charge_of(workload->successor->spec->message,
								memory);
			charge = charge_max(&charge, &workload->successor->charge);
		}
		charge_subtract(&engine->charged, &workload->charge);
		charge_add(&engine->charged, &charge);
		workload->charge = charge;
	}
}

static void on_up(void *userdata, const Berth__Sandbox__V1__HelloResult *hello)
{
	struct engine *engine = userdata;

	engine->link_up = true;
	if (host_take_hello(&engine->host, hello) < 0)
		return; /* without memory: not ready, and the link tries again when it breaks */
	if (engine->loaded)
		charge_loaded(engine);
	inventory_forget_strays(engine);
	engine->strays_removed = 0;
	engine->inventory_round++;
	ask(engine, "");
}

static void on_down(void *userdata, const struct err *err)
{
	struct engine *engine = userdata;
	char sentence[SENTENCE_MAX];

	engine_enter(engine);
	if (engine->link_up && engine->was_ready) {
		(void)snprintf(sentence, sizeof(sentence), "%s; running workloads run on",
			       err->text);
		node_event(engine, REASON(SANDBOX_LOST), sentence);
	}
	engine->link_up = false;
	engine->ready = false;
	sessions_link_lost(engine, err);
	engine_leave(engine);
}

static void on_fact(void *userdata, const Berth__Sandbox__V1__Fact *fact, int *fds, size_t n_fds)
{
	struct engine *engine = userdata;

	engine_enter(engine);
	fact_arrived(engine, fact, fds, n_fds);
	engine_leave(engine);
}

void inventory_attach(struct engine *engine)
{
	engine->link_listener = (struct sandboxlink_listener){
		.up = on_up, .down = on_down, .fact = on_fact, .userdata = engine
	};
	engine->link->listener = &engine->link_listener;
}

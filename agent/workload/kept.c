/*
 * What outlives the process: for each workload its intent (the spec) and its life (where it stands), and
 * for the host the fences, the history and whether it takes workloads.
 *
 * What is loaded is taken for true only until berth-sandboxd has said what there is: inventory.c brings
 * both together. Only a reboot is decided here: nothing of before it can be there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"
#include "agent/workload/record.h"
#include "berth/agent/v1/kept.pb-c.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"

#define LIFE_ARENA_BYTES (4U << 20)
#define NODE_ARENA_BYTES (4U << 20)

/* ---- keeping -------------------------------------------------------------------------------------- */

static Berth__Agent__V1__ContainerLife *container_life(const struct container *container,
						       struct arena *arena)
{
	Berth__Agent__V1__ContainerLife *life =
		arena_message(arena, &berth__agent__v1__container_life__descriptor);

	if (!life)
		return NULL;
	life->phase = container->phase;
	life->started_boot_ns = container->started_boot_ns;
	life->stop_asked = container->stop_asked;
	life->kill_asked = container->kill_asked;
	life->after_grace = container->after_grace;
	life->stuck = container->stuck;
	life->failed = container->failed;
	life->grace_boot_ns = container->grace.armed ? container->grace.at_boot_ns : 0;
	life->startup_done = container->startup_done;
	life->ended_by_probe = container->ended_by_probe;
	life->probe_sentence = (char *)container->probe_sentence;
	life->image = container->image;
	return life;
}

/* Figures that move without a transition would make every life a new one. */
static int fill_status(const struct workload *workload, struct arena *arena,
		       Berth__Agent__V1__Life *life)
{
	life->status = arena_message(arena, &berth__v1__workload_status__descriptor);
	if (!life->status || status_fill_now(workload, arena, life->status) < 0)
		return -ENOMEM;
	life->status->event_sequence = workload->event_sequence; /* told or not */
	if (workload->durable)
		life->status->n_labels = 0;
	life->status->n_volumes = 0; /* the life's own */
	life->status->next_restart_in_ms = 0;
	life->status->_lease_left_ms_case = 0;
	for (size_t i = 0; i < life->status->n_containers; i++) {
		Berth__V1__ContainerStatus *status = life->status->containers[i];

		status->image = NULL; /* the life's own */
		status->n_denied = 0;
		status->n_probes = 0;
		status->log_bytes = workload->containers[i].log_bytes;
		status->log_dropped_bytes = workload->containers[i].log_dropped_bytes;
	}
	return 0;
}

static int fill_successor(const struct workload *workload, struct arena *arena,
			  Berth__Agent__V1__Life *life)
{
	Berth__Agent__V1__Successor *next;

	if (!workload->successor)
		return 0;
	next = arena_message(arena, &berth__agent__v1__successor__descriptor);
	if (!next)
		return -ENOMEM;
	next->spec = workload->successor->spec->message;
	next->generation = workload->successor->generation;
	next->epoch = workload->successor->epoch;
	if (workload->successor->scheduler)
		next->scheduler = workload->successor->scheduler;
	life->successor = next;
	return 0;
}

static int fill_life(const struct workload *workload, struct arena *arena,
		     Berth__Agent__V1__Life *life)
{
	life->instance = workload->instance;
	life->boot_id = workload->engine->host.boot_id;
	life->attempt = workload->attempt;
	life->tries = workload->tries;
	life->stopped_generation = workload->stopped_generation;
	life->created = workload->created;
	life->waits_for_room = workload->waits_for_room;
	life->running_boot_ns = workload->running_boot_ns;
	life->next_restart_boot_ns = workload->backoff.armed ? workload->backoff.at_boot_ns : 0;
	life->ending = workload->ending;
	life->end_reason = workload->end_reason;
	life->end_sentence = (char *)workload->end_sentence;
	life->restart_rule = workload->restart_rule;
	life->no_restart = workload->no_restart;
	life->killed = workload->killed;
	life->delete_when_ended = workload->delete_when_ended;
	life->refused = workload->refused;
	if (workload->is_replacement && !workload->durable)
		life->spec = workload->spec->message;
	if (workload->launched)
		life->launched = workload->launched->message;
	life->change = (Berth__Agent__V1__Change *)change_intended(workload);
	if (workload->grace_override_ms >= 0) {
		life->_grace_override_ms_case =
			BERTH__AGENT__V1__LIFE___GRACE_OVERRIDE_MS_GRACE_OVERRIDE_MS;
		life->grace_override_ms = (uint64_t)workload->grace_override_ms;
	}
	for (size_t i = 0; i < workload->n_containers; i++)
		if (arena_append(arena, &life->containers, &life->n_containers,
				 container_life(&workload->containers[i], arena)) < 0)
			return -ENOMEM;
	if (volume_images_keep(workload, arena, life) < 0)
		return -ENOMEM;
	return fill_successor(workload, arena, life) < 0 ? -ENOMEM
							 : fill_status(workload, arena, life);
}

static void on_life_stored(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	uint32_t slot = (uint32_t)(ticket >> 32);
	struct workload *workload = slot < engine->n_slots ? engine->slots[slot] : NULL;

	/* A failure shows in the store's own sentence; it is put again when the disk takes it. */
	if (!workload)
		return;
	told_answered(workload, ticket);
	if (workload->life_ticket != ticket)
		return;
	workload->life_answered = true;
	if (engine->depth > 0) {
		workload_touch(workload);
		return;
	}
	engine_enter(engine);
	workload_touch(workload);
	engine_leave(engine);
}

static void put_life(struct workload *workload, const struct kept_life *kept)
{
	struct engine *engine = workload->engine;
	const struct store_done done = {
		.call = on_life_stored,
		.userdata = engine,
		.ticket = workload->life_ticket,
	};

	workload->life_answered = false;
	engine->store->ops->put_life(engine->store, workload->id, kept->bytes, kept->n, &done);
}

static uint64_t next_ticket(struct workload *workload)
{
	workload->life_ticket = (uint64_t)workload->slot << 32 |
				(uint32_t)++workload->engine->last_ticket;
	return workload->life_ticket;
}

static bool is_same(const struct kept_life *a, const struct kept_life *b)
{
	return a && b && a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

void workload_keep(struct workload *workload)
{
	Berth__Agent__V1__Life life = BERTH__AGENT__V1__LIFE__INIT;
	cleanup_arena struct arena arena;
	struct kept_life *kept;

	arena_init(&arena, LIFE_ARENA_BYTES);
	/* What is deleted has its tombstone. */
	if (workload->slot == UINT32_MAX || workload->bury_ticket ||
	    fill_life(workload, &arena, &life) < 0)
		return;
	kept = kept_life_new(workload->spec, &life);
	/* Without memory the next change tries again. */
	if (!kept || is_same(kept, told_last(workload))) {
		kept_life_free(kept);
		return;
	}
	kept->ticket = next_ticket(workload);
	told_put(workload, kept);
	put_life(workload, kept);
}

/* After the disk had failed. */
static void put_life_again(struct workload *workload)
{
	struct kept_life *kept = (struct kept_life *)told_last(workload);

	if (!kept)
		return;
	kept->ticket = next_ticket(workload);
	put_life(workload, kept);
}

static void fill_records(const struct engine *engine, struct arena *arena,
			 Berth__Agent__V1__Node *node)
{
	node->keeps_records = true;
	node->records_dropped = engine->records.dropped;
	node->acknowledges = engine->acknowledges;
	node->boot_first_sequence = engine->boot_first_sequence;
	/* What finds no memory is told again. */
	(void)records_fill_acknowledged(&engine->records, arena, node);
}

void engine_keep_node(struct engine *engine)
{
	const struct store_done nobody = { 0 };
	Berth__Agent__V1__Node node = BERTH__AGENT__V1__NODE__INIT;
	cleanup_free uint8_t *bytes = NULL;
	cleanup_arena struct arena arena;
	size_t n;

	arena_init(&arena, NODE_ARENA_BYTES);
	if (leases_fill(engine, &arena, &node) < 0)
		return; /* what was kept before stands */
	fill_records(engine, &arena, &node);
	node.events_instance = engine->events.instance;
	node.unschedulable = !engine->schedulable;
	node.unschedulable_sentence = engine->unschedulable;
	node.boot_id = engine->host.boot_id;
	node.knows_all = !engine->forgetful;
	if (engine->drain.deadline_boot_ns) {
		node.drain_deadline_boot_ns = engine->drain.deadline_boot_ns;
		node.drain_deadline_wall_ns = engine->drain.deadline_wall_ns;
	}
	n = berth__agent__v1__node__get_packed_size(&node);
	bytes = malloc(n ? n : 1);
	if (!bytes)
		return;
	(void)berth__agent__v1__node__pack(&node, bytes);
	engine->store->ops->put_node(engine->store, bytes, n, &nobody);
}

void engine_keep_all(struct engine *engine)
{
	const struct store_done nobody = { 0 };
	const struct store_ops *ops = engine->store->ops;

	engine_keep_node(engine);
	ops->put_epoch(engine->store, engine->fence.epoch, &nobody);
	fence_put_again(&engine->fence, engine->store);
	events_put_again(&engine->events);
	records_put_again(&engine->records);
	for (size_t i = 0; i < engine->n_workloads; i++) {
		struct workload *workload = engine->by_id[i];

		if (workload->bury_ticket)
			continue; /* the fence has it */
		/* Of what is taken back there is to be no intent. */
		if (!workload->refused || workload->is_replacement)
			workload_put_intent(workload, workload->no_restart);
		workload_keep(workload);
		put_life_again(workload);
	}
}

/* ---- loading -------------------------------------------------------------------------------------- */

static int load_epoch(void *userdata, uint64_t epoch)
{
	struct engine *engine = userdata;

	if (epoch > engine->fence.epoch)
		engine->fence.epoch = epoch;
	return 0;
}

static int load_generation(void *userdata, const char *id, uint64_t generation)
{
	struct engine *engine = userdata;

	return fence_bury(&engine->fence, id, generation);
}

static int load_node(void *userdata, const uint8_t *bytes, size_t n)
{
	struct engine *engine = userdata;
	Berth__Agent__V1__Node *node = berth__agent__v1__node__unpack(NULL, n, bytes);

	if (!node)
		return 0;
	engine->node_loaded = true;
	engine->forgetful = !node->knows_all;
	if (engine->kept_node)
		berth__agent__v1__node__free_unpacked(engine->kept_node, NULL);
	engine->schedulable = !node->unschedulable;
	(void)snprintf(engine->unschedulable, sizeof(engine->unschedulable), "%s",
		       node->unschedulable_sentence);
	engine->kept_node = node;
	engine->records.dropped = node->records_dropped;
	engine->acknowledges = node->acknowledges;
	if (strcmp(node->boot_id, engine->host.boot_id) == 0) {
		engine->boot_first_sequence = node->boot_first_sequence;
		engine->drain.deadline_boot_ns = node->drain_deadline_boot_ns;
		engine->drain.deadline_wall_ns = node->drain_deadline_wall_ns;
		leases_load(engine, node);
	} else {
		engine->rebooted = true;
	}
	return 0;
}

static struct spec *load_spec(const uint8_t *bytes, size_t n)
{
	Berth__V1__WorkloadSpec *message = berth__v1__workload_spec__unpack(NULL, n, bytes);
	struct spec *spec = message ? spec_new(message, NULL) : NULL;

	if (message)
		berth__v1__workload_spec__free_unpacked(message, NULL);
	return spec;
}

static int load_intent(void *userdata, const struct store_intent *intent)
{
	struct engine *engine = userdata;
	struct workload *workload = NULL;
	struct spec *spec = load_spec(intent->spec, intent->spec_bytes);
	struct err err = { 0 };
	int r;

	if (!spec)
		return -ENOMEM;
	r = workload_new(engine, spec, intent->generation, intent->epoch, &workload, &err);
	if (r < 0) {
		spec_free(spec);
		return r;
	}
	workload->instance = intent->instance;
	if (intent->instance > engine->last_instance)
		engine->last_instance = intent->instance;
	workload->no_restart = intent->stop;
	workload->durable = true;
	workload->intent_answered = true;
	workload->life_answered = true;
	/* Until its life says otherwise. */
	workload->lifeless = true;
	workload->state = STATE(PENDING);
	workload->reason = REASON(ACCEPTED);
	r = engine_add_workload(engine, workload, &err);
	if (r < 0) {
		workload_free(workload);
		return r;
	}
	charge_add(&engine->charged, &workload->charge);
	return 0;
}

static void load_record(struct container *container, const Berth__V1__ExitRecord *message)
{
	struct record *record = message ? record_new() : NULL;
	size_t n = message ? berth__v1__exit_record__get_packed_size(message) : 0;
	cleanup_free uint8_t *bytes = malloc(n ? n : 1);

	if (!record || !bytes) {
		record_free(record);
		return;
	}
	(void)berth__v1__exit_record__pack(message, bytes);
	record->message = berth__v1__exit_record__unpack(&record->arena.allocator, n, bytes);
	if (record->message)
		container->last_exit = record;
	else
		record_free(record);
}

static void load_probes(struct container *container, const Berth__Agent__V1__ContainerLife *life,
			const Berth__V1__ContainerStatus *status)
{
	container->probes_found = container->phase == CONTAINER_RUNNING;
	container->startup_done = life->startup_done;
	container->ended_by_probe = (Berth__V1__ProbeKind)life->ended_by_probe;
	(void)snprintf(container->probe_sentence, sizeof(container->probe_sentence), "%s",
		       life->probe_sentence);
	container->ready = status->ready;
	container->ready_changed_wall_ns = status->ready_changed_unix_ns;
	(void)snprintf(container->unready, sizeof(container->unready), "%s",
		       status->unready_sentence);
}

static void load_container(struct container *container, const Berth__Agent__V1__ContainerLife *life,
			   const Berth__V1__ContainerStatus *status)
{
	container->phase = life->phase <= CONTAINER_ENDED ? (enum container_phase)life->phase
							  : CONTAINER_IDLE;
	container->attempt = status->attempt;
	container->pid = status->pid;
	container->started_wall_ns = status->started_time_unix_ns;
	container->started_boot_ns = life->started_boot_ns;
	container->stop_asked = life->stop_asked;
	container->kill_asked = life->kill_asked;
	container->after_grace = life->after_grace;
	container->stuck = life->stuck;
	container->failed = life->failed;
	container->log_bytes = status->log_bytes;
	container->log_dropped_bytes = status->log_dropped_bytes;
	image_load(container, life->image);
	load_probes(container, life, status);
	load_record(container, status->last_exit);
	container_keep_launch(container, status);
	if (life->grace_boot_ns && container_is_live(container))
		stop_resume(container, life->grace_boot_ns);
}

static void load_containers(struct workload *workload, const Berth__Agent__V1__Life *life)
{
	size_t n = workload->n_containers;

	for (size_t i = 0; i < n && i < life->n_containers && i < life->status->n_containers; i++)
		load_container(&workload->containers[i], life->containers[i],
			       life->status->containers[i]);
}

static void load_successor(struct workload *workload, const Berth__Agent__V1__Successor *kept)
{
	struct successor *next = kept && kept->spec ? calloc(1, sizeof(*next)) : NULL;

	if (!next)
		return;
	next->spec = spec_new(kept->spec, NULL);
	if (!next->spec) {
		free(next);
		return;
	}
	next->generation = kept->generation;
	next->epoch = kept->epoch;
	next->scheduler = *kept->scheduler ? strdup(kept->scheduler) : NULL;
	workload->successor = next;
}

static void load_state(struct workload *workload, const Berth__Agent__V1__Life *life)
{
	const Berth__V1__WorkloadStatus *status = life->status;

	workload->state = status->state;
	workload->reason = status->reason;
	(void)snprintf(workload->sentence, sizeof(workload->sentence), "%s", status->sentence);
	workload->event_sequence = status->event_sequence;
	events_pass(&workload->engine->events, status->event_sequence);
	workload->created_wall_ns = status->created_time_unix_ns;
	workload->changed_wall_ns = status->changed_time_unix_ns;
	workload->next_restart_wall_ns = status->next_restart_unix_ns;
	workload->host_id_first = status->host_id_first;
	workload->restarts = status->restarts;
	workload->paused = status->paused;
	(void)snprintf(workload->hold.sentence, sizeof(workload->hold.sentence), "%s",
		       status->pressure_sentence);
	workload->ready = status->ready;
	workload->ready_changed_wall_ns = status->ready_changed_unix_ns;
	workload->epoch = status->epoch;
	workload->attempt = life->attempt;
	workload->tries = life->tries;
	workload->stopped_generation = life->stopped_generation;
	workload->created = life->created;
	workload->waits_for_room = life->waits_for_room;
	workload->running_boot_ns = life->running_boot_ns;
	workload->ending = life->ending;
	workload->end_reason = life->end_reason;
	(void)snprintf(workload->end_sentence, sizeof(workload->end_sentence), "%s",
		       life->end_sentence);
	workload->restart_rule = life->restart_rule;
	workload->no_restart |= life->no_restart;
	if (*status->scheduler)
		workload->scheduler = strdup(status->scheduler);
	workload->killed = life->killed;
	workload->delete_when_ended = life->delete_when_ended;
	workload->refused = life->refused;
	workload->is_replacement |= life->refused;
	if (life->_grace_override_ms_case)
		workload->grace_override_ms = (int64_t)life->grace_override_ms;
}

/* Nothing of before the boot is there any more. */
static void end_by_reboot(struct workload *workload, const char *boot_id)
{
	bool again = workload->spec->message->restart->mode ==
			     BERTH__V1__RESTART_MODE__RESTART_ALWAYS &&
		     !workload->no_restart && !workload->successor;
	bool live = workload_is_live(workload);
	char why[160];

	(void)snprintf(why, sizeof(why),
		       "the host was booted anew: it ran in boot %.40s, now is %.40s", boot_id,
		       workload->engine->host.boot_id);
	workload->created = false;
	workload->ending = false;
	workload->paused = false;
	workload->hold = (struct hold){ 0 };
	workload->running_boot_ns = 0;
	/* What waits for its images has nothing that could be gone, and waits on. */
	if (workload_is_ended(workload) || (workload->state == STATE(PULLING) && !live))
		return;
	for (size_t i = 0; i < workload->n_containers; i++)
		if (container_is_live(&workload->containers[i]))
			container_rebooted(&workload->containers[i], why);
	workload->waits_for_room = false;
	workload_set_state(workload, STATE(LOST), REASON(HOST_REBOOTED), "%s", why);
	if (again) {
		workload->restarts++;
		workload_set_state(workload, STATE(PENDING), REASON(RESTARTING),
				   "starts again after a boot of the host");
	}
}

static void load_timers(struct workload *workload, const Berth__Agent__V1__Life *life)
{
	if (workload->state == STATE(BACKOFF))
		restart_resume(workload, life->next_restart_boot_ns);
	if (!workload_is_ended(workload))
		lease_watch(workload);
}

static void uncharge_ended(struct workload *workload)
{
	if (!workload_is_ended(workload))
		return;
	charge_subtract(&workload->engine->charged, &workload->charge);
	workload->charge = (struct charge){ 0 };
}

static void take_life(struct workload *workload, const Berth__Agent__V1__Life *life)
{
	bool rebooted = strcmp(life->boot_id, workload->engine->host.boot_id) != 0;

	FAILPOINT("berthd.recovery.life");
	workload->lifeless = false;
	load_state(workload, life);
	if (workload->durable) {
		load_containers(workload, life);
		volume_images_load(workload, life);
	}
	load_successor(workload, life->successor);
	if (life->launched) /* without memory its launch is refused where it comes again */
		workload->launched = spec_new(life->launched, NULL);
	if (!workload->durable)
		unkept_refuse(workload);
	if (rebooted)
		end_by_reboot(workload, life->boot_id);
	if (life->change && !rebooted)
		change_load(workload, life->change);
	load_timers(workload, life);
	uncharge_ended(workload);
	workload_touch(workload);
}

static int load_life(void *userdata, const char *id, const uint8_t *bytes, size_t n)
{
	struct engine *engine = userdata;
	struct workload *workload = engine_lookup(engine, id);
	Berth__Agent__V1__Life *life = berth__agent__v1__life__unpack(NULL, n, bytes);
	int r = 0;

	if (life && life->instance > engine->last_instance)
		engine->last_instance = life->instance;
	if (life && life->status && !workload)
		return unkept_remember(engine, life);
	if (life && life->status && life->instance > workload->instance)
		r = unkept_take_place(workload, life);
	/* Of an earlier life of the id it says nothing. */
	if (r == 0 && life && life->status && life->instance == workload->instance) {
		/* What the store has need not be put again. */
		told_forget(workload);
		workload->told = kept_life_new(workload->spec, life);
		take_life(workload, life);
	}
	if (life)
		berth__agent__v1__life__free_unpacked(life, NULL);
	return r;
}

static void see_number(struct engine *engine, uint64_t sequence)
{
	if (engine->rebooted && sequence >= engine->boot_first_sequence)
		engine->boot_first_sequence = sequence + 1;
}

static int load_event(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct engine *engine = userdata;

	see_number(engine, sequence);
	return events_load(&engine->events, sequence, bytes, n);
}

/* Its bytes are shared with the history where that has them. */
static int add_record(struct engine *engine, uint64_t sequence, struct event_bytes *shared,
		      const Berth__V1__Event *event, bool put)
{
	struct kept_record record = { .sequence = sequence, .event = shared };

	if (event->exit && sequence >= engine->boot_first_sequence)
		record.boot_ns = event->time_boot_ns;
	(void)snprintf(record.id, sizeof(record.id), "%s", event->workload);
	return records_add(&engine->records, &record, put);
}

static int load_kept_record(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct engine *engine = userdata;
	Berth__V1__Event *event = berth__v1__event__unpack(NULL, n, bytes);
	struct event_bytes *shared = events_share(&engine->events, sequence);
	int r = 0;

	see_number(engine, sequence);
	if (!shared)
		shared = event_bytes_new(bytes, n);
	events_pass(&engine->events, sequence);
	if (!event)
		event_bytes_unref(shared); /* what is no event is left out */
	else
		r = shared ? add_record(engine, sequence, shared, event, false) : -ENOMEM;
	if (event)
		berth__v1__event__free_unpacked(event, NULL);
	return r;
}

/* A store of before there were records: those that the history still has become some. */
static void adopt_records(struct engine *engine)
{
	struct events *events = &engine->events;

	for (uint64_t s = events->oldest; s <= events->newest; s++) {
		struct event_bytes *shared = events_is_record(events, s) ? events_share(events, s)
									 : NULL;
		Berth__V1__Event *event;

		if (!shared)
			continue;
		event = berth__v1__event__unpack(NULL, shared->n, shared->bytes);
		if (event && !records_has(&engine->records, s))
			(void)add_record(engine, s, shared, event, true);
		else
			event_bytes_unref(shared);
		if (event)
			berth__v1__event__free_unpacked(event, NULL);
	}
}

static void take_node(struct engine *engine)
{
	Berth__Agent__V1__Node *node = engine->kept_node;

	if (!node || !node->keeps_records)
		adopt_records(engine);
	/* Where something is lost, a watcher that resumes is to know. */
	if (node && *node->events_instance && !engine->store->fresh)
		(void)snprintf(engine->events.instance, sizeof(engine->events.instance), "%s",
			       node->events_instance);
	for (size_t i = 0; node && i < node->n_acknowledged; i++)
		(void)records_acknowledge(&engine->records, node->acknowledged[i]->first,
					  node->acknowledged[i]->last);
	if (node)
		berth__agent__v1__node__free_unpacked(node, NULL);
	engine->kept_node = NULL;
}

int engine_load(struct engine *engine, struct err *err)
{
	const struct store_visitor visitor = { .epoch = load_epoch,
					       .generation = load_generation,
					       .node = load_node,
					       .intent = load_intent,
					       .life = load_life,
					       .event = load_event,
					       .record = load_kept_record,
					       .userdata = engine };
	int r = engine->store->ops->load(engine->store, &visitor, err);

	take_node(engine);
	unkept_end(engine, r >= 0 && !engine->store->fresh);
	if (r < 0)
		return r;
	leases_loaded(engine);
	records_apply_limits(engine);
	/* A file that was made, and whose maker died before it could write who it is, is as new. */
	engine->forgetful |= engine->store->fresh || (engine->store->keeps && !engine->node_loaded);
	engine->loaded = engine->n_workloads > 0;
	engine_keep_node(engine);
	return 0;
}

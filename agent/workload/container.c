/* One container within an attempt: asked for, running, ended. What follows for the workload is
 * workload.c's; a function that hands on to it touches the container no more. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/workload/model.h"
#include "agent/workload/record.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"

#define LAUNCH_ARENA_BYTES (64U * 1024)

bool container_is_live(const struct container *container)
{
	return container->phase == CONTAINER_LAUNCHING || container->phase == CONTAINER_RUNNING;
}

uint64_t container_memory_limit(const struct container *container)
{
	const Berth__V1__Resources *r = container->spec->resources;

	if (r && r->_memory_limit_bytes_case)
		return r->memory_limit_bytes;
	return host_default_memory(&container->workload->engine->host);
}

const Berth__V1__Container *container_run(const struct container *container)
{
	return container->image ? container->image->run : container->spec;
}

static uint64_t pids_limit(const struct container *container)
{
	const Berth__V1__Resources *r = container->spec->resources;

	if (r && r->_pids_limit_case)
		return r->pids_limit;
	return host_default_pids(&container->workload->engine->host);
}

const char *container_role_name(const struct container *container)
{
	switch (container->spec->role) {
	case ROLE(INIT):
		return "init container";
	case ROLE(SIDECAR):
		return "sidecar";
	default:
		return "container";
	}
}

static void drop_page(struct container *container)
{
	if (container->page)
		(void)munmap((void *)container->page, PAGE_BYTES);
	container->page = NULL;
}

static void drop_launch(struct container *container)
{
	if (container->launch) {
		arena_done(container->launch);
		free(container->launch);
	}
	container->launch = NULL;
	container->steps = NULL;
	container->n_steps = 0;
	container->warnings = NULL;
	container->n_warnings = 0;
}

void container_reset(struct container *container)
{
	timer_disarm(&container->workload->engine->timers, &container->grace);
	probes_end(container);
	drop_page(container);
	drop_launch(container);
	container->phase = CONTAINER_IDLE;
	container->pid = 0;
	container->started_wall_ns = 0;
	container->started_boot_ns = 0;
	container->gate_waits = false;
	container->stop_asked = false;
	container->kill_asked = false;
	container->after_grace = false;
	container->stuck = false;
	container->failed = false;
	container->probes_found = false;
	container->startup_done = false;
	container->ended_by_probe = 0;
	container->probe_sentence[0] = '\0';
}

void container_done(struct container *container)
{
	container_reset(container);
	image_forget(container);
	record_free(container->last_exit);
	container->last_exit = NULL;
}

static struct engine_container ref_of(const struct container *container)
{
	const struct workload *workload = container->workload;

	return (struct engine_container){ .workload = workload->id,
					  .instance = workload->instance,
					  .generation = workload->generation,
					  .container = container->spec->name,
					  .attempt = container->attempt };
}

static void on_launch_answered(void *userdata, const struct sandboxlink_call *call,
			       struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct workload *workload = engine_find_slot(engine, (uint32_t)call->key[0], call->key[1]);
	struct container *container;

	/* A broken connection leaves the question to the inventory. */
	/* One that is ending refuses: the inventory of the next one has it begin again. */
	if (!workload || !reply->message || reply->err->kind == ERR_NONE ||
	    reply->err->kind == ERR_UNAVAILABLE)
		return;
	container = &workload->containers[call->key[2]];
	if (container->attempt != call->key[3] || container->phase != CONTAINER_LAUNCHING)
		return;
	engine_enter(engine);
	container_took_failed(container, reply->err, NULL);
	engine_leave(engine);
}

void container_launch(struct container *container)
{
	struct workload *workload = container->workload;
	const struct sandboxlink_call call = { .done = on_launch_answered,
					       .userdata = workload->engine,
					       .key = { workload->slot, workload->instance,
							container->index, workload->attempt } };
	struct err err = { 0 };

	container->attempt = workload->attempt;
	container->gate_waits = !workload->durable;
	container->phase = CONTAINER_LAUNCHING;
	FAILPOINT("berthd.launch.send");
	/* A peer that has gone unnoticed: the inventory of the next one has it begin again. */
	if (request_launch(container, &call, &err) < 0 && err.kind != ERR_UNAVAILABLE)
		container_took_failed(container, &err, NULL);
}

/* ---- started -------------------------------------------------------------------------------------- */

static void map_page(struct container *container, int page_fd)
{
	struct stat st;
	void *page;

	/* A file that is shorter than the page would end us by SIGBUS. */
	if (page_fd < 0 || container->page || fstat(page_fd, &st) < 0 || st.st_size < PAGE_BYTES)
		return;
	page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, page_fd, 0);
	if (page != MAP_FAILED)
		container->page = page;
}

static int add_step(struct container *container, const char *name, uint64_t ns)
{
	struct arena *arena = container->launch;
	Berth__V1__StepTime *step = arena_message(arena, &berth__v1__step_time__descriptor);
	char *copy = arena_strdup(arena, name);

	if (!step || !copy)
		return -ENOMEM;
	step->step = copy;
	step->ns = ns;
	return arena_append(arena, &container->steps, &container->n_steps, step);
}

static void add_warnings(struct container *container, char *const *warnings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (arena_append(container->launch, &container->warnings, &container->n_warnings,
				 arena_strdup(container->launch, warnings[i])) < 0)
			return;
}

static bool begin_launch(struct container *container)
{
	container->launch = malloc(sizeof(*container->launch));
	if (container->launch)
		arena_init(container->launch, LAUNCH_ARENA_BYTES);
	return container->launch;
}

static void keep_launch(struct container *container, const Berth__Sandbox__V1__Started *fact)
{
	if (!begin_launch(container))
		return;
	for (size_t i = 0; i < fact->n_steps; i++)
		if (add_step(container, fact->steps[i]->step, fact->steps[i]->ns) < 0)
			return;
	add_warnings(container, fact->warnings, fact->n_warnings);
}

void container_keep_launch(struct container *container, const Berth__V1__ContainerStatus *status)
{
	if ((!status->n_launch_steps && !status->n_warnings) || !begin_launch(container))
		return;
	for (size_t i = 0; i < status->n_launch_steps; i++)
		if (add_step(container, status->launch_steps[i]->step,
			     status->launch_steps[i]->ns) < 0)
			return;
	add_warnings(container, status->warnings, status->n_warnings);
}

static void tell_started(struct container *container, const Berth__Sandbox__V1__Started *fact,
			 int *fds, size_t n_fds)
{
	const struct engine_listener *listener = container->workload->engine->listener;
	int none = -1;
	struct engine_started started = {
		.ref = ref_of(container),
		.pid = container->pid,
		.started_boot_ns = container->started_boot_ns,
		.page_fd = n_fds > 0 ? &fds[0] : &none,
		.cgroup_fds = n_fds > 1 ? &fds[1] : NULL,
		.cgroup_names = fact->cgroup_dirs,
		.n_cgroups = n_fds > 1 ? n_fds - 1 : 0,
		.memory_limit_bytes = container_memory_limit(container),
		.pids_limit = pids_limit(container),
	};

	if (started.n_cgroups > fact->n_cgroup_dirs)
		started.n_cgroups = fact->n_cgroup_dirs;
	if (listener && listener->container_started)
		listener->container_started(listener->userdata, &started);
}

void container_took_started(struct container *container, const Berth__Sandbox__V1__Started *fact,
			    int *fds, size_t n_fds)
{
	struct workload *workload = container->workload;
	bool again = container->phase == CONTAINER_RUNNING;

	/* It is told again after a new connection: news only where it was missed. */
	if (container->phase == CONTAINER_ENDED || (again && container->page))
		return;
	FAILPOINT("berthd.started.heard");
	container->lost_launches = 0;
	container->phase = CONTAINER_RUNNING;
	container->pid = fact->pid;
	container->started_wall_ns = fact->started_wall_ns;
	container->started_boot_ns = fact->started_boot_ns;
	map_page(container, n_fds > 0 ? fds[0] : -1);
	if (!again || fact->n_steps) { /* told again it has no steps */
		drop_launch(container);
		keep_launch(container, fact);
	}
	tell_started(container, fact, fds, n_fds);
	if (again) {
		if (!container->stop_asked)
			probes_begin(container);
		return;
	}
	workload_event(workload, container, REASON(STARTED), NULL, "%s %s started",
		       container_role_name(container), container->spec->name);
	change_go_on(workload);
	if (container->kill_asked) /* it was asked while it was on its way */
		(void)request_kill(container, NULL);
	else
		probes_begin(container);
	workload_advance(workload);
}

/* ---- ended ---------------------------------------------------------------------------------------- */

/* What the container's end means for the attempt. @container may be gone afterwards. */
static void hand_on(struct container *container)
{
	struct workload *workload = container->workload;
	const Berth__V1__ExitRecord *record = container->last_exit ? container->last_exit->message
								   : NULL;
	Berth__V1__Reason reason = record ? record->reason : REASON(HOST_FAILURE);
	const char *sentence = record ? record->sentence : "out of memory for its record";

	if (workload->ending) {
		if (workload->state == STATE(STUCK) && workload_is_live(workload))
			workload_set_state(workload, STATE(STOPPING), workload->end_reason, "%s",
					   workload->end_sentence);
		stop_advance(workload);
	} else if (container->spec->role != ROLE(INIT)) {
		workload->restart_rule = restart_find_rule(workload, record);
		workload_end(workload, reason, "%s %s %s", container_role_name(container),
			     container->spec->name, sentence);
	} else if (reason == REASON(COMPLETED)) {
		workload_advance(workload);
	} else if (reason == REASON(START_FAILED) || reason == REASON(HOST_FAILURE)) {
		workload_end(workload, reason, "init container %s %s", container->spec->name,
			     sentence);
	} else {
		workload->restart_rule = restart_find_rule(workload, record);
		workload_end(workload, REASON(INIT_FAILED), "init container %s %s",
			     container->spec->name, sentence);
	}
}

/* It may have ended by itself, and be told of it only after its kill was asked for. */
static bool needed_the_kill(const struct container *container)
{
	const Berth__V1__ExitRecord *end = container->last_exit ? container->last_exit->message
								: NULL;

	return container->after_grace &&
	       (!end || end->kind == BERTH__V1__EXIT_KIND__EXIT_UNKNOWN || end->signal == SIGKILL);
}

static void set_ended(struct container *container, struct record *record)
{
	timer_disarm(&container->workload->engine->timers, &container->grace);
	probes_end(container);
	readiness_lost(container, container->failed ? "it could not be started" : "it has ended");
	container->phase = CONTAINER_ENDED;
	container->pid = 0;
	container->gate_waits = false;
	record_free(container->last_exit);
	container->last_exit = record;
	container->workload->killed |= needed_the_kill(container);
}

/* The last of it: output, samples, the event; then the page goes. */
static void close_record(struct container *container)
{
	struct workload *workload = container->workload;
	struct engine *engine = workload->engine;
	const struct engine_listener *listener = engine->listener;
	const struct engine_container ref = ref_of(container);
	struct record *record = container->last_exit;
	const Berth__V1__ExitRecord *message = record ? record->message : NULL;

	if (record && !container->failed) {
		tail_read(engine_log_dir(engine), workload->id, container->spec->name,
			  container->started_wall_ns, &record->arena, record->message);
		if (listener && listener->last_samples)
			listener->last_samples(listener->userdata, &ref, &record->arena,
					       record->message);
	}
	if (!workload->refused) /* or nothing was launched that could end */
		workload_event(workload, container,
			       message ? message->reason : REASON(HOST_FAILURE), message,
			       "%s %s %s", container_role_name(container), container->spec->name,
			       message ? message->sentence : "ended");
	if (!container->failed && message && listener && listener->container_ended)
		listener->container_ended(listener->userdata, &ref, message);
	sessions_container_ended(container);
	drop_page(container);
}

void container_took_exited(struct container *container, const Berth__Sandbox__V1__Exited *fact)
{
	if (!container_is_live(container))
		return;
	/* Exited without Started: the news of the start was lost with a connection. */
	if (container->phase == CONTAINER_LAUNCHING)
		container->started_boot_ns = 0;
	FAILPOINT("berthd.exited.heard");
	set_ended(container, record_of_exit(container, fact));
	container->log_bytes = fact->log_bytes;
	container->log_dropped_bytes = fact->log_dropped_bytes;
	close_record(container);
	FAILPOINT("berthd.exited.event");
	workload_keep(container->workload);
	FAILPOINT("berthd.exited.kept");
	release_container(container, container->attempt);
	change_go_on(container->workload);
	hand_on(container);
}

void container_took_failed(struct container *container, const struct err *failure, const char *step)
{
	if (!container_is_live(container))
		return;
	container->failed = true;
	/* A layer may be what is not there: refused at once, or by the monitor. */
	if (failure->kind == ERR_NOT_FOUND && (!step || strcmp(step, "layers") == 0))
		image_lost(container);
	set_ended(container, record_of_failed_start(container, failure, step));
	close_record(container);
	change_go_on(container->workload);
	hand_on(container);
}

void container_rebooted(struct container *container, const char *why)
{
	struct record *record = record_of_unknown(container, why);

	if (record)
		record->message->reason = REASON(HOST_REBOOTED);
	set_ended(container, record);
	close_record(container);
}

void container_take_attempt(struct container *container, uint32_t attempt)
{
	container_reset(container);
	container->attempt = attempt;
	container->phase = CONTAINER_LAUNCHING;
}

void container_forgotten(struct container *container, const char *why)
{
	if (!container_is_live(container))
		return;
	set_ended(container, record_of_unknown(container, why));
	close_record(container);
	change_go_on(container->workload);
	hand_on(container);
}

#include "sandbox/facts.h"

#include <errno.h>

#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/page_file.h"
#include "sandbox/sandboxd.h"
#include "sandbox/taskgroup.h"

#define FACT_MEMORY (256U << 10)

static const char *const dir_names[TASKGROUP_DIR_COUNT] = {
	[TASKGROUP_DIR_UNIFIED] = "unified", [TASKGROUP_DIR_MEMORY] = "memory",
	[TASKGROUP_DIR_CPU] = "cpu",         [TASKGROUP_DIR_CPUACCT] = "cpuacct",
	[TASKGROUP_DIR_IO] = "blkio",        [TASKGROUP_DIR_PIDS] = "pids",
};

static struct agent_link *link_of(const struct container *container)
{
	return container->monitor.host->link;
}

static Berth__Sandbox__V1__ContainerRef ref_of(struct container *container)
{
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;

	ref.workload = container->workload->id;
	ref.instance = container->workload->instance;
	ref.container = container->name;
	ref.attempt = container->attempt;
	return ref;
}

static Berth__Sandbox__V1__Failure failure_of(struct err *err)
{
	Berth__Sandbox__V1__Failure failure = BERTH__SANDBOX__V1__FAILURE__INIT;

	failure.kind = err->kind;
	failure.errnum = err->errnum;
	failure.text = err->text;
	return failure;
}

/* Step times as arrays of messages that live in the caller's frame. */
struct steps {
	Berth__Sandbox__V1__StepTime list[MONITOR_STEPS_MAX];
	Berth__Sandbox__V1__StepTime *pointers[MONITOR_STEPS_MAX];
	size_t n;
};

static void steps_fill(struct steps *steps, const struct monitor_started *started)
{
	steps->n = started ? started->step_count : 0;
	if (steps->n > MONITOR_STEPS_MAX)
		steps->n = MONITOR_STEPS_MAX;
	for (size_t i = 0; i < steps->n; i++) {
		berth__sandbox__v1__step_time__init(&steps->list[i]);
		steps->list[i].step = (char *)started->steps[i].name;
		steps->list[i].ns = started->steps[i].ns;
		steps->pointers[i] = &steps->list[i];
	}
}

/* The page and the directories, as far as they are there: fds[0] is always the page. Returns how many,
 * with the directories' names from names[0] on. */
static size_t open_for_agent(struct container *container, int fds[static TASKGROUP_DIR_COUNT + 1],
			     char *names[static TASKGROUP_DIR_COUNT])
{
	int dirs[TASKGROUP_DIR_COUNT];
	size_t n = 0;

	fds[0] = page_file_open(container->run_fd);
	if (fds[0] < 0)
		return 0;
	if (!container->group || taskgroup_open_dirs(container->group, dirs, NULL) < 0)
		return 1;
	for (size_t i = 0; i < TASKGROUP_DIR_COUNT; i++) {
		if (dirs[i] < 0)
			continue;
		names[n] = (char *)dir_names[i];
		fds[++n] = dirs[i];
	}
	return n + 1;
}

void facts_started(struct container *container, const struct monitor_started *started)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Started message = BERTH__SANDBOX__V1__STARTED__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);
	int fds[TASKGROUP_DIR_COUNT + 1];
	char *names[TASKGROUP_DIR_COUNT];
	struct steps steps;
	size_t n;

	if (!agent_link_is_ready(link_of(container)))
		return;
	steps_fill(&steps, started);
	message.ref = &ref;
	message.pid = container->monitor.first_pid;
	message.n_steps = steps.n;
	message.steps = steps.pointers;
	message.n_warnings = container->n_warnings;
	message.warnings = container->warnings;
	message.started_wall_ns = container->monitor.started_wall_ns;
	message.started_boot_ns = container->monitor.started_boot_ns;
	n = open_for_agent(container, fds, names);
	message.n_cgroup_dirs = n ? n - 1 : 0;
	message.cgroup_dirs = names;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_STARTED;
	fact.started = &message;
	agent_link_fact(link_of(container), &fact, fds, n);
	for (size_t i = 0; i < n; i++)
		fd_close(&fds[i]);
}

void facts_start_failed(struct container *container)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__StartFailed message = BERTH__SANDBOX__V1__START_FAILED__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);
	Berth__Sandbox__V1__Failure failure = failure_of(&container->failed.err);

	message.ref = &ref;
	message.failure = &failure;
	message.step = container->failed.step;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_START_FAILED;
	fact.start_failed = &message;
	agent_link_fact(link_of(container), &fact, NULL, 0);
}

static int add_denied(Berth__Sandbox__V1__Exited *message, const struct container_page *page,
		      struct arena *arena)
{
	for (uint32_t i = 0; i < page->denied_count; i++) {
		Berth__Sandbox__V1__DeniedCall *call =
			arena_message(arena, &berth__sandbox__v1__denied_call__descriptor);

		if (arena_append(arena, &message->denied, &message->n_denied, call) < 0)
			return -ENOMEM;
		call->number = page->denied[i].number;
		call->errnum = page->denied[i].errnum;
		call->times = page->denied[i].times;
		call->program = arena_strdup(arena, page->denied[i].program);
		if (!call->program)
			return -ENOMEM;
	}
	return 0;
}

Berth__Sandbox__V1__Exited *facts_exited_message(struct container *container, struct arena *arena)
{
	const struct monitor_exited *exited = &container->exited;
	Berth__Sandbox__V1__Exited *message =
		arena_message(arena, &berth__sandbox__v1__exited__descriptor);
	Berth__Sandbox__V1__ContainerRef *ref =
		arena_message(arena, &berth__sandbox__v1__container_ref__descriptor);
	struct container_page page;

	if (!message || !ref)
		return NULL;
	*ref = ref_of(container);
	message->ref = ref;
	message->exit_si_code = exited->exit_si_code;
	message->exit_si_status = exited->exit_si_status;
	message->finished_wall_ns = exited->finished_wall_ns;
	message->finished_boot_ns = exited->finished_boot_ns;
	message->total_cpu_ns = exited->total_cpu_ns;
	message->total_memory_peak_bytes = exited->total_memory_peak_bytes;
	message->total_io_read_bytes = exited->total_io_read_bytes;
	message->total_io_write_bytes = exited->total_io_write_bytes;
	message->total_oom_kills = exited->total_oom_kills;
	message->killed_processes = exited->killed_processes;
	message->log_bytes = exited->log_bytes;
	message->log_dropped_bytes = exited->log_dropped_bytes;
	message->unknown_reason = container->unknown_reason;
	if (page_file_read(container->run_fd, &page, NULL) == 0 &&
	    add_denied(message, &page, arena) < 0)
		return NULL;
	return message;
}

void facts_exited(struct container *container)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	cleanup_arena struct arena arena;

	arena_init(&arena, FACT_MEMORY);
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXITED;
	fact.exited = facts_exited_message(container, &arena);
	if (fact.exited)
		agent_link_fact(link_of(container), &fact, NULL, 0);
}

void facts_denied(struct container *container, const struct monitor_denied *denied)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Denied message = BERTH__SANDBOX__V1__DENIED__INIT;
	Berth__Sandbox__V1__DeniedCall call = BERTH__SANDBOX__V1__DENIED_CALL__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);

	call.number = denied->nr;
	call.errnum = (int32_t)denied->errnum;
	call.times = 1;
	call.program = (char *)denied->program;
	message.ref = &ref;
	message.call = &call;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_DENIED;
	fact.denied = &message;
	agent_link_fact(link_of(container), &fact, NULL, 0);
}

void facts_unkillable(struct container *container, const char *const *processes, size_t n)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Unkillable message = BERTH__SANDBOX__V1__UNKILLABLE__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);

	message.ref = &ref;
	message.n_processes = n;
	message.processes = (char **)processes;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_UNKILLABLE;
	fact.unkillable = &message;
	agent_link_fact(link_of(container), &fact, NULL, 0);
}

void facts_exec_started(struct session *session, const struct monitor_started *started)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecStarted message = BERTH__SANDBOX__V1__EXEC_STARTED__INIT;
	struct steps steps;

	steps_fill(&steps, started);
	message.session = session->id;
	message.pid = started->pid;
	message.n_steps = steps.n;
	message.steps = steps.pointers;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_STARTED;
	fact.exec_started = &message;
	agent_link_fact(link_of(session->monitor.container), &fact, NULL, 0);
}

void facts_exec_failed(struct session *session, const struct monitor_failed *failed)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecFailed message = BERTH__SANDBOX__V1__EXEC_FAILED__INIT;
	Berth__Sandbox__V1__Failure failure = failure_of((struct err *)&failed->err);

	message.session = session->id;
	message.failure = &failure;
	message.step = (char *)failed->step;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_FAILED;
	fact.exec_failed = &message;
	agent_link_fact(link_of(session->monitor.container), &fact, NULL, 0);
}

void facts_exec_exited(struct session *session, const struct monitor_exited *exited)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecExited message = BERTH__SANDBOX__V1__EXEC_EXITED__INIT;

	message.session = session->id;
	message.exit_si_code = exited->exit_si_code;
	message.exit_si_status = exited->exit_si_status;
	message.finished_wall_ns = exited->finished_wall_ns;
	message.finished_boot_ns = exited->finished_boot_ns;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_EXITED;
	fact.exec_exited = &message;
	agent_link_fact(link_of(session->monitor.container), &fact, NULL, 0);
}

void facts_tell_again(struct workload *workload)
{
	struct container *container;

	LIST_FOREACH (container, &workload->containers, link) {
		if (container->state == PAGE_RUNNING)
			facts_started(container, NULL);
		else if (container->state == PAGE_FAILED)
			facts_start_failed(container);
	}
}

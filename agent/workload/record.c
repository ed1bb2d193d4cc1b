#include "agent/workload/record.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cleanup.h"
#include "proto/signame.h"
#include "proto/syscall_names.h"

#define RECORD_ARENA_BYTES (256U * 1024)

struct record *record_new(void)
{
	struct record *record = malloc(sizeof(*record));

	if (!record)
		return NULL;
	arena_init(&record->arena, RECORD_ARENA_BYTES);
	record->message = arena_message(&record->arena, &berth__v1__exit_record__descriptor);
	if (record->message)
		return record;
	record_free(record);
	return NULL;
}

void record_free(struct record *record)
{
	if (!record)
		return;
	arena_done(&record->arena);
	free(record);
}

/* arena_printf() that leaves "" rather than NULL. */
static char *or_empty(char *text)
{
	return text ? text : (char *)"";
}

static void fill_signal(Berth__V1__ExitRecord *record, struct arena *arena, int32_t signal,
			bool core)
{
	char name[SIGNAME_MAX];

	record->kind = core ? BERTH__V1__EXIT_KIND__EXIT_CORE_DUMPED
			    : BERTH__V1__EXIT_KIND__EXIT_SIGNAL;
	record->signal = signal;
	record->reason = REASON(SIGNALED);
	record->signal_name = or_empty(arena_strdup(arena, signame_format(signal, name)));
	record->sentence = or_empty(arena_printf(arena, "ended by %s%s", record->signal_name,
						 core ? ", core dumped" : ""));
}

int record_fill_end(Berth__V1__ExitRecord *record, struct arena *arena, int32_t exit_si_code,
		    int32_t exit_si_status, const char *unknown_reason)
{
	switch (exit_si_code) {
	case CLD_EXITED:
		record->kind = BERTH__V1__EXIT_KIND__EXIT_CODE;
		record->code = exit_si_status;
		record->reason = exit_si_status == 0 ? REASON(COMPLETED) : REASON(EXITED_NONZERO);
		record->sentence =
			or_empty(arena_printf(arena, "exited with code %d", exit_si_status));
		return 0;
	case CLD_KILLED:
	case CLD_DUMPED:
		fill_signal(record, arena, exit_si_status, exit_si_code == CLD_DUMPED);
		return 0;
	default:
		record->kind = BERTH__V1__EXIT_KIND__EXIT_UNKNOWN;
		record->reason = REASON(HOST_FAILURE);
		record->sentence = or_empty(arena_printf(
			arena, "how it ended is not known: %s",
			unknown_reason && *unknown_reason ? unknown_reason : "the kernel forgot"));
		return 0;
	}
}

static const char *errno_name(int errnum, char text[static 16])
{
	const char *name = strerrorname_np(errnum);

	if (name)
		return name;
	(void)snprintf(text, 16, "errno %d", errnum);
	return text;
}

Berth__V1__DeniedSyscall *record_denied(struct arena *arena, uint32_t number, int32_t errnum,
					uint64_t times, const char *program)
{
	Berth__V1__DeniedSyscall *denied = arena_message(arena,
							 &berth__v1__denied_syscall__descriptor);
	const char *name = syscall_name((long)number);
	char text[16];

	if (!denied)
		return NULL;
	denied->name = name ? (char *)name : or_empty(arena_printf(arena, "syscall_%u", number));
	denied->number = number;
	denied->times = times;
	denied->error = or_empty(arena_strdup(arena, errno_name(errnum, text)));
	denied->last_program = or_empty(arena_strdup(arena, program));
	return denied;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / 0x1p20;
}

/* The kernel's OOM killer sends SIGKILL, and counts it in the group. Where we have sent one too, the
 * first process's end cannot be laid at its door. */
static void say_oom(const struct container *container, Berth__V1__ExitRecord *record,
		    struct arena *arena)
{
	bool first_process = record->kind == BERTH__V1__EXIT_KIND__EXIT_SIGNAL &&
			     record->signal == SIGKILL && !container->kill_asked;
	char limit[48] = "";

	record->oom_killed = record->oom_kills > 0;
	if (!record->oom_killed)
		return;
	if (record->memory_limit_bytes)
		(void)snprintf(limit, sizeof(limit), " of %.1f MiB",
			       mib(record->memory_limit_bytes));
	if (first_process) {
		record->reason = REASON(OOM_KILLED);
		record->sentence = or_empty(
			arena_printf(arena, "killed by the OOM killer: memory peak %.1f MiB%s",
				     mib(record->memory_peak_bytes), limit));
		return;
	}
	record->sentence = or_empty(arena_printf(
		arena, "%s; the OOM killer had ended %llu of its processes: memory peak %.1f MiB%s",
		record->sentence, (unsigned long long)record->oom_kills,
		mib(record->memory_peak_bytes), limit));
}

/* It ended because it was asked to. */
/* It was asked because a probe failed: that is the reason, not the asking. */
static void say_probe(const struct container *container, Berth__V1__ExitRecord *record,
		      struct arena *arena)
{
	const char *how = record->sentence;

	record->reason = container->ended_by_probe == BERTH__V1__PROBE_KIND__PROBE_STARTUP
				 ? REASON(STARTUP_FAILED)
				 : REASON(LIVENESS_FAILED);
	if (container->after_grace && record->signal == SIGKILL)
		how = "killed when its grace was over";
	record->sentence = or_empty(arena_printf(arena, "%s; %s", container->probe_sentence, how));
}

static void say_stopped(const struct container *container, Berth__V1__ExitRecord *record,
			struct arena *arena)
{
	if (!container->stop_asked || record->kind == BERTH__V1__EXIT_KIND__EXIT_UNKNOWN)
		return;
	if (container->ended_by_probe) {
		say_probe(container, record, arena);
		return;
	}
	if (container->after_grace && record->signal == SIGKILL) {
		record->reason = REASON(KILLED_AFTER_GRACE);
		record->sentence = or_empty(
			arena_printf(arena, "killed: it did not end within its grace after %s",
				     container_run(container)->stop_signal));
		return;
	}
	record->reason = REASON(STOP_REQUESTED);
	record->sentence = or_empty(arena_printf(arena, "asked to end; %s", record->sentence));
}

static void fill_times(const struct container *container, Berth__V1__ExitRecord *record)
{
	record->attempt = container->attempt;
	record->started_time_unix_ns = container->started_wall_ns;
	record->started_boot_ns = container->started_boot_ns;
	record->memory_limit_bytes = container_memory_limit(container);
}

struct record *record_of_exit(const struct container *container,
			      const Berth__Sandbox__V1__Exited *fact)
{
	struct record *record = record_new();
	Berth__V1__ExitRecord *m;

	if (!record)
		return NULL;
	m = record->message;
	fill_times(container, m);
	m->finished_time_unix_ns = fact->finished_wall_ns;
	m->finished_boot_ns = fact->finished_boot_ns;
	m->cpu_usage_ns = fact->total_cpu_ns;
	m->memory_peak_bytes = fact->total_memory_peak_bytes;
	m->io_read_bytes = fact->total_io_read_bytes;
	m->io_write_bytes = fact->total_io_write_bytes;
	m->oom_kills = fact->total_oom_kills;
	m->killed_processes = fact->killed_processes;
	for (size_t i = 0; i < fact->n_denied; i++)
		(void)arena_append(&record->arena, &m->denied, &m->n_denied,
				   record_denied(&record->arena, fact->denied[i]->number,
						 fact->denied[i]->errnum, fact->denied[i]->times,
						 fact->denied[i]->program));
	(void)record_fill_end(m, &record->arena, fact->exit_si_code, fact->exit_si_status,
			      fact->unknown_reason);
	say_oom(container, m, &record->arena);
	if (m->reason != REASON(OOM_KILLED))
		say_stopped(container, m, &record->arena);
	return record;
}

static struct record *record_now(const struct container *container)
{
	const struct timer_queue *timers = &container->workload->engine->timers;
	struct record *record = record_new();

	if (!record)
		return NULL;
	fill_times(container, record->message);
	record->message->finished_time_unix_ns = timer_wall_ns(timers);
	record->message->finished_boot_ns = timer_boot_ns(timers);
	return record;
}

struct record *record_of_unknown(const struct container *container, const char *why)
{
	struct record *record = record_now(container);

	if (record)
		(void)record_fill_end(record->message, &record->arena, 0, 0, why);
	return record;
}

Berth__V1__Reason record_failure_reason(const struct err *failure)
{
	switch (failure->kind) {
	case ERR_START:
	case ERR_INVALID:
	case ERR_DENIED:
	case ERR_UNSUPPORTED:
	case ERR_NOT_FOUND:
		return REASON(START_FAILED);
	default:
		return REASON(HOST_FAILURE);
	}
}

struct record *record_of_failed_start(const struct container *container, const struct err *failure,
				      const char *step)
{
	struct record *record = record_now(container);
	Berth__V1__ExitRecord *m;

	if (!record)
		return NULL;
	m = record->message;
	m->reason = record_failure_reason(failure);
	if (step && *step)
		m->sentence = or_empty(arena_printf(&record->arena, "cannot be started (%s): %s",
						    step, failure->text));
	else
		m->sentence = or_empty(
			arena_printf(&record->arena, "cannot be started: %s", failure->text));
	return record;
}

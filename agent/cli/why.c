/*
 * why: an account for people of what happened to a workload, from its status and its events.
 */
#include <inttypes.h>
#include <string.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"
#include "proto/cleanup.h"

static void print_text(const char *indent, const char *text)
{
	char escaped[TEXT_ESCAPED_MAX];

	(void)printf("%s%s\n", indent, text_escape(text, strlen(text), escaped));
}

static void print_exit(const Berth__V1__ExitRecord *record)
{
	char peak[TEXT_SHORT_MAX], limit[TEXT_SHORT_MAX], text[TEXT_SHORT_MAX];
	double seconds;

	print_text("  ended:     ", record->sentence);
	if (record->started_boot_ns == 0) { /* it never ran: there are no figures */
		(void)printf("             at %s, attempt %u\n",
			     text_time(record->finished_time_unix_ns, text), record->attempt);
		return;
	}
	seconds = (double)(record->finished_boot_ns - record->started_boot_ns) / 1e9;
	(void)printf("             at %s, after %.3f s, attempt %u\n",
		     text_time(record->finished_time_unix_ns, text), seconds, record->attempt);
	if (record->oom_killed)
		(void)printf("  memory:    the kernel's OOM killer ended %" PRIu64
			     " process(es); peak %s of a limit of %s\n"
			     "             raise memory_limit_bytes, or make it use less\n",
			     record->oom_kills, text_bytes(record->memory_peak_bytes, peak),
			     record->memory_limit_bytes
				     ? text_bytes(record->memory_limit_bytes, limit)
				     : "none");
	else
		(void)printf(
			"  memory:    peak %s%s%s\n", text_bytes(record->memory_peak_bytes, peak),
			record->memory_limit_bytes ? " of " : "",
			record->memory_limit_bytes ? text_bytes(record->memory_limit_bytes, limit)
						   : "");
	(void)printf("  cpu:       %.3f s%s\n", (double)record->cpu_usage_ns / 1e9,
		     seconds > 0.1 && (double)record->cpu_usage_ns / 1e9 / seconds > 0.95
			     ? ", all the time"
			     : "");
	if (record->killed_processes > 0)
		(void)printf("  processes: %u were left and were killed with it\n",
			     record->killed_processes);
}

static void print_throttling(const Berth__V1__ExitRecord *record)
{
	const Berth__V1__CpuUsage *cpu;

	if (record->n_last_samples == 0)
		return;
	cpu = record->last_samples[record->n_last_samples - 1]->cpu;
	if (cpu && cpu->throttled_periods > 0)
		(void)printf("  throttled: in %" PRIu64 " of %" PRIu64
			     " periods, %.3f s in all: cpu_limit_millis held it back\n",
			     cpu->throttled_periods, cpu->periods, (double)cpu->throttled_ns / 1e9);
}

static void print_denied(Berth__V1__DeniedSyscall *const *denied, size_t count)
{
	char program[TEXT_ESCAPED_MAX];

	for (size_t i = 0; i < count; i++)
		(void)printf("  denied:    %s(2) %" PRIu64 " time%s with %s, last by %s\n",
			     denied[i]->name, denied[i]->times, denied[i]->times == 1 ? "" : "s",
			     denied[i]->error,
			     text_escape(denied[i]->last_program, strlen(denied[i]->last_program),
					 program));
}

static void print_probe(const Berth__V1__ProbeStatus *probe)
{
	static const char *const kinds[] = { "probe", "startup", "readiness", "liveness" };
	char text[TEXT_SHORT_MAX], what[32];

	(void)snprintf(what, sizeof(what), "  %s:%*s",
		       kinds[(size_t)probe->kind < ARRAY_SIZE(kinds) ? probe->kind : 0], 1, "");
	if (!probe->last_time_unix_ns)
		(void)printf("%-13snot asked yet\n", what);
	else if (probe->failures)
		(void)printf("%-13sfailed %u time%s in a row, last at %s\n", what, probe->failures,
			     probe->failures == 1 ? "" : "s",
			     text_time(probe->last_time_unix_ns, text));
	else
		(void)printf("%-13sgood %u time%s in a row, last at %s\n", what, probe->successes,
			     probe->successes == 1 ? "" : "s",
			     text_time(probe->last_time_unix_ns, text));
	if (probe->not_asked[0])
		print_text("             not asked: ", probe->not_asked);
	if (probe->last_failure[0]) {
		(void)printf("             last failure at %s\n",
			     text_time(probe->last_failure_unix_ns, text));
		print_text("             ", probe->last_failure);
	}
}

static void print_readiness(const Berth__V1__ContainerStatus *container)
{
	char text[TEXT_SHORT_MAX];

	if (!container->pid || container->n_probes == 0)
		return;
	(void)printf("  ready:     %s since %s\n", container->ready ? "yes" : "no",
		     text_time(container->ready_changed_unix_ns, text));
	if (!container->ready)
		print_text("             not ready: ", container->unready_sentence);
	for (size_t i = 0; i < container->n_probes; i++)
		print_probe(container->probes[i]);
}

static void print_image(const Berth__V1__ContainerImage *image)
{
	char done[TEXT_SHORT_MAX], all[TEXT_SHORT_MAX];

	if (!image)
		return;
	(void)printf("  image:     %s%s%s\n", image->name, image->digest[0] ? ", " : "",
		     image->digest);
	if (image->phase == BERTH__V1__PULL_PHASE__PULL_PHASE_UNPACKING)
		(void)printf("             %u of %u layers are unpacked\n", image->layers_done,
			     image->layers);
	else if (image->phase == BERTH__V1__PULL_PHASE__PULL_PHASE_LAYERS)
		(void)printf("             on the way: %u of %u layers, %s of %s\n",
			     image->layers_done, image->layers, text_bytes(image->bytes_done, done),
			     text_bytes(image->bytes, all));
}

static void print_container(const Berth__V1__ContainerStatus *container)
{
	const Berth__V1__ExitRecord *record = container->last_exit;
	char bytes[TEXT_SHORT_MAX];

	(void)printf("\ncontainer %s\n", container->name);
	print_image(container->image);
	if (container->pid)
		(void)printf("  running:   pid %d, attempt %u, since %s%s\n", container->pid,
			     container->attempt, text_time(container->started_time_unix_ns, bytes),
			     container->paused ? ", paused" : "");
	print_readiness(container);
	if (record) {
		print_exit(record);
		print_throttling(record);
	}
	if (container->n_denied > 0)
		print_denied(container->denied, container->n_denied);
	else if (record)
		print_denied(record->denied, record->n_denied);
	if (container->log_dropped_bytes > 0)
		(void)printf("  log:       %s were dropped: the log's disk did not take them\n",
			     text_bytes(container->log_dropped_bytes, bytes));
	for (size_t i = 0; i < container->n_warnings; i++)
		print_text("  warning:   ", container->warnings[i]);
	if (record && record->n_last_output > 0) {
		(void)printf("  last output:\n");
		for (size_t i = 0; i < record->n_last_output; i++)
			print_text("    | ", record->last_output[i]);
	}
}

static void print_head(const Berth__V1__WorkloadStatus *status)
{
	char escaped[TEXT_ESCAPED_MAX];
	char text[TEXT_SHORT_MAX];

	(void)printf("%s (generation %" PRIu64 "): %s%s%s since %s\n", status->id,
		     status->generation, text_state(status->state),
		     status->paused ? ", paused," : "", text_pressure(status->pressure_step),
		     text_time(status->changed_time_unix_ns, text));
	print_text("  because:   ", status->sentence[0] ? status->sentence : "-");
	if (status->pressure_sentence[0])
		print_text("  held back: this host is short of memory: ",
			   status->pressure_sentence);
	if (status->restarts > 0)
		(void)printf("  restarts:  %u\n", status->restarts);
	if (status->next_restart_unix_ns > 0)
		(void)printf("  next:      starts again in %.1f s, at %s\n",
			     (double)status->next_restart_in_ms / 1e3,
			     text_time(status->next_restart_unix_ns, text));
	if (status->_lease_left_ms_case) {
		(void)printf("  lease:     stopped when %s is silent for %.1f s more\n",
			     status->scheduler[0] ? text_escape(status->scheduler,
								strlen(status->scheduler), escaped)
						  : "its scheduler",
			     (double)status->lease_left_ms / 1e3);
	}
}

/* What a step under a shortage of memory came to. */
static void print_figures(const Berth__V1__Event *event)
{
	const Berth__V1__MemoryFigures *before = event->memory_before, *after = event->memory_after;
	char from[TEXT_SHORT_MAX], to[TEXT_SHORT_MAX], used_before[TEXT_SHORT_MAX];
	char used[TEXT_SHORT_MAX];

	if (!before || !after)
		return;
	(void)printf("      available %s, then %s; the workload's memory %s, then %s; "
		     "tasks waited %.2f %% (all: %.2f %%), then %.2f %% (%.2f %%)\n",
		     text_bytes(before->available_bytes, from),
		     text_bytes(after->available_bytes, to),
		     text_bytes(before->workload_bytes, used_before),
		     text_bytes(after->workload_bytes, used), before->some_avg10,
		     before->full_avg10, after->some_avg10, after->full_avg10);
}

static bool on_events(const ProtobufCMessage *message, void *userdata)
{
	const Berth__V1__WatchEventsResponse *response = (const void *)message;
	char text[TEXT_SHORT_MAX];

	for (size_t i = 0; i < response->n_events; i++) {
		const Berth__V1__Event *event = response->events[i];
		char line[TEXT_ESCAPED_MAX];

		(void)snprintf(line, sizeof(line), "%s  %-20s %s%s%s",
			       text_time(event->time_unix_ns, text), text_reason(event->reason),
			       event->container, event->container[0] ? ": " : "", event->sentence);
		print_text("  ", line);
		print_figures(event);
	}
	return true;
}

static int print_history(struct cli *cli, const char *id)
{
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;

	request.id = (char *)id;
	request.from_oldest = true;
	request.no_follow = true;
	(void)printf("\nhistory\n");
	(void)fflush(stdout);
	return cli_stream(cli, "WatchEvents", &request.base,
			  &berth__v1__watch_events_response__descriptor, on_events, NULL);
}

VERB(why)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	const Berth__V1__WorkloadStatus *status;
	struct grpc_reply reply;
	int code;

	if (!verb_has_no_options(cli, argc, argv))
		return verb_misused("why", NULL);
	if (argc - optind != 1)
		return verb_misused("why", "which workload?");
	request.id = argv[optind];
	code = cli_call(cli, "Get", &request.base, &berth__v1__get_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	status = ((const Berth__V1__GetResponse *)reply.message)->workload->status;
	if (cli->quiet) {
		print_text("", status->sentence);
	} else if (cli->json) {
		code = cli_print_json(&status->base, false);
	} else {
		print_head(status);
		for (size_t i = 0; i < status->n_containers; i++)
			print_container(status->containers[i]);
		code = print_history(cli, request.id);
	}
	grpc_reply_done(&reply);
	return code;
}

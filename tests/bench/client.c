/*
 * What a scheduler does, with a clock: one connection to berthd, one line "NAME NUMBER" for each
 * reading, times in nanoseconds. tests/bench/run makes a table of them.
 *
 *   bench_client SOCKET unary N              GetNode and Health.Check, one after the other
 *   bench_client SOCKET launch N ROOT LOGS   workloads one after the other, from the request to the event of
 *                                            their end; LOGS is where berth-sandboxd writes their output
 *   bench_client SOCKET rate N ABREAST ROOT  launch, end, delete; ABREAST of them at a time
 *   bench_client SOCKET hold N ABREAST ROOT  launch N that idle, and leave them
 *   bench_client SOCKET clear                delete all that there is
 *   bench_client SOCKET read SECONDS         read StreamTelemetry at an interval of a second
 *   bench_client SOCKET exec N ID            exec sessions in a workload that runs, one after the other
 *   bench_client SOCKET served N             when List first says that N workloads run: a clock's reading. The
 *                                            daemon may be there later; a workload in another state is an error
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/grpc/client.h"
#include "berth/v1/node_agent.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "proto/cleanup.h"

#define SEC        1000000ULL
#define DEADLINE   (60 * SEC)
#define NODE(name) "/berth.v1.NodeAgent/" name

struct bench {
	sd_event *event;
	struct grpc_client *client;
	const char *root;
	const char *logs;
	char prefix[32];
	unsigned int n_started;
	unsigned int n_wanted;
	bool idle; /* the workloads stay */
	/* of the workload under way, or of all */
	char id[48];
	uint64_t sent_ns;
	uint64_t answered_ns;
	uint64_t ended_ns;
	unsigned int n_done;
	unsigned int in_flight;
	char output[256];
	size_t n_output;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)fprintf(stderr, "bench_client: ");
	(void)vfprintf(stderr, format, arguments);
	(void)fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static void say(const char *name, uint64_t number)
{
	(void)printf("%s %llu\n", name, (unsigned long long)number);
}

static void turn(struct bench *bench)
{
	int r = sd_event_run(bench->event, UINT64_MAX);

	if (r < 0)
		die("the event loop: %s", strerror(-r));
}

static void must_be_ok(const char *what, const struct grpc_outcome *outcome)
{
	if (outcome->code != GRPC_OK)
		die("%s: %s: %s", what, grpc_code_name(outcome->code), outcome->message);
}

/* ---- calls ---- */

static void call(struct bench *bench, const char *path, const ProtobufCMessage *request,
		 const ProtobufCMessageDescriptor *response, struct grpc_reply *ret_reply)
{
	struct err err = { 0 };

	if (grpc_client_unary(bench->client, path, request, response, DEADLINE, ret_reply, &err) <
	    0)
		die("%s: %s", path, err.text);
	must_be_ok(path, &ret_reply->outcome);
}

static void start(struct bench *bench, const char *path, const ProtobufCMessage *request,
		  const ProtobufCMessageDescriptor *response,
		  const struct grpc_client_events *events, uint64_t timeout_usec)
{
	struct err err = { 0 };

	if (grpc_client_start(bench->client, path, request, response, timeout_usec, events, bench,
			      NULL, &err) < 0)
		die("%s: %s", path, err.text);
}

static void call_unary(struct bench *bench, unsigned int n)
{
	Berth__V1__GetNodeRequest node = BERTH__V1__GET_NODE_REQUEST__INIT;
	Grpc__Health__V1__HealthCheckRequest health = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;

	for (unsigned int i = 0; i < n; i++) {
		struct grpc_reply reply;
		uint64_t began_ns = now_ns();

		call(bench, NODE("GetNode"), &node.base, &berth__v1__get_node_response__descriptor,
		     &reply);
		say("get_node", now_ns() - began_ns);
		grpc_reply_done(&reply);
		began_ns = now_ns();
		call(bench, "/grpc.health.v1.Health/Check", &health.base,
		     &grpc__health__v1__health_check_response__descriptor, &reply);
		say("health_check", now_ns() - began_ns);
		grpc_reply_done(&reply);
	}
}

/* ---- workloads ---- */

static void launch(struct bench *bench, const char *id, const struct grpc_client_events *events)
{
	Berth__V1__LaunchRequest request = BERTH__V1__LAUNCH_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	Berth__V1__WorkloadSpec spec = BERTH__V1__WORKLOAD_SPEC__INIT;
	Berth__V1__Container container = BERTH__V1__CONTAINER__INIT, *containers[] = { &container };
	Berth__V1__RootFilesystem root = BERTH__V1__ROOT_FILESYSTEM__INIT;
	Berth__V1__Resources resources = BERTH__V1__RESOURCES__INIT;
	char *command[] = { bench->idle ? (char *)"/bin/idle" : (char *)"/bin/first" };

	fence.epoch = fence.generation = 1;
	root.source_case = BERTH__V1__ROOT_FILESYSTEM__SOURCE_DIRECTORY;
	root.directory = (char *)bench->root;
	resources._memory_limit_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_LIMIT_BYTES_MEMORY_LIMIT_BYTES;
	resources.memory_limit_bytes = 64u << 20;
	resources._memory_request_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_REQUEST_BYTES_MEMORY_REQUEST_BYTES;
	resources.memory_request_bytes = 64u << 10; /* so that admission takes thousands */
	resources._pids_limit_case = BERTH__V1__RESOURCES___PIDS_LIMIT_PIDS_LIMIT;
	resources.pids_limit = 8;
	container.name = (char *)"main";
	container.root = &root;
	container.command = command;
	container.n_command = 1;
	container.resources = &resources;
	container._stop_grace_ms_case = BERTH__V1__CONTAINER___STOP_GRACE_MS_STOP_GRACE_MS;
	container.stop_grace_ms = 0; /* killed at once */
	spec.id = (char *)id;
	spec.containers = containers;
	spec.n_containers = 1;
	request.fence = &fence;
	request.spec = &spec;
	start(bench, NODE("Launch"), &request.base, &berth__v1__launch_response__descriptor, events,
	      DEADLINE);
}

static void delete (struct bench *bench, const char *id, const struct grpc_client_events *events)
{
	Berth__V1__DeleteRequest request = BERTH__V1__DELETE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	fence.epoch = fence.generation = 1;
	request.fence = &fence;
	request.id = (char *)id;
	request.force = true;
	start(bench, NODE("Delete"), &request.base, &berth__v1__delete_response__descriptor, events,
	      DEADLINE);
}

static void watch(struct bench *bench, const struct grpc_client_events *events)
{
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct grpc_reply reply;
	Berth__V1__GetNodeRequest node = BERTH__V1__GET_NODE_REQUEST__INIT;

	start(bench, NODE("WatchEvents"), &request.base,
	      &berth__v1__watch_events_response__descriptor, events, 0);
	/* Answered after the watch, on the same connection: the watch is on. */
	call(bench, NODE("GetNode"), &node.base, &berth__v1__get_node_response__descriptor, &reply);
	grpc_reply_done(&reply);
}

static void watch_ended(struct grpc_client_call *call_, const struct grpc_outcome *outcome,
			void *user)
{
	if (outcome->code != GRPC_CANCELLED)
		must_be_ok("WatchEvents", outcome);
}

/* Of the workload, not of one container of it, and not its deletion. */
static bool is_end(const Berth__V1__Event *event)
{
	return event->to == BERTH__V1__WORKLOAD_STATE__EXITED && event->from != event->to &&
	       !event->container[0];
}

/* ---- one after the other ---- */

static void one_answered(struct grpc_client_call *call_, const ProtobufCMessage *message,
			 void *user)
{
	const Berth__V1__LaunchResponse *response = (const void *)message;
	struct bench *bench = user;

	bench->answered_ns = now_ns();
	for (size_t i = 0; i < response->status->n_containers; i++) {
		const Berth__V1__ContainerStatus *container = response->status->containers[i];

		for (size_t j = 0; j < container->n_launch_steps; j++)
			(void)printf("step.%s %llu\n", container->launch_steps[j]->step,
				     (unsigned long long)container->launch_steps[j]->ns);
	}
}

static void one_ended(struct grpc_client_call *call_, const struct grpc_outcome *outcome,
		      void *user)
{
	struct bench *bench = user;

	must_be_ok("the call", outcome);
	bench->n_done++;
}

static void one_seen(struct grpc_client_call *call_, const ProtobufCMessage *message, void *user)
{
	const Berth__V1__WatchEventsResponse *response = (const void *)message;
	struct bench *bench = user;

	for (size_t i = 0; i < response->n_events; i++) {
		const Berth__V1__Event *event = response->events[i];

		if (is_end(event) && strcmp(event->workload, bench->id) == 0)
			bench->ended_ns = now_ns();
	}
}

static void read_times(const struct bench *bench, uint64_t times[static 2])
{
	cleanup_file FILE *file = NULL;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s/main/000000001.log", bench->logs, bench->id);
	file = fopen(path, "re");
	for (int i = 0; i < 2; i++) {
		unsigned long long number;

		if (!file || fscanf(file, "%*s stdout F %llu\n", &number) != 1)
			die("%s does not hold what the workload said", path);
		times[i] = number;
	}
}

static void launch_one(struct bench *bench)
{
	static const struct grpc_client_events launching = { .on_message = one_answered,
							     .on_end = one_ended };
	static const struct grpc_client_events deleting = { .on_end = one_ended };
	uint64_t times[2];

	(void)snprintf(bench->id, sizeof(bench->id), "%s-%u", bench->prefix, bench->n_started++);
	bench->n_done = 0;
	bench->ended_ns = 0;
	bench->sent_ns = now_ns();
	launch(bench, bench->id, &launching);
	while (!bench->n_done || !bench->ended_ns)
		turn(bench);
	read_times(bench, times);
	say("launch", times[0] - bench->sent_ns);
	say("launch_answer", bench->answered_ns - bench->sent_ns);
	say("launch_to_end", bench->ended_ns - bench->sent_ns);
	say("exit_event", bench->ended_ns - times[1]);
	bench->n_done = 0;
	delete (bench, bench->id, &deleting);
	while (!bench->n_done)
		turn(bench);
}

static void launch_each(struct bench *bench)
{
	static const struct grpc_client_events watching = { .on_message = one_seen,
							    .on_end = watch_ended };

	watch(bench, &watching);
	while (bench->n_wanted-- > 0)
		launch_one(bench);
}

/* ---- many at a time ---- */

static void begin_another(struct bench *bench);

static void many_deleted(struct grpc_client_call *call_, const struct grpc_outcome *outcome,
			 void *user)
{
	struct bench *bench = user;

	must_be_ok("Delete", outcome);
	bench->n_done++;
	bench->in_flight--;
	begin_another(bench);
}

static const struct grpc_client_events many_deleting = { .on_end = many_deleted };

static void many_seen(struct grpc_client_call *call_, const ProtobufCMessage *message, void *user)
{
	const Berth__V1__WatchEventsResponse *response = (const void *)message;
	struct bench *bench = user;

	for (size_t i = 0; i < response->n_events; i++) {
		const Berth__V1__Event *event = response->events[i];

		if (is_end(event) && !bench->idle)
			delete (bench, event->workload, &many_deleting);
	}
}

static void many_launched(struct grpc_client_call *call_, const struct grpc_outcome *outcome,
			  void *user)
{
	struct bench *bench = user;

	must_be_ok("Launch", outcome);
	if (!bench->idle)
		return; /* its end is an event */
	bench->n_done++;
	bench->in_flight--;
	begin_another(bench);
}

static void begin_another(struct bench *bench)
{
	static const struct grpc_client_events launching = { .on_end = many_launched };
	char id[48];

	if (bench->n_started == bench->n_wanted)
		return;
	(void)snprintf(id, sizeof(id), "%s-%u", bench->prefix, bench->n_started++);
	bench->in_flight++;
	launch(bench, id, &launching);
}

static void launch_many(struct bench *bench, unsigned int abreast)
{
	static const struct grpc_client_events watching = { .on_message = many_seen,
							    .on_end = watch_ended };
	uint64_t began_ns;

	watch(bench, &watching);
	began_ns = now_ns();
	while (abreast-- > 0)
		begin_another(bench);
	while (bench->n_done < bench->n_wanted)
		turn(bench);
	say(bench->idle ? "hold" : "rate", (now_ns() - began_ns) / bench->n_wanted);
}

static void clear(struct bench *bench)
{
	Berth__V1__ListRequest request = BERTH__V1__LIST_REQUEST__INIT;
	static const struct grpc_client_events deleting = { .on_end = one_ended };
	const Berth__V1__ListResponse *list;
	struct grpc_reply reply;
	size_t n;

	request.page_size = 100;
	request.status_only = true;
	do {
		call(bench, NODE("List"), &request.base, &berth__v1__list_response__descriptor,
		     &reply);
		list = (const void *)reply.message;
		n = list->n_workloads;
		bench->n_done = 0;
		for (size_t i = 0; i < n; i++)
			delete (bench, list->workloads[i]->status->id, &deleting);
		while (bench->n_done < n)
			turn(bench);
		grpc_reply_done(&reply);
	} while (n > 0);
}

/* ---- a restart ---- */

/* False where nobody answers yet. */
static bool try_list(struct bench *bench, const char *page, struct grpc_reply *ret_reply)
{
	Berth__V1__ListRequest request = BERTH__V1__LIST_REQUEST__INIT;
	struct err err = { 0 };

	request.page_size = 1000;
	request.page_token = (char *)page;
	request.status_only = true;
	return grpc_client_unary(bench->client, NODE("List"), &request.base,
				 &berth__v1__list_response__descriptor, DEADLINE, ret_reply,
				 &err) >= 0 &&
	       ret_reply->outcome.code == GRPC_OK;
}

/* How many run, by all pages; 0 where nobody answers. */
static unsigned int count_running(struct bench *bench)
{
	char page[128] = "";
	unsigned int n = 0;

	do {
		const Berth__V1__ListResponse *list;
		struct grpc_reply reply = { 0 };

		if (!try_list(bench, page, &reply))
			return 0;
		list = (const void *)reply.message;
		for (size_t i = 0; i < list->n_workloads; i++, n++) {
			const Berth__V1__WorkloadStatus *status = list->workloads[i]->status;

			if (status->state != BERTH__V1__WORKLOAD_STATE__RUNNING)
				die("workload %s is in state %d", status->id, (int)status->state);
		}
		(void)snprintf(page, sizeof(page), "%s", list->next_page_token);
		grpc_reply_done(&reply);
	} while (page[0]);
	return n;
}

static void wait_served(struct bench *bench, const struct grpc_client_options *options,
			unsigned int n)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t end_ns = now_ns() + 60 * SEC * 1000;

	while (count_running(bench) != n) {
		struct err err = { 0 };

		if (now_ns() > end_ns)
			die("%u workloads do not run", n);
		/* The daemon that was not there is not tried again by a connection that failed. */
		(void)nanosleep(&pause, NULL);
		grpc_client_free(bench->client);
		if (grpc_client_new(bench->event, options, &bench->client, &err) < 0)
			die("%s", err.text);
	}
	say("served", now_ns());
}

/* ---- telemetry ---- */

static void report_seen(struct grpc_client_call *call_, const ProtobufCMessage *message, void *user)
{
	const Berth__V1__StreamTelemetryResponse *response = (const void *)message;
	struct bench *bench = user;

	bench->n_started += (unsigned int)response->n_workloads;
	bench->n_done += !response->more;
}

static void read_telemetry(struct bench *bench, unsigned int seconds)
{
	static const struct grpc_client_events reading = { .on_message = report_seen,
							   .on_end = watch_ended };
	Berth__V1__StreamTelemetryRequest request = BERTH__V1__STREAM_TELEMETRY_REQUEST__INIT;
	uint64_t end_ns = now_ns() + seconds * 1000000000ULL;

	request.interval_ms = 1000;
	start(bench, NODE("StreamTelemetry"), &request.base,
	      &berth__v1__stream_telemetry_response__descriptor, &reading, 0);
	while (now_ns() < end_ns) {
		if (sd_event_run(bench->event, SEC) < 0)
			die("the event loop");
	}
	say("reports", bench->n_done);
	say("usages", bench->n_started);
}

/* ---- exec ---- */

static void session_said(struct grpc_client_call *call_, const ProtobufCMessage *message,
			 void *user)
{
	const Berth__V1__ExecResponse *response = (const void *)message;
	struct bench *bench = user;
	size_t n = 0;

	if (response->message_case == BERTH__V1__EXEC_RESPONSE__MESSAGE_STDOUT)
		n = response->stdout.len;
	if (bench->n_output + n >= sizeof(bench->output))
		die("the program said more than two numbers");
	if (n)
		memcpy(bench->output + bench->n_output, response->stdout.data, n);
	bench->n_output += n;
	bench->output[bench->n_output] = '\0';
}

static void exec_one(struct bench *bench, const char *id)
{
	static const struct grpc_client_events events = { .on_message = session_said,
							  .on_end = one_ended };
	Berth__V1__ExecRequest request = BERTH__V1__EXEC_REQUEST__INIT;
	Berth__V1__ExecStart first = BERTH__V1__EXEC_START__INIT;
	char *command[] = { (char *)"/bin/first" };
	struct err err = { 0 };
	struct grpc_client_call *session;

	first.id = (char *)id;
	first.command = command;
	first.n_command = 1;
	request.message_case = BERTH__V1__EXEC_REQUEST__MESSAGE_START;
	request.start = &first;
	bench->n_done = 0;
	bench->n_output = 0;
	bench->sent_ns = now_ns();
	if (grpc_client_open(bench->client, NODE("Exec"), &berth__v1__exec_response__descriptor,
			     DEADLINE, &events, bench, &session, &err) < 0 ||
	    grpc_client_send(session, &request.base) < 0)
		die("Exec: %s", err.text);
	grpc_client_half_close(session);
	while (!bench->n_done)
		turn(bench);
	say("exec", strtoull(bench->output, NULL, 10) - bench->sent_ns);
	say("exec_to_end", now_ns() - bench->sent_ns);
}

/* ---- */

static unsigned int number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || !*text || value > 1000000)
		die("%s is no number up to 1000000", text);
	return (unsigned int)value;
}

static void run(struct bench *bench, const struct grpc_client_options *options, int argc,
		char **argv)
{
	const char *verb = argv[0];

	if (strcmp(verb, "unary") == 0 && argc == 2) {
		call_unary(bench, number(argv[1]));
	} else if (strcmp(verb, "launch") == 0 && argc == 4) {
		bench->n_wanted = number(argv[1]);
		bench->root = argv[2];
		bench->logs = argv[3];
		launch_each(bench);
	} else if ((strcmp(verb, "rate") == 0 || strcmp(verb, "hold") == 0) && argc == 4) {
		bench->idle = strcmp(verb, "hold") == 0;
		bench->n_wanted = number(argv[1]);
		bench->root = argv[3];
		launch_many(bench, number(argv[2]));
	} else if (strcmp(verb, "clear") == 0 && argc == 1) {
		clear(bench);
	} else if (strcmp(verb, "served") == 0 && argc == 2) {
		wait_served(bench, options, number(argv[1]));
	} else if (strcmp(verb, "read") == 0 && argc == 2) {
		read_telemetry(bench, number(argv[1]));
	} else if (strcmp(verb, "exec") == 0 && argc == 3) {
		for (unsigned int n = number(argv[1]); n > 0; n--)
			exec_one(bench, argv[2]);
	} else {
		die("no such verb, or not with so many arguments: see the head of client.c");
	}
}

int main(int argc, char **argv)
{
	struct grpc_client_options options = { 0 };
	struct bench bench = { 0 };
	char target[256];
	struct err err = { 0 };

	if (argc < 3)
		die("expected SOCKET VERB: see the head of client.c");
	(void)snprintf(target, sizeof(target), "unix://%s", argv[1]);
	(void)snprintf(bench.prefix, sizeof(bench.prefix), "bench-%d", getpid());
	options.target = target;
	if (sd_event_default(&bench.event) < 0)
		die("no event loop");
	if (grpc_client_new(bench.event, &options, &bench.client, &err) < 0)
		die("%s", err.text);
	run(&bench, &options, argc - 2, argv + 2);
	grpc_client_free(bench.client);
	sd_event_unref(bench.event);
	return 0;
}

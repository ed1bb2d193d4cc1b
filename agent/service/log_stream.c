/*
 * ReadLogs: lines pulled from the files as fast as the reader takes them, in answers of some 32 KiB.
 *
 * With `follow` it also watches the workload's events: containers that start have new directories, and
 * once the workload has ended the end of the files is the end.
 */
#include <string.h>

#include "agent/logs/log_reader.h"
#include "agent/service/handlers.h"
#include "agent/service/status.h"

#define BATCH_BYTES (32U << 10)
#define BATCH_LINES 512
#define REPLY_BYTES (1U << 20)

struct log_stream {
	struct grpc_call *call;
	struct engine *engine;
	struct log_reader *reader;
	struct engine_watch watch; /* with follow */
	bool following;
	char id[64];
	size_t name_count;
	char *names[LOG_READER_CONTAINERS_MAX];
};

static void stream_free(struct log_stream *stream)
{
	if (stream->following)
		engine_watch_end(&stream->watch);
	log_reader_free(stream->reader);
	for (size_t i = 0; i < stream->name_count; i++)
		free(stream->names[i]);
	free(stream);
}

static void on_ready(void *userdata)
{
	struct log_stream *stream = userdata;

	grpc_call_wake(stream->call);
}

/* Something happened to the workload: what matters here is only whether it goes on. */
static void on_event(struct engine_watch *watch)
{
	struct log_stream *stream = watch->userdata;
	bool ended = true;

	/* Unknown by now: it was deleted, and its log with it. */
	if (engine_find_log(stream->engine, stream->id, NULL, &ended, NULL) < 0 || ended)
		log_reader_finish(stream->reader);
	else
		log_reader_refresh(stream->reader);
}

static int read_some_events(struct log_stream *stream)
{
	Berth__V1__WatchEventsResponse ignored = BERTH__V1__WATCH_EVENTS_RESPONSE__INIT;
	cleanup_arena struct arena arena;

	arena_init(&arena, REPLY_BYTES);
	return engine_events_read(stream->engine, &stream->watch, 16, &arena, &ignored);
}

/* Has the watch tell of the next event; the events themselves are not wanted here. */
static void drain_events(struct log_stream *stream)
{
	while (read_some_events(stream) > 0)
		;
}

static int append_line(struct log_stream *stream, const struct log_line *line, size_t container,
		       struct arena *arena, Berth__V1__ReadLogsResponse *reply)
{
	Berth__V1__LogLine *out = arena_message(arena, &berth__v1__log_line__descriptor);

	if (!out)
		return -ENOMEM;
	out->time_unix_ns = line->time_unix_ns;
	out->container = stream->names[container];
	out->is_stderr = line->is_stderr;
	out->partial = line->partial;
	out->place = log_reader_place(stream->reader, container);
	out->text.len = line->length;
	out->text.data = arena_memdup(arena, line->text, line->length);
	if (!out->text.data)
		return -ENOMEM;
	return arena_append(arena, &reply->lines, &reply->n_lines, out);
}

/* Lines into @reply. Returns 0 for "no more now", 1 for a full answer, -ENODATA at the end, or a negative
 * errno. */
static int read_batch(struct log_stream *stream, struct arena *arena,
		      Berth__V1__ReadLogsResponse *reply, struct err *err)
{
	size_t bytes = 0;
	int r = 1;

	while (bytes < BATCH_BYTES && reply->n_lines < BATCH_LINES) {
		struct log_line line;
		size_t container;

		r = log_reader_next(stream->reader, &line, &container, err);
		if (r <= 0)
			break;
		if (append_line(stream, &line, container, arena, reply) < 0)
			return err_oom(err);
		bytes += line.length + 32;
	}
	reply->missed_files = log_reader_take_missed(stream->reader);
	return r;
}

static void on_writable(struct grpc_call *call, void *user)
{
	struct log_stream *stream = user;
	cleanup_arena struct arena arena;
	Berth__V1__ReadLogsResponse reply = BERTH__V1__READ_LOGS_RESPONSE__INIT;
	struct err err = { 0 };
	int r;

	arena_init(&arena, REPLY_BYTES);
	if (stream->following)
		drain_events(stream);
	r = read_batch(stream, &arena, &reply, &err);
	if (reply.n_lines > 0 || reply.missed_files > 0)
		(void)grpc_call_send(call,
				     &reply.base); /* a reader that went is told by on_cancel */
	if (r == -ENODATA)
		grpc_call_finish(call);
	else if (r < 0)
		status_fail(call, &err, NULL);
	if (r < 0)
		stream_free(stream);
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	grpc_call_finish(call);
	stream_free(user);
}

static const struct grpc_call_events stream_events = { .on_writable = on_writable,
						       .on_cancel = on_cancel };

static int name_containers(struct log_stream *stream, const char *only, struct err *err)
{
	const struct workload *workload = engine_find(stream->engine, stream->id);
	const Berth__V1__WorkloadSpec *spec = engine_workload_spec(workload);

	for (size_t i = 0; i < spec->n_containers && stream->name_count < LOG_READER_CONTAINERS_MAX;
	     i++) {
		if (only[0] && strcmp(only, spec->containers[i]->name) != 0)
			continue;
		stream->names[stream->name_count] = strdup(spec->containers[i]->name);
		if (!stream->names[stream->name_count])
			return err_oom(err);
		stream->name_count++;
	}
	return 0;
}

static int follow_events(struct log_stream *stream, struct err *err, struct engine_fault *fault)
{
	Berth__V1__WatchEventsRequest watch = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	int r;

	watch.id = stream->id;
	stream->watch.available = on_event;
	stream->watch.userdata = stream;
	r = engine_watch_begin(stream->engine, &watch, &stream->watch, err, fault);
	if (r < 0)
		return r;
	stream->following = true;
	return 0;
}

static void take_places(const Berth__V1__ReadLogsRequest *request,
			struct log_reader_after after[static LOG_READER_CONTAINERS_MAX],
			struct log_reader_options *options)
{
	options->after = after;
	for (size_t i = 0; i < request->n_after && i < LOG_READER_CONTAINERS_MAX; i++)
		after[options->after_count++] = (struct log_reader_after){
			request->after[i]->container, request->after[i]->place
		};
}

static int stream_open(struct log_stream *stream, struct service *service,
		       const Berth__V1__ReadLogsRequest *request, struct err *err,
		       struct engine_fault *fault)
{
	struct log_reader_options options = {
		.follow = request->follow,
		.has_tail = request->_tail_case == BERTH__V1__READ_LOGS_REQUEST___TAIL_TAIL,
		.tail = request->tail,
		.since_unix_ns = request->since_unix_ns,
	};
	struct log_reader_after after[LOG_READER_CONTAINERS_MAX];
	const char *dir = engine_log_dir(service->engine);
	char path[4096];
	bool ended = false;
	int r;

	r = engine_find_log(service->engine, request->id, request->container, &ended, err);
	if (r < 0)
		return r;
	if (!dir)
		return err_set(
			err, ERR_UNAVAILABLE, EAGAIN,
			"read the logs of %s: berth-sandboxd has not said yet where they are",
			request->id);
	(void)snprintf(stream->id, sizeof(stream->id), "%s", request->id);
	take_places(request, after, &options);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, request->id);
	r = name_containers(stream, request->container, err);
	if (r == 0)
		r = log_reader_new(service->event, path, (const char *const *)stream->names,
				   stream->name_count, &options, on_ready, stream, &stream->reader,
				   err);
	if (r == 0 && request->follow && !ended)
		r = follow_events(stream, err, fault);
	if (r == 0 && ended)
		log_reader_finish(stream->reader);
	return r;
}

HANDLER(read_logs)
{
	struct service *service = user;
	struct log_stream *stream = calloc(1, sizeof(*stream));
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };

	engine_fault_init(&fault);
	if (!stream) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "read logs: out of memory", NULL);
		return;
	}
	stream->call = call;
	stream->engine = service->engine;
	if (stream_open(stream, service, (const Berth__V1__ReadLogsRequest *)request, &err,
			&fault) < 0) {
		status_fail(call, &err, &fault);
		stream_free(stream);
		return;
	}
	grpc_call_set_events(call, &stream_events, stream);
}

/*
 * A reader. Its windows, one a container, hold the counters as they were at its last report and the maxima
 * since. A report that is not taken in time is not lost: its window grows into the next, and the reader is
 * told how many reports were joined that way.
 */
#include <string.h>
#include <time.h>

#include "agent/telemetry/model.h"
#include "agent/telemetry/usage_message.h"
#include "proto/names.h"

#define STREAMS_MAX     64
#define PART_WORKLOADS  100 /* a part is built in one go: the loop is not kept for longer */
#define GONE_MAX        4096
#define DEFAULT_MS      1000
#define LABELS_MAX      64
#define IDS_MAX         4096
#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 3600000
/* The timer's accuracy, and the time that reading takes, must not put a report off to the next sample. */
#define DUE_EARLY_NS 20000000

/* What has changed for a reader that wants changes only. */
struct reported {
	uint64_t cpu_ns, memory, pids, io, log, denied;
	int state;
	uint32_t restarts;
};

struct window {
	uint64_t serial; /* of the container; another one has taken the place if it differs */
	uint64_t since_ns, cpu_ns, read_bytes, write_bytes;   /* at the last report */
	uint64_t last_ns, last_cpu_ns, last_read, last_write; /* at the last sample */
	double cpu_maximum, read_maximum, write_maximum;
	uint64_t memory_maximum;
	struct reported reported;
};

struct telemetry_stream {
	LIST_ENTRY(telemetry_stream) link;
	struct telemetry *telemetry;
	void (*ready)(void *userdata);
	void *userdata;
	uint64_t interval_ns;
	char **ids;
	size_t id_count;
	char **labels; /* key, value, key, value */
	size_t label_count;
	bool changes_only, workloads_only;
	struct window *windows; /* by target.index */
	size_t window_count;
	uint64_t due_ns;
	bool due;       /* a report is ready to be taken */
	bool snapshot;  /* it is to be whole */
	uint64_t after; /* parts: workloads up to this serial are told */
	uint64_t sequence, missed;
	uint64_t window_start_ns, window_end_ns;
	/* The node's sample that its rate is counted from. It may be older than the window: samples are
	 * not taken when a reader comes, or takes its report. */
	uint64_t node_busy_ns, node_since_ns;
	double node_maximum;
	char *gone[GONE_MAX];
	size_t gone_count;
};

static void free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

static void drop_gone(struct telemetry_stream *stream)
{
	for (size_t i = 0; i < stream->gone_count; i++)
		free(stream->gone[i]);
	stream->gone_count = 0;
}

static void stream_free(struct telemetry_stream *stream)
{
	drop_gone(stream);
	free_texts(stream->ids, stream->id_count);
	free_texts(stream->labels, stream->label_count * 2);
	free(stream->windows);
	free(stream);
}

static int copy_filter(struct telemetry_stream *stream,
		       const Berth__V1__StreamTelemetryRequest *request)
{
	stream->ids = calloc(request->n_ids + 1, sizeof(char *));
	stream->labels = calloc(request->n_labels * 2 + 1, sizeof(char *));
	if (!stream->ids || !stream->labels)
		return -ENOMEM;
	for (size_t i = 0; i < request->n_ids; i++) {
		stream->ids[i] = strdup(request->ids[i]);
		if (!stream->ids[i])
			return -ENOMEM;
		stream->id_count++;
	}
	for (size_t i = 0; i < request->n_labels; i++) {
		stream->labels[2 * i] = strdup(request->labels[i]->key);
		stream->labels[2 * i + 1] = strdup(request->labels[i]->value);
		stream->label_count++;
		if (!stream->labels[2 * i] || !stream->labels[2 * i + 1])
			return -ENOMEM;
	}
	return 0;
}

static int check_request(const struct telemetry *telemetry,
			 const Berth__V1__StreamTelemetryRequest *request, struct err *err)
{
	uint32_t interval_ms = request->interval_ms;

	if (interval_ms != 0 && (interval_ms < INTERVAL_MIN_MS || interval_ms > INTERVAL_MAX_MS))
		return err_set(err, ERR_INVALID, EINVAL,
			       "interval_ms: %u is not allowed: %u to %u, or 0 for %u", interval_ms,
			       INTERVAL_MIN_MS, INTERVAL_MAX_MS, DEFAULT_MS);
	if (request->n_ids > IDS_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "ids: at most %u", IDS_MAX);
	if (request->n_labels > LABELS_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "labels: at most %u", LABELS_MAX);
	for (size_t i = 0; i < request->n_ids; i++) {
		int r = names_check_workload_id(request->ids[i], err);

		if (r < 0)
			return err_prefix(err, r, "ids[%zu]", i);
	}
	if (telemetry->stream_count >= STREAMS_MAX)
		return err_set(err, ERR_EXHAUSTED, EUSERS,
			       "stream telemetry: %u readers already, no more are served",
			       STREAMS_MAX);
	return 0;
}

static void begin_node_window(struct telemetry_stream *stream)
{
	const struct node_sample *node = &stream->telemetry->node;

	stream->node_busy_ns = node->cpu_busy_ns;
	stream->node_since_ns = node->boot_ns ? node->boot_ns : stream->window_start_ns;
	stream->node_maximum = 0;
}

int telemetry_stream_open(struct telemetry *telemetry,
			  const Berth__V1__StreamTelemetryRequest *request,
			  void (*ready)(void *userdata), void *userdata,
			  struct telemetry_stream **ret, struct err *err)
{
	struct telemetry_stream *stream;
	int r = check_request(telemetry, request, err);

	if (r < 0)
		return r;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return err_oom(err);
	if (copy_filter(stream, request) < 0) {
		stream_free(stream);
		return err_oom(err);
	}
	stream->telemetry = telemetry;
	stream->ready = ready;
	stream->userdata = userdata;
	stream->interval_ns = (request->interval_ms ? request->interval_ms : DEFAULT_MS) *
			      UINT64_C(1000000);
	stream->changes_only = request->changes_only;
	stream->workloads_only = request->workloads_only;
	stream->snapshot = true;
	stream->window_start_ns = sampler_boot_ns();
	stream->due_ns = stream->window_start_ns + stream->interval_ns;
	begin_node_window(stream);
	LIST_INSERT_HEAD(&telemetry->streams, stream, link);
	telemetry->stream_count++;
	telemetry_pace(telemetry);
	*ret = stream;
	return 0;
}

void telemetry_stream_close(struct telemetry_stream *stream)
{
	struct telemetry *telemetry;

	if (!stream)
		return;
	telemetry = stream->telemetry;
	LIST_REMOVE(stream, link);
	telemetry->stream_count--;
	stream_free(stream);
	telemetry_pace(telemetry);
}

uint64_t telemetry_stream_interval_ms(const struct telemetry_stream *stream)
{
	return stream->interval_ns / 1000000;
}

struct telemetry_stream *telemetry_stream_next_of(const struct telemetry_stream *stream)
{
	return LIST_NEXT(stream, link);
}

void telemetry_stream_gone(struct telemetry_stream *stream, const char *id)
{
	char *copy = stream->gone_count < GONE_MAX ? strdup(id) : NULL;

	if (copy)
		stream->gone[stream->gone_count++] = copy;
	else
		stream->snapshot = true; /* a whole report says it too */
}

/* ---- Windows ---- */

static struct window *window_of(struct telemetry_stream *stream,
				const struct container_usage *container)
{
	size_t index = container->target.index;

	if (index == SIZE_MAX)
		return NULL;
	if (index >= stream->window_count) {
		size_t grown = index + 64;
		struct window *larger = realloc(stream->windows, grown * sizeof(*larger));

		if (!larger)
			return NULL;
		memset(larger + stream->window_count, 0,
		       (grown - stream->window_count) * sizeof(*larger));
		stream->windows = larger;
		stream->window_count = grown;
	}
	return &stream->windows[index];
}

static double rate(uint64_t now, uint64_t before, uint64_t now_ns, uint64_t before_ns, double scale)
{
	if (now_ns <= before_ns || now < before)
		return 0;
	return (double)(now - before) * scale / (double)(now_ns - before_ns);
}

static void raise_to(double *maximum, double value)
{
	if (value > *maximum)
		*maximum = value;
}

/* Nanoseconds of processor time in nanoseconds, to millicores; bytes in nanoseconds, to bytes a second. */
#define MILLICORES 1000.0
#define PER_SECOND 1e9

static void window_sampled(struct window *window, const struct container_usage *container,
			   const struct usage_sample *now)
{
	if (window->serial != container->serial) {
		/* A container begins with all counters at 0. */
		*window = (struct window){ .serial = container->serial,
					   .since_ns = container->started_boot_ns,
					   .last_ns = container->started_boot_ns };
		if (container->history_count > 1) { /* older than this reader: begins now */
			window->since_ns = window->last_ns = now->boot_ns;
			window->cpu_ns = window->last_cpu_ns = now->cpu_usage_ns;
			window->read_bytes = window->last_read = now->io_read_bytes;
			window->write_bytes = window->last_write = now->io_write_bytes;
		}
	}
	raise_to(&window->cpu_maximum, rate(now->cpu_usage_ns, window->last_cpu_ns, now->boot_ns,
					    window->last_ns, MILLICORES));
	raise_to(&window->read_maximum, rate(now->io_read_bytes, window->last_read, now->boot_ns,
					     window->last_ns, PER_SECOND));
	raise_to(&window->write_maximum, rate(now->io_write_bytes, window->last_write, now->boot_ns,
					      window->last_ns, PER_SECOND));
	if (now->memory_current > window->memory_maximum)
		window->memory_maximum = now->memory_current;
	window->last_ns = now->boot_ns;
	window->last_cpu_ns = now->cpu_usage_ns;
	window->last_read = now->io_read_bytes;
	window->last_write = now->io_write_bytes;
}

static void window_rates(const struct window *window, struct usage_rates *ret)
{
	*ret = (struct usage_rates){
		.cpu_average = rate(window->last_cpu_ns, window->cpu_ns, window->last_ns,
				    window->since_ns, MILLICORES),
		.read_average = rate(window->last_read, window->read_bytes, window->last_ns,
				     window->since_ns, PER_SECOND),
		.write_average = rate(window->last_write, window->write_bytes, window->last_ns,
				      window->since_ns, PER_SECOND),
		.cpu_maximum = window->cpu_maximum,
		.read_maximum = window->read_maximum,
		.write_maximum = window->write_maximum,
		.memory_maximum = window->memory_maximum,
	};
}

static void window_begin(struct window *window)
{
	window->since_ns = window->last_ns;
	window->cpu_ns = window->last_cpu_ns;
	window->read_bytes = window->last_read;
	window->write_bytes = window->last_write;
	window->cpu_maximum = window->read_maximum = window->write_maximum = 0;
	window->memory_maximum = 0;
}

void telemetry_stream_sampled(struct telemetry_stream *stream)
{
	struct telemetry *telemetry = stream->telemetry;
	const struct node_sample *node = &telemetry->node, *before = &telemetry->node_before;
	struct telemetry_workload *workload;
	struct container_usage *container;

	TAILQ_FOREACH(workload, &telemetry->workloads, link)
	LIST_FOREACH (container, &workload->containers, link) {
		const struct record *latest = container_usage_latest(container);
		struct window *window = latest ? window_of(stream, container) : NULL;

		if (window)
			window_sampled(window, container, &latest->usage);
	}
	if (before->boot_ns != 0)
		raise_to(&stream->node_maximum, rate(node->cpu_busy_ns, before->cpu_busy_ns,
						     node->boot_ns, before->boot_ns, MILLICORES));
	if (node->boot_ns + DUE_EARLY_NS < stream->due_ns)
		return;
	if (stream->due)
		stream->missed++;
	stream->due = true;
	stream->window_end_ns = node->boot_ns;
	stream->due_ns += stream->interval_ns;
	if (stream->due_ns <= node->boot_ns)
		stream->due_ns = node->boot_ns + stream->interval_ns;
	stream->ready(stream->userdata);
}

/* ---- Reports ---- */

static bool wants(const struct telemetry_stream *stream, const struct workload *workload)
{
	const Berth__V1__WorkloadSpec *spec = engine_workload_spec(workload);
	bool found = stream->id_count == 0;

	for (size_t i = 0; i < stream->id_count && !found; i++)
		found = strcmp(stream->ids[i], spec->id) == 0;
	for (size_t i = 0; i < stream->label_count && found; i++) {
		found = false;
		for (size_t j = 0; j < spec->n_labels && !found; j++)
			found = strcmp(spec->labels[j]->key, stream->labels[2 * i]) == 0 &&
				strcmp(spec->labels[j]->value, stream->labels[2 * i + 1]) == 0;
	}
	return found;
}

/* Compares with the last report, and remembers for the next. */
static bool has_changed(struct window *window, const struct record *record,
			const struct workload *workload)
{
	const struct engine_told told = engine_workload_told(workload);
	const struct reported now = {
		.cpu_ns = record->usage.cpu_usage_ns,
		.memory = record->usage.memory_current,
		.pids = record->usage.pids,
		.io = record->usage.io_read_bytes + record->usage.io_write_bytes,
		.log = record->log_bytes + record->log_dropped_bytes,
		.denied = record->denied,
		.state = (int)told.state,
		.restarts = told.restarts,
	};
	const struct reported *was = &window->reported;
	bool changed = now.cpu_ns != was->cpu_ns || now.memory != was->memory ||
		       now.pids != was->pids || now.io != was->io || now.log != was->log ||
		       now.denied != was->denied || now.state != was->state ||
		       now.restarts != was->restarts;

	window->reported = now;
	return changed;
}

static int copy_labels(struct arena *arena, const Berth__V1__WorkloadSpec *spec,
		       Berth__V1__WorkloadUsage *usage)
{
	for (size_t i = 0; i < spec->n_labels; i++) {
		Berth__V1__WorkloadUsage__LabelsEntry *entry =
			arena_message(arena, &berth__v1__workload_usage__labels_entry__descriptor);

		if (!entry)
			return -ENOMEM;
		entry->key = arena_strdup(arena, spec->labels[i]->key);
		entry->value = arena_strdup(arena, spec->labels[i]->value);
		if (!entry->key || !entry->value)
			return -ENOMEM;
		if (arena_append(arena, &usage->labels, &usage->n_labels, entry) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_containers(struct telemetry_stream *stream, const struct telemetry_workload *known,
			  const struct workload *workload, struct arena *arena,
			  Berth__V1__WorkloadUsage *usage, bool *ret_changed)
{
	struct container_usage *container;

	LIST_FOREACH (container, &known->containers, link) {
		const struct record *latest = container_usage_latest(container);
		struct window *window = latest ? window_of(stream, container) : NULL;
		Berth__V1__ContainerUsage *part;
		struct usage_rates rates;

		if (!window || window->serial != container->serial)
			continue;
		window_rates(window, &rates);
		window_begin(window);
		*ret_changed |= has_changed(window, latest, workload);
		part = usage_message_container(arena, container->name, latest, &rates);
		if (!part)
			return -ENOMEM;
		part->attempt = container->attempt;
		usage_message_add(usage, part);
		if (!stream->workloads_only &&
		    arena_append(arena, &usage->containers, &usage->n_containers, part) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_workload(struct telemetry_stream *stream, const struct telemetry_workload *known,
			struct arena *arena, Berth__V1__StreamTelemetryResponse *ret)
{
	const struct workload *workload = engine_find(stream->telemetry->engine, known->id);
	Berth__V1__WorkloadUsage *usage;
	struct engine_told told;
	bool changed = false;

	if (!workload || engine_workload_instance(workload) != known->instance ||
	    !wants(stream, workload))
		return 0;
	usage = usage_message_workload(arena, known->id);
	if (!usage || add_containers(stream, known, workload, arena, usage, &changed) < 0)
		return -ENOMEM;
	if (stream->changes_only && !stream->snapshot && !changed)
		return 0;
	told = engine_workload_told(workload);
	usage->generation = told.generation;
	usage->restarts = told.restarts;
	usage->state = told.state;
	if (copy_labels(arena, engine_workload_spec(workload), usage) < 0)
		return -ENOMEM;
	return arena_append(arena, &ret->workloads, &ret->n_workloads, usage);
}

/* Workloads after the part before. Returns 0, 1 when there are more, or -ENOMEM. */
static int fill_part(struct telemetry_stream *stream, struct arena *arena,
		     Berth__V1__StreamTelemetryResponse *ret)
{
	struct telemetry_workload *workload;

	TAILQ_FOREACH(workload, &stream->telemetry->workloads, link)
	{
		if (workload->serial <= stream->after)
			continue;
		if (ret->n_workloads == PART_WORKLOADS)
			return 1;
		if (add_workload(stream, workload, arena, ret) < 0)
			return -ENOMEM;
		stream->after = workload->serial;
	}
	return 0;
}

static int fill_head(struct telemetry_stream *stream, struct arena *arena,
		     Berth__V1__StreamTelemetryResponse *ret)
{
	const struct node_sample *node = &stream->telemetry->node;
	struct timespec wall;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	ret->time_unix_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
	ret->sequence = stream->sequence + 1;
	ret->window_start_boot_ns = stream->window_start_ns;
	ret->window_end_boot_ns = stream->window_end_ns;
	ret->missed_reports = stream->missed;
	ret->snapshot = stream->snapshot || !stream->changes_only;
	if (stream->after > 0)
		return 0;
	for (size_t i = 0; i < stream->gone_count; i++)
		if (arena_append(arena, &ret->gone, &ret->n_gone,
				 arena_strdup(arena, stream->gone[i])) < 0)
			return -ENOMEM;
	ret->node = usage_message_node(arena, node,
				       rate(node->cpu_busy_ns, stream->node_busy_ns, node->boot_ns,
					    stream->node_since_ns, MILLICORES),
				       stream->node_maximum);
	return ret->node ? 0 : -ENOMEM;
}

static void end_report(struct telemetry_stream *stream)
{
	drop_gone(stream);
	stream->due = false;
	stream->snapshot = false;
	stream->after = 0;
	stream->missed = 0;
	stream->sequence++;
	stream->window_start_ns = stream->window_end_ns;
	begin_node_window(stream);
}

int telemetry_stream_next(struct telemetry_stream *stream, struct arena *arena,
			  Berth__V1__StreamTelemetryResponse *ret)
{
	int r;

	if (!stream->due)
		return 0;
	r = fill_head(stream, arena, ret);
	if (r == 0)
		r = fill_part(stream, arena, ret);
	if (r < 0)
		return r;
	ret->more = r > 0;
	if (!ret->more)
		end_report(stream);
	return 1;
}

/*
 * Every sample: the timer hands all targets to the sampler's thread; when it hands them back, their figures
 * are copied to the loop's own records, and the streams are told. So everything else here runs on the loop
 * with figures of its own, whatever the thread is doing.
 */
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/telemetry/model.h"
#include "agent/telemetry/usage_message.h"
#include "proto/log.h"

#define INTERVAL_MIN_MS 100
#define ACCURACY_US     1000

const struct record *container_usage_latest(const struct container_usage *container)
{
	if (container->history_count == 0)
		return NULL;
	return &container->history[(container->history_count - 1) % HISTORY_MAX];
}

/* ---- Containers ---- */

static void release_container(struct target *target)
{
	struct container_usage *container = (struct container_usage *)target;

	usage_files_free(target->files);
	if (target->page)
		(void)munmap((void *)target->page, PAGE_BYTES);
	free(container);
}

static const struct container_page *map_page(int fd)
{
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);

	return page == MAP_FAILED ? NULL : page;
}

static struct telemetry_workload *find_workload(struct telemetry *telemetry, const char *id,
						uint64_t instance)
{
	struct telemetry_workload *workload;

	TAILQ_FOREACH(workload, &telemetry->workloads, link)
	if (workload->instance == instance && strcmp(workload->id, id) == 0)
		return workload;
	return NULL;
}

static struct telemetry_workload *get_workload(struct telemetry *telemetry,
					       const struct engine_container *ref)
{
	struct telemetry_workload *workload = find_workload(telemetry, ref->workload,
							    ref->instance);

	if (workload)
		return workload;
	workload = calloc(1, sizeof(*workload));
	if (!workload)
		return NULL;
	(void)snprintf(workload->id, sizeof(workload->id), "%s", ref->workload);
	workload->instance = ref->instance;
	workload->serial = ++telemetry->next_serial;
	LIST_INIT(&workload->containers);
	TAILQ_INSERT_TAIL(&telemetry->workloads, workload, link);
	return workload;
}

static void forget_container(struct telemetry *telemetry, struct container_usage *container)
{
	LIST_REMOVE(container, link);
	container->workload = NULL;
	sampler_remove(telemetry->sampler, &container->target);
}

static void forget_workload(struct telemetry *telemetry, struct telemetry_workload *workload)
{
	struct telemetry_stream *stream;

	while (!LIST_EMPTY(&workload->containers))
		forget_container(telemetry, LIST_FIRST(&workload->containers));
	for (stream = LIST_FIRST(&telemetry->streams); stream;
	     stream = telemetry_stream_next_of(stream))
		telemetry_stream_gone(stream, workload->id);
	TAILQ_REMOVE(&telemetry->workloads, workload, link);
	free(workload);
}

static struct container_usage *new_container(const struct engine_started *started)
{
	struct container_usage *container = calloc(1, sizeof(*container));

	if (!container)
		return NULL;
	(void)snprintf(container->name, sizeof(container->name), "%s", started->ref.container);
	container->attempt = started->ref.attempt;
	container->started_boot_ns = started->started_boot_ns;
	container->target.release = release_container;
	container->target.page = map_page(*started->page_fd);
	container->target.files = usage_files_new(started->cgroup_fds, started->cgroup_names,
						  started->n_cgroups);
	if (!container->target.files) {
		release_container(&container->target);
		return NULL;
	}
	return container;
}

static void on_container_started(void *userdata, const struct engine_started *started)
{
	struct telemetry *telemetry = userdata;
	struct telemetry_workload *workload = get_workload(telemetry, &started->ref);
	struct container_usage *container = workload ? new_container(started) : NULL;

	if (!container || sampler_add(telemetry->sampler, &container->target) < 0) {
		log_event(LOG_WARNING,
			  &(struct log_about){ .workload = started->ref.workload,
					       .container = started->ref.container },
			  "no telemetry of this container: out of memory");
		if (container)
			release_container(&container->target);
		return;
	}
	container->serial = ++telemetry->next_serial;
	container->workload = workload;
	LIST_INSERT_HEAD(&workload->containers, container, link);
}

static struct container_usage *find_container(struct telemetry *telemetry,
					      const struct engine_container *ref)
{
	struct telemetry_workload *workload = find_workload(telemetry, ref->workload,
							    ref->instance);
	struct container_usage *container;

	if (!workload)
		return NULL;
	LIST_FOREACH (container, &workload->containers, link)
		if (container->attempt == ref->attempt &&
		    strcmp(container->name, ref->container) == 0)
			return container;
	return NULL;
}

static void on_container_ended(void *userdata, const struct engine_container *ref,
			       const Berth__V1__ExitRecord *record)
{
	struct telemetry *telemetry = userdata;
	struct container_usage *container = find_container(telemetry, ref);
	struct telemetry_workload *workload;

	if (!container)
		return;
	workload = container->workload;
	forget_container(telemetry, container);
	if (LIST_EMPTY(&workload->containers))
		forget_workload(telemetry, workload);
}

static void on_workload_gone(void *userdata, const char *id, uint64_t instance)
{
	struct telemetry *telemetry = userdata;
	struct telemetry_workload *workload = find_workload(telemetry, id, instance);

	if (workload)
		forget_workload(telemetry, workload);
}

static void on_last_samples(void *userdata, const struct engine_container *ref, struct arena *arena,
			    Berth__V1__ExitRecord *record)
{
	const struct container_usage *container = find_container(userdata, ref);
	uint32_t first, i;

	if (!container)
		return;
	first = container->history_count > HISTORY_MAX ? container->history_count - HISTORY_MAX : 0;
	for (i = first; i < container->history_count; i++) {
		Berth__V1__ContainerUsage *usage = usage_message_container(
			arena, container->name, &container->history[i % HISTORY_MAX], NULL);

		if (arena_append(arena, &record->last_samples, &record->n_last_samples, usage) < 0)
			return; /* fewer samples, then */
	}
}

static Berth__V1__NodeUsage *on_node_usage(void *userdata, struct arena *arena)
{
	const struct telemetry *telemetry = userdata;
	const struct node_sample *now = &telemetry->node, *before = &telemetry->node_before;
	double millis = 0;

	if (now->boot_ns == 0)
		return NULL;
	if (before->boot_ns != 0 && now->boot_ns > before->boot_ns)
		millis = (double)(now->cpu_busy_ns - before->cpu_busy_ns) * 1000.0 /
			 (double)(now->boot_ns - before->boot_ns);
	return usage_message_node(arena, now, millis, millis);
}

/* ---- Samples ---- */

static void take_sample(struct container_usage *container)
{
	const struct target *target = &container->target;
	struct record *record;

	if (target->removed || !target->sampled)
		return;
	record = &container->history[container->history_count++ % HISTORY_MAX];
	record->usage = target->now;
	record->log_bytes = target->log_bytes;
	record->log_dropped_bytes = target->log_dropped_bytes;
	record->denied = target->denied;
}

static void on_sampled(void *userdata)
{
	struct telemetry *telemetry = userdata;
	struct telemetry_stream *stream, *next;
	struct target *const *targets;
	size_t count;

	targets = sampler_targets(telemetry->sampler, &count);
	for (size_t i = 0; i < count; i++)
		if (targets[i])
			take_sample((struct container_usage *)targets[i]);
	telemetry->node_before = telemetry->node;
	telemetry->node = *sampler_node(telemetry->sampler);
	for (stream = LIST_FIRST(&telemetry->streams); stream; stream = next) {
		next = telemetry_stream_next_of(stream);
		telemetry_stream_sampled(stream);
	}
}

static int on_timer(sd_event_source *source, uint64_t due_us, void *userdata)
{
	struct telemetry *telemetry = userdata;
	uint64_t now_us = 0;
	uint64_t next_us = due_us + telemetry->interval_ms * 1000;

	if (!sampler_start(telemetry->sampler))
		telemetry->skipped++;
	(void)sd_event_now(telemetry->event, CLOCK_BOOTTIME, &now_us);
	if (next_us <= now_us) /* the host slept, or we were held up: no burst afterwards */
		next_us = now_us + telemetry->interval_ms * 1000;
	(void)sd_event_source_set_time(source, next_us);
	return 0;
}

void telemetry_pace(struct telemetry *telemetry)
{
	uint64_t shortest = telemetry->config.sample_interval_ms;
	struct telemetry_stream *stream;
	uint64_t now_us = 0;

	for (stream = LIST_FIRST(&telemetry->streams); stream;
	     stream = telemetry_stream_next_of(stream))
		if (telemetry_stream_interval_ms(stream) < shortest)
			shortest = telemetry_stream_interval_ms(stream);
	if (shortest < INTERVAL_MIN_MS)
		shortest = INTERVAL_MIN_MS;
	if (shortest == telemetry->interval_ms)
		return;
	telemetry->interval_ms = shortest;
	(void)sd_event_now(telemetry->event, CLOCK_BOOTTIME, &now_us);
	(void)sd_event_source_set_time(telemetry->timer, now_us + shortest * 1000);
}

/* ---- Memory, for decisions ---- */

static void add_memory(struct telemetry_memory *sum, const struct usage_sample *usage)
{
	uint64_t inactive = usage->memory_inactive_file;

	sum->current_bytes += usage->memory_current;
	sum->file_bytes += usage->memory_file;
	if (usage->memory_current > inactive)
		sum->working_set_bytes += usage->memory_current - inactive;
}

struct telemetry_memory telemetry_read_memory(struct telemetry *telemetry, const char *id,
					      uint64_t instance)
{
	const struct telemetry_workload *workload = find_workload(telemetry, id, instance);
	struct telemetry_memory sum = { 0 };
	const struct container_usage *container;

	if (!workload)
		return sum;
	LIST_FOREACH (container, &workload->containers, link) {
		struct usage_sample usage = { 0 };

		usage_files_read_memory(container->target.files, &usage);
		add_memory(&sum, &usage);
	}
	return sum;
}

void telemetry_list_memory(const struct telemetry *telemetry,
			   void (*each)(void *userdata, const char *id, uint64_t instance,
					const struct telemetry_memory *memory),
			   void *userdata)
{
	const struct telemetry_workload *workload;

	TAILQ_FOREACH(workload, &telemetry->workloads, link)
	{
		struct telemetry_memory sum = { 0 };
		const struct container_usage *container;

		LIST_FOREACH (container, &workload->containers, link) {
			const struct record *latest = container_usage_latest(container);
			struct usage_sample usage = { 0 };

			if (!latest) /* it has just begun */
				usage_files_read_memory(container->target.files, &usage);
			add_memory(&sum, latest ? &latest->usage : &usage);
		}
		each(userdata, workload->id, workload->instance, &sum);
	}
}

/* ---- Life ---- */

static int open_timer(struct telemetry *telemetry, struct err *err)
{
	int r = sd_event_add_time_relative(telemetry->event, &telemetry->timer, CLOCK_BOOTTIME,
					   telemetry->interval_ms * 1000, ACCURACY_US, on_timer,
					   telemetry);

	if (r >= 0)
		r = sd_event_source_set_enabled(telemetry->timer, SD_EVENT_ON);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot start telemetry: %m");
	return 0;
}

int telemetry_new(sd_event *event, struct engine *engine, const struct telemetry_config *config,
		  struct telemetry **ret, struct err *err)
{
	struct telemetry *telemetry = calloc(1, sizeof(*telemetry));
	int r;

	if (!telemetry)
		return err_oom(err);
	telemetry->event = sd_event_ref(event);
	telemetry->engine = engine;
	telemetry->config = *config;
	telemetry->interval_ms = config->sample_interval_ms;
	TAILQ_INIT(&telemetry->workloads);
	LIST_INIT(&telemetry->streams);
	r = sampler_new(event, on_sampled, telemetry, &telemetry->sampler, err);
	if (r == 0)
		r = open_timer(telemetry, err);
	if (r < 0) {
		telemetry_free(telemetry);
		return r;
	}
	telemetry->listener = (struct engine_listener){ .container_started = on_container_started,
							.container_ended = on_container_ended,
							.workload_gone = on_workload_gone,
							.last_samples = on_last_samples,
							.node_usage = on_node_usage,
							.userdata = telemetry };
	engine_set_listener(engine, &telemetry->listener);
	(void)sampler_start(telemetry->sampler); /* the node's first figures */
	*ret = telemetry;
	return 0;
}

void telemetry_free(struct telemetry *telemetry)
{
	struct telemetry_workload *workload;

	if (!telemetry)
		return;
	engine_set_listener(telemetry->engine, NULL);
	while (!LIST_EMPTY(&telemetry->streams))
		telemetry_stream_close(LIST_FIRST(&telemetry->streams));
	sd_event_source_disable_unref(telemetry->timer);
	sampler_free(telemetry->sampler);
	while ((workload = TAILQ_FIRST(&telemetry->workloads))) {
		TAILQ_REMOVE(&telemetry->workloads, workload, link);
		free(workload);
	}
	sd_event_unref(telemetry->event);
	free(telemetry);
}

void telemetry_reconfigure(struct telemetry *telemetry, const struct telemetry_config *config)
{
	telemetry->config = *config;
	telemetry_pace(telemetry);
}

/*
 * When: a stall wakes it. While memory is short, and until all is undone, a timer has it look again; at any
 * other time it does nothing.
 *
 * Reclaim and squeeze are tried one after the other as long as too little is available, for each is a
 * matter of milliseconds. After a freeze or a kill it waits for a stall anew: what they free shows by
 * and by.
 */
#include "agent/pressure/pressure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/pressure/figures.h"
#include "agent/pressure/plan.h"
#include "agent/pressure/watch.h"
#include "proto/cleanup.h"
#include "proto/log.h"
#include "proto/quantity.h"

#define LOOK_MS          1000
#define PACE_MS          2000  /* after a freeze, a kill, or something undone */
#define RECLAIM_AGAIN_MS 10000 /* what a workload has read again since is of use to it */
#define TOLD_MS          1000  /* how old figures may be that decide nothing */
#define NS_PER_MS_       UINT64_C(1000000)

struct pressure {
	sd_event *event;
	struct engine *engine;
	struct telemetry *telemetry;
	struct engine_pressure hooks;
	struct pressure_config config;
	struct plan_rules rules;
	struct watch watch;
	sd_event_source *timer;

	bool is_short; /* steps are being taken, or are not all undone */
	uint64_t since_wall_ns;
	uint64_t stalled_ms; /* when the last stall was told; 0: not since the last hard step */
	uint64_t
		scarce_ms; /* when less than enough was available, or a stall told, for the last time */
	uint64_t not_before_ms;
	uint64_t reclaims;
	uint64_t evictions;
	struct figures told; /* to who asked last */
	uint64_t told_ms;    /* 0: nobody has */

	/* of one decision */
	struct engine_held *held;
	struct plan_workload *weighed;
	size_t room;
	size_t n;
};

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / NS_PER_MS_;
}

static uint64_t now_ms(void)
{
	return clock_ms(CLOCK_BOOTTIME);
}

/* ---- measuring ------------------------------------------------------------------------------------ */

static void read_figures(const struct pressure *pressure, struct figures *ret)
{
	figures_read(pressure->watch.group_fd, pressure->watch.fds, pressure->watch.n_sources, ret);
}

/* Reading memory.stat of all workloads has the kernel add up every group below: whoever asks again and again
 * does not make us do that each time. */
static const struct figures *figures_to_tell(struct pressure *pressure)
{
	uint64_t now = now_ms();

	if (!pressure->told_ms || now - pressure->told_ms >= TOLD_MS) {
		read_figures(pressure, &pressure->told);
		pressure->told_ms = now;
	}
	return &pressure->told;
}

static struct engine_figures for_engine(const struct figures *figures)
{
	return (struct engine_figures){
		.available_bytes = figures_tightest(figures)->available_bytes,
		.some_avg10_permyriad = figures->some_avg10_permyriad,
		.full_avg10_permyriad = figures->full_avg10_permyriad,
	};
}

static void measure(void *userdata, const struct workload *workload, struct engine_figures *ret)
{
	const struct pressure *pressure = userdata;
	struct figures figures;

	read_figures(pressure, &figures);
	*ret = for_engine(&figures);
	ret->workload_bytes = telemetry_read_memory(pressure->telemetry,
						    engine_workload_id(workload),
						    engine_workload_instance(workload))
				      .current_bytes;
}

/* ---- weighing ------------------------------------------------------------------------------------- */

static int make_room(struct pressure *pressure)
{
	size_t n = engine_count(pressure->engine);
	struct engine_held *held;
	struct plan_workload *weighed;

	if (n <= pressure->room)
		return 0;
	held = reallocarray(pressure->held, n * 2, sizeof(*held));
	if (held)
		pressure->held = held;
	weighed = reallocarray(pressure->weighed, n * 2, sizeof(*weighed));
	if (weighed)
		pressure->weighed = weighed;
	if (!held || !weighed)
		return -ENOMEM;
	pressure->room = n * 2;
	return 0;
}

static int by_id(const void *key, const void *element)
{
	const struct engine_held *held = element;

	return strcmp(key, engine_workload_id(held->workload));
}

static void take_usage(void *userdata, const char *id, uint64_t instance,
		       const struct telemetry_memory *memory)
{
	struct pressure *pressure = userdata;
	const struct engine_held *held = bsearch(id, pressure->held, pressure->n, sizeof(*held),
						 by_id);
	struct plan_workload *weighed;

	if (!held || engine_workload_instance(held->workload) != instance)
		return;
	weighed = &pressure->weighed[held - pressure->held];
	weighed->usage_bytes = memory->current_bytes;
	weighed->working_set_bytes = memory->working_set_bytes;
	weighed->file_bytes = memory->file_bytes;
}

static int weigh(struct pressure *pressure)
{
	if (make_room(pressure) < 0)
		return -ENOMEM;
	pressure->n = engine_list_held(pressure->engine, pressure->held, pressure->room);
	for (size_t i = 0; i < pressure->n; i++) {
		const struct engine_held *held = &pressure->held[i];

		pressure->weighed[i] =
			(struct plan_workload){ .band = (unsigned int)held->band,
						.running = held->running,
						.paused = held->paused,
						.busy = held->busy,
						.squeezed = held->high_bytes > 0,
						.frozen = held->frozen,
						.frozen_ms = held->frozen_ms,
						.since_reclaim_ms = held->since_reclaim_ms,
						.request_bytes = held->request_bytes };
	}
	telemetry_list_memory(pressure->telemetry, take_usage, pressure);
	return 0;
}

static bool holds_any(const struct pressure *pressure)
{
	for (size_t i = 0; i < pressure->n; i++)
		if (pressure->weighed[i].frozen || pressure->weighed[i].squeezed ||
		    pressure->weighed[i].busy)
			return true;
	return false;
}

/* ---- saying --------------------------------------------------------------------------------------- */

/* "12.3 MiB" */
static const char *size_text(uint64_t bytes, char text[static QUANTITY_TEXT_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit < ARRAY_SIZE(units) - 1) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(text, QUANTITY_TEXT_MAX, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return text;
}

static void describe_shortage(const struct pressure *pressure, const struct figures *figures,
			      char *text, size_t size)
{
	const struct pool *pool = figures_tightest(figures);
	char available[QUANTITY_TEXT_MAX], total[QUANTITY_TEXT_MAX];

	(void)snprintf(
		text, size,
		"%s of %s of %s are available, tasks waited for memory %.2f %% of the last 10 s",
		size_text(pool->available_bytes, available), size_text(pool->total_bytes, total),
		pool == &figures->host ? "this host's memory"
				       : "what this host's workloads may have",
		figures->some_avg10_permyriad / 100.0);
}

static void describe_use(const struct plan_workload *workload, char *text, size_t size)
{
	char used[QUANTITY_TEXT_MAX], request[QUANTITY_TEXT_MAX];

	(void)snprintf(text, size, "it used %s, %s %s", size_text(workload->usage_bytes, used),
		       workload->usage_bytes > workload->request_bytes ? "above its request of"
								       : "within its request of",
		       size_text(workload->request_bytes, request));
}

static void describe_step(const struct pressure *pressure, const struct plan_choice *choice,
			  const struct plan_workload *workload, char *text, size_t size)
{
	char bytes[QUANTITY_TEXT_MAX], used[160];

	switch (choice->step) {
	case PLAN_RECLAIM:
		(void)snprintf(text, size, "memory is taken back, up to %s",
			       size_text(choice->bytes, bytes));
		break;
	case PLAN_SQUEEZE:
		(void)snprintf(text, size, "squeezed to its working set of %s (memory.high)",
			       size_text(choice->bytes, bytes));
		break;
	case PLAN_FREEZE:
		(void)snprintf(text, size, "frozen, for at most %s",
			       quantity_format_duration_ms(pressure->config.freeze_max_ms, bytes));
		break;
	case PLAN_KILL:
		describe_use(workload, used, sizeof(used));
		(void)snprintf(text, size, "killed: %s", used);
		break;
	case PLAN_THAW:
		(void)snprintf(text, size, "goes on");
		break;
	default:
		(void)snprintf(text, size, "no longer squeezed");
		break;
	}
}

/* ---- acting --------------------------------------------------------------------------------------- */

static const enum engine_hold_step hold_steps[] = {
	[PLAN_RECLAIM] = HOLD_RECLAIM, [PLAN_SQUEEZE] = HOLD_SQUEEZE, [PLAN_FREEZE] = HOLD_FREEZE,
	[PLAN_KILL] = HOLD_KILL,       [PLAN_THAW] = HOLD_THAW,       [PLAN_RELEASE] = HOLD_RELEASE,
};

static void look_again(struct pressure *pressure, uint64_t after_ms)
{
	(void)sd_event_source_set_time_relative(pressure->timer, after_ms * 1000);
	(void)sd_event_source_set_enabled(pressure->timer, SD_EVENT_ONESHOT);
}

static void take_step(struct pressure *pressure, const struct figures *figures,
		      const struct plan_choice *choice)
{
	struct plan_workload *workload = &pressure->weighed[choice->index];
	const struct workload *which = pressure->held[choice->index].workload;
	struct engine_figures before;
	char what[256], why[224], sentence[512];
	struct err err = { 0 };

	measure(pressure, which, &before);
	workload->usage_bytes = before.workload_bytes;
	describe_step(pressure, choice, workload, what, sizeof(what));
	describe_shortage(pressure, figures, why, sizeof(why));
	(void)snprintf(sentence, sizeof(sentence), "%s; %s", what, why);
	log_event(LOG_NOTICE, &(struct log_about){ .workload = engine_workload_id(which) }, "%s",
		  sentence);
	if (choice->step != PLAN_RECLAIM && choice->step != PLAN_SQUEEZE) {
		pressure->not_before_ms = now_ms() + PACE_MS;
		pressure->stalled_ms = 0;
	}
	if (choice->step == PLAN_KILL)
		pressure->evictions++;
	if (engine_hold(pressure->engine, which, hold_steps[choice->step], choice->bytes, &before,
			sentence, &err) < 0)
		log_failure(LOG_WARNING,
			    &(struct log_about){ .workload = engine_workload_id(which) }, &err);
}

static void begin(struct pressure *pressure, const struct figures *figures)
{
	const struct engine_figures now = for_engine(figures);
	char why[224], sentence[256];

	if (pressure->is_short)
		return;
	pressure->is_short = true;
	pressure->since_wall_ns = clock_ms(CLOCK_REALTIME) * NS_PER_MS_;
	describe_shortage(pressure, figures, why, sizeof(why));
	(void)snprintf(sentence, sizeof(sentence), "short of memory: %s", why);
	log_event(LOG_WARNING, NULL, "%s", sentence);
	engine_tell_pressure(pressure->engine, true, sentence, &now);
}

static void end(struct pressure *pressure, const struct figures *figures)
{
	const struct engine_figures now = for_engine(figures);
	char why[224], sentence[256];

	pressure->is_short = false;
	pressure->since_wall_ns = 0;
	describe_shortage(pressure, figures, why, sizeof(why));
	(void)snprintf(sentence, sizeof(sentence), "no longer short of memory: %s", why);
	log_event(LOG_NOTICE, NULL, "%s", sentence);
	engine_tell_pressure(pressure->engine, false, sentence, &now);
}

/* Stalls count for one window, and a little more for the kernel that tells of them late. */
static bool stalls(const struct pressure *pressure, uint64_t now)
{
	return pressure->stalled_ms &&
	       now - pressure->stalled_ms < pressure->watch.window_us / 1000 + LOOK_MS;
}

static struct plan_host judge(struct pressure *pressure, const struct figures *figures)
{
	const struct pressure_config *config = &pressure->config;
	uint64_t now = now_ms();
	struct plan_host host = {
		.is_scarce = figures_below(figures, config->act_below_percent),
		.missing_bytes = figures_missing(figures, config->relieve_above_percent),
	};

	if (!config->enabled) {
		host.is_scarce = false;
		host.is_relieved = true;
		return host;
	}
	host.is_short = host.is_scarce && stalls(pressure, now) && now >= pressure->not_before_ms;
	if (host.missing_bytes || stalls(pressure, now))
		pressure->scarce_ms = now;
	host.is_relieved = now - pressure->scarce_ms >= config->relieve_after_ms &&
			   now >= pressure->not_before_ms;
	return host;
}

static void look(struct pressure *pressure)
{
	struct figures figures;
	struct plan_host host;
	struct plan_choice choice;

	read_figures(pressure, &figures);
	host = judge(pressure, &figures);
	if (!pressure->is_short && !host.is_short)
		return;
	look_again(pressure, LOOK_MS);
	begin(pressure, &figures);
	if (weigh(pressure) < 0)
		return; /* without memory: the next look tries again */
	choice = plan_next(&pressure->rules, &host, pressure->weighed, pressure->n);
	if (choice.step != PLAN_NONE)
		take_step(pressure, &figures, &choice);
	else if (host.is_relieved && !holds_any(pressure))
		end(pressure, &figures);
	if (!pressure->is_short)
		(void)sd_event_source_set_enabled(pressure->timer, SD_EVENT_OFF);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	look(userdata);
	return 0;
}

static void on_stall(void *userdata)
{
	struct pressure *pressure = userdata;

	pressure->stalled_ms = now_ms();
	look(pressure);
}

/* ---- hooks of the engine -------------------------------------------------------------------------- */

static void on_stepped(void *userdata, const struct workload *workload, enum engine_hold_step step,
		       const struct err *failure)
{
	struct pressure *pressure = userdata;

	if (failure)
		log_failure(LOG_WARNING,
			    &(struct log_about){ .workload = engine_workload_id(workload) },
			    failure);
	else if (step == HOLD_RECLAIM)
		pressure->reclaims++;
	/* From the loop, not from within the engine. */
	look_again(pressure, failure ? LOOK_MS : 0);
}

static void set_limit(struct pressure *pressure)
{
	uint64_t capacity, allocatable;

	engine_get_memory(pressure->engine, &capacity, &allocatable);
	watch_limit(&pressure->watch, pressure->config.enforce_reserve ? allocatable : 0);
}

static void ask(struct pressure *pressure)
{
	const struct pressure_config *config = &pressure->config;

	set_limit(pressure);
	if (config->enabled)
		watch_ask(&pressure->watch, config->stall_ms * 1000, config->window_ms * 1000);
	else
		watch_end(&pressure->watch, "[Pressure] Enabled=no");
}

/* What an earlier process held back is undone like what this one did. */
static void find_held(struct pressure *pressure)
{
	if (pressure->is_short || weigh(pressure) < 0 || !holds_any(pressure))
		return;
	pressure->is_short = true;
	pressure->since_wall_ns = clock_ms(CLOCK_REALTIME) * NS_PER_MS_;
	pressure->scarce_ms = now_ms();
}

static void choose_rules(struct pressure *pressure);

static void on_ready(void *userdata)
{
	struct pressure *pressure = userdata;

	choose_rules(pressure);
	ask(pressure);
	find_held(pressure);
	if (pressure->is_short)
		look_again(pressure, LOOK_MS);
}

static int fill_cannot(const struct pressure *pressure, struct arena *arena,
		       Berth__V1__NodePressure *ret)
{
	static const struct {
		enum plan_step step;
		const char *feature;
	} needs[] = { { PLAN_RECLAIM, "cgroup.memory.reclaim" },
		      { PLAN_SQUEEZE, "cgroup.memory.high" } };

	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		const char *why = NULL;

		if (engine_host_has(pressure->engine, needs[i].feature, &why))
			continue;
		if (arena_append(arena, &ret->cannot, &ret->n_cannot,
				 arena_printf(arena, "%s: this host has no %s",
					      plan_step_name(needs[i].step), needs[i].feature)) < 0)
			return -ENOMEM;
	}
	if (!pressure->watch.limit_failure[0])
		return 0;
	return arena_append(arena, &ret->cannot, &ret->n_cannot,
			    arena_strdup(arena, pressure->watch.limit_failure));
}

static void count_held(struct pressure *pressure, Berth__V1__NodePressure *ret)
{
	if (!pressure->is_short || weigh(pressure) < 0)
		return;
	for (size_t i = 0; i < pressure->n; i++) {
		ret->frozen += pressure->weighed[i].frozen;
		ret->squeezed += pressure->weighed[i].squeezed;
	}
}

static int fill_node(void *userdata, struct arena *arena, Berth__V1__Node *node)
{
	struct pressure *pressure = userdata;
	Berth__V1__NodePressure *ret = arena_message(arena, &berth__v1__node_pressure__descriptor);
	const struct figures *figures = figures_to_tell(pressure);
	struct engine_figures for_message = for_engine(figures);

	if (!ret)
		return -ENOMEM;
	ret->enabled = pressure->config.enabled;
	ret->watching = pressure->watch.n_sources > 0;
	ret->sentence = pressure->watch.sentence;
	ret->short_of_memory = pressure->is_short;
	ret->since_unix_ns = pressure->since_wall_ns;
	ret->act_below_bytes = figures_tightest(figures)->total_bytes / 100 *
			       pressure->config.act_below_percent;
	ret->relieve_above_bytes = figures_tightest(figures)->total_bytes / 100 *
				   pressure->config.relieve_above_percent;
	ret->reclaims = pressure->reclaims;
	ret->evictions = pressure->evictions;
	ret->workloads_limit_bytes = pressure->watch.limit_bytes;
	count_held(pressure, ret);
	node->pressure = ret;
	if (engine_fill_figures(&for_message, arena, &ret->figures) < 0)
		return -ENOMEM;
	return fill_cannot(pressure, arena, ret);
}

/* ---- configuration -------------------------------------------------------------------------------- */

int pressure_check_step(const char *name, struct err *err)
{
	if (plan_step_parse(name) != PLAN_NONE)
		return 0;
	return err_set(err, ERR_INVALID, EINVAL, "\"%s\" is none of reclaim, squeeze, freeze, kill",
		       name);
}

static unsigned int steps_of(const struct config_list *names)
{
	unsigned int steps = 0;

	for (size_t i = 0; i < names->n; i++)
		steps |= PLAN_BIT(plan_step_parse(names->items[i]));
	return steps & ~PLAN_BIT(PLAN_NONE);
}

/* What this host cannot do is skipped; fill_cannot() says so. */
static void choose_rules(struct pressure *pressure)
{
	const struct pressure_config *config = &pressure->config;
	unsigned int possible = ~0U;

	if (!engine_host_has(pressure->engine, "cgroup.memory.reclaim", NULL))
		possible &= ~PLAN_BIT(PLAN_RECLAIM);
	if (!engine_host_has(pressure->engine, "cgroup.memory.high", NULL))
		possible &= ~PLAN_BIT(PLAN_SQUEEZE);
	pressure->rules = (struct plan_rules){
		.steps = { [4] = steps_of(config->best_effort) & possible,
			   [3] = steps_of(config->batch) & possible,
			   [2] = steps_of(config->production) & possible },
		.reclaim_again_ms = RECLAIM_AGAIN_MS,
		.freeze_max_ms = config->freeze_max_ms,
	};
}

void pressure_reconfigure(struct pressure *pressure, const struct pressure_config *config)
{
	pressure->config = *config;
	choose_rules(pressure);
	ask(pressure);
	if (pressure->is_short)
		look_again(pressure, 0);
}

/* ---- life ----------------------------------------------------------------------------------------- */

int pressure_new(sd_event *event, struct engine *engine, struct telemetry *telemetry,
		 struct sandboxlink *link, const struct pressure_config *config,
		 struct pressure **ret_pressure, struct err *err)
{
	struct pressure *pressure = calloc(1, sizeof(*pressure));
	int r;

	if (!pressure)
		return err_oom(err);
	pressure->event = sd_event_ref(event);
	pressure->engine = engine;
	pressure->telemetry = telemetry;
	pressure->config = *config;
	watch_init(&pressure->watch, event, link, on_stall, pressure);
	choose_rules(pressure);
	r = sd_event_add_time(event, &pressure->timer, CLOCK_BOOTTIME, 0, 10000, on_timer,
			      pressure);
	if (r >= 0)
		r = sd_event_source_set_enabled(pressure->timer, SD_EVENT_OFF);
	if (r < 0) {
		pressure_free(pressure);
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the host's memory: %m");
	}
	pressure->hooks = (struct engine_pressure){ .ready = on_ready,
						    .figures = measure,
						    .stepped = on_stepped,
						    .fill_node = fill_node,
						    .userdata = pressure };
	engine_set_pressure(engine, &pressure->hooks);
	*ret_pressure = pressure;
	return 0;
}

void pressure_free(struct pressure *pressure)
{
	if (!pressure)
		return;
	engine_set_pressure(pressure->engine, NULL);
	sd_event_source_disable_unref(pressure->timer);
	watch_done(&pressure->watch);
	free(pressure->held);
	free(pressure->weighed);
	sd_event_unref(pressure->event);
	free(pressure);
}

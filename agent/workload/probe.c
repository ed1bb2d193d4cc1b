/*
 * A probe's life: a timer begins a try; a try ends with an answer, or without one when its deadline comes,
 * or was not made at all where the host is to blame. Answers in a row, counted against the thresholds, make
 * up what is told (readiness.c) or done (the end of the attempt).
 *
 * Nothing of it is kept over a restart of berthd but what it has led to: counting begins anew.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/quantity.h"

/* A program is ended by its monitor, at its deadline; where that does not tell, we do not wait on. */
#define EXEC_SLACK_NS (2 * NS_PER_SEC)
/* Until berth-sandboxd has made what a try needs. */
#define START_NS (10 * NS_PER_SEC)
/* Tries begin at multiples of this, so that many of them are one turn of the loop. */
#define GRID_NS (10 * NS_PER_MS)

static struct engine *engine_of(const struct probe *probe)
{
	return probe->container->workload->engine;
}

static uint64_t now_of(const struct probe *probe)
{
	return timer_boot_ns(&engine_of(probe)->timers);
}

/* By a command, or because the host is short of memory. */
static bool is_frozen(const struct probe *probe)
{
	const struct workload *workload = probe->container->workload;

	return workload->paused || workload->hold.frozen;
}

static bool is_exec(const struct probe *probe)
{
	return probe->spec->action_case == BERTH__V1__PROBE__ACTION_EXEC;
}

static bool is_ipv6(const Berth__V1__Probe *spec)
{
	return (spec->action_case == BERTH__V1__PROBE__ACTION_HTTP && spec->http->ipv6) ||
	       (spec->action_case == BERTH__V1__PROBE__ACTION_TCP && spec->tcp->ipv6) ||
	       (spec->action_case == BERTH__V1__PROBE__ACTION_GRPC && spec->grpc->ipv6);
}

static const char *kind_name(const struct probe *probe)
{
	switch (probe->kind) {
	case BERTH__V1__PROBE_KIND__PROBE_STARTUP:
		return "startup";
	case BERTH__V1__PROBE_KIND__PROBE_READINESS:
		return "readiness";
	default:
		return "liveness";
	}
}

/* ---- when ----------------------------------------------------------------------------------------- */

static void begin_try(struct probe *probe);

static void on_next(struct timer *timer)
{
	begin_try((struct probe *)((char *)timer - offsetof(struct probe, next)));
}

static void arm_at(struct probe *probe, uint64_t at_boot_ns)
{
	uint64_t now = now_of(probe);

	if (at_boot_ns < UINT64_MAX - GRID_NS)
		at_boot_ns = (at_boot_ns + GRID_NS - 1) / GRID_NS * GRID_NS;
	timer_arm(&engine_of(probe)->timers, &probe->next, at_boot_ns > now ? at_boot_ns - now : 0,
		  on_next);
}

/* The first try of a container that has just started is due at once; those of containers that are found
 * after a start of berthd are spread over a period. */
static void arm_first(struct probe *probe, bool found)
{
	const struct container *container = probe->container;
	uint64_t period = probe->spec->period_ms * NS_PER_MS;
	uint64_t at = container->started_boot_ns + probe->spec->initial_delay_ms * NS_PER_MS;
	uint64_t soon = now_of(probe);

	if (found) /* a multiplicative hash: neighbours are far apart */
		soon += (container->workload->slot * UINT64_C(2654435761) & 0xffff) * period >> 16;
	arm_at(probe, at > soon ? at : soon);
}

/* ---- the end of a try ----------------------------------------------------------------------------- */

static void forget_try(struct probe *probe)
{
	struct engine *engine = engine_of(probe);

	timer_disarm(&engine->timers, &probe->deadline);
	probe->socket_wanted = 0;
	if (probe->try)
		engine->prober->ops->cancel(engine->prober, probe->try, NULL);
	probe->try = NULL;
	if (probe->session.linked)
		engine_session_close(&probe->session);
	if (probe->reading)
		probe->n_output = probe_output_end(probe->reading, probe->output);
	probe->reading = NULL;
}

static void arm_after_try(struct probe *probe)
{
	arm_at(probe, probe->begun_boot_ns + probe->spec->period_ms * NS_PER_MS);
}

/* The container is ended for it: the attempt with it, and then the restart policy is asked. */
static void end_container(struct probe *probe)
{
	struct container *container = probe->container;
	bool startup = probe->kind == BERTH__V1__PROBE_KIND__PROBE_STARTUP;

	if (container->workload->ending)
		return; /* its own turn to be ended comes */
	container->ended_by_probe = probe->kind;
	(void)snprintf(container->probe_sentence, sizeof(container->probe_sentence),
		       "its %s probe failed %u time%s in a row; last: %s", kind_name(probe),
		       probe->failures, probe->failures == 1 ? "" : "s", probe->last_failure);
	workload_end(container->workload,
		     startup ? REASON(STARTUP_FAILED) : REASON(LIVENESS_FAILED), "%s %s: %s",
		     container_role_name(container), container->spec->name,
		     container->probe_sentence);
}

static void start_others(struct container *container)
{
	for (size_t i = 0; i < PROBES; i++) {
		struct probe *probe = container->probes[i];

		if (probe && probe->kind != BERTH__V1__PROBE_KIND__PROBE_STARTUP)
			arm_first(probe, false);
	}
}

static void started_up(struct container *container)
{
	container->startup_done = true;
	workload_touch(container->workload);
	start_others(container);
	if (!container->spec->readiness_probe)
		readiness_set(container, true, "");
	else
		readiness_set(container, false, "its readiness probe has not succeeded yet");
}

/* What the counts amount to. The last thing that is done with @probe. */
static void draw_conclusion(struct probe *probe)
{
	bool failed = probe->failures >= probe->spec->failure_threshold;
	bool succeeded = probe->successes >= probe->spec->success_threshold;

	switch (probe->kind) {
	case BERTH__V1__PROBE_KIND__PROBE_READINESS:
		if (succeeded)
			readiness_set(probe->container, true, "");
		else if (failed)
			readiness_set(probe->container, false, probe->last_failure);
		break;
	case BERTH__V1__PROBE_KIND__PROBE_STARTUP:
		if (succeeded) {
			timer_disarm(&engine_of(probe)->timers, &probe->next);
			started_up(probe->container);
			break;
		}
		if (failed)
			end_container(probe);
		break;
	default:
		if (failed)
			end_container(probe);
	}
}

static void count(uint32_t *one, uint32_t *other)
{
	*other = 0;
	if (*one < UINT32_MAX)
		(*one)++;
}

static void take_excuse(struct probe *probe, const char *why);

static void take_answer(struct probe *probe, bool success, const char *text)
{
	if (is_frozen(probe)) {
		take_excuse(probe, "the workload was paused meanwhile");
		return;
	}
	forget_try(probe);
	probe->last_wall_ns = timer_wall_ns(&engine_of(probe)->timers);
	probe->not_asked[0] = '\0';
	if (success) {
		count(&probe->successes, &probe->failures);
	} else {
		count(&probe->failures, &probe->successes);
		(void)snprintf(probe->last_failure, sizeof(probe->last_failure), "%s", text);
		probe->last_failure_wall_ns = probe->last_wall_ns;
	}
	arm_after_try(probe);
	draw_conclusion(probe);
}

/* It is the host's doing that nothing was asked. */
static void take_excuse(struct probe *probe, const char *why)
{
	forget_try(probe);
	probe->last_wall_ns = timer_wall_ns(&engine_of(probe)->timers);
	(void)snprintf(probe->not_asked, sizeof(probe->not_asked), "%s", why);
	arm_after_try(probe);
}

/* ---- over a socket -------------------------------------------------------------------------------- */

static void on_answered(void *userdata, struct probe_result *result)
{
	struct probe *probe = userdata;
	struct engine *engine = engine_of(probe);

	engine_enter(engine);
	probe->try = NULL;
	probe->socket_fd = take_fd(&result->fd);
	take_answer(probe, result->success, result->text);
	engine_leave(engine);
}

static void on_late(struct timer *timer)
{
	struct probe *probe = (struct probe *)((char *)timer - offsetof(struct probe, deadline));
	struct prober *prober = engine_of(probe)->prober;
	struct probe_try *try = probe->try;
	struct probe_result result;

	if (!try) {
		take_excuse(probe, "berth-sandboxd made no socket for it in time");
		return;
	}
	probe->try = NULL;
	prober->ops->cancel(prober, try, &result);
	take_answer(probe, result.success, result.text);
}

static void ask_over_socket(struct probe *probe)
{
	struct engine *engine = engine_of(probe);
	struct err err = { 0 };

	timer_arm(&engine->timers, &probe->deadline, probe->spec->timeout_ms * NS_PER_MS, on_late);
	if (engine->prober->ops->begin(engine->prober, probe->spec, take_fd(&probe->socket_fd),
				       on_answered, probe, &probe->try, &err) < 0)
		take_excuse(probe, err.text);
}

/* Which probe a reply is for; NULL: none any more. */
static struct probe *probe_of_call(struct engine *engine, const struct sandboxlink_call *call)
{
	struct workload *workload = engine_find_slot(engine, (uint32_t)call->key[0], call->key[1]);
	size_t container = call->key[2] / PROBES;
	struct probe *probe;

	if (!workload || container >= workload->n_containers)
		return NULL;
	probe = workload->containers[container].probes[call->key[2] % PROBES];
	return probe && probe->socket_wanted == call->key[3] ? probe : NULL;
}

static void on_socket(void *userdata, const struct sandboxlink_call *call,
		      struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct probe *probe = probe_of_call(engine, call);

	if (!probe)
		return; /* the socket is closed with the packet */
	engine_enter(engine);
	probe->socket_wanted = 0;
	if (reply->err->kind != ERR_NONE) {
		take_excuse(probe, reply->err->text);
	} else if (reply->n_fds != 1) {
		take_excuse(probe, "berth-sandboxd sent no socket");
	} else {
		probe->socket_fd = take_fd(&reply->fds[0]);
		ask_over_socket(probe);
	}
	engine_leave(engine);
}

static size_t index_of(const struct probe *probe)
{
	return (size_t)probe->kind - BERTH__V1__PROBE_KIND__PROBE_STARTUP;
}

static void want_socket(struct probe *probe)
{
	const struct container *container = probe->container;
	struct engine *engine = engine_of(probe);
	const struct sandboxlink_call call = {
		.done = on_socket,
		.userdata = engine,
		.key = { container->workload->slot, container->workload->instance,
			 container->index * PROBES + index_of(probe), ++engine->last_serial }
	};
	struct err err = { 0 };

	probe->socket_wanted = engine->last_serial;
	timer_arm(&engine->timers, &probe->deadline, START_NS, on_late);
	if (request_socket(probe->container, is_ipv6(probe->spec), &call, &err) < 0)
		take_excuse(probe, err.text);
}

/* ---- by a program --------------------------------------------------------------------------------- */

static struct probe *probe_of_session(struct engine_session *session)
{
	return (struct probe *)((char *)session - offsetof(struct probe, session));
}

static void on_exec_late(struct timer *timer)
{
	struct probe *probe = (struct probe *)((char *)timer - offsetof(struct probe, deadline));
	char what[PROBE_WHAT_MAX], limit[QUANTITY_TEXT_MAX], text[PROBE_TEXT_MAX];

	if (!probe->session.running) {
		take_excuse(probe, "berth-sandboxd did not start its program in time");
		return;
	}
	(void)snprintf(text, sizeof(text), "%s: did not end within %s, and is not killed yet",
		       probe_what(probe->spec, what),
		       quantity_format_duration_ms(probe->spec->timeout_ms, limit));
	take_answer(probe, false, text);
}

static void on_opened(struct engine_session *session, int *fds, size_t n_fds)
{
	struct probe *probe = probe_of_session(session);

	probe->reading = probe_output_new(engine_of(probe)->event, fds, n_fds);
}

static void on_exec_started(struct engine_session *session, const Berth__V1__ExecStarted *started)
{
	struct probe *probe = probe_of_session(session);

	timer_arm(&engine_of(probe)->timers, &probe->deadline,
		  probe->spec->timeout_ms * NS_PER_MS + EXEC_SLACK_NS, on_exec_late);
}

/* The last line that it wrote, for the sentence. */
static void append_last_line(const struct probe *probe, char text[static PROBE_TEXT_MAX])
{
	size_t length = strlen(text);
	size_t end = probe->n_output;
	size_t begin;

	while (end > 0 && (probe->output[end - 1] == '\n' || probe->output[end - 1] == ' '))
		end--;
	for (begin = end; begin > 0 && probe->output[begin - 1] != '\n'; begin--)
		;
	if (begin == end)
		return;
	length += (size_t)snprintf(text + length, PROBE_TEXT_MAX - length, ": ");
	for (; begin < end && length + 1 < PROBE_TEXT_MAX; begin++) {
		char c = (char)probe->output[begin];

		text[length++] = (char)(c >= ' ' && c <= '~' ? c : '?');
	}
	text[length] = '\0';
}

static bool was_late(const struct probe *probe)
{
	return now_of(probe) - probe->session.started_boot_ns >=
	       probe->spec->timeout_ms * NS_PER_MS;
}

static void on_exec_ended(struct engine_session *session, const Berth__V1__ExitRecord *record)
{
	struct probe *probe = probe_of_session(session);
	char what[PROBE_WHAT_MAX], limit[QUANTITY_TEXT_MAX], text[PROBE_TEXT_MAX];
	bool code = record->kind == BERTH__V1__EXIT_KIND__EXIT_CODE;

	if (record->kind == BERTH__V1__EXIT_KIND__EXIT_UNKNOWN) {
		take_excuse(probe, record->sentence);
		return;
	}
	/* The output is whole before the sentence is made of it. */
	probe->n_output = probe_output_end(probe->reading, probe->output);
	probe->reading = NULL;
	if (!code && record->signal == 9 && was_late(probe))
		(void)snprintf(text, sizeof(text), "%s: did not end within %s",
			       probe_what(probe->spec, what),
			       quantity_format_duration_ms(probe->spec->timeout_ms, limit));
	else
		(void)snprintf(text, sizeof(text), "%s: %s", probe_what(probe->spec, what),
			       record->sentence);
	append_last_line(probe, text);
	take_answer(probe, code && record->code == 0, text);
}

static void on_exec_failed(struct engine_session *session, const struct engine_answer *answer)
{
	struct probe *probe = probe_of_session(session);
	char what[PROBE_WHAT_MAX], text[PROBE_TEXT_MAX];

	if (answer->err->kind != ERR_START) {
		take_excuse(probe, answer->err->text);
		return;
	}
	(void)snprintf(text, sizeof(text), "%s: %.200s", probe_what(probe->spec, what),
		       answer->err->text);
	take_answer(probe, false, text);
}

static const struct engine_session_ops session_ops = { .opened = on_opened,
						       .started = on_exec_started,
						       .ended = on_exec_ended,
						       .failed = on_exec_failed };

static void run_program(struct probe *probe)
{
	probe->session.ops = &session_ops;
	timer_arm(&engine_of(probe)->timers, &probe->deadline, START_NS, on_exec_late);
	session_begin_probe(probe->container, probe->spec->exec, probe->spec->timeout_ms,
			    &probe->session); /* it may have failed by now */
}

/* ---- a try ---------------------------------------------------------------------------------------- */

static void begin_try(struct probe *probe)
{
	const struct engine *engine = engine_of(probe);

	probe->begun_boot_ns = now_of(probe);
	if (is_frozen(probe)) {
		arm_after_try(probe); /* its processes answer nobody */
		return;
	}
	if (!host_offers(&engine->host, "probes"))
		take_excuse(probe, "berth-sandboxd is of a release that knows no probes");
	else if (is_exec(probe))
		run_program(probe);
	else if (!engine->prober)
		take_excuse(probe, "this agent cannot ask over a network");
	else if (probe->socket_fd >= 0)
		ask_over_socket(probe);
	else
		want_socket(probe);
}

/* ---- beginning and ending ------------------------------------------------------------------------- */

static void add(struct container *container, const Berth__V1__Probe *spec,
		Berth__V1__ProbeKind kind)
{
	struct probe *probe = spec ? calloc(1, sizeof(*probe)) : NULL;

	if (!probe)
		return; /* without memory it is not asked: as if the host could not ask it */
	probe->container = container;
	probe->spec = spec;
	probe->kind = kind;
	probe->socket_fd = -1;
	container->probes[index_of(probe)] = probe;
}

void probes_begin(struct container *container)
{
	const Berth__V1__Container *spec = container->spec;
	bool found = container->probes_found;

	if (container->probes_begun)
		return;
	container->probes_begun = true;
	container->probes_found = false;
	add(container, spec->startup_probe, BERTH__V1__PROBE_KIND__PROBE_STARTUP);
	add(container, spec->readiness_probe, BERTH__V1__PROBE_KIND__PROBE_READINESS);
	add(container, spec->liveness_probe, BERTH__V1__PROBE_KIND__PROBE_LIVENESS);
	if (!spec->startup_probe)
		container->startup_done = true;
	for (size_t i = 0; i < PROBES; i++) {
		struct probe *probe = container->probes[i];
		bool startup = i == 0;

		if (probe && startup != container->startup_done)
			arm_first(probe, found);
	}
	/* After a start of berthd what was last said of it stands, until a probe says otherwise. */
	if (container->startup_done && !spec->readiness_probe)
		readiness_set(container, true, "");
	else if (!found)
		readiness_set(container, false,
			      container->startup_done ? "its readiness probe has not succeeded yet"
						      : "its startup probe has not succeeded yet");
}

static void probe_free(struct probe *probe)
{
	if (!probe)
		return;
	forget_try(probe);
	timer_disarm(&engine_of(probe)->timers, &probe->next);
	fd_close(&probe->socket_fd);
	free(probe);
}

void probes_end(struct container *container)
{
	for (size_t i = 0; i < PROBES; i++) {
		probe_free(container->probes[i]);
		container->probes[i] = NULL;
	}
	container->probes_begun = false;
}

/* ---- status --------------------------------------------------------------------------------------- */

static Berth__V1__ProbeStatus *probe_status(const struct probe *probe, struct arena *arena)
{
	Berth__V1__ProbeStatus *ret = arena_message(arena, &berth__v1__probe_status__descriptor);

	if (!ret)
		return NULL;
	ret->kind = probe->kind;
	ret->successes = probe->successes;
	ret->failures = probe->failures;
	ret->last_time_unix_ns = probe->last_wall_ns;
	ret->last_failure = (char *)probe->last_failure;
	ret->last_failure_unix_ns = probe->last_failure_wall_ns;
	ret->last_output.data = (uint8_t *)probe->output;
	ret->last_output.len = probe->n_output;
	ret->not_asked = (char *)probe->not_asked;
	return ret;
}

int probes_fill(const struct container *container, struct arena *arena,
		Berth__V1__ContainerStatus *ret)
{
	for (size_t i = 0; i < PROBES; i++)
		if (container->probes[i] &&
		    arena_append(arena, &ret->probes, &ret->n_probes,
				 probe_status(container->probes[i], arena)) < 0)
			return -ENOMEM;
	return 0;
}

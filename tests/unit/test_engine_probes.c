/* Probes in the engine: what asks is played, time stands still, and berth-sandboxd is the test. */
#include "sandbox_player.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/probe/prober.h"
#include "proto/cleanup.h"
#include "proto/page.h"

#define STATE(name)  BERTH__V1__WORKLOAD_STATE__##name
#define REASON(name) BERTH__V1__REASON__##name
#define VERB(name)   BERTH__SANDBOX__V1__REQUEST__VERB_##name

/* ---- the played prober ---------------------------------------------------------------------------- */

struct played_try {
	const Berth__V1__Probe *probe;
	void (*done)(void *userdata, struct probe_result *result);
	void *userdata;
	int fd;
	bool open;
};

static struct played_prober {
	struct prober prober; /* first */
	struct played_try tries[1024];
	size_t n_tries;
	bool late_is_good; /* what cancel() says of it */
} asked;

static int play_begin(struct prober *prober, const Berth__V1__Probe *probe, int fd,
		      void (*done)(void *userdata, struct probe_result *result), void *userdata,
		      struct probe_try **ret_try, struct err *err)
{
	struct played_try *try = &asked.tries[asked.n_tries++];

	assert_true(fd >= 0);
	*try = (struct played_try){ probe, done, userdata, fd, true };
	*ret_try = (struct probe_try *)try;
	return 0;
}

static void play_cancel(struct prober *prober, struct probe_try *opaque, struct probe_result *ret)
{
	struct played_try *try = (struct played_try *)opaque;

	assert_true(try->open);
	try->open = false;
	fd_close(&try->fd);
	if (!ret)
		return;
	*ret = (struct probe_result){ .success = asked.late_is_good, .fd = -1 };
	(void)strcpy(ret->text, "no answer in time");
}

static const struct prober_ops prober_ops = { .begin = play_begin, .cancel = play_cancel };

static struct played_try *last_try(void)
{
	return asked.n_tries ? &asked.tries[asked.n_tries - 1] : NULL;
}

/* Answer the try that is under way. */
static void answer(bool success)
{
	struct played_try *try = last_try();
	struct probe_result result = { .success = success, .fd = -1 };

	assert_non_null(try);
	assert_true(try->open);
	try->open = false;
	if (success)
		result.fd = take_fd(&try->fd);
	else
		(void)strcpy(result.text, "GET 127.0.0.1:80/: answered 503");
	fd_close(&try->fd);
	try->done(try->userdata, &result);
	fd_close(&result.fd);
}

/* ---- the host ------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct player *player;

	asked = (struct played_prober){ .prober = { .ops = &prober_ops } };
	player = player_new(NULL, 0);
	player->prober = &asked.prober;
	player_restart(player); /* with it */
	player_connect(player);
	*state = player;
	return 0;
}

static int tear_down(void **state)
{
	player_free(*state);
	for (size_t i = 0; i < asked.n_tries; i++)
		assert_false(asked.tries[i].open);
	return 0;
}

static Berth__V1__WorkloadStatus *status_of(struct player *player, const char *id)
{
	Berth__V1__WorkloadStatus *status = arena_message(&player->arena,
							  &berth__v1__workload_status__descriptor);

	assert_int_equal(
		engine_fill_status(engine_find(player->engine, id), &player->arena, status), 0);
	return status;
}

static bool is_ready(struct player *player)
{
	return status_of(player, "web")->ready;
}

static Berth__V1__Probe *http_probe(struct player *player, uint32_t period_ms)
{
	Berth__V1__Probe *probe = arena_message(&player->arena, &berth__v1__probe__descriptor);

	probe->action_case = BERTH__V1__PROBE__ACTION_HTTP;
	probe->http = arena_message(&player->arena, &berth__v1__http_probe__descriptor);
	probe->http->port = 80;
	probe->_period_ms_case = BERTH__V1__PROBE___PERIOD_MS_PERIOD_MS;
	probe->period_ms = period_ms;
	return probe;
}

static Berth__V1__Probe *exec_probe(struct player *player, uint32_t period_ms)
{
	Berth__V1__Probe *probe = http_probe(player, period_ms);

	probe->action_case = BERTH__V1__PROBE__ACTION_EXEC;
	probe->exec = arena_message(&player->arena, &berth__v1__exec_probe__descriptor);
	assert_int_equal(arena_append(&player->arena, &probe->exec->command,
				      &probe->exec->n_command, (char *)"/bin/check"),
			 0);
	return probe;
}

/* The last request for a socket is answered with one. */
static void give_socket(struct player *player)
{
	struct played_request *request = &player->requests[player->n_requests - 1];
	Berth__Sandbox__V1__Reply message = BERTH__SANDBOX__V1__REPLY__INIT;
	const struct err fine = { 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sandboxlink_reply reply = { &message, &fine, &fd, 1 };

	while (request > player->requests && request->message->verb_case != VERB(SOCKET))
		request--;
	assert_int_equal(request->message->verb_case, VERB(SOCKET));
	assert_false(request->answered);
	assert_true(fd >= 0);
	request->answered = true;
	request->call.done(request->call.userdata, &request->call, &reply);
	fd_close(&fd);
}

/* Move to the next try, and answer it. */
static void pass_and_answer(struct player *player, uint64_t ms, bool success)
{
	size_t requests = player->n_requests;
	size_t tries = asked.n_tries;

	player_pass(player, ms);
	if (player->n_requests > requests && asked.n_tries == tries)
		give_socket(player);
	assert_int_equal(asked.n_tries, tries + 1);
	answer(success);
}

static size_t count_events(struct player *player, Berth__V1__Reason reason, const char *container)
{
	size_t n = 0;

	for (size_t i = 0; i < player->store.n_kept; i++) {
		const struct played_write *write = &player->store.kept[i];
		Berth__V1__Event *event;

		if (write->kind != 'e')
			continue;
		event = berth__v1__event__unpack(NULL, write->n, write->bytes);
		assert_non_null(event);
		n += event->reason == reason && strcmp(event->container, container) == 0;
		berth__v1__event__free_unpacked(event, NULL);
	}
	return n;
}

/* ---- readiness ------------------------------------------------------------------------------------ */

static void readiness_follows_the_answers(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__Probe *probe = spec->containers[0]->readiness_probe = http_probe(player, 1000);

	probe->_success_threshold_case = BERTH__V1__PROBE___SUCCESS_THRESHOLD_SUCCESS_THRESHOLD;
	probe->success_threshold = 2;
	player_run(player, spec, 1);
	assert_false(is_ready(player));
	assert_non_null(strstr(status_of(player, "web")->containers[0]->unready_sentence,
			       "not succeeded yet"));
	pass_and_answer(player, 0, true);
	assert_false(is_ready(player));
	pass_and_answer(player, 1000, true);
	assert_true(is_ready(player));
	assert_true(status_of(player, "web")->containers[0]->ready);
	assert_int_equal(status_of(player, "web")->ready_changed_unix_ns, player->wall_ns);
	for (int i = 0; i < 2; i++)
		pass_and_answer(player, 1000, false);
	assert_true(is_ready(player));
	pass_and_answer(player, 1000, true); /* they have to be in a row */
	for (int i = 0; i < 2; i++)
		pass_and_answer(player, 1000, false);
	assert_true(is_ready(player));
	pass_and_answer(player, 1000, false);
	assert_false(is_ready(player));
	assert_string_equal(status_of(player, "web")->containers[0]->unready_sentence,
			    "GET 127.0.0.1:80/: answered 503");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(count_events(player, REASON(BECAME_READY), "main"), 1);
	assert_int_equal(count_events(player, REASON(BECAME_READY), ""), 1);
	assert_int_equal(count_events(player, REASON(BECAME_UNREADY), "main"), 1);
	assert_int_equal(count_events(player, REASON(BECAME_UNREADY), ""), 1);
}

static void a_workload_is_ready_when_all_of_it_is(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	(void)player_add_container(player, spec, "plain", 0);
	spec->containers[0]->readiness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	assert_true(status_of(player, "web")->containers[1]->ready);
	assert_false(is_ready(player));
	pass_and_answer(player, 0, true);
	assert_true(is_ready(player));
}

static void without_probes_who_runs_is_ready_and_no_event_says_so(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	assert_true(is_ready(player));
	assert_true(status_of(player, "web")->containers[0]->ready);
	assert_int_equal(count_events(player, REASON(BECAME_READY), ""), 0);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	assert_false(is_ready(player));
	assert_false(status_of(player, "web")->containers[0]->ready);
}

static void one_socket_serves_as_long_as_answers_come(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->containers[0]->readiness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	pass_and_answer(player, 0, true);
	for (int i = 0; i < 10; i++)
		pass_and_answer(player, 1000, true);
	assert_int_equal(player_count(player, VERB(SOCKET)), 1);
	pass_and_answer(player, 1000, false);
	pass_and_answer(player, 1000, true);
	assert_int_equal(player_count(player, VERB(SOCKET)), 2);
}

static void what_is_not_written_is_not_put_to_the_disk(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	size_t lives;

	spec->containers[0]->readiness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	pass_and_answer(player, 0, true);
	lives = player->store.n_lives;
	for (int i = 0; i < 100; i++)
		pass_and_answer(player, 1000, i % 2 == 0);
	assert_int_equal(player->store.n_lives, lives);
}

/* ---- startup and liveness ------------------------------------------------------------------------- */

static void nothing_else_is_asked_before_the_startup_probe_has_succeeded(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__Container *container = spec->containers[0];
	const Berth__V1__Probe *first;

	container->startup_probe = http_probe(player, 1000);
	container->startup_probe->http->port = 81;
	container->startup_probe->_failure_threshold_case =
		BERTH__V1__PROBE___FAILURE_THRESHOLD_FAILURE_THRESHOLD;
	container->startup_probe->failure_threshold = 30;
	container->readiness_probe = http_probe(player, 1000);
	container->liveness_probe = exec_probe(player, 100000);
	player_run(player, spec, 1);
	for (int i = 0; i < 20; i++)
		pass_and_answer(player, i ? 1000 : 0, false);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(player_count(player, VERB(EXEC)), 0);
	pass_and_answer(player, 1000, true);
	first = last_try()->probe;
	assert_int_equal(first->http->port, 81);
	assert_false(is_ready(player));
	player_pass(player, 0);
	assert_int_equal(player_count(player, VERB(EXEC)), 1);
	give_socket(player);
	assert_int_equal(last_try()->probe->http->port, 80);
	answer(true);
	assert_true(is_ready(player));
	/* It is not asked any more. */
	for (int i = 0; i < 5; i++)
		pass_and_answer(player, 1000, true);
	assert_int_equal(last_try()->probe->http->port, 80);
}

static void a_startup_probe_that_fails_too_often_ends_the_container(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->containers[0]->startup_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	for (int i = 0; i < 3; i++)
		pass_and_answer(player, i ? 1000 : 0, false);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	player_exited(player, "web", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(STARTUP_FAILED));
}

static void a_liveness_probe_that_fails_restarts_by_the_policy(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	const Berth__V1__ExitRecord *record;

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE, 0);
	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	pass_and_answer(player, 0, true);
	for (int i = 0; i < 3; i++)
		pass_and_answer(player, 1000, false);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	assert_int_equal(player_reason(player, "web"), REASON(LIVENESS_FAILED));
	(void)player_expect(player, VERB(SOCKET));
	(void)player_expect(player, VERB(SOCKET));
	(void)player_expect(player, VERB(SOCKET));
	assert_int_equal(player_expect(player, VERB(SIGNAL))->message->signal->signal, SIGTERM);
	/* It goes well, though it was asked by a signal: no success, all the same. */
	player_exited(player, "web", "main", CLD_EXITED, 0);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	record = status_of(player, "web")->containers[0]->last_exit;
	assert_int_equal(record->reason, REASON(LIVENESS_FAILED));
	assert_string_equal(record->sentence,
			    "its liveness probe failed 3 times in a row; last: GET 127.0.0.1:80/: "
			    "answered 503; exited with code 0");
	player_pass(player, 1000);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_exited(player, "web", "main", CLD_EXITED, 3);
	record = status_of(player, "web")->containers[0]->last_exit;
	assert_int_equal(record->reason, REASON(EXITED_NONZERO));
}

static void a_hung_container_is_killed_when_its_grace_is_over(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	for (int i = 0; i < 3; i++)
		pass_and_answer(player, i ? 1000 : 0, false);
	player_pass(player, 10000);
	assert_int_equal(player_count(player, VERB(KILL)), 1);
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	assert_int_equal(player_reason(player, "web"), REASON(LIVENESS_FAILED));
	assert_non_null(strstr(status_of(player, "web")->containers[0]->last_exit->sentence,
			       "killed when its grace was over"));
}

static void the_first_try_waits_for_the_initial_delay(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	spec->containers[0]->liveness_probe->initial_delay_ms = 5000;
	player_run(player, spec, 1);
	player_pass(player, 4999);
	assert_int_equal(player_count(player, VERB(SOCKET)), 0);
	pass_and_answer(player, 1, true);
}

static void a_try_without_an_answer_has_failed(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	player_pass(player, 0);
	give_socket(player);
	player_pass(player, 999);
	assert_true(last_try()->open);
	player_pass(player, 1);
	assert_false(asked.tries[0].open);
	assert_int_equal(status_of(player, "web")->containers[0]->probes[0]->failures, 1);
	assert_string_equal(status_of(player, "web")->containers[0]->probes[0]->last_failure,
			    "no answer in time");
}

static void an_answer_whose_end_is_late_is_good(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	asked.late_is_good = true;
	spec->containers[0]->readiness_probe = http_probe(player, 2000);
	player_run(player, spec, 1);
	player_pass(player, 0);
	give_socket(player);
	player_pass(player, 1000);
	assert_true(is_ready(player));
}

/* ---- what is not the workload's doing ------------------------------------------------------------- */

static void the_host_s_failures_count_for_nothing(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	const Berth__V1__ProbeStatus *status;

	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	for (int i = 0; i < 10; i++) {
		player_pass(player, 1000);
		player_fail(player, &player->requests[player->n_requests - 1], ERR_EXHAUSTED,
			    "no descriptors");
	}
	player_disconnect(player);
	for (int i = 0; i < 10; i++)
		player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	status = status_of(player, "web")->containers[0]->probes[0];
	assert_int_equal(status->failures, 0);
	assert_string_equal(status->not_asked, "not connected");
}

static void a_socket_that_comes_too_late_is_dropped(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct played_request *request;
	Berth__Sandbox__V1__Reply message = BERTH__SANDBOX__V1__REPLY__INIT;
	const struct err fine = { 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sandboxlink_reply reply = { &message, &fine, &fd, 1 };

	spec->containers[0]->liveness_probe = http_probe(player, 100000);
	player_run(player, spec, 1);
	player_pass(player, 0);
	request = player_expect(player, VERB(SOCKET));
	player_pass(player, 10000);
	assert_int_equal(status_of(player, "web")->containers[0]->probes[0]->failures, 0);
	request->answered = true;
	request->call.done(request->call.userdata, &request->call, &reply);
	assert_int_equal(asked.n_tries, 0);
	fd_close(&fd); /* as the link does with what nobody took */
}

static void who_is_paused_is_not_asked(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__PauseRequest pause = BERTH__V1__PAUSE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	pass_and_answer(player, 0, true);
	player_pass(player, 1000); /* one is under way */
	fence.epoch = fence.generation = 1;
	pause.fence = &fence;
	pause.id = (char *)"web";
	outcome_init(&outcome);
	engine_pause(player->engine, &pause, &outcome.waiter);
	player_answer_all(player);
	assert_int_equal(outcome.r, 0);
	for (int i = 0; i < 20; i++)
		player_pass(player, 1000);
	assert_int_equal(asked.n_tries, 2);
	assert_int_equal(status_of(player, "web")->containers[0]->probes[0]->failures, 0);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void probes_of_a_host_that_knows_none_are_refused(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome launch;

	player_disconnect(player);
	player->no_probes = true;
	player_connect(player);
	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(launch.err.text, "liveness_probe of container main"));
}

/* ---- programs ------------------------------------------------------------------------------------- */

static uint64_t exec_session(struct player *player)
{
	const Berth__Sandbox__V1__Request *message =
		player->requests[player->n_requests - 1].message;

	assert_int_equal(message->verb_case, VERB(EXEC));
	return message->exec->session;
}

static void tell(struct player *player, const Berth__Sandbox__V1__Fact *fact)
{
	player->link.listener->fact(player->link.listener->userdata, fact, NULL, 0);
}

/* Answer the Exec of a probe with pipes in which @output is, and say that it began. */
static void start_program(struct player *player, const char *output)
{
	struct played_request *request = &player->requests[player->n_requests - 1];
	Berth__Sandbox__V1__Reply message = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecStarted started = BERTH__SANDBOX__V1__EXEC_STARTED__INIT;
	const struct err fine = { 0 };
	int out[2], error[2], fds[2];
	struct sandboxlink_reply reply = { &message, &fine, fds, 2 };

	started.session = exec_session(player);
	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	assert_int_equal(pipe2(error, O_NONBLOCK), 0);
	assert_int_equal(write(out[1], output, strlen(output)), strlen(output));
	fds[0] = out[0];
	fds[1] = error[0];
	request->answered = true;
	request->call.done(request->call.userdata, &request->call, &reply);
	(void)close(out[1]);
	(void)close(error[1]);
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_STARTED;
	fact.exec_started = &started;
	tell(player, &fact);
}

static void end_program(struct player *player, int kind, int status)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecExited exited = BERTH__SANDBOX__V1__EXEC_EXITED__INIT;

	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_EXITED;
	fact.exec_exited = &exited;
	exited.session = exec_session(player);
	exited.exit_si_code = kind;
	exited.exit_si_status = status;
	tell(player, &fact);
}

static void a_program_s_exit_code_is_its_answer(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	const Berth__V1__ProbeStatus *status;

	spec->containers[0]->readiness_probe = exec_probe(player, 1000);
	player_run(player, spec, 1);
	player_pass(player, 0);
	assert_int_equal(player->requests[player->n_requests - 1].message->exec->deadline_ms, 1000);
	start_program(player, "fine\n");
	end_program(player, CLD_EXITED, 0);
	assert_true(is_ready(player));
	for (int i = 0; i < 3; i++) {
		player_pass(player, 1000);
		start_program(player, "looking\nno database\x1b[2J\n");
		end_program(player, CLD_EXITED, 4);
	}
	assert_false(is_ready(player));
	status = status_of(player, "web")->containers[0]->probes[0];
	assert_string_equal(status->last_failure,
			    "exec /bin/check: exited with code 4: no database?[2J");
	assert_int_equal(status->last_output.len, strlen("looking\nno database\x1b[2J\n"));
	/* It is nobody's exec session. */
	assert_int_equal(count_events(player, REASON(EXEC_STARTED), "main"), 0);
	assert_int_equal(count_events(player, REASON(EXEC_ENDED), "main"), 0);
}

static void a_program_that_is_not_done_in_time_has_failed(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	const Berth__V1__ProbeStatus *status;

	spec->containers[0]->readiness_probe = exec_probe(player, 1000);
	player_run(player, spec, 1);
	player_pass(player, 0);
	start_program(player, "");
	player_pass(player, 1000); /* the monitor kills it */
	end_program(player, CLD_KILLED, SIGKILL);
	status = status_of(player, "web")->containers[0]->probes[0];
	assert_int_equal(status->failures, 1);
	assert_string_equal(status->last_failure, "exec /bin/check: did not end within 1s");
	/* The next one: nobody tells, and it is given up. */
	player_pass(player, 0);
	start_program(player, "");
	player_pass(player, 3000);
	status = status_of(player, "web")->containers[0]->probes[0];
	assert_int_equal(status->failures, 2);
	assert_int_equal(player->requests[player->n_requests - 1].message->verb_case, VERB(EXEC));
	assert_int_equal(player->requests[player->n_requests - 2].message->verb_case, VERB(SIGNAL));
	end_program(player, CLD_KILLED, SIGKILL); /* of the one after: still to be started */
}

static void a_program_that_cannot_be_started_has_failed(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecFailed failed = BERTH__SANDBOX__V1__EXEC_FAILED__INIT;
	Berth__Sandbox__V1__Failure failure = BERTH__SANDBOX__V1__FAILURE__INIT;

	spec->containers[0]->liveness_probe = exec_probe(player, 1000);
	player_run(player, spec, 1);
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_FAILED;
	fact.exec_failed = &failed;
	failed.failure = &failure;
	failure.kind = ERR_EXHAUSTED;
	failure.text = (char *)"cannot fork";
	player_pass(player, 0);
	failed.session = exec_session(player);
	tell(player, &fact);
	assert_int_equal(status_of(player, "web")->containers[0]->probes[0]->failures, 0);
	failure.kind = ERR_START;
	failure.text = (char *)"/bin/check: No such file or directory";
	player_pass(player, 1000);
	failed.session = exec_session(player);
	tell(player, &fact);
	assert_int_equal(status_of(player, "web")->containers[0]->probes[0]->failures, 1);
	assert_non_null(strstr(status_of(player, "web")->containers[0]->probes[0]->last_failure,
			       "No such file"));
}

static void a_lost_connection_is_no_answer_of_a_program(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->containers[0]->liveness_probe = exec_probe(player, 1000);
	player_run(player, spec, 1);
	player_pass(player, 0);
	start_program(player, "");
	player_disconnect(player);
	assert_int_equal(status_of(player, "web")->containers[0]->probes[0]->failures, 0);
}

/* ---- over a restart of the agent ------------------------------------------------------------------ */

static void come_back(struct player *player)
{
	static Berth__Sandbox__V1__KnownContainer container;
	static Berth__Sandbox__V1__KnownContainer *containers[] = { &container };
	static Berth__Sandbox__V1__KnownWorkload known;
	static Berth__Sandbox__V1__KnownWorkload *workloads[] = { &known };

	berth__sandbox__v1__known_container__init(&container);
	berth__sandbox__v1__known_workload__init(&known);
	known.workload = (char *)"web";
	known.containers = containers;
	known.n_containers = 1;
	container.container = (char *)"main";
	container.attempt = 1;
	container.state = PAGE_RUNNING;
	player->inventory.workloads = workloads;
	player->inventory.n_workloads = 1;
	player_restart(player);
	known.instance = engine_workload_instance(engine_find(player->engine, "web"));
}

static void readiness_stands_over_a_restart_of_the_agent(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	uint64_t since;

	spec->containers[0]->startup_probe = http_probe(player, 1000);
	spec->containers[0]->readiness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	pass_and_answer(player, 0, true);
	pass_and_answer(player, 0, true);
	assert_true(is_ready(player));
	since = status_of(player, "web")->ready_changed_unix_ns;
	come_back(player);
	assert_true(is_ready(player)); /* before anybody is there to be asked */
	player_connect(player);
	player_started(player, "web", "main");
	assert_true(is_ready(player));
	assert_int_equal(status_of(player, "web")->ready_changed_unix_ns, since);
	/* It is asked within a period; the startup probe is not asked again. */
	pass_and_answer(player, 1000, false);
	pass_and_answer(player, 1000, false);
	assert_true(is_ready(player));
	pass_and_answer(player, 1000, false);
	assert_false(is_ready(player));
	assert_int_equal(count_events(player, REASON(BECAME_READY), ""), 1);
	assert_int_equal(count_events(player, REASON(BECAME_UNREADY), ""), 1);
	come_back(player);
	player_connect(player);
	player_started(player, "web", "main");
	assert_string_equal(status_of(player, "web")->containers[0]->unready_sentence,
			    "GET 127.0.0.1:80/: answered 503");
}

static void the_probe_that_ended_it_is_known_after_a_restart_of_the_agent(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	player_run(player, spec, 1);
	for (int i = 0; i < 3; i++)
		pass_and_answer(player, i ? 1000 : 0, false);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	come_back(player);
	player_connect(player);
	player_started(player, "web", "main");
	player_pass(player, 5000);
	assert_int_equal(asked.n_tries, 3); /* it is on its way out */
	player_exited(player, "web", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	assert_int_equal(status_of(player, "web")->containers[0]->last_exit->reason,
			 REASON(LIVENESS_FAILED));
}

static void found_containers_are_not_asked_all_at_once(void **state)
{
	struct player *player = *state;
	Berth__Sandbox__V1__KnownContainer containers[40];
	Berth__Sandbox__V1__KnownContainer *lists[40];
	Berth__Sandbox__V1__KnownWorkload known[40];
	Berth__Sandbox__V1__KnownWorkload *workloads[40];
	char ids[40][8];
	size_t most = 0;

	for (int i = 0; i < 40; i++) {
		Berth__V1__WorkloadSpec *spec;

		(void)snprintf(ids[i], sizeof(ids[i]), "w-%02d", i);
		spec = player_spec(player, ids[i]);
		spec->containers[0]->readiness_probe = http_probe(player, 10000);
		player_run(player, spec, 1);
		berth__sandbox__v1__known_container__init(&containers[i]);
		berth__sandbox__v1__known_workload__init(&known[i]);
		containers[i].container = (char *)"main";
		containers[i].attempt = 1;
		containers[i].state = PAGE_RUNNING;
		lists[i] = &containers[i];
		known[i].workload = ids[i];
		known[i].instance = engine_workload_instance(engine_find(player->engine, ids[i]));
		known[i].containers = &lists[i];
		known[i].n_containers = 1;
		workloads[i] = &known[i];
	}
	player->inventory.workloads = workloads;
	player->inventory.n_workloads = 40;
	player_restart(player);
	player_connect(player);
	for (int i = 0; i < 40; i++)
		player_started(player, ids[i], "main");
	for (int i = 0; i < 100; i++) {
		size_t before = player_count(player, VERB(SOCKET));
		size_t now;

		player_pass(player, 100);
		now = player_count(player, VERB(SOCKET)) - before;
		most = now > most ? now : most;
	}
	assert_int_equal(player_count(player, VERB(SOCKET)), 40);
	assert_in_range(most, 1, 4);
}

/* ---- fields --------------------------------------------------------------------------------------- */

static void expect_wrong(struct player *player, Berth__V1__WorkloadSpec *spec, const char *field)
{
	struct outcome launch;
	char path[128];

	(void)snprintf(path, sizeof(path), "spec.containers[0].%s", field);
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_INVALID);
	assert_string_equal(launch.field, path);
}

static void wrong_probes_are_refused_with_their_fields(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__Probe *probe = spec->containers[0]->liveness_probe = http_probe(player, 1000);
	Berth__V1__HttpHeader header = BERTH__V1__HTTP_HEADER__INIT;
	Berth__V1__HttpHeader *headers[] = { &header };

	probe->http->port = 0;
	expect_wrong(player, spec, "liveness_probe.http.port");
	probe->http->port = 65536;
	expect_wrong(player, spec, "liveness_probe.http.port");
	probe->http->port = 80;
	probe->http->path = (char *)"/a\r\nX: y";
	expect_wrong(player, spec, "liveness_probe.http.path");
	probe->http->path = (char *)"";
	probe->http->headers = headers;
	probe->http->n_headers = 1;
	expect_wrong(player, spec, "liveness_probe.http.headers[0].name");
	header.name = (char *)"connection";
	expect_wrong(player, spec, "liveness_probe.http.headers[0].name");
	header.name = (char *)"X";
	header.value = (char *)"a\nb";
	expect_wrong(player, spec, "liveness_probe.http.headers[0].value");
	header.value = (char *)"a";
	probe->http->status_first = 500;
	expect_wrong(player, spec, "liveness_probe.http.status_last");
	probe->http->status_first = 0;
	probe->period_ms = 99;
	expect_wrong(player, spec, "liveness_probe.period_ms");
	probe->period_ms = 1000;
	probe->_success_threshold_case = BERTH__V1__PROBE___SUCCESS_THRESHOLD_SUCCESS_THRESHOLD;
	probe->success_threshold = 2;
	expect_wrong(player, spec, "liveness_probe.success_threshold");
	probe->success_threshold = 1;
	probe->action_case = 0;
	expect_wrong(player, spec, "liveness_probe");
	spec->containers[0]->liveness_probe = exec_probe(player, 1000);
	spec->containers[0]->liveness_probe->exec->n_command = 0;
	expect_wrong(player, spec, "liveness_probe.exec.command");
	spec->containers[0]->liveness_probe = http_probe(player, 1000);
	spec->containers[0]->role = BERTH__V1__CONTAINER_ROLE__ROLE_INIT;
	(void)player_add_container(player, spec, "second", 0);
	expect_wrong(player, spec, "liveness_probe");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(readiness_follows_the_answers),
		TEST(a_workload_is_ready_when_all_of_it_is),
		TEST(without_probes_who_runs_is_ready_and_no_event_says_so),
		TEST(one_socket_serves_as_long_as_answers_come),
		TEST(what_is_not_written_is_not_put_to_the_disk),
		TEST(nothing_else_is_asked_before_the_startup_probe_has_succeeded),
		TEST(a_startup_probe_that_fails_too_often_ends_the_container),
		TEST(a_liveness_probe_that_fails_restarts_by_the_policy),
		TEST(a_hung_container_is_killed_when_its_grace_is_over),
		TEST(the_first_try_waits_for_the_initial_delay),
		TEST(a_try_without_an_answer_has_failed),
		TEST(an_answer_whose_end_is_late_is_good),
		TEST(the_host_s_failures_count_for_nothing),
		TEST(a_socket_that_comes_too_late_is_dropped),
		TEST(who_is_paused_is_not_asked),
		TEST(probes_of_a_host_that_knows_none_are_refused),
		TEST(a_program_s_exit_code_is_its_answer),
		TEST(a_program_that_is_not_done_in_time_has_failed),
		TEST(a_program_that_cannot_be_started_has_failed),
		TEST(a_lost_connection_is_no_answer_of_a_program),
		TEST(readiness_stands_over_a_restart_of_the_agent),
		TEST(the_probe_that_ended_it_is_known_after_a_restart_of_the_agent),
		TEST(found_containers_are_not_asked_all_at_once),
		TEST(wrong_probes_are_refused_with_their_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

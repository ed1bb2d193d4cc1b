/*
 * Exec and Attach. A session is the caller's memory; the engine links it and finds it again by its
 * number, which is never used twice, so that one that was closed cannot be mistaken for another.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/record.h"
#include "agent/workload/validate.h"
#include "proto/failpoint.h"
#include "proto/names.h"
#include "proto/ranges.h"
#include "proto/signame.h"

#define EXEC_ARENA_BYTES (1U << 20)

static void unlink_session(struct engine_session *session)
{
	if (session->linked)
		LIST_REMOVE(session, link);
	session->linked = false;
}

static void fail(struct engine_session *session, int r, const struct err *err,
		 const struct engine_fault *fault)
{
	cleanup_fault struct engine_fault none;
	struct engine_answer answer = { .r = r, .err = err, .fault = fault ? fault : &none };

	engine_fault_init(&none);
	unlink_session(session);
	session->ops->failed(session, &answer);
}

static struct engine_session *find(struct engine *engine, uint64_t number)
{
	struct engine_session *session;

	LIST_FOREACH (session, &engine->sessions, link)
		if (session->number == number)
			return session;
	return NULL;
}

/* The container that is meant: by name, or the only main one. */
static int choose(const struct workload *workload, const char *name,
		  struct container **ret_container, struct err *err)
{
	struct container *chosen = NULL;

	if (*name) {
		*ret_container = workload_container(workload, name);
		if (*ret_container)
			return 0;
		return err_set(err, ERR_NOT_FOUND, ENOENT, "workload %s has no container %s",
			       workload->id, name);
	}
	for (size_t i = 0; i < workload->n_containers; i++) {
		if (workload->containers[i].spec->role != ROLE(MAIN))
			continue;
		if (chosen)
			return err_set(
				err, ERR_INVALID, EINVAL,
				"container: must be given: workload %s has several main containers",
				workload->id);
		chosen = &workload->containers[i];
	}
	*ret_container = chosen;
	return 0;
}

static int find_running(struct engine *engine, const char *id, const char *name,
			struct container **ret_container, struct engine_fault *fault,
			struct err *err)
{
	struct workload *workload = engine_lookup(engine, id);
	int r;

	if (!workload)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "no workload %s on this host", id);
	r = choose(workload, name, ret_container, err);
	if (r < 0)
		return r;
	if ((*ret_container)->phase != CONTAINER_RUNNING) {
		fault->reason = FAULT_NOT_RUNNING;
		return err_set(err, ERR_PRECONDITION, ESRCH,
			       "container %s of workload %s does not run: %s",
			       (*ret_container)->spec->name, id, workload->sentence);
	}
	if (!engine->ready) {
		fault->reason = FAULT_SANDBOX_AWAY;
		return err_set(err, ERR_UNAVAILABLE, ENOTCONN, "berth-sandboxd is not connected");
	}
	return 0;
}

static void on_opened(void *userdata, const struct sandboxlink_call *call,
		      struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct engine_session *session = find(engine, call->key[0]);

	FAILPOINT("berthd.exec.opened");
	if (!session)
		return; /* closed meanwhile; the descriptors are closed with the packet */
	if (reply->err->kind != ERR_NONE) {
		engine_enter(engine);
		fail(session, reply->err->errnum > 0 ? -reply->err->errnum : -EIO, reply->err,
		     NULL);
		engine_leave(engine);
		return;
	}
	session->opened = true;
	session->ops->opened(session, reply->fds, reply->n_fds);
}

static void remember(struct engine_session *session, struct engine *engine,
		     const struct container *container)
{
	session->engine = engine;
	session->linked = true;
	session->running = false;
	session->attached = false;
	session->opened = false;
	session->deadline_ms = 0;
	session->started_boot_ns = 0;
	session->started_wall_ns = 0;
	session->instance = container->workload->instance;
	session->attempt = container->attempt;
	(void)snprintf(session->workload, sizeof(session->workload), "%s", container->workload->id);
	(void)snprintf(session->container, sizeof(session->container), "%s", container->spec->name);
	session->number = ++engine->last_session;
	LIST_INSERT_HEAD(&engine->sessions, session, link);
}

static void fill_ref(const struct engine_session *session, Berth__Sandbox__V1__ContainerRef *ref)
{
	ref->workload = (char *)session->workload;
	ref->instance = session->instance;
	ref->container = (char *)session->container;
	ref->attempt = session->attempt;
}

/* ---- Exec ----------------------------------------------------------------------------------------- */

static void validate_exec(const Berth__V1__ExecStart *start, struct engine_fault *fault)
{
	const struct check check = { .fault = fault, .prefix = "start" };
	const struct check identity = { .fault = fault, .prefix = "start.identity" };
	struct err err = { 0 };

	validate_id(start->id, "start.id", fault);
	if (*start->container)
		check_result(&check, names_check_container(start->container, &err), &err,
			     "container");
	validate_command(start->command, start->n_command, &check);
	validate_env((Berth__V1__Container__EnvEntry *const *)start->env, start->n_env, &check);
	if (*start->working_dir)
		check_result(&check, names_check_path(start->working_dir, &err), &err,
			     "working_dir");
	validate_identity(start->identity, &identity);
	if (start->size &&
	    (start->size->rows > RANGE_TERMINAL_MAX || start->size->columns > RANGE_TERMINAL_MAX))
		check_wrong(&check, "at most 10000 rows and columns", "size");
}

/* Whether @start gives the variable @key itself. */
static bool overrides(const Berth__V1__ExecStart *start, const char *key)
{
	for (size_t i = 0; i < start->n_env; i++)
		if (strcmp(start->env[i]->key, key) == 0)
			return true;
	return false;
}

static int add_env(const Berth__V1__ExecStart *start, const Berth__V1__Container *spec,
		   struct arena *arena, Berth__Sandbox__V1__Exec *exec)
{
	for (size_t i = 0; i < spec->n_env; i++)
		if (!overrides(start, spec->env[i]->key) &&
		    arena_append(arena, &exec->env, &exec->n_env,
				 arena_printf(arena, "%s=%s", spec->env[i]->key,
					      spec->env[i]->value)) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < start->n_env; i++)
		if (arena_append(arena, &exec->env, &exec->n_env,
				 arena_printf(arena, "%s=%s", start->env[i]->key,
					      start->env[i]->value)) < 0)
			return -ENOMEM;
	return 0;
}

static void fill_identity(const Berth__V1__ExecStart *start, const Berth__V1__Container *spec,
			  Berth__Sandbox__V1__Exec *exec)
{
	const Berth__V1__Identity *identity = spec->identity;

	if (start->identity)
		identity = start->identity;
	exec->user = *identity->user ? identity->user : spec->identity->user;
	exec->n_groups = identity->n_groups;
	exec->groups = identity->groups;
	exec->n_capabilities = identity->n_capabilities;
	exec->capabilities = identity->capabilities;
}

static int send_exec(struct engine *engine, const Berth__V1__ExecStart *start,
		     struct engine_session *session, const Berth__V1__Container *spec,
		     struct err *err)
{
	const struct sandboxlink_call call = { .done = on_opened,
					       .userdata = engine,
					       .key = { session->number } };
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Exec exec = BERTH__SANDBOX__V1__EXEC__INIT;
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;
	int r;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_EXEC;
	request.exec = &exec;
	fill_ref(session, &ref);
	exec.ref = &ref;
	exec.session = session->number;
	exec.n_command = start->n_command;
	exec.command = start->command;
	exec.working_dir = *start->working_dir ? start->working_dir : spec->working_dir;
	exec.tty = start->tty;
	exec.stdin = start->stdin;
	exec.deadline_ms = session->deadline_ms;
	if (start->size) {
		exec.rows = start->size->rows;
		exec.columns = start->size->columns;
	}
	fill_identity(start, spec, &exec);
	r = add_env(start, spec, &engine->scratch, &exec);
	r = r < 0 ? err_oom(err) : sandboxlink_send(engine->link, &request, &call, err);
	arena_reset(&engine->scratch);
	return r;
}

void engine_exec(struct engine *engine, const Berth__V1__ExecStart *start,
		 struct engine_session *session)
{
	cleanup_fault struct engine_fault fault;
	const struct check identity = { .fault = &fault, .prefix = "start.identity" };
	struct container *container = NULL;
	struct err err = { 0 };
	int r;

	session->linked = false;
	engine_fault_init(&fault);
	validate_exec(start, &fault);
	r = engine_fault_check_fields(&fault, &err);
	if (r >= 0)
		r = find_running(engine, start->id, start->container, &container, &fault, &err);
	if (r >= 0)
		r = supported_capabilities(start->identity, "the program", &identity, &engine->host,
					   &err);
	if (r >= 0) {
		remember(session, engine, container);
		r = send_exec(engine, start, session, container_run(container), &err);
	}
	if (r < 0)
		fail(session, r, &err, &fault);
}

void session_begin_probe(struct container *container, const Berth__V1__ExecProbe *exec,
			 uint32_t deadline_ms, struct engine_session *session)
{
	struct engine *engine = container->workload->engine;
	Berth__V1__ExecStart start = BERTH__V1__EXEC_START__INIT;
	struct err err = { 0 };
	int r;

	start.command = exec->command;
	start.n_command = exec->n_command;
	remember(session, engine, container);
	session->deadline_ms = deadline_ms;
	r = send_exec(engine, &start, session, container_run(container), &err);
	if (r < 0)
		fail(session, r, &err, NULL);
}

/* ---- Attach --------------------------------------------------------------------------------------- */

void engine_attach(struct engine *engine, const Berth__V1__AttachStart *start,
		   struct engine_session *session)
{
	cleanup_fault struct engine_fault fault;
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Attach attach = BERTH__SANDBOX__V1__ATTACH__INIT;
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;
	struct sandboxlink_call call = { .done = on_opened, .userdata = engine };
	struct container *container = NULL;
	struct err err = { 0 };
	int r;

	session->linked = false;
	engine_fault_init(&fault);
	validate_id(start->id, "start.id", &fault);
	if (*start->container && names_check_container(start->container, &err) < 0)
		engine_fault_add_field(&fault, "start.container", err.text);
	r = engine_fault_check_fields(&fault, &err);
	if (r >= 0)
		r = find_running(engine, start->id, start->container, &container, &fault, &err);
	if (r >= 0) {
		remember(session, engine, container);
		session->running = true; /* its end is the container's */
		call.key[0] = session->number;
		request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_ATTACH;
		request.attach = &attach;
		fill_ref(session, &ref);
		attach.ref = &ref;
		session->attached = true;
		r = sandboxlink_send(engine->link, &request, &call, &err);
	}
	if (r < 0)
		fail(session, r, &err, &fault);
}

/* ---- what comes later ----------------------------------------------------------------------------- */

static int send_signal(struct engine_session *session, int signal, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Signal message = BERTH__SANDBOX__V1__SIGNAL__INIT;
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;

	fill_ref(session, &ref);
	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL;
	request.signal = &message;
	message.ref = &ref;
	message.signal = (uint32_t)signal;
	message.session = session->number;
	return sandboxlink_send(session->engine->link, &request, NULL, err);
}

int engine_session_signal(struct engine_session *session, const char *signal, struct err *err)
{
	int number = 0;
	int r = signame_parse(signal, &number, err);

	if (r < 0)
		return err_prefix(err, r, "signal");
	if (!session->linked || session->attached)
		return err_set(err, ERR_PRECONDITION, ESRCH, "the program does not run");
	return send_signal(session, number, err);
}

/* EXEC_STARTED and EXEC_ENDED: who came in is part of a workload's history. */
static void tell_history(struct engine_session *session, Berth__V1__Reason reason,
			 const char *sentence)
{
	struct workload *workload = engine_lookup(session->engine, session->workload);

	if (session->deadline_ms)
		return; /* a probe is nobody who came in */
	if (workload && workload->instance == session->instance)
		workload_event(workload, workload_container(workload, session->container), reason,
			       NULL, "%s", sentence);
}

/* No fact of berth-sandboxd's finds a session that is closed. */
void engine_session_close(struct engine_session *session)
{
	if (!session->linked)
		return;
	unlink_session(session);
	if (session->attached)
		return;
	(void)send_signal(session, SIGKILL, NULL);
	if (!session->opened) /* it may run even if that was not told yet */
		return;
	engine_enter(session->engine);
	tell_history(session, REASON(EXEC_ENDED),
		     "who had started a program by Exec went away: it is killed");
	engine_leave(session->engine);
}

/* ---- facts ---------------------------------------------------------------------------------------- */

static void took_started(struct engine_session *session,
			 const Berth__Sandbox__V1__ExecStarted *fact)
{
	struct engine *engine = session->engine;
	Berth__V1__ExecStarted started = BERTH__V1__EXEC_STARTED__INIT;
	char sentence[64];

	FAILPOINT("berthd.exec.started");
	session->running = true;
	(void)snprintf(sentence, sizeof(sentence), "a program was started by Exec, pid %d",
		       fact->pid);
	tell_history(session, REASON(EXEC_STARTED), sentence);
	session->started_boot_ns = timer_boot_ns(&engine->timers);
	session->started_wall_ns = timer_wall_ns(&engine->timers);
	started.pid = fact->pid;
	for (size_t i = 0; i < fact->n_steps; i++) {
		Berth__V1__StepTime *step = arena_message(&engine->scratch,
							  &berth__v1__step_time__descriptor);

		if (arena_append(&engine->scratch, &started.steps, &started.n_steps, step) < 0)
			break;
		step->step = fact->steps[i]->step;
		step->ns = fact->steps[i]->ns;
	}
	session->ops->started(session, &started);
	arena_reset(&engine->scratch);
}

static void took_exited(struct engine_session *session, const Berth__Sandbox__V1__ExecExited *fact)
{
	Berth__V1__ExitRecord record = BERTH__V1__EXIT_RECORD__INIT;
	struct arena arena;

	FAILPOINT("berthd.exec.exited");
	tell_history(session, REASON(EXEC_ENDED), "a program that was started by Exec ended");
	arena_init(&arena, EXEC_ARENA_BYTES);
	(void)record_fill_end(&record, &arena, fact->exit_si_code, fact->exit_si_status, NULL);
	record.started_time_unix_ns = session->started_wall_ns;
	record.started_boot_ns = session->started_boot_ns;
	record.finished_time_unix_ns = fact->finished_wall_ns;
	record.finished_boot_ns = fact->finished_boot_ns;
	unlink_session(session);
	session->ops->ended(session, &record);
	arena_done(&arena);
}

static void took_failed(struct engine_session *session, const Berth__Sandbox__V1__ExecFailed *fact)
{
	cleanup_fault struct engine_fault fault;
	struct err err = { .kind = ERR_INTERNAL, .errnum = EIO };

	if (fact->failure)
		(void)err_set(&err, (enum err_kind)fact->failure->kind, fact->failure->errnum, "%s",
			      fact->failure->text);
	engine_fault_init(&fault);
	if (err.kind == ERR_START)
		fault.reason = FAULT_START_FAILED;
	fail(session, -EIO, &err, &fault);
}

static uint64_t session_of(const Berth__Sandbox__V1__Fact *fact)
{
	switch (fact->fact_case) {
	case BERTH__SANDBOX__V1__FACT__FACT_EXEC_STARTED:
		return fact->exec_started->session;
	case BERTH__SANDBOX__V1__FACT__FACT_EXEC_FAILED:
		return fact->exec_failed->session;
	case BERTH__SANDBOX__V1__FACT__FACT_EXEC_EXITED:
		return fact->exec_exited->session;
	default:
		return 0;
	}
}

bool sessions_took_fact(struct engine *engine, const Berth__Sandbox__V1__Fact *fact)
{
	uint64_t number = session_of(fact);
	struct engine_session *session;

	if (!number)
		return false;
	session = find(engine, number);
	if (!session)
		return true; /* closed meanwhile */
	if (fact->fact_case == BERTH__SANDBOX__V1__FACT__FACT_EXEC_STARTED)
		took_started(session, fact->exec_started);
	else if (fact->fact_case == BERTH__SANDBOX__V1__FACT__FACT_EXEC_EXITED)
		took_exited(session, fact->exec_exited);
	else
		took_failed(session, fact->exec_failed);
	return true;
}

/* It ended before anybody could be attached: what it wrote is in the log alone. */
static void refuse_ended(struct engine_session *session, const struct container *container)
{
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };
	int r;

	engine_fault_init(&fault);
	fault.reason = FAULT_NOT_RUNNING;
	r = err_set(&err, ERR_PRECONDITION, ESRCH,
		    "container %s of workload %s ended before it could be attached to",
		    session->container, session->workload);
	fail(session, r, &err, &fault);
}

static void end_attachment(struct engine_session *session, const struct container *container)
{
	const Berth__V1__ExitRecord none = BERTH__V1__EXIT_RECORD__INIT;

	if (!session->opened) {
		refuse_ended(session, container);
		return;
	}
	unlink_session(session);
	session->ops->ended(session, container->last_exit ? container->last_exit->message : &none);
}

void sessions_container_ended(struct container *container)
{
	struct engine *engine = container->workload->engine;
	struct engine_session *session;

again:
	LIST_FOREACH (session, &engine->sessions, link) {
		/* An exec's own end comes by its own fact. */
		if (!session->attached || session->instance != container->workload->instance ||
		    session->attempt != container->attempt ||
		    strcmp(session->container, container->spec->name) != 0)
			continue;
		end_attachment(session, container);
		goto again; /* the callback may have closed any of them */
	}
}

/* Programs that were started run on, but their ends will not be told to this connection. */
void sessions_link_lost(struct engine *engine, const struct err *err)
{
	struct engine_session *session;
	Berth__V1__ExitRecord record = BERTH__V1__EXIT_RECORD__INIT;

	record.kind = BERTH__V1__EXIT_KIND__EXIT_UNKNOWN;
	record.reason = REASON(SANDBOX_LOST);
	record.sentence = (char *)err->text;
again:
	LIST_FOREACH (session, &engine->sessions, link) {
		if (session->attached && session->opened)
			continue; /* its socket is the monitor's: it goes on */
		unlink_session(session);
		if (session->running && !session->attached)
			session->ops->ended(session, &record);
		else
			fail(session, -ENOTCONN, err, NULL);
		goto again;
	}
}

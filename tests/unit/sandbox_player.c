#include "sandbox_player.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/page.h"

static uint64_t boot_ns(void *userdata)
{
	return ((struct player *)userdata)->boot_ns;
}

static uint64_t wall_ns(void *userdata)
{
	return ((struct player *)userdata)->wall_ns;
}

/* ---- the link ------------------------------------------------------------------------------------- */

static int link_send(struct sandboxlink *link, Berth__Sandbox__V1__Request *request, int fd,
		     const struct sandboxlink_call *call, struct err *err)
{
	struct player *player = (struct player *)link;
	struct played_request *played = &player->requests[player->n_requests];
	size_t n;
	uint8_t *bytes;

	if (!player->up)
		return err_set(err, player->is_full ? ERR_EXHAUSTED : ERR_UNAVAILABLE, ENOTCONN,
			       "not connected");
	assert_true(player->n_requests < PLAYED_MAX);
	n = berth__sandbox__v1__request__get_packed_size(request);
	bytes = malloc(n + 1);
	(void)berth__sandbox__v1__request__pack(request, bytes);
	played->message = berth__sandbox__v1__request__unpack(NULL, n, bytes);
	free(bytes);
	assert_non_null(played->message);
	played->call = call ? *call : (struct sandboxlink_call){ 0 };
	played->answered = false;
	player->n_requests++;
	return 0;
}

static void link_free(struct sandboxlink *link)
{
}

static const struct sandboxlink_ops link_ops = { .send = link_send, .free = link_free };

static void answer(struct player *player, struct played_request *request,
		   const Berth__Sandbox__V1__Reply *message, const struct err *err)
{
	struct sandboxlink_reply reply = { .message = message, .err = err };
	struct sandboxlink_call call = request->call;

	request->answered = true;
	if (call.done)
		call.done(call.userdata, &call, &reply);
}

static void answer_well(struct player *player, struct played_request *request)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__CreateWorkloadResult create =
		BERTH__SANDBOX__V1__CREATE_WORKLOAD_RESULT__INIT;
	const struct err fine = { 0 };

	if (request->message->verb_case == BERTH__SANDBOX__V1__REQUEST__VERB_INVENTORY) {
		reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_INVENTORY;
		reply.inventory = &player->inventory;
	} else if (request->message->verb_case ==
		   BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD) {
		reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_CREATE_WORKLOAD;
		create.host_id_first = 0x50000000;
		reply.create_workload = &create;
	}
	answer(player, request, &reply, &fine);
}

void player_answer_all(struct player *player)
{
	for (size_t i = 0; i < player->n_requests; i++)
		if (!player->requests[i].answered)
			answer_well(player, &player->requests[i]);
}

void player_fail(struct player *player, struct played_request *request, enum err_kind kind,
		 const char *text)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	struct err err = { 0 };

	(void)err_set(&err, kind, EIO, "%s", text);
	answer(player, request, &reply, &err);
}

void player_connect(struct player *player)
{
	Berth__Sandbox__V1__HelloResult hello = BERTH__SANDBOX__V1__HELLO_RESULT__INIT;
	Berth__Sandbox__V1__HostFeature feature = BERTH__SANDBOX__V1__HOST_FEATURE__INIT;
	Berth__Sandbox__V1__HostFeature probes = BERTH__SANDBOX__V1__HOST_FEATURE__INIT;
	Berth__Sandbox__V1__HostFeature images = BERTH__SANDBOX__V1__HOST_FEATURE__INIT;
	Berth__Sandbox__V1__HostFeature *features[3] = { &probes };
	Berth__Sandbox__V1__Limits limits = BERTH__SANDBOX__V1__LIMITS__INIT;
	char *capabilities[] = { (char *)"CAP_NET_BIND_SERVICE" }; /* as its policy file has it */
	char *sysctls[] = { (char *)"net.ipv4.ip_unprivileged_port_start" };

	hello.protocol = 1;
	hello.cgroup_layout = (char *)"unified";
	if (player->refuses_starts)
		hello.refuses_starts = (char *)player->refuses_starts;
	hello.allow_unconfined = !player->no_unconfined;
	hello.n_grantable_capabilities = 1;
	hello.grantable_capabilities = capabilities;
	hello.n_allowed_sysctls = 1;
	hello.allowed_sysctls = sysctls;
	limits._memory_max_bytes_case =
		BERTH__SANDBOX__V1__LIMITS___MEMORY_MAX_BYTES_MEMORY_MAX_BYTES;
	limits.memory_max_bytes = 64 << 20;
	hello.default_limits = &limits;
	probes.name = (char *)"probes";
	probes.supported = !player->no_probes;
	hello.n_features = 1;
	hello.features = features;
	if (player->provider) {
		images.name = (char *)"images";
		images.supported = true;
		features[hello.n_features++] = &images;
	}
	if (player->lacks) {
		feature.name = (char *)player->lacks;
		feature.sentence = (char *)"not on this host";
		features[hello.n_features++] = &feature;
	}
	player->up = true;
	player->link.listener->up(player->link.listener->userdata, &hello);
	player_answer_all(player);
	player_skip(player);
}

void player_disconnect(struct player *player)
{
	struct err err = { 0 };

	(void)err_set(&err, ERR_UNAVAILABLE, EPIPE, "berth-sandboxd closed the connection");
	player->up = false;
	for (size_t i = 0; i < player->n_requests; i++)
		if (!player->requests[i].answered)
			answer(player, &player->requests[i], NULL, &err);
	player->link.listener->down(player->link.listener->userdata, &err);
}

struct played_request *player_expect(struct player *player,
				     Berth__Sandbox__V1__Request__VerbCase verb)
{
	struct played_request *request = &player->requests[player->looked_at];

	assert_true(player->looked_at < player->n_requests);
	assert_int_equal(request->message->verb_case, verb);
	player->looked_at++;
	return request;
}

void player_expect_nothing(struct player *player)
{
	assert_int_equal(player->looked_at, player->n_requests);
}

void player_skip(struct player *player)
{
	player->looked_at = player->n_requests;
}

size_t player_count(const struct player *player, Berth__Sandbox__V1__Request__VerbCase verb)
{
	size_t n = 0;

	for (size_t i = 0; i < player->n_requests; i++)
		n += player->requests[i].message->verb_case == verb;
	return n;
}

/* ---- facts ---------------------------------------------------------------------------------------- */

const Berth__Sandbox__V1__Launch *player_last_launch(struct player *player, const char *workload,
						     const char *container)
{
	for (size_t i = player->n_requests; i-- > 0;) {
		const Berth__Sandbox__V1__Request *message = player->requests[i].message;

		if (message->verb_case == BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH &&
		    strcmp(message->launch->ref->workload, workload) == 0 &&
		    strcmp(message->launch->ref->container, container) == 0)
			return message->launch;
	}
	return NULL;
}

static Berth__Sandbox__V1__ContainerRef *ref(struct player *player, const char *workload,
					     const char *container)
{
	const Berth__Sandbox__V1__Launch *launch = player_last_launch(player, workload, container);

	assert_non_null(launch);
	return launch->ref;
}

static void tell(struct player *player, const Berth__Sandbox__V1__Fact *fact)
{
	player->link.listener->fact(player->link.listener->userdata, fact, NULL, 0);
}

void player_started(struct player *player, const char *workload, const char *container)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Started started = BERTH__SANDBOX__V1__STARTED__INIT;

	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_STARTED;
	fact.started = &started;
	started.ref = ref(player, workload, container);
	started.pid = 4242;
	started.started_boot_ns = player->boot_ns;
	started.started_wall_ns = player->wall_ns;
	tell(player, &fact);
}

static void exited(struct player *player, const char *workload, const char *container, int kind,
		   int status, uint64_t oom_kills)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Exited message = BERTH__SANDBOX__V1__EXITED__INIT;

	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXITED;
	fact.exited = &message;
	message.ref = ref(player, workload, container);
	message.exit_si_code = kind;
	message.exit_si_status = status;
	message.finished_boot_ns = player->boot_ns;
	message.total_oom_kills = oom_kills;
	message.total_memory_peak_bytes = 64 << 20;
	tell(player, &fact);
}

void player_exited(struct player *player, const char *workload, const char *container, int kind,
		   int status)
{
	exited(player, workload, container, kind, status, 0);
}

void player_oomed(struct player *player, const char *workload, const char *container)
{
	exited(player, workload, container, CLD_KILLED, SIGKILL, 1);
}

void player_start_failed(struct player *player, const char *workload, const char *container,
			 enum err_kind kind, const char *text)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__StartFailed message = BERTH__SANDBOX__V1__START_FAILED__INIT;
	Berth__Sandbox__V1__Failure failure = BERTH__SANDBOX__V1__FAILURE__INIT;

	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_START_FAILED;
	fact.start_failed = &message;
	message.ref = ref(player, workload, container);
	message.failure = &failure;
	message.step = (char *)"exec";
	failure.kind = kind;
	failure.errnum = ENOENT;
	failure.text = (char *)text;
	tell(player, &fact);
}

void player_unkillable(struct player *player, const char *workload, const char *container)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Unkillable message = BERTH__SANDBOX__V1__UNKILLABLE__INIT;
	char *processes[] = { (char *)"pid 4242 waits in nfs_wait" };

	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_UNKILLABLE;
	fact.unkillable = &message;
	message.ref = ref(player, workload, container);
	message.n_processes = 1;
	message.processes = processes;
	tell(player, &fact);
}

/* ---- specs ---------------------------------------------------------------------------------------- */

Berth__V1__Container *player_add_container(struct player *player, Berth__V1__WorkloadSpec *spec,
					   const char *name, Berth__V1__ContainerRole role)
{
	struct arena *arena = &player->arena;
	Berth__V1__Container *container = arena_message(arena, &berth__v1__container__descriptor);

	container->name = arena_strdup(arena, name);
	container->role = role;
	container->root = arena_message(arena, &berth__v1__root_filesystem__descriptor);
	container->root->source_case = BERTH__V1__ROOT_FILESYSTEM__SOURCE_DIRECTORY;
	container->root->directory = (char *)"/srv/root";
	assert_int_equal(arena_append(arena, &container->command, &container->n_command,
				      (char *)"/bin/server"),
			 0);
	assert_int_equal(arena_append(arena, &spec->containers, &spec->n_containers, container), 0);
	return container;
}

Berth__V1__WorkloadSpec *player_spec(struct player *player, const char *id)
{
	Berth__V1__WorkloadSpec *spec = arena_message(&player->arena,
						      &berth__v1__workload_spec__descriptor);

	spec->id = arena_strdup(&player->arena, id);
	(void)player_add_container(player, spec, "main",
				   BERTH__V1__CONTAINER_ROLE__CONTAINER_ROLE_UNSPECIFIED);
	return spec;
}

void player_set_memory(struct player *player, Berth__V1__Container *container, uint64_t bytes)
{
	if (!container->resources)
		container->resources = arena_message(&player->arena,
						     &berth__v1__resources__descriptor);
	container->resources->_memory_limit_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_LIMIT_BYTES_MEMORY_LIMIT_BYTES;
	container->resources->memory_limit_bytes = bytes;
}

void player_set_restart(struct player *player, Berth__V1__WorkloadSpec *spec,
			Berth__V1__RestartMode mode, uint32_t max)
{
	spec->restart = arena_message(&player->arena, &berth__v1__restart_policy__descriptor);
	spec->restart->mode = mode;
	spec->restart->max_restarts = max;
}

/* ---- commands ------------------------------------------------------------------------------------- */

static void on_done(struct engine_waiter *waiter, const struct engine_answer *ans)
{
	struct outcome *outcome = (struct outcome *)waiter;
	Berth__V1__WorkloadStatus status = BERTH__V1__WORKLOAD_STATUS__INIT;
	struct arena arena;

	outcome->calls++;
	outcome->r = ans->r;
	outcome->err = *ans->err;
	(void)snprintf(outcome->reason, sizeof(outcome->reason), "%s",
		       ans->fault->reason ? ans->fault->reason : "");
	outcome->n_fields = ans->fault->n_fields;
	if (ans->fault->n_fields)
		(void)snprintf(outcome->field, sizeof(outcome->field), "%s",
			       ans->fault->fields[0].path);
	outcome->n_quotas = ans->fault->n_quotas;
	memcpy(outcome->quotas, ans->fault->quotas, sizeof(outcome->quotas));
	outcome->already_applied = ans->already_applied;
	if (!ans->workload)
		return;
	arena_init(&arena, 1 << 20);
	assert_int_equal(engine_fill_status(ans->workload, &arena, &status), 0);
	outcome->state = status.state;
	outcome->why = status.reason;
	(void)snprintf(outcome->sentence, sizeof(outcome->sentence), "%s", status.sentence);
	arena_done(&arena);
}

void outcome_init(struct outcome *outcome)
{
	*outcome = (struct outcome){ .waiter = { .done = on_done } };
}

void player_launch(struct player *player, Berth__V1__WorkloadSpec *spec, uint64_t epoch,
		   uint64_t generation, struct outcome *outcome)
{
	Berth__V1__LaunchRequest request = BERTH__V1__LAUNCH_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = epoch;
	fence.generation = generation;
	request.fence = &fence;
	request.spec = spec;
	engine_launch(player->engine, &request, &outcome->waiter);
}

void player_run(struct player *player, Berth__V1__WorkloadSpec *spec, uint64_t generation)
{
	struct outcome outcome;

	player_launch(player, spec, 1, generation, &outcome);
	player_answer_all(player);
	for (size_t i = 0; i < spec->n_containers; i++)
		player_started(player, spec->id, spec->containers[i]->name);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
	assert_int_equal(player_state(player, spec->id), BERTH__V1__WORKLOAD_STATE__RUNNING);
	player_skip(player);
}

void player_stop(struct player *player, const char *id, uint64_t generation, int64_t grace_ms,
		 struct outcome *outcome)
{
	Berth__V1__StopRequest request = BERTH__V1__STOP_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = 1;
	fence.generation = generation;
	request.fence = &fence;
	request.id = (char *)id;
	if (grace_ms >= 0) {
		request._grace_ms_case = BERTH__V1__STOP_REQUEST___GRACE_MS_GRACE_MS;
		request.grace_ms = (uint32_t)grace_ms;
	}
	engine_stop(player->engine, &request, &outcome->waiter);
}

void player_delete(struct player *player, const char *id, uint64_t generation, bool force,
		   struct outcome *outcome)
{
	Berth__V1__DeleteRequest request = BERTH__V1__DELETE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = 1;
	fence.generation = generation;
	request.fence = &fence;
	request.id = (char *)id;
	request.force = force;
	engine_delete(player->engine, &request, &outcome->waiter);
}

Berth__V1__WorkloadState player_state(struct player *player, const char *id)
{
	const struct workload *workload = engine_find(player->engine, id);

	return workload ? engine_workload_state(workload) : 0;
}

Berth__V1__Reason player_reason(struct player *player, const char *id)
{
	const struct workload *workload = engine_find(player->engine, id);
	Berth__V1__WorkloadStatus status = BERTH__V1__WORKLOAD_STATUS__INIT;
	struct arena arena;

	if (!workload)
		return 0;
	arena_init(&arena, 1 << 20);
	assert_int_equal(engine_fill_status(workload, &arena, &status), 0);
	arena_done(&arena);
	return status.reason;
}

/* ---- new and free --------------------------------------------------------------------------------- */

static void start(struct player *player)
{
	const struct engine_config config = { .events_max = player->events_max,
					      .clock = &player->clock,
					      .capacity = player->capacity,
					      .prober = player->prober,
					      .provider = player->provider };
	struct err err = { 0 };

	assert_int_equal(engine_new(NULL, &config, &player->store.store, &player->link,
				    &player->engine, &err),
			 0);
}

struct player *player_new(const struct engine_resources *capacity, size_t events_max)
{
	struct player *player = calloc(1, sizeof(*player));

	assert_non_null(player);
	player->link.ops = &link_ops;
	played_store_init(&player->store);
	player->boot_ns = 1000000000000;
	player->wall_ns = 1700000000000000000;
	player->clock =
		(struct engine_clock){ .boot_ns = boot_ns, .wall_ns = wall_ns, .userdata = player };
	berth__sandbox__v1__inventory_result__init(&player->inventory);
	arena_init(&player->arena, 64 << 20);
	player->events_max = events_max;
	player->capacity = capacity ? *capacity
				    : (struct engine_resources){ .cpu_millis = 64000,
								 .memory_bytes = 64ULL << 30,
								 .pids = 1000000 };
	start(player);
	return player;
}

void player_restart(struct player *player)
{
	engine_free(player->engine);
	played_store_crash(&player->store);
	player->up = false;
	for (size_t i = 0; i < player->n_requests; i++)
		player->requests[i].answered = true; /* to nobody */
	player_skip(player);
	start(player);
}

void player_free(struct player *player)
{
	engine_free(player->engine);
	played_store_done(&player->store);
	for (size_t i = 0; i < player->n_requests; i++)
		berth__sandbox__v1__request__free_unpacked(player->requests[i].message, NULL);
	arena_done(&player->arena);
	free(player);
}

void player_pass(struct player *player, uint64_t ms)
{
	player->boot_ns += ms * 1000000;
	player->wall_ns += ms * 1000000;
	engine_run_timers(player->engine);
}

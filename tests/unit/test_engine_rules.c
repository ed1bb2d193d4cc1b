/* Fences, admission, what the host cannot do, and wrong fields. */
#include "sandbox_player.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/workload/admission.h"
#include "proto/ranges.h"

#define STATE(name) BERTH__V1__WORKLOAD_STATE__##name
#define ROLE(name)  BERTH__V1__CONTAINER_ROLE__ROLE_##name
#define VERB(name)  BERTH__SANDBOX__V1__REQUEST__VERB_##name
#define MIB         (1ULL << 20)

static const struct engine_resources small = {
	.cpu_millis = 4000, .memory_bytes = 256 * MIB, .pids = 1000, .workloads = 3
};

static int setup(void **state)
{
	struct player *player = player_new(&small, 0);

	player_connect(player);
	*state = player;
	return 0;
}

static int teardown(void **state)
{
	player_free(*state);
	return 0;
}

/* ---- fences --------------------------------------------------------------------------------------- */

static void a_lower_epoch_is_refused_with_both_numbers(void **state)
{
	struct player *player = *state;
	struct outcome launch;

	player_launch(player, player_spec(player, "a"), 7, 1, &launch);
	engine_waiter_cancel(&launch.waiter);
	player_launch(player, player_spec(player, "b"), 6, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_PRECONDITION);
	assert_string_equal(launch.reason, FAULT_STALE_EPOCH);
	assert_non_null(strstr(launch.err.text, "epoch 6"));
	assert_non_null(strstr(launch.err.text, "epoch 7"));
	assert_null(engine_find(player->engine, "b"));
}

static void the_same_launch_twice_is_one_effect(void **state)
{
	struct player *player = *state;
	struct outcome again;

	player_run(player, player_spec(player, "a"), 1);
	player_launch(player, player_spec(player, "a"), 1, 1, &again);
	assert_int_equal(again.r, 0);
	assert_true(again.already_applied);
	assert_int_equal(again.state, STATE(RUNNING));
	player_expect_nothing(player);
}

static void defaults_that_are_spelled_out_are_the_same_spec(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "a");
	struct outcome again;

	player_run(player, player_spec(player, "a"), 1);
	spec->band = BERTH__V1__PRIORITY_BAND__PRODUCTION;
	spec->hostname = (char *)"a";
	spec->containers[0]->stop_signal = (char *)"15";
	spec->containers[0]->working_dir = (char *)"/";
	player_launch(player, spec, 1, 1, &again);
	assert_true(again.already_applied);
}

static void the_same_generation_with_another_spec_exists(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "a");
	struct outcome again;

	player_run(player, player_spec(player, "a"), 1);
	spec->containers[0]->tty = true;
	player_launch(player, spec, 1, 1, &again);
	assert_int_equal(again.err.kind, ERR_EXISTS);
	assert_string_equal(again.reason, FAULT_SPEC_DIFFERS);
}

static void a_deleted_generation_cannot_come_back(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "a"), 5);
	player_exited(player, "a", "main", CLD_EXITED, 0);
	player_delete(player, "a", 5, false, &outcome);
	player_answer_all(player);
	assert_int_equal(outcome.r, 0);
	player_launch(player, player_spec(player, "a"), 1, 5, &outcome);
	assert_string_equal(outcome.reason, FAULT_STALE_GENERATION);
	player_launch(player, player_spec(player, "a"), 1, 6, &outcome);
	assert_int_equal(outcome.calls, 0);
	engine_waiter_cancel(&outcome.waiter);
}

static void a_lower_generation_is_refused_while_it_is_there_and_while_it_is_replaced(void **state)
{
	struct player *player = *state;
	struct outcome next;
	struct outcome late;

	player_run(player, player_spec(player, "a"), 4);
	player_launch(player, player_spec(player, "a"), 1, 3, &late);
	assert_string_equal(late.reason, FAULT_STALE_GENERATION);
	assert_non_null(strstr(late.err.text, "generation 3"));
	assert_non_null(strstr(late.err.text, "generation 4"));
	player_launch(player, player_spec(player, "a"), 1, 6, &next);
	player_launch(player, player_spec(player, "a"), 1, 5, &late);
	assert_string_equal(late.reason, FAULT_STALE_GENERATION);
	player_exited(player, "a", "main", CLD_EXITED, 0);
	player_started(player, "a", "main");
	assert_int_equal(next.calls, 1);
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "a")), 6);
}

static void a_stop_before_its_launch_bars_it(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_stop(player, "late", 3, -1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_NOT_FOUND);
	player_launch(player, player_spec(player, "late"), 1, 3, &outcome);
	assert_string_equal(outcome.reason, FAULT_STALE_GENERATION);
	player_launch(player, player_spec(player, "late"), 1, 4, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	assert_non_null(engine_find(player->engine, "late"));
}

static void a_stop_of_an_older_generation_does_nothing(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "a"), 2);
	player_stop(player, "a", 1, -1, &outcome);
	assert_string_equal(outcome.reason, FAULT_STALE_GENERATION);
	assert_int_equal(player_state(player, "a"), STATE(RUNNING));
}

/* ---- admission ------------------------------------------------------------------------------------ */

static void a_refusal_says_what_is_short_how_much_was_asked_and_is_left(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "b");
	struct outcome launch;

	player_run(player, player_spec(player, "a"), 1); /* 64 MiB, the default limit */
	player_set_memory(player, spec->containers[0], 193 * MIB);
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_EXHAUSTED);
	assert_int_equal(launch.n_quotas, 1);
	assert_string_equal(launch.quotas[0].resource, "memory");
	assert_true(launch.quotas[0].asked == 193 * MIB);
	assert_true(launch.quotas[0].left == 192 * MIB);
	player_set_memory(player, spec->containers[0], 192 * MIB);
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.calls, 0);
	engine_waiter_cancel(&launch.waiter);
}

static void what_has_ended_gives_its_room_back(void **state)
{
	struct player *player = *state;
	struct outcome launch;
	char id[2] = "a";

	for (int i = 0; i < 3; i++, id[0]++)
		player_run(player, player_spec(player, id), 1);
	player_launch(player, player_spec(player, "d"), 1, 1, &launch);
	assert_string_equal(launch.quotas[0].resource, "workloads");
	player_exited(player, "a", "main", CLD_EXITED, 0);
	player_launch(player, player_spec(player, "d"), 1, 1, &launch);
	assert_int_equal(launch.calls, 0);
	engine_waiter_cancel(&launch.waiter);
}

static void records_of_the_dead_have_an_end(void **state)
{
	struct player *player = *state;
	struct outcome launch;
	char id[16];
	int n = 0;

	/* Each ends before it is made, so that only records are left. */
	player->up = false;
	player->is_full = true;
	do {
		(void)snprintf(id, sizeof(id), "w%d", n++);
		player_launch(player, player_spec(player, id), 1, 1, &launch);
		arena_reset(&player->arena);
	} while (launch.r == 0 && n < 10000);
	assert_int_equal(n, 4096 + 3 + 1);
	assert_string_equal(launch.quotas[0].resource, "records");
}

static void init_containers_count_by_the_largest_alone(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "a");
	struct charge charge;

	player_set_memory(player, spec->containers[0], 10 * MIB);
	player_set_memory(player, player_add_container(player, spec, "side", ROLE(SIDECAR)),
			  20 * MIB);
	player_set_memory(player, player_add_container(player, spec, "init-a", ROLE(INIT)),
			  25 * MIB);
	player_set_memory(player, player_add_container(player, spec, "init-b", ROLE(INIT)),
			  29 * MIB);
	charge = charge_of(spec, 64 * MIB);
	assert_true(charge.memory_bytes == 30 * MIB);
	player_set_memory(player, spec->containers[3], 31 * MIB);
	charge = charge_of(spec, 64 * MIB);
	assert_true(charge.memory_bytes == 31 * MIB);
}

static void update(struct player *player, const char *id, uint64_t memory, struct outcome *outcome)
{
	Berth__V1__UpdateResourcesRequest request = BERTH__V1__UPDATE_RESOURCES_REQUEST__INIT;
	Berth__V1__Resources resources = BERTH__V1__RESOURCES__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = fence.generation = 1;
	request.fence = &fence;
	request.id = (char *)id;
	request.container = (char *)"main";
	request.resources = &resources;
	resources._memory_limit_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_LIMIT_BYTES_MEMORY_LIMIT_BYTES;
	resources.memory_limit_bytes = memory;
	engine_update_resources(player->engine, &request, &outcome->waiter);
}

static uint64_t requested_memory(struct player *player)
{
	Berth__V1__Node node = BERTH__V1__NODE__INIT;
	struct arena arena;
	uint64_t bytes;

	arena_init(&arena, 1 << 20);
	assert_int_equal(engine_fill_node(player->engine, &arena, &node), 0);
	bytes = node.requested->memory_bytes;
	arena_done(&arena);
	return bytes;
}

static void an_update_is_admitted_and_undone_when_the_kernel_refuses(void **state)
{
	struct player *player = *state;
	struct outcome outcome;
	struct played_request *request;

	player_run(player, player_spec(player, "a"), 1);
	update(player, "a", 300 * MIB, &outcome);
	assert_int_equal(outcome.err.kind, ERR_EXHAUSTED);
	assert_true(requested_memory(player) == 64 * MIB);
	update(player, "a", 128 * MIB, &outcome);
	request = player_expect(player, VERB(UPDATE_LIMITS));
	assert_true(request->message->update_limits->limits->memory_max_bytes == 128 * MIB);
	assert_true(requested_memory(player) == 128 * MIB);
	player_fail(player, request, ERR_INTERNAL, "EBUSY");
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.err.kind, ERR_INTERNAL);
	assert_true(requested_memory(player) == 64 * MIB);
	update(player, "a", 32 * MIB, &outcome);
	player_answer_all(player);
	assert_int_equal(outcome.r, 0);
	assert_true(requested_memory(player) == 32 * MIB);
}

/* The same command twice is one effect and the same answer, whatever came in between. */
static void a_launch_that_comes_again_after_an_update_is_the_same(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "a");
	struct outcome outcome;

	player_set_memory(player, spec->containers[0], 64 * MIB);
	player_run(player, spec, 1);
	for (uint64_t bytes = 96 * MIB; bytes <= 128 * MIB; bytes += 32 * MIB) {
		update(player, "a", bytes, &outcome);
		player_answer_all(player);
		assert_int_equal(outcome.r, 0);
	}
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(outcome.r, 0);
	assert_true(outcome.already_applied);
	assert_true(requested_memory(player) == 128 * MIB);

	player_restart(player);
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(outcome.r, 0);
	assert_true(outcome.already_applied);

	/* What it has become is known by that name, too; what it never was is not. */
	player_set_memory(player, spec->containers[0], 128 * MIB);
	player_launch(player, spec, 1, 1, &outcome);
	assert_true(outcome.already_applied);
	player_set_memory(player, spec->containers[0], 32 * MIB);
	player_launch(player, spec, 1, 1, &outcome);
	assert_string_equal(outcome.reason, "SPEC_DIFFERS");
}

/* ---- the host ------------------------------------------------------------------------------------- */

static void what_the_host_lacks_or_forbids_is_named(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "a");
	struct outcome launch;

	player_disconnect(player);
	player->lacks = "cgroup.memory.high";
	player->no_unconfined = true;
	player_connect(player);
	player_set_memory(player, spec->containers[0], 64 * MIB);
	spec->containers[0]->resources->_memory_high_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_HIGH_BYTES_MEMORY_HIGH_BYTES;
	spec->containers[0]->resources->memory_high_bytes = 32 * MIB;
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(launch.err.text, "memory_high_bytes"));
	spec = player_spec(player, "b");
	spec->containers[0]->sandbox = arena_message(&player->arena,
						     &berth__v1__sandbox__descriptor);
	spec->containers[0]->sandbox->profile_case = BERTH__V1__SANDBOX__PROFILE_BUILTIN;
	spec->containers[0]->sandbox->builtin = (char *)"unconfined";
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_DENIED);
	spec = player_spec(player, "c");
	spec->network = BERTH__V1__NETWORK__NETWORK_HOST;
	player_launch(player, spec, 1, 1, &launch);
	assert_string_equal(launch.reason, FAULT_POLICY);
}

/* ---- wrong fields --------------------------------------------------------------------------------- */

static void add_env(struct player *player, Berth__V1__Container *container, const char *key,
		    const char *value)
{
	Berth__V1__Container__EnvEntry *entry =
		arena_message(&player->arena, &berth__v1__container__env_entry__descriptor);

	entry->key = (char *)key;
	entry->value = (char *)value;
	assert_int_equal(arena_append(&player->arena, &container->env, &container->n_env, entry),
			 0);
}

static void wrong_id(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->id = (char *)"Web";
}

static void wrong_name(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->containers[0]->name = (char *)"..";
}

static void same_name(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	(void)player_add_container(player, spec, "main", ROLE(SIDECAR));
}

static void no_main(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->containers[0]->role = ROLE(INIT);
}

static void wrong_env(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	add_env(player, spec->containers[0], "A B", "x");
}

static void newline_in_env(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	add_env(player, spec->containers[0], "HOME", "/\nx::0:0::/:/bin/sh");
}

static void wrong_user(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->containers[0]->identity = arena_message(&player->arena,
						      &berth__v1__identity__descriptor);
	spec->containers[0]->identity->user = (char *)"4294967296";
}

static void wrong_root(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->containers[0]->root->directory = (char *)"/srv/../etc";
}

static void no_command(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->containers[0]->n_command = 0;
}

static void wrong_signal(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->containers[0]->stop_signal = (char *)"SIGNOPE";
}

static void small_memory(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	player_set_memory(player, spec->containers[0], 4096);
}

static Berth__V1__Resources *some_resources(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	player_set_memory(player, spec->containers[0], MIB);
	return spec->containers[0]->resources;
}

static void wrong_cpuset(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	some_resources(player, spec)->cpuset_cpus = (char *)"3-1";
}

static void ten_thousand_cores_and_more(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	Berth__V1__Resources *resources = some_resources(player, spec);

	resources->_cpu_limit_millis_case =
		BERTH__V1__RESOURCES___CPU_LIMIT_MILLIS_CPU_LIMIT_MILLIS;
	resources->cpu_limit_millis = RANGE_CPU_MILLIS_MAX + 1;
}

static Berth__V1__IoLimit *add_io_limit(struct player *player, Berth__V1__Resources *resources)
{
	Berth__V1__IoLimit *limit = arena_message(&player->arena, &berth__v1__io_limit__descriptor);

	limit->device = (char *)"254:0";
	assert_int_equal(
		arena_append(&player->arena, &resources->io_limits, &resources->n_io_limits, limit),
		0);
	return limit;
}

static void too_many_devices(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	Berth__V1__Resources *resources = some_resources(player, spec);

	for (int i = 0; i <= RANGE_IO_LIMITS_MAX; i++)
		(void)add_io_limit(player, resources);
}

static void too_many_operations(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	add_io_limit(player, some_resources(player, spec))->write_ops_per_second =
		RANGE_IO_OPS_MAX + UINT64_C(1);
}

static void wrong_sysctl(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	Berth__V1__WorkloadSpec__SysctlsEntry *entry =
		arena_message(&player->arena, &berth__v1__workload_spec__sysctls_entry__descriptor);

	entry->key = (char *)"kernel.core_pattern";
	entry->value = (char *)"|/x";
	assert_int_equal(arena_append(&player->arena, &spec->sysctls, &spec->n_sysctls, entry), 0);
}

static void wrong_label(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	Berth__V1__WorkloadSpec__LabelsEntry *entry =
		arena_message(&player->arena, &berth__v1__workload_spec__labels_entry__descriptor);

	entry->key = (char *)"-x";
	assert_int_equal(arena_append(&player->arena, &spec->labels, &spec->n_labels, entry), 0);
}

static void add_mount(struct player *player, Berth__V1__WorkloadSpec *spec, const char *volume,
		      const char *target, const char *sub_path)
{
	Berth__V1__Volume *v = arena_message(&player->arena, &berth__v1__volume__descriptor);
	Berth__V1__Mount *mount = arena_message(&player->arena, &berth__v1__mount__descriptor);

	v->name = (char *)"data";
	v->source_case = BERTH__V1__VOLUME__SOURCE_TMPFS;
	v->tmpfs = arena_message(&player->arena, &berth__v1__tmpfs__descriptor);
	mount->volume = (char *)volume;
	mount->target = (char *)target;
	mount->sub_path = (char *)sub_path;
	assert_int_equal(arena_append(&player->arena, &spec->volumes, &spec->n_volumes, v), 0);
	assert_int_equal(arena_append(&player->arena, &spec->containers[0]->mounts,
				      &spec->containers[0]->n_mounts, mount),
			 0);
}

static void mount_over_proc(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	add_mount(player, spec, "data", "/proc/self", "");
}

static void mount_of_nothing(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	add_mount(player, spec, "other", "/data", "");
}

static void sub_path_that_climbs(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	add_mount(player, spec, "data", "/data", "../x");
}

static void wrong_hostname(struct player *player, Berth__V1__WorkloadSpec *spec)
{
	spec->hostname = (char *)"a_b";
}

static void wrong_fields_are_named(void **state)
{
	static const struct {
		void (*spoil)(struct player *, Berth__V1__WorkloadSpec *);
		const char *path;
	} rows[] = {
		{ wrong_id, "spec.id" },
		{ wrong_name, "spec.containers[0].name" },
		{ same_name, "spec.containers[1].name" },
		{ no_main, "spec.containers" },
		{ wrong_env, "spec.containers[0].env[\"A B\"]" },
		{ newline_in_env, "spec.containers[0].env[\"HOME\"]" },
		{ wrong_user, "spec.containers[0].identity.user" },
		{ wrong_root, "spec.containers[0].root.directory" },
		{ no_command, "spec.containers[0].command" },
		{ wrong_signal, "spec.containers[0].stop_signal" },
		{ small_memory, "spec.containers[0].resources.memory_limit_bytes" },
		{ wrong_cpuset, "spec.containers[0].resources.cpuset_cpus" },
		{ ten_thousand_cores_and_more, "spec.containers[0].resources.cpu_limit_millis" },
		{ too_many_devices, "spec.containers[0].resources.io_limits" },
		{ too_many_operations,
		  "spec.containers[0].resources.io_limits[0].write_ops_per_second" },
		{ wrong_sysctl, "spec.sysctls[\"kernel.core_pattern\"]" },
		{ wrong_label, "spec.labels[\"-x\"]" },
		{ mount_over_proc, "spec.containers[0].mounts[0].target" },
		{ mount_of_nothing, "spec.containers[0].mounts[0].volume" },
		{ sub_path_that_climbs, "spec.containers[0].mounts[0].sub_path" },
		{ wrong_hostname, "spec.hostname" },
	};
	struct player *player = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
		struct outcome launch;

		rows[i].spoil(player, spec);
		player_launch(player, spec, 1, 1, &launch);
		assert_int_equal(launch.err.kind, ERR_INVALID);
		assert_string_equal(launch.field, rows[i].path);
		assert_int_equal(launch.n_fields, 1);
		assert_null(engine_find(player->engine, spec->id));
	}
	player_expect_nothing(player);
}

static void all_wrong_fields_are_told_at_once_and_none_is_counted_twice(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome launch;

	wrong_id(player, spec);
	wrong_signal(player, spec);
	wrong_label(player, spec);
	player_launch(player, spec, 0, 0, &launch);
	assert_int_equal(launch.n_fields, 4); /* and the generation */
	assert_string_equal(launch.field, "fence.generation");
}

/* What a scheduler of a newer release says and this one would pass over in silence. */
static void a_field_of_another_release_is_refused_wherever_it_is(void **state)
{
	struct player *player = *state;
	ProtobufCMessageUnknownField unknown = { .tag = 4711 };
	Berth__V1__Volume volume = BERTH__V1__VOLUME__INIT, *volumes[] = { &volume };
	Berth__V1__Tmpfs tmpfs = BERTH__V1__TMPFS__INIT;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct {
		ProtobufCMessage *message;
		const char *field;
	} const places[] = { { &spec->base, "spec" },
			     { &spec->containers[0]->base, "spec.containers[0]" },
			     { &spec->containers[0]->root->base, "spec.containers[0].root" },
			     { &tmpfs.base, "spec.volumes[0].tmpfs" } };
	struct outcome outcome;

	volume.name = (char *)"scratch";
	volume.source_case = BERTH__V1__VOLUME__SOURCE_TMPFS;
	volume.tmpfs = &tmpfs;
	spec->volumes = volumes;
	spec->n_volumes = 1;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		places[i].message->unknown_fields = &unknown;
		places[i].message->n_unknown_fields = 1;
		player_launch(player, spec, 1, 1, &outcome);
		assert_int_equal(outcome.err.kind, ERR_INVALID);
		assert_string_equal(outcome.field, places[i].field);
		assert_non_null(strstr(outcome.err.text, "4711"));
		assert_null(engine_find(player->engine, "web"));
		places[i].message->n_unknown_fields = 0;
	}
	player_run(player, spec, 1);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void an_update_with_a_field_of_another_release_changes_nothing(void **state)
{
	struct player *player = *state;
	ProtobufCMessageUnknownField unknown = { .tag = 4711 };
	Berth__V1__UpdateResourcesRequest request = BERTH__V1__UPDATE_RESOURCES_REQUEST__INIT;
	Berth__V1__Resources resources = BERTH__V1__RESOURCES__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	fence.epoch = fence.generation = 1;
	request.fence = &fence;
	request.id = (char *)"web";
	request.resources = &resources;
	resources.base.unknown_fields = &unknown;
	resources.base.n_unknown_fields = 1;
	outcome_init(&outcome);
	engine_update_resources(player->engine, &request, &outcome.waiter);
	assert_int_equal(outcome.err.kind, ERR_INVALID);
	assert_string_equal(outcome.field, "resources");
	player_expect_nothing(player);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_lower_epoch_is_refused_with_both_numbers),
		T(the_same_launch_twice_is_one_effect),
		T(defaults_that_are_spelled_out_are_the_same_spec),
		T(the_same_generation_with_another_spec_exists),
		T(a_deleted_generation_cannot_come_back),
		T(a_lower_generation_is_refused_while_it_is_there_and_while_it_is_replaced),
		T(a_stop_before_its_launch_bars_it),
		T(a_stop_of_an_older_generation_does_nothing),
		T(a_refusal_says_what_is_short_how_much_was_asked_and_is_left),
		T(what_has_ended_gives_its_room_back),
		T(records_of_the_dead_have_an_end),
		T(init_containers_count_by_the_largest_alone),
		T(an_update_is_admitted_and_undone_when_the_kernel_refuses),
		T(a_launch_that_comes_again_after_an_update_is_the_same),
		T(what_the_host_lacks_or_forbids_is_named),
		T(wrong_fields_are_named),
		T(all_wrong_fields_are_told_at_once_and_none_is_counted_twice),
		T(a_field_of_another_release_is_refused_wherever_it_is),
		T(an_update_with_a_field_of_another_release_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

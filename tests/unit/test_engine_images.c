/* Workloads that run from images: the provider is played. */
#include "sandbox_player.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/image/provider.h"
#include "berth/agent/v1/kept.pb-c.h"

#define STATE(name)  BERTH__V1__WORKLOAD_STATE__##name
#define REASON(name) BERTH__V1__REASON__##name
#define VERB(name)   BERTH__SANDBOX__V1__REQUEST__VERB_##name

#define WANTS_MAX 8

struct played_provider {
	struct provider base; /* first */
	struct provider_want *wants[WANTS_MAX];
	size_t n_begun; /* ever */
	size_t n_doubts, n_sweeps;
	bool refuses;
};

static struct played_provider played;

static int played_check(struct provider *base, const char *reference, struct err *err)
{
	return played.refuses ? err_set(err, ERR_DENIED, EPERM, "not from there") : 0;
}

static int played_begin(struct provider *base, const char *reference, Berth__V1__PullPolicy policy,
			struct provider_want *want, struct err *err)
{
	assert_int_not_equal(policy, BERTH__V1__PULL_POLICY__PULL_POLICY_UNSPECIFIED);
	for (size_t i = 0; i < WANTS_MAX; i++)
		if (!played.wants[i]) {
			played.wants[i] = want;
			want->provision = (void *)&played;
			played.n_begun++;
			return 0;
		}
	return err_set(err, ERR_EXHAUSTED, EBUSY, "too many");
}

static void drop(struct provider_want *want)
{
	for (size_t i = 0; i < WANTS_MAX; i++)
		if (played.wants[i] == want)
			played.wants[i] = NULL;
	want->provision = NULL;
}

static void played_progress(const struct provider_want *want, Berth__V1__ContainerImage *ret)
{
	ret->phase = BERTH__V1__PULL_PHASE__PULL_PHASE_LAYERS;
	ret->layers = 3;
	ret->layers_done = 1;
}

static void played_doubt(struct provider *base)
{
	played.n_doubts++;
}

static void played_sweep(struct provider *base)
{
	played.n_sweeps++;
}

static const struct provider_ops played_ops = { .check = played_check,
						.begin = played_begin,
						.progress = played_progress,
						.end = drop,
						.doubt = played_doubt,
						.sweep = played_sweep };

static size_t n_wanted(void)
{
	size_t n = 0;

	for (size_t i = 0; i < WANTS_MAX; i++)
		n += played.wants[i] != NULL;
	return n;
}

static struct provider_want *first_want(void)
{
	for (size_t i = 0; i < WANTS_MAX; i++)
		if (played.wants[i])
			return played.wants[i];
	fail_msg("nobody wants an image");
	return NULL;
}

/* ---- an image ------------------------------------------------------------------------------------- */

struct played_image {
	Berth__V1__GetImageResponse response;
	Berth__V1__Image image;
	Berth__V1__ImageConfig config;
	Berth__V1__ImageLayer layers[2], *layer_list[2];
};

static char *entrypoint[] = { (char *)"/bin/serve", (char *)"--quiet" };
static char *command[] = { (char *)"now" };
static char *env[] = { (char *)"A=image", (char *)"B=image", (char *)"PATH=/opt/bin" };
static char *volumes[] = { (char *)"/data/", (char *)"/mounted" };

static void image_init(struct played_image *image)
{
	berth__v1__get_image_response__init(&image->response);
	berth__v1__image__init(&image->image);
	berth__v1__image_config__init(&image->config);
	image->response.image = &image->image;
	image->response.config = &image->config;
	image->image.name = (char *)"docker.io/library/app:latest";
	image->image.digest = (char *)"sha256:index";
	image->image.manifest_digest = (char *)"sha256:manifest";
	for (size_t i = 0; i < 2; i++) {
		berth__v1__image_layer__init(&image->layers[i]);
		image->layer_list[i] = &image->layers[i];
	}
	image->layers[0].diff_id = (char *)"sha256:low";
	image->layers[1].diff_id = (char *)"sha256:high";
	image->response.n_layers = 2;
	image->response.layers = image->layer_list;
	image->config.n_entrypoint = 2;
	image->config.entrypoint = entrypoint;
	image->config.n_command = 1;
	image->config.command = command;
	image->config.n_env = 3;
	image->config.env = env;
	image->config.n_volumes = 2;
	image->config.volumes = volumes;
	image->config.user = (char *)"app:adm";
	image->config.working_directory = (char *)"/srv//app/";
	image->config.stop_signal = (char *)"SIGQUIT";
}

/* The first that is waited for is here. */
static void provide(const struct played_image *image)
{
	struct provider_want *want = first_want();
	const struct err fine = { 0 };

	drop(want);
	want->ended(want, &image->response, &fine);
}

static void provide_plain(void)
{
	struct played_image image;

	image_init(&image);
	provide(&image);
}

static void fail_pull(enum err_kind kind, const char *text)
{
	struct provider_want *want = first_want();
	struct err err = { 0 };

	(void)err_set(&err, kind, EIO, "%s", text);
	drop(want);
	want->ended(want, NULL, &err);
}

/* ---- set-up --------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct player *player = player_new(NULL, 0);

	played = (struct played_provider){ .base = { .ops = &played_ops } };
	player->provider = &played.base;
	player_restart(player);
	player_connect(player);
	*state = player;
	return 0;
}

static int tear_down(void **state)
{
	player_free(*state);
	assert_int_equal(n_wanted(), 0);
	return 0;
}

static void use_image(struct player *player, Berth__V1__Container *container)
{
	Berth__V1__ImageRoot *image = arena_message(&player->arena,
						    &berth__v1__image_root__descriptor);

	image->reference = (char *)"app";
	container->root->source_case = BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE;
	container->root->image = image;
	container->root->writable = false;
	container->n_command = 0;
}

static Berth__V1__WorkloadSpec *image_spec(struct player *player, const char *id)
{
	Berth__V1__WorkloadSpec *spec = player_spec(player, id);

	use_image(player, spec->containers[0]);
	return spec;
}

static Berth__V1__WorkloadStatus *status_of(struct player *player, const char *id)
{
	Berth__V1__WorkloadStatus *status = arena_message(&player->arena,
							  &berth__v1__workload_status__descriptor);

	assert_int_equal(
		engine_fill_status(engine_find(player->engine, id), &player->arena, status), 0);
	return status;
}

static const Berth__Sandbox__V1__Launch *launch_and_look(struct player *player,
							 Berth__V1__WorkloadSpec *spec,
							 const struct played_image *image)
{
	struct outcome outcome;

	player_launch(player, spec, 1, 1, &outcome);
	provide(image);
	engine_waiter_cancel(&outcome.waiter);
	return player_last_launch(player, spec->id, "main");
}

static void assert_strings(char *const *strings, size_t n, const char *together)
{
	char text[512] = "";

	for (size_t i = 0; i < n; i++) {
		(void)strncat(text, i ? " " : "", sizeof(text) - strlen(text) - 1);
		(void)strncat(text, strings[i], sizeof(text) - strlen(text) - 1);
	}
	assert_string_equal(text, together);
}

/* ---- stories -------------------------------------------------------------------------------------- */

static void nothing_is_made_before_the_image_is_here(void **state)
{
	struct player *player = *state;
	const Berth__Sandbox__V1__Launch *launch;
	Berth__V1__WorkloadStatus *status;
	struct outcome outcome;

	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	assert_int_equal(player_reason(player, "web"), REASON(PULLING_IMAGE));
	player_expect_nothing(player);
	status = status_of(player, "web");
	assert_string_equal(status->containers[0]->image->name, "docker.io/library/app:latest");
	assert_int_equal(status->containers[0]->image->layers_done, 1);
	assert_int_equal(status->containers[0]->state, STATE(PULLING));
	assert_int_equal(outcome.calls, 0);

	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	launch = player_last_launch(player, "web", "main");
	assert_string_equal(launch->root_directory, "");
	assert_strings(launch->layers, launch->n_layers, "sha256:low sha256:high");
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(outcome.state, STATE(RUNNING));
	status = status_of(player, "web");
	assert_string_equal(status->containers[0]->image->digest, "sha256:index");
	assert_string_equal(status->containers[0]->image->manifest_digest, "sha256:manifest");
	assert_int_equal(status->containers[0]->image->phase,
			 BERTH__V1__PULL_PHASE__PULL_PHASE_DONE);
}

static void what_the_spec_leaves_open_the_image_says(void **state)
{
	struct player *player = *state;
	const Berth__Sandbox__V1__Launch *launch;
	struct played_image image;

	image_init(&image);
	launch = launch_and_look(player, image_spec(player, "web"), &image);
	assert_strings(launch->command, launch->n_command, "/bin/serve --quiet now");
	assert_strings(launch->env, launch->n_env, "A=image B=image PATH=/opt/bin");
	assert_string_equal(launch->user, "app:adm");
	assert_string_equal(launch->working_dir, "/srv/app");
	assert_int_equal(launch->n_mounts, 2);
	assert_string_equal(launch->mounts[0]->target, "/data");
	assert_false(launch->mounts[0]->read_only);
}

static void volumes_of_the_image_are_empty_directories_of_the_workload(void **state)
{
	struct player *player = *state;
	const Berth__Sandbox__V1__CreateWorkload *create;
	const Berth__Sandbox__V1__Launch *launch;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	Berth__V1__Volume *volume = arena_message(&player->arena, &berth__v1__volume__descriptor);
	Berth__V1__Mount *mount = arena_message(&player->arena, &berth__v1__mount__descriptor);
	struct played_image image;

	image_init(&image);
	volume->name = (char *)"image-0-0"; /* as the engine would call one itself */
	volume->source_case = BERTH__V1__VOLUME__SOURCE_TMPFS;
	volume->tmpfs = arena_message(&player->arena, &berth__v1__tmpfs__descriptor);
	mount->volume = volume->name;
	mount->target = (char *)"/mounted";
	assert_int_equal(arena_append(&player->arena, &spec->volumes, &spec->n_volumes, volume), 0);
	assert_int_equal(arena_append(&player->arena, &spec->containers[0]->mounts,
				      &spec->containers[0]->n_mounts, mount),
			 0);
	launch = launch_and_look(player, spec, &image);
	create = player_expect(player, VERB(CREATE_WORKLOAD))->message->create_workload;
	assert_int_equal(create->n_volumes, 2);
	assert_string_equal(create->volumes[1]->name, "image-0-0-x");
	assert_int_equal(create->volumes[1]->tmpfs_bytes, 64 << 20);
	assert_int_equal(launch->n_mounts, 2);
	assert_string_equal(launch->mounts[0]->volume, "image-0-0");
	assert_string_equal(launch->mounts[1]->volume, "image-0-0-x");
	assert_string_equal(launch->mounts[1]->target, "/data");
}

static void what_the_spec_says_counts(void **state)
{
	struct player *player = *state;
	static char *own[] = { (char *)"/bin/sh" }, *args[] = { (char *)"-c", (char *)"x" };
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	Berth__V1__Container *container = spec->containers[0];
	Berth__V1__Container__EnvEntry entry, *entries[] = { &entry };
	const Berth__Sandbox__V1__Launch *launch;
	struct played_image image;
	struct outcome outcome;

	image_init(&image);
	berth__v1__container__env_entry__init(&entry);
	entry.key = (char *)"B";
	entry.value = (char *)"mine";
	container->n_env = 1;
	container->env = entries;
	container->n_command = 1;
	container->command = own;
	container->n_args = 2;
	container->args = args;
	container->working_dir = (char *)"/tmp";
	container->identity = arena_message(&player->arena, &berth__v1__identity__descriptor);
	container->identity->user = (char *)"7";
	container->stop_signal = (char *)"INT";
	launch = launch_and_look(player, spec, &image);
	assert_strings(launch->command, launch->n_command, "/bin/sh -c x");
	assert_strings(launch->env, launch->n_env, "B=mine A=image PATH=/opt/bin");
	assert_string_equal(launch->user, "7");
	assert_string_equal(launch->working_dir, "/tmp");
	player_answer_all(player);
	player_started(player, "web", "main");
	player_skip(player);
	player_stop(player, "web", 1, -1, &outcome);
	assert_int_equal(player_expect(player, VERB(SIGNAL))->message->signal->signal, 2);
}

static void arguments_alone_take_the_place_of_cmd(void **state)
{
	struct player *player = *state;
	static char *args[] = { (char *)"later" };
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	const Berth__Sandbox__V1__Launch *launch;
	struct played_image image;

	image_init(&image);
	spec->containers[0]->n_args = 1;
	spec->containers[0]->args = args;
	launch = launch_and_look(player, spec, &image);
	assert_strings(launch->command, launch->n_command, "/bin/serve --quiet later");
}

static void a_command_takes_the_place_of_entrypoint_and_cmd(void **state)
{
	struct player *player = *state;
	static char *own[] = { (char *)"/bin/true" };
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	const Berth__Sandbox__V1__Launch *launch;
	struct played_image image;

	image_init(&image);
	spec->containers[0]->n_command = 1;
	spec->containers[0]->command = own;
	launch = launch_and_look(player, spec, &image);
	assert_strings(launch->command, launch->n_command, "/bin/true");
}

static void its_stop_signal_is_the_images(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	provide_plain();
	player_answer_all(player);
	player_started(player, "web", "main");
	player_skip(player);
	player_stop(player, "web", 1, -1, &outcome);
	assert_int_equal(player_expect(player, VERB(SIGNAL))->message->signal->signal, 3);
}

static void what_an_image_may_not_say_ends_the_attempt(void **state)
{
	static char *bad_env[] = { (char *)"A=\x1b[2J" }, *bad_volume[] = { (char *)"/proc/x" };
	static char *no_name[] = { (char *)"=x" };
	struct player *player = *state;
	struct played_image image;
	const struct {
		void *at;
		size_t *n, count;
		char **value;
		const char *word;
	} rows[] = {
		{ &image.config.env, &image.config.n_env, 1, bad_env, "control" },
		{ &image.config.env, &image.config.n_env, 1, no_name, "env[" },
		{ &image.config.volumes, &image.config.n_volumes, 1, bad_volume, "/proc" },
		{ &image.config.entrypoint, &image.config.n_entrypoint, 0, NULL, "no program" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) + 3; i++) {
		char id[16];
		struct outcome outcome;

		image_init(&image);
		image.config.n_command = 0;
		(void)snprintf(id, sizeof(id), "web-%zu", i);
		if (i < sizeof(rows) / sizeof(rows[0])) {
			memcpy(rows[i].at, &rows[i].value, sizeof(rows[i].value));
			*rows[i].n = rows[i].count;
		} else if (i == sizeof(rows) / sizeof(rows[0])) {
			image.config.working_directory = (char *)"/srv/../..";
		} else if (i == sizeof(rows) / sizeof(rows[0]) + 1) {
			image.config.user = (char *)"no such/name";
		} else {
			image.config.stop_signal = (char *)"SIGNONE";
		}
		player_launch(player, image_spec(player, id), 1, 1, &outcome);
		provide(&image);
		assert_int_equal(outcome.calls, 1);
		assert_int_equal(outcome.state, STATE(EXITED));
		assert_int_equal(outcome.why, REASON(PULL_FAILED));
		assert_non_null(strstr(outcome.sentence, "docker.io/library/app:latest"));
		if (i < sizeof(rows) / sizeof(rows[0]))
			assert_non_null(strstr(outcome.sentence, rows[i].word));
		player_expect_nothing(player);
	}
}

static void an_image_without_layers_is_not_run(void **state)
{
	struct player *player = *state;
	struct played_image image;
	struct outcome outcome;

	image_init(&image);
	image.response.n_layers = 0;
	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	provide(&image);
	assert_int_equal(outcome.why, REASON(PULL_FAILED));
	assert_non_null(strstr(outcome.sentence, "no layers"));
}

static void a_failed_pull_ends_it_or_is_tried_again(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *again = image_spec(player, "again");
	struct outcome outcome;

	player_launch(player, image_spec(player, "once"), 1, 1, &outcome);
	fail_pull(ERR_NOT_FOUND, "there is none");
	assert_int_equal(outcome.state, STATE(EXITED));
	assert_int_equal(outcome.why, REASON(PULL_FAILED));
	assert_string_equal(outcome.sentence, "there is none");

	player_set_restart(player, again, BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE, 0);
	player_launch(player, again, 1, 1, &outcome);
	fail_pull(ERR_UNAVAILABLE, "no answer");
	assert_int_equal(outcome.state, STATE(BACKOFF));
	assert_int_equal(outcome.why, REASON(PULL_FAILED));
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "again"), STATE(PULLING));
	provide_plain();
	assert_int_equal(player_state(player, "again"), STATE(STARTING));
}

static void all_images_are_had_before_the_first_container(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	Berth__V1__Container *init = player_add_container(player, spec, "before",
							  BERTH__V1__CONTAINER_ROLE__ROLE_INIT);
	struct outcome outcome;

	use_image(player, init);
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(n_wanted(), 2);
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	player_expect_nothing(player);
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(player_count(player, VERB(LAUNCH)), 1);

	/* One that fails ends the waiting for the other. */
	spec = image_spec(player, "other");
	init = player_add_container(player, spec, "before", BERTH__V1__CONTAINER_ROLE__ROLE_INIT);
	use_image(player, init);
	player_launch(player, spec, 1, 1, &outcome);
	fail_pull(ERR_NOT_FOUND, "there is none");
	assert_int_equal(n_wanted(), 0);
	assert_int_equal(outcome.why, REASON(PULL_FAILED));
}

static void a_restart_is_of_the_same_image(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	struct outcome outcome;

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_launch(player, spec, 1, 1, &outcome);
	provide_plain();
	player_answer_all(player);
	player_started(player, "web", "main");
	player_exited(player, "web", "main", CLD_EXITED, 1);
	player_answer_all(player);
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(played.n_begun, 1);
	assert_int_equal(player_last_launch(player, "web", "main")->ref->attempt, 2);
	assert_int_equal(player_last_launch(player, "web", "main")->n_layers, 2);
}

static void layers_that_are_gone_are_had_anew(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	struct outcome outcome;

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE, 0);
	player_launch(player, spec, 1, 1, &outcome);
	provide_plain();
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	player_fail(player, player_expect(player, VERB(LAUNCH)), ERR_NOT_FOUND,
		    "layers[0]: sha256:low is not on this host");
	assert_int_equal(outcome.state, STATE(BACKOFF));
	assert_int_equal(played.n_doubts, 1);
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	assert_int_equal(played.n_begun, 2);
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
}

static void stop_and_delete_end_the_waiting(void **state)
{
	struct player *player = *state;
	struct outcome launch, outcome;

	player_launch(player, image_spec(player, "web"), 1, 1, &launch);
	player_stop(player, "web", 1, -1, &outcome);
	assert_int_equal(n_wanted(), 0);
	assert_int_equal(outcome.state, STATE(EXITED));
	assert_int_equal(outcome.why, REASON(STOP_REQUESTED));
	assert_int_equal(launch.calls, 1);

	player_launch(player, image_spec(player, "other"), 1, 1, &launch);
	player_delete(player, "other", 1, true, &outcome);
	assert_int_equal(n_wanted(), 0);
	player_answer_all(player);
	assert_int_equal(outcome.r, 0);
	assert_null(engine_find(player->engine, "other"));
	assert_int_equal(player_count(player, VERB(CREATE_WORKLOAD)), 0);
}

static void a_newer_generation_takes_its_place_while_it_waits(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	struct outcome first, second;

	player_launch(player, spec, 1, 1, &first);
	spec->containers[0]->root->image->reference = (char *)"other";
	player_launch(player, spec, 1, 2, &second);
	assert_int_equal(first.r, -ECANCELED);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	assert_int_equal(n_wanted(), 1);
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
}

static void it_waits_on_after_the_agent_was_started_anew(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	assert_int_equal(n_wanted(), 0);
	player_connect(player);
	assert_int_equal(n_wanted(), 1);
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
}

/* What is kept of its life, in memory of the caller's. */
static struct played_write copy_life(struct player *player, const char *id)
{
	const struct played_write *write = played_store_find(&player->store, 'l', id);
	struct played_write copy = { 0 };

	assert_non_null(write);
	copy.n = write->n;
	copy.bytes = malloc(write->n);
	memcpy(copy.bytes, write->bytes, write->n);
	return copy;
}

static void put_life(struct player *player, const char *id, const struct played_write *life)
{
	struct played_write *write = played_store_find(&player->store, 'l', id);

	assert_non_null(write);
	free(write->bytes);
	write->bytes = life->bytes;
	write->n = life->n;
}

static void a_stop_that_was_kept_counts_though_its_end_was_not(void **state)
{
	struct player *player = *state;
	struct played_write life;
	struct outcome launch, outcome;

	player_launch(player, image_spec(player, "web"), 1, 1, &launch);
	life = copy_life(player, "web");
	player_stop(player, "web", 1, -1, &outcome);
	put_life(player, "web", &life);
	player_restart(player);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(STOP_REQUESTED));
	assert_int_equal(n_wanted(), 0);
}

static void it_waits_on_after_a_boot_of_the_host(void **state)
{
	struct player *player = *state;
	struct played_write life;
	Berth__Agent__V1__Life *message;
	struct outcome outcome;
	char *own;

	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	life = copy_life(player, "web");
	message = berth__agent__v1__life__unpack(NULL, life.n, life.bytes);
	own = message->boot_id;
	message->boot_id = (char *)"an-earlier-boot";
	free(life.bytes);
	life.n = berth__agent__v1__life__get_packed_size(message);
	life.bytes = malloc(life.n);
	(void)berth__agent__v1__life__pack(message, life.bytes);
	message->boot_id = own;
	berth__agent__v1__life__free_unpacked(message, NULL);
	put_life(player, "web", &life);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
}

static void what_it_runs_is_known_after_the_agent_was_started_anew(void **state)
{
	struct player *player = *state;
	struct played_image image;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	Berth__V1__WorkloadStatus *status;
	struct outcome outcome;

	image_init(&image);
	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE, 0);
	player_launch(player, spec, 1, 1, &outcome);
	provide(&image);
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	player_fail(player, player_expect(player, VERB(LAUNCH)), ERR_INTERNAL, "no");
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player_connect(player);
	status = status_of(player, "web");
	assert_string_equal(status->containers[0]->image->digest, "sha256:index");
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(played.n_begun, 1);
	assert_strings(player_last_launch(player, "web", "main")->command,
		       player_last_launch(player, "web", "main")->n_command,
		       "/bin/serve --quiet now");
}

static void berth_sandboxd_may_go_away_meanwhile(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	fail_pull(ERR_CANCELLED, "berth-sandboxd went away");
	player_disconnect(player);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	assert_int_equal(outcome.calls, 0);
	player_connect(player);
	assert_int_equal(n_wanted(), 1);
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
}

static void an_image_is_in_use_until_its_workload_has_ended(void **state)
{
	struct player *player = *state;
	const char *name = "docker.io/library/app:latest", *user = NULL;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	struct outcome launch, outcome;

	assert_false(engine_uses_image(player->engine, name, &user));
	player_launch(player, spec, 1, 1, &launch);
	assert_true(engine_uses_image(player->engine, name, &user));
	assert_string_equal(user, "web");
	assert_false(engine_uses_image(player->engine, "docker.io/library/app:2", &user));
	player_stop(player, "web", 1, -1, &outcome);
	assert_false(engine_uses_image(player->engine, name, &user));
}

static void count_layer(const char *diff_id, void *set)
{
	(*(size_t *)set)++;
}

static size_t used_layers(void)
{
	size_t n = 0;

	played.base.each_used(played.base.user, count_layer, &n);
	return n;
}

/* Beside what its root is: the image at /model. */
static Berth__V1__ImageVolume *add_image_volume(struct player *player,
						Berth__V1__WorkloadSpec *spec)
{
	Berth__V1__Volume *volume = arena_message(&player->arena, &berth__v1__volume__descriptor);
	Berth__V1__Mount *mount = arena_message(&player->arena, &berth__v1__mount__descriptor);

	volume->name = (char *)"model";
	volume->source_case = BERTH__V1__VOLUME__SOURCE_IMAGE;
	volume->image = arena_message(&player->arena, &berth__v1__image_volume__descriptor);
	volume->image->reference = (char *)"models/small:1";
	mount->volume = volume->name;
	mount->target = (char *)"/model";
	assert_int_equal(arena_append(&player->arena, &spec->volumes, &spec->n_volumes, volume), 0);
	assert_int_equal(arena_append(&player->arena, &spec->containers[0]->mounts,
				      &spec->containers[0]->n_mounts, mount),
			 0);
	return volume->image;
}

static void assert_model_is_mounted(struct player *player)
{
	const Berth__Sandbox__V1__Launch *launch = player_last_launch(player, "web", "main");

	assert_string_equal(launch->mounts[0]->target, "/model");
	assert_string_equal(launch->mounts[0]->volume, "");
	assert_true(launch->mounts[0]->read_only);
	assert_strings(launch->mounts[0]->layers, launch->mounts[0]->n_layers,
		       "sha256:low sha256:high");
}

static void a_volume_may_be_an_image(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__WorkloadStatus *status;
	const char *user = NULL;
	struct outcome outcome;

	(void)add_image_volume(player, spec);
	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(player_state(player, "web"), STATE(PULLING));
	status = status_of(player, "web");
	assert_string_equal(status->volumes[0]->name, "model");
	assert_int_equal(status->volumes[0]->image->layers_done, 1);
	assert_true(engine_uses_image(player->engine, "docker.io/models/small:1", &user));
	provide_plain();
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(
		player_expect(player, VERB(CREATE_WORKLOAD))->message->create_workload->n_volumes,
		0);
	assert_model_is_mounted(player);
	assert_int_equal(used_layers(), 2);
	player_answer_all(player);
	player_started(player, "web", "main");

	/* A restart, also of the agent, mounts the same, and asks nobody. */
	player_exited(player, "web", "main", CLD_EXITED, 1);
	player_answer_all(player);
	player_restart(player);
	player_connect(player);
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(played.n_begun, 1);
	assert_model_is_mounted(player);
	status = status_of(player, "web");
	assert_string_equal(status->volumes[0]->image->digest, "sha256:index");
}

static void a_volume_that_is_not_to_be_had_fails_the_start(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	Berth__V1__ImageVolume *image = add_image_volume(player, spec);
	struct played_image empty;
	struct outcome outcome;

	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(n_wanted(), 2);
	fail_pull(ERR_NOT_FOUND, "there is none");
	assert_int_equal(outcome.why, REASON(PULL_FAILED));
	assert_int_equal(n_wanted(), 0);

	spec = player_spec(player, "empty");
	image = add_image_volume(player, spec);
	image_init(&empty);
	empty.response.n_layers = 0;
	player_launch(player, spec, 1, 1, &outcome);
	provide(&empty);
	assert_non_null(strstr(outcome.sentence, "nothing to mount"));

	image->reference = (char *)"-";
	player_launch(player, spec, 1, 2, &outcome);
	assert_string_equal(outcome.field, "spec.volumes[0].image.reference");
	image->reference = (char *)"models/small:1";
	spec->containers[0]->mounts[0]->sub_path = (char *)"part";
	player_launch(player, spec, 1, 2, &outcome);
	assert_string_equal(outcome.field, "spec.containers[0].mounts[0].sub_path");
	spec->containers[0]->mounts[0]->sub_path = (char *)"";
	played.refuses = true;
	player_launch(player, spec, 1, 2, &outcome);
	assert_string_equal(outcome.field, "spec.volumes[0].image.reference");
}

static void layers_are_used_until_the_workload_has_ended(void **state)
{
	struct player *player = *state;
	struct outcome launch, outcome;

	assert_int_equal(played.n_sweeps, 1); /* berth-sandboxd has come */
	player_launch(player, image_spec(player, "web"), 1, 1, &launch);
	assert_int_equal(used_layers(), 0);
	provide_plain();
	assert_int_equal(used_layers(), 2);
	player_answer_all(player);
	player_started(player, "web", "main");
	player_stop(player, "web", 1, 0, &outcome);
	player_exited(player, "web", "main", CLD_KILLED, 9);
	assert_int_equal(outcome.state, STATE(EXITED));
	assert_int_equal(used_layers(), 0);
}

static void what_cannot_be_is_refused_with_its_field(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = image_spec(player, "web");
	Berth__V1__ImageRoot *image = spec->containers[0]->root->image;
	struct outcome outcome;

	image->reference = (char *)"team/App";
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_INVALID);
	assert_string_equal(outcome.field, "spec.containers[0].root.image.reference");
	image->reference = (char *)"app";
	image->pull_policy = 17;
	player_launch(player, spec, 1, 1, &outcome);
	assert_string_equal(outcome.field, "spec.containers[0].root.image.pull_policy");
	image->pull_policy = 0;
	image->_writable_bytes_case = BERTH__V1__IMAGE_ROOT___WRITABLE_BYTES_WRITABLE_BYTES;
	image->writable_bytes = 1 << 20;
	player_launch(player, spec, 1, 1, &outcome);
	assert_string_equal(outcome.field, "spec.containers[0].root.writable");
	spec->containers[0]->root->writable = true;
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_UNSUPPORTED);
	assert_string_equal(outcome.field, "spec.containers[0].root.writable");
	image->writable_bytes--;
	player_launch(player, spec, 1, 1, &outcome);
	assert_string_equal(outcome.field, "spec.containers[0].root.image.writable_bytes");
	image->_writable_bytes_case = 0;
	spec->containers[0]->root->writable = false;
	played.refuses = true;
	player_launch(player, spec, 1, 1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_DENIED);
	assert_string_equal(outcome.reason, FAULT_POLICY);
	assert_string_equal(outcome.field, "spec.containers[0].root.image.reference");
	assert_int_equal(played.n_begun, 0);
}

static void a_host_that_cannot_says_so(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player->provider = NULL;
	player_restart(player);
	player_connect(player);
	player_launch(player, image_spec(player, "web"), 1, 1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_UNSUPPORTED);
	assert_string_equal(outcome.reason, FAULT_HOST_CANNOT);
	assert_non_null(strstr(outcome.err.text, "keeps no images"));
}

static void arguments_follow_the_command_of_a_directory(void **state)
{
	struct player *player = *state;
	static char *args[] = { (char *)"one", (char *)"two" };
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	const Berth__Sandbox__V1__Launch *launch;
	struct outcome outcome;

	spec->containers[0]->n_args = 2;
	spec->containers[0]->args = args;
	player_launch(player, spec, 1, 1, &outcome);
	launch = player_last_launch(player, "web", "main");
	assert_string_equal(launch->command[0], spec->containers[0]->command[0]);
	assert_int_equal(launch->n_command, spec->containers[0]->n_command + 2);
	assert_string_equal(launch->command[launch->n_command - 1], "two");
	engine_waiter_cancel(&outcome.waiter);

	spec = player_spec(player, "none");
	spec->containers[0]->n_command = 0;
	spec->containers[0]->n_args = 2;
	spec->containers[0]->args = args;
	player_launch(player, spec, 1, 1, &outcome);
	assert_string_equal(outcome.field, "spec.containers[0].command");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_made_before_the_image_is_here),
		TEST(what_the_spec_leaves_open_the_image_says),
		TEST(volumes_of_the_image_are_empty_directories_of_the_workload),
		TEST(what_the_spec_says_counts),
		TEST(arguments_alone_take_the_place_of_cmd),
		TEST(a_command_takes_the_place_of_entrypoint_and_cmd),
		TEST(its_stop_signal_is_the_images),
		TEST(what_an_image_may_not_say_ends_the_attempt),
		TEST(an_image_without_layers_is_not_run),
		TEST(a_failed_pull_ends_it_or_is_tried_again),
		TEST(all_images_are_had_before_the_first_container),
		TEST(a_restart_is_of_the_same_image),
		TEST(layers_that_are_gone_are_had_anew),
		TEST(stop_and_delete_end_the_waiting),
		TEST(a_newer_generation_takes_its_place_while_it_waits),
		TEST(it_waits_on_after_the_agent_was_started_anew),
		TEST(a_stop_that_was_kept_counts_though_its_end_was_not),
		TEST(it_waits_on_after_a_boot_of_the_host),
		TEST(what_it_runs_is_known_after_the_agent_was_started_anew),
		TEST(berth_sandboxd_may_go_away_meanwhile),
		TEST(an_image_is_in_use_until_its_workload_has_ended),
		TEST(a_volume_may_be_an_image),
		TEST(a_volume_that_is_not_to_be_had_fails_the_start),
		TEST(layers_are_used_until_the_workload_has_ended),
		TEST(what_cannot_be_is_refused_with_its_field),
		TEST(a_host_that_cannot_says_so),
		TEST(arguments_follow_the_command_of_a_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "agent/workload/canonical.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/cleanup.h"
#include "proto/signame.h"

/* What a spec of the most bytes takes unpacked, with room. */
#define SPEC_ARENA_BYTES (8U << 20)

/* All maps are of strings, and protobuf-c lays their entries out alike. */
static int compare_entries(const void *a, const void *b)
{
	const Berth__V1__Container__EnvEntry *const *left = a;
	const Berth__V1__Container__EnvEntry *const *right = b;

	return strcmp((*left)->key, (*right)->key);
}

static void sort_map(void *entries, size_t n)
{
	if (n > 1)
		qsort(entries, n, sizeof(void *), compare_entries);
}

/* An optional field that is absent takes its default. */
#define SET_DEFAULT(message, field, case_value, fallback)          \
	do {                                                       \
		if (!(message)->_##field##_case) {                 \
			(message)->_##field##_case = (case_value); \
			(message)->field = (fallback);             \
		}                                                  \
	} while (0)

/* The name of a signal that was validated. NULL without memory. */
static char *signal_name(struct spec *spec, const char *text)
{
	char name[SIGNAME_MAX];
	int signal = 0;

	(void)signame_parse(text, &signal, NULL);
	if (signame_parse(signame_format(signal, name), &signal, NULL) < 0) /* it has none */
		(void)snprintf(name, sizeof(name), "%d", signal);
	return arena_strdup(&spec->arena, name);
}

static int set_rules(struct spec *spec, Berth__V1__RestartPolicy *policy)
{
	for (size_t i = 0; i < policy->n_rules; i++)
		for (size_t j = 0; j < policy->rules[i]->n_signals; j++) {
			char *name = signal_name(spec, policy->rules[i]->signals[j]);

			if (!name)
				return -ENOMEM;
			policy->rules[i]->signals[j] = name;
		}
	return 0;
}

static int set_restart(struct spec *spec)
{
	Berth__V1__RestartPolicy *policy = spec->message->restart;

	if (!policy)
		policy = arena_message(&spec->arena, &berth__v1__restart_policy__descriptor);
	if (!policy)
		return -ENOMEM;
	spec->message->restart = policy;
	if (!policy->mode)
		policy->mode = BERTH__V1__RESTART_MODE__RESTART_NEVER;
	SET_DEFAULT(policy, initial_backoff_ms,
		    BERTH__V1__RESTART_POLICY___INITIAL_BACKOFF_MS_INITIAL_BACKOFF_MS,
		    BACKOFF_DEFAULT_MS);
	SET_DEFAULT(policy, factor_permille,
		    BERTH__V1__RESTART_POLICY___FACTOR_PERMILLE_FACTOR_PERMILLE,
		    BACKOFF_FACTOR_PERMILLE);
	SET_DEFAULT(policy, max_backoff_ms,
		    BERTH__V1__RESTART_POLICY___MAX_BACKOFF_MS_MAX_BACKOFF_MS,
		    BACKOFF_CAP_DEFAULT_MS);
	SET_DEFAULT(policy, reset_after_ms,
		    BERTH__V1__RESTART_POLICY___RESET_AFTER_MS_RESET_AFTER_MS, BACKOFF_RESET_MS);
	return set_rules(spec, policy);
}

static int set_volume(struct spec *spec, Berth__V1__Volume *volume)
{
	switch (volume->source_case) {
	case BERTH__V1__VOLUME__SOURCE_IMAGE:
		if (!volume->image->pull_policy)
			volume->image->pull_policy = BERTH__V1__PULL_POLICY__PULL_IF_NOT_PRESENT;
		return 0;
	case BERTH__V1__VOLUME__SOURCE_TMPFS:
		SET_DEFAULT(volume->tmpfs, size_bytes, BERTH__V1__TMPFS___SIZE_BYTES_SIZE_BYTES,
			    TMPFS_DEFAULT_BYTES);
		SET_DEFAULT(volume->tmpfs, inodes, BERTH__V1__TMPFS___INODES_INODES,
			    volume->tmpfs->size_bytes / 4096);
		return 0;
	case BERTH__V1__VOLUME__SOURCE_EMPTY_DIRECTORY:
		SET_DEFAULT(volume->empty_directory, size_bytes,
			    BERTH__V1__EMPTY_DIRECTORY___SIZE_BYTES_SIZE_BYTES,
			    TMPFS_DEFAULT_BYTES);
		return 0;
	default:
		return 0;
	}
}

static int set_log(struct spec *spec, Berth__V1__Container *container)
{
	if (!container->log)
		container->log = arena_message(&spec->arena, &berth__v1__log_policy__descriptor);
	if (!container->log)
		return -ENOMEM;
	SET_DEFAULT(container->log, max_file_bytes,
		    BERTH__V1__LOG_POLICY___MAX_FILE_BYTES_MAX_FILE_BYTES, LOG_FILE_DEFAULT_BYTES);
	SET_DEFAULT(container->log, max_files, BERTH__V1__LOG_POLICY___MAX_FILES_MAX_FILES,
		    LOG_FILES_DEFAULT);
	return 0;
}

static int set_identity(struct spec *spec, Berth__V1__Container *container, bool has_image)
{
	Berth__V1__Identity *identity = container->identity;

	if (!identity)
		identity = arena_message(&spec->arena, &berth__v1__identity__descriptor);
	if (!identity)
		return -ENOMEM;
	container->identity = identity;
	if (!*identity->user && !has_image)
		identity->user = arena_strdup(&spec->arena, "0:0");
	return identity->user ? 0 : -ENOMEM;
}

static int set_sandbox(struct spec *spec, Berth__V1__Container *container)
{
	Berth__V1__Sandbox *sandbox = container->sandbox;

	if (!sandbox)
		sandbox = arena_message(&spec->arena, &berth__v1__sandbox__descriptor);
	if (!sandbox)
		return -ENOMEM;
	container->sandbox = sandbox;
	if (!sandbox->profile_case ||
	    (sandbox->profile_case == BERTH__V1__SANDBOX__PROFILE_BUILTIN && !*sandbox->builtin)) {
		sandbox->profile_case = BERTH__V1__SANDBOX__PROFILE_BUILTIN;
		sandbox->builtin = arena_strdup(&spec->arena, "default");
		return sandbox->builtin ? 0 : -ENOMEM;
	}
	return 0;
}

#define PROBE(FIELD) BERTH__V1__PROBE___##FIELD

static void set_probe(Berth__V1__Probe *probe)
{
	if (!probe)
		return;
	SET_DEFAULT(probe, period_ms, PROBE(PERIOD_MS_PERIOD_MS), PROBE_PERIOD_DEFAULT_MS);
	SET_DEFAULT(probe, timeout_ms, PROBE(TIMEOUT_MS_TIMEOUT_MS), PROBE_TIMEOUT_DEFAULT_MS);
	SET_DEFAULT(probe, success_threshold, PROBE(SUCCESS_THRESHOLD_SUCCESS_THRESHOLD), 1);
	SET_DEFAULT(probe, failure_threshold, PROBE(FAILURE_THRESHOLD_FAILURE_THRESHOLD),
		    PROBE_FAILURES_DEFAULT);
	if (probe->action_case != BERTH__V1__PROBE__ACTION_HTTP)
		return;
	if (!*probe->http->path)
		probe->http->path = (char *)"/"; /* an arena's texts are never freed one by one */
	if (!probe->http->status_first)
		probe->http->status_first = 200;
	if (!probe->http->status_last)
		probe->http->status_last = 399;
}

static uint64_t writable_inodes(uint64_t bytes)
{
	uint64_t n = bytes / WRITABLE_BYTES_PER_INODE;

	return n < WRITABLE_MIN_INODES ? WRITABLE_MIN_INODES : n;
}

static void set_image(Berth__V1__ImageRoot *image, bool writable)
{
	if (!image->pull_policy)
		image->pull_policy = BERTH__V1__PULL_POLICY__PULL_IF_NOT_PRESENT;
	if (!writable)
		return;
	SET_DEFAULT(image, writable_bytes, BERTH__V1__IMAGE_ROOT___WRITABLE_BYTES_WRITABLE_BYTES,
		    WRITABLE_DEFAULT_BYTES);
	SET_DEFAULT(image, writable_inodes, BERTH__V1__IMAGE_ROOT___WRITABLE_INODES_WRITABLE_INODES,
		    writable_inodes(image->writable_bytes));
}

/* What the image may say stays open: image_run.c. */
static int set_program(struct spec *spec, Berth__V1__Container *container, bool has_image)
{
	const char *signal = *container->stop_signal ? container->stop_signal : "TERM";

	if (!*container->working_dir && !has_image)
		container->working_dir = arena_strdup(&spec->arena, "/");
	if (*container->stop_signal || !has_image)
		container->stop_signal = signal_name(spec, signal);
	return container->working_dir && container->stop_signal ? 0 : -ENOMEM;
}

static int set_container(struct spec *spec, Berth__V1__Container *container)
{
	bool has_image = container->root->source_case == BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE;

	if (!container->role)
		container->role = ROLE(MAIN);
	if (has_image)
		set_image(container->root->image, container->root->writable);
	SET_DEFAULT(container, stop_grace_ms, BERTH__V1__CONTAINER___STOP_GRACE_MS_STOP_GRACE_MS,
		    STOP_GRACE_DEFAULT_MS);
	sort_map(container->env, container->n_env);
	set_probe(container->startup_probe);
	set_probe(container->readiness_probe);
	set_probe(container->liveness_probe);
	if (set_program(spec, container, has_image) < 0 ||
	    set_identity(spec, container, has_image) < 0 || set_sandbox(spec, container) < 0)
		return -ENOMEM;
	return set_log(spec, container);
}

static int canonicalise(struct spec *spec)
{
	Berth__V1__WorkloadSpec *message = spec->message;

	if (!message->band)
		message->band = BERTH__V1__PRIORITY_BAND__PRODUCTION;
	if (!message->network)
		message->network = BERTH__V1__NETWORK__NETWORK_PRIVATE;
	if (!message->user_namespace)
		message->user_namespace = BERTH__V1__USER_NAMESPACE__USER_NAMESPACE_AUTO;
	if (!*message->hostname)
		message->hostname = message->id; /* an arena's texts may be shared */
	sort_map(message->sysctls, message->n_sysctls);
	sort_map(message->labels, message->n_labels);
	for (size_t i = 0; i < message->n_volumes; i++)
		if (set_volume(spec, message->volumes[i]) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < message->n_containers; i++)
		if (set_container(spec, message->containers[i]) < 0)
			return -ENOMEM;
	return set_restart(spec);
}

uint8_t *spec_pack(const Berth__V1__WorkloadSpec *message, size_t *ret_bytes)
{
	size_t n = berth__v1__workload_spec__get_packed_size(message);
	uint8_t *bytes = malloc(n ? n : 1);

	if (!bytes)
		return NULL;
	*ret_bytes = berth__v1__workload_spec__pack(message, bytes);
	return bytes;
}

void spec_free(struct spec *spec)
{
	if (!spec || --spec->refs > 0)
		return;
	arena_done(&spec->arena);
	free(spec);
}

struct spec *spec_ref(struct spec *spec)
{
	spec->refs++;
	return spec;
}

struct spec *spec_new(const Berth__V1__WorkloadSpec *message, struct err *err)
{
	size_t n = 0;
	cleanup_free uint8_t *bytes = spec_pack(message, &n);
	struct spec *spec = malloc(sizeof(*spec));

	if (!spec || !bytes) {
		free(spec);
		(void)err_oom(err);
		return NULL;
	}
	spec->refs = 1;
	arena_init(&spec->arena, SPEC_ARENA_BYTES);
	spec->message = berth__v1__workload_spec__unpack(&spec->arena.allocator, n, bytes);
	if (!spec->message || canonicalise(spec) < 0) {
		spec_free(spec);
		(void)err_oom(err);
		return NULL;
	}
	return spec;
}

int spec_equal(const struct spec *a, const struct spec *b)
{
	size_t n_a = 0;
	size_t n_b = 0;
	cleanup_free uint8_t *bytes_a = spec_pack(a->message, &n_a);
	cleanup_free uint8_t *bytes_b = spec_pack(b->message, &n_b);

	if (!bytes_a || !bytes_b)
		return -ENOMEM;
	return n_a == n_b && memcmp(bytes_a, bytes_b, n_a) == 0;
}

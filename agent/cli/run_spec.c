#include "agent/cli/run_spec.h"

#include <getopt.h>
#include <string.h>
#include <sys/random.h>

#include "agent/cli/cli.h"
#include "agent/cli/resources.h"
#include "agent/cli/run_probe.h"
#include "agent/cli/run_restart.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

enum {
	OPTION_RM = 256,
	OPTION_CAP,
	OPTION_TMPFS,
	OPTION_WRITABLE,
	OPTION_WRITABLE_SIZE,
	OPTION_PULL,
	OPTION_ENTRYPOINT,
	OPTION_RESTART,
	OPTION_RESTART_RULE,
	OPTION_STOP_AFTER,
	OPTION_BAND,
	OPTION_HOST_NETWORK,
	OPTION_HOST_IDS,
	OPTION_UNCONFINED,
	OPTION_SECCOMP,
	OPTION_GENERATION,
};

/* Those of probes come behind them. */
static const struct option options[] = {
	{ "file", required_argument, NULL, 'f' },
	{ "name", required_argument, NULL, 'n' },
	{ "root", required_argument, NULL, 'r' },
	{ "detach", no_argument, NULL, 'd' },
	{ "interactive", no_argument, NULL, 'i' },
	{ "tty", no_argument, NULL, 't' },
	{ "rm", no_argument, NULL, OPTION_RM },
	{ "env", required_argument, NULL, 'e' },
	{ "workdir", required_argument, NULL, 'w' },
	{ "user", required_argument, NULL, 'u' },
	{ "cap", required_argument, NULL, OPTION_CAP },
	{ "label", required_argument, NULL, 'l' },
	{ "tmpfs", required_argument, NULL, OPTION_TMPFS },
	{ "volume", required_argument, NULL, 'v' },
	{ "writable", no_argument, NULL, OPTION_WRITABLE },
	{ "writable-size", required_argument, NULL, OPTION_WRITABLE_SIZE },
	{ "pull", required_argument, NULL, OPTION_PULL },
	{ "entrypoint", required_argument, NULL, OPTION_ENTRYPOINT },
	{ "restart", required_argument, NULL, OPTION_RESTART },
	{ "restart-rule", required_argument, NULL, OPTION_RESTART_RULE },
	{ "stop-after-disconnect", required_argument, NULL, OPTION_STOP_AFTER },
	{ "band", required_argument, NULL, OPTION_BAND },
	{ "host-network", no_argument, NULL, OPTION_HOST_NETWORK },
	{ "host-ids", no_argument, NULL, OPTION_HOST_IDS },
	{ "unconfined", no_argument, NULL, OPTION_UNCONFINED },
	{ "seccomp", required_argument, NULL, OPTION_SECCOMP },
	{ "generation", required_argument, NULL, OPTION_GENERATION },
	RESOURCES_LONG_OPTIONS,
};

#define NEW(run, Type, type) \
	((Type *)arena_message(&(run)->arena, &berth__v1__##type##__descriptor))

static Berth__V1__Identity *identity_of(struct run_spec *run)
{
	if (!run->container->identity)
		run->container->identity = NEW(run, Berth__V1__Identity, identity);
	return run->container->identity;
}

static Berth__V1__Sandbox *sandbox_of(struct run_spec *run)
{
	if (!run->container->sandbox)
		run->container->sandbox = NEW(run, Berth__V1__Sandbox, sandbox);
	return run->container->sandbox;
}

/* A volume and its mount, named after their number. */
static int add_volume(struct run_spec *run, Berth__V1__Volume *volume, const char *target,
		      bool read_only)
{
	Berth__V1__Mount *mount = NEW(run, Berth__V1__Mount, mount);

	if (!volume || !mount)
		return cli_fail(CLI_FAILED, "out of memory");
	volume->name = arena_printf(&run->arena, "v%zu", run->spec->n_volumes);
	mount->volume = volume->name;
	mount->target = (char *)target;
	mount->read_only = read_only;
	if (arena_append(&run->arena, &run->spec->volumes, &run->spec->n_volumes, volume) < 0 ||
	    arena_append(&run->arena, &run->container->mounts, &run->container->n_mounts, mount) <
		    0)
		return cli_fail(CLI_FAILED, "out of memory");
	return 0;
}

/* DIR[=SIZE] */
static int add_tmpfs(struct run_spec *run, const char *text)
{
	Berth__V1__Volume *volume = NEW(run, Berth__V1__Volume, volume);
	const char *equals = strchr(text, '=');
	struct err err = { 0 };

	if (!volume || !(volume->tmpfs = NEW(run, Berth__V1__Tmpfs, tmpfs)))
		return cli_fail(CLI_FAILED, "out of memory");
	volume->source_case = BERTH__V1__VOLUME__SOURCE_TMPFS;
	if (equals) {
		volume->tmpfs->_size_bytes_case = BERTH__V1__TMPFS___SIZE_BYTES_SIZE_BYTES;
		if (quantity_parse_bytes(equals + 1, &volume->tmpfs->size_bytes, &err) < 0)
			return cli_fail_usage(&err, "--tmpfs");
		text = arena_strndup(&run->arena, text, (size_t)(equals - text));
	}
	return add_volume(run, volume, text, false);
}

/* HOST:DIR[:ro] */
static int add_host_directory(struct run_spec *run, const char *text)
{
	Berth__V1__Volume *volume = NEW(run, Berth__V1__Volume, volume);
	char *host = arena_strdup(&run->arena, text);
	char *target = host ? strchr(host, ':') : NULL;
	char *mode = target ? strchr(target + 1, ':') : NULL;

	if (!volume || !host ||
	    !(volume->host_directory = NEW(run, Berth__V1__HostDirectory, host_directory)))
		return cli_fail(CLI_FAILED, "out of memory");
	if (!target || (mode && strcmp(mode, ":ro") != 0))
		return cli_fail(CLI_USAGE, "--volume %s: expected HOST:DIR or HOST:DIR:ro", text);
	*target++ = '\0';
	if (mode)
		*mode = '\0';
	volume->source_case = BERTH__V1__VOLUME__SOURCE_HOST_DIRECTORY;
	volume->host_directory->path = host;
	return add_volume(run, volume, target, mode != NULL);
}

static int take_word(const char *what, const char *text, const char *const *words, int first,
		     int *ret)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0) {
			*ret = first + i;
			return 0;
		}
	return cli_fail(CLI_USAGE, "%s %s: see berthctl run --help", what, text);
}

static Berth__V1__RestartPolicy *restart_of(struct run_spec *run)
{
	if (!run->spec->restart)
		run->spec->restart = NEW(run, Berth__V1__RestartPolicy, restart_policy);
	return run->spec->restart;
}

static int take_restart(struct run_spec *run, const char *text)
{
	static const char *const modes[] = { "never", "on-failure", "always", NULL };
	int mode = 0, code;

	if (!restart_of(run))
		return cli_fail(CLI_FAILED, "out of memory");
	code = take_word("--restart", text, modes, BERTH__V1__RESTART_MODE__RESTART_NEVER, &mode);
	run->spec->restart->mode = (Berth__V1__RestartMode)mode;
	return code;
}

static int take_restart_rule(struct run_spec *run, const char *text)
{
	if (!restart_of(run))
		return cli_fail(CLI_FAILED, "out of memory");
	return run_restart_take_rule(run->spec->restart, text, &run->arena);
}

static int take_stop_after(struct run_spec *run, const char *text)
{
	struct err err = { 0 };

	if (quantity_parse_duration_ms(text, &run->spec->stop_after_disconnect_ms, &err) < 0)
		return cli_fail_usage(&err, "--stop-after-disconnect");
	return 0;
}

static int take_band(struct run_spec *run, const char *text)
{
	static const char *const bands[] = { "critical", "production", "batch", "best-effort",
					     NULL };
	int band = 0;
	int code = take_word("--band", text, bands, BERTH__V1__PRIORITY_BAND__CRITICAL, &band);

	run->spec->band = (Berth__V1__PriorityBand)band;
	return code;
}

static int take_seccomp(struct run_spec *run, const char *path)
{
	cleanup_file FILE *file = fopen(path, "re");
	char *text = arena_calloc(&run->arena, 1, 65537);
	Berth__V1__Sandbox *sandbox = sandbox_of(run);

	if (!file)
		return cli_fail(CLI_USAGE, "--seccomp %s: %s", path, strerror(errno));
	if (!text || !sandbox)
		return cli_fail(CLI_FAILED, "out of memory");
	if (fread(text, 1, 65537, file) > 65536)
		return cli_fail(CLI_USAGE, "--seccomp %s: larger than 64 KiB", path);
	sandbox->profile_case = BERTH__V1__SANDBOX__PROFILE_OCI_SECCOMP_JSON;
	sandbox->oci_seccomp_json = text;
	return 0;
}

static int take_pull(struct run_spec *run, const char *text)
{
	static const char *const policies[] = { "missing", "always", "never", NULL };
	int policy = 0;
	int code = take_word("--pull", text, policies, BERTH__V1__PULL_POLICY__PULL_IF_NOT_PRESENT,
			     &policy);

	run->image->pull_policy = (Berth__V1__PullPolicy)policy;
	return code;
}

static int take_writable_size(struct run_spec *run, const char *text)
{
	struct err err = { 0 };

	run->container->root->writable = true;
	run->image->_writable_bytes_case = BERTH__V1__IMAGE_ROOT___WRITABLE_BYTES_WRITABLE_BYTES;
	if (quantity_parse_bytes(text, &run->image->writable_bytes, &err) < 0)
		return cli_fail_usage(&err, "--writable-size");
	return 0;
}

static int take_name(struct run_spec *run, const char *name)
{
	run->spec->id = (char *)name;
	return 0;
}

/* Options of the container. Returns 0, an exit code, or -1 for one that is none of these. */
static int take_container_option(struct run_spec *run, int option, char *value)
{
	Berth__V1__Container *container = run->container;

	switch (option) {
	case 'r':
		container->root->source_case = BERTH__V1__ROOT_FILESYSTEM__SOURCE_DIRECTORY;
		container->root->directory = value;
		return 0;
	case 'i':
		container->stdin = true;
		run->interactive = true;
		return 0;
	case 't':
		container->tty = true;
		run->tty = true;
		return 0;
	case 'e':
		return labels_add(&run->env, value, &run->arena) < 0 ? CLI_USAGE : 0;
	case 'w':
		container->working_dir = value;
		return 0;
	case 'u':
		identity_of(run)->user = value;
		return 0;
	case OPTION_CAP:
		return arena_append(&run->arena, &identity_of(run)->capabilities,
				    &identity_of(run)->n_capabilities, value);
	case OPTION_TMPFS:
		return add_tmpfs(run, value);
	case 'v':
		return add_host_directory(run, value);
	case OPTION_WRITABLE:
		container->root->writable = true;
		return 0;
	case OPTION_WRITABLE_SIZE:
		return take_writable_size(run, value);
	case OPTION_PULL:
		return take_pull(run, value);
	case OPTION_ENTRYPOINT:
		return arena_append(&run->arena, &container->command, &container->n_command, value);
	case OPTION_UNCONFINED:
		sandbox_of(run)->profile_case = BERTH__V1__SANDBOX__PROFILE_BUILTIN;
		sandbox_of(run)->builtin = (char *)"unconfined";
		return 0;
	case OPTION_SECCOMP:
		return take_seccomp(run, value);
	default:
		return -1;
	}
}

static int take_option(struct run_spec *run, int option, char *value)
{
	struct err err = { 0 };
	int code = take_container_option(run, option, value);

	if (code == -1)
		code = run_probe_take(run->container, option, value, &run->arena);
	if (code != -1)
		return code;
	code = resources_take_option(run->container->resources, option, value);
	if (code != 0)
		return code > 0 ? 0 : CLI_USAGE;
	switch (option) {
	case 'f':
		run->file = value;
		return 0;
	case 'n':
		return take_name(run, value);
	case 'd':
		run->detach = true;
		return 0;
	case OPTION_RM:
		run->remove = true;
		return 0;
	case 'l':
		return labels_add(&run->labels, value, &run->arena) < 0 ? CLI_USAGE : 0;
	case OPTION_RESTART:
		return take_restart(run, value);
	case OPTION_RESTART_RULE:
		return take_restart_rule(run, value);
	case OPTION_STOP_AFTER:
		return take_stop_after(run, value);
	case OPTION_BAND:
		return take_band(run, value);
	case OPTION_HOST_NETWORK:
		run->spec->network = BERTH__V1__NETWORK__NETWORK_HOST;
		return 0;
	case OPTION_HOST_IDS:
		run->spec->user_namespace = BERTH__V1__USER_NAMESPACE__USER_NAMESPACE_HOST;
		return 0;
	case OPTION_GENERATION:
		if (quantity_parse_decimal(value, 1, UINT64_MAX, &run->generation, &err) < 0)
			return cli_fail_usage(&err, "--generation");
		return 0;
	default:
		return verb_misused("run", NULL);
	}
}

static int start_spec(struct run_spec *run)
{
	uint32_t number = 0;

	(void)!getrandom(&number, sizeof(number), 0);
	run->spec = NEW(run, Berth__V1__WorkloadSpec, workload_spec);
	run->container = NEW(run, Berth__V1__Container, container);
	if (!run->spec || !run->container)
		return cli_fail(CLI_FAILED, "out of memory");
	run->container->root = NEW(run, Berth__V1__RootFilesystem, root_filesystem);
	run->container->resources = NEW(run, Berth__V1__Resources, resources);
	run->container->name = (char *)"main";
	run->spec->id = arena_printf(&run->arena, "run-%08x", number);
	run->image = NEW(run, Berth__V1__ImageRoot, image_root);
	if (!run->container->root || !run->container->resources || !run->spec->id || !run->image ||
	    arena_append(&run->arena, &run->spec->containers, &run->spec->n_containers,
			 run->container) < 0)
		return cli_fail(CLI_FAILED, "out of memory");
	return 0;
}

/* An image, and arguments for its program. */
static int finish_image(struct run_spec *run, int argc, char **argv)
{
	if (argc == 0)
		return verb_misused("run",
				    "an image is needed, or --root DIR and a command, or -f");
	run->container->root->source_case = BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE;
	run->container->root->image = run->image;
	run->image->reference = argv[0];
	run->container->args = argv + 1;
	run->container->n_args = (size_t)argc - 1;
	return 0;
}

static int finish_directory(struct run_spec *run, int argc, char **argv)
{
	if (run->container->n_command > 0 || run->image->pull_policy ||
	    run->image->_writable_bytes_case)
		return cli_fail(
			CLI_USAGE,
			"run: --entrypoint, --pull and --writable-size are for images, not for --root");
	if (argc == 0)
		return verb_misused("run", "a command is needed with --root");
	run->container->command = argv;
	run->container->n_command = (size_t)argc;
	return 0;
}

static int finish_spec(struct run_spec *run, int argc, char **argv)
{
	bool has_root = run->container->root->source_case ==
			BERTH__V1__ROOT_FILESYSTEM__SOURCE_DIRECTORY;
	int code = has_root ? finish_directory(run, argc, argv) : finish_image(run, argc, argv);

	if (code != 0)
		return code;
	run->container->env = (Berth__V1__Container__EnvEntry **)labels_entries(
		&run->env, &berth__v1__container__env_entry__descriptor, &run->arena);
	run->container->n_env = run->container->env ? run->env.count : 0;
	run->spec->labels = (Berth__V1__WorkloadSpec__LabelsEntry **)labels_entries(
		&run->labels, &berth__v1__workload_spec__labels_entry__descriptor, &run->arena);
	run->spec->n_labels = run->spec->labels ? run->labels.count : 0;
	return 0;
}

_Static_assert(ARRAY_SIZE(options) + RUN_PROBE_OPTIONS <= VERB_OPTIONS_MAX, "as verbs.h says");

int run_spec_parse(struct cli *cli, struct run_spec *run, int argc, char **argv)
{
	struct option all[ARRAY_SIZE(options) + RUN_PROBE_OPTIONS + 1] = { 0 };
	int option, code;

	memcpy(all, options, sizeof(options));
	run_probe_options(all + ARRAY_SIZE(options));
	*run = (struct run_spec){ 0 };
	arena_init(&run->arena, ARENA_MESSAGE_BYTES);
	code = start_spec(run);
	while (code == 0 &&
	       (option = verb_next_option(
			cli, argc, argv, "+f:n:r:dite:w:u:l:v:" RESOURCES_SHORT_OPTIONS, all)) >= 0)
		code = take_option(run, option, optarg);
	if (code != 0)
		return code;
	if (!run->file)
		return finish_spec(run, argc - optind, argv + optind);
	if (optind < argc)
		return cli_fail(CLI_USAGE, "run: the spec of -f has the command, %s is too much",
				argv[optind]);
	run->spec = cli_read_json(run->file, &berth__v1__workload_spec__descriptor, &run->arena);
	return run->spec ? 0 : CLI_USAGE;
}

void run_spec_done(struct run_spec *run)
{
	arena_done(&run->arena);
}

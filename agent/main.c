/*
 * berthd: options, wiring, the loop.
 */
#include <getopt.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "agent/confine.h"
#include "agent/grpc/descriptors.h"
#include "agent/grpc/health.h"
#include "agent/grpc/reflection.h"
#include "agent/grpc/server.h"
#include "agent/image/provider.h"
#include "agent/pressure/pressure.h"
#include "agent/probe/prober.h"
#include "agent/sandboxlink/sandboxlink.h"
#include "agent/service/service.h"
#include "agent/settings.h"
#include "agent/store/store.h"
#include "agent/telemetry/telemetry.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "proto/log.h"

#define SERVICE_NAME  "berth.v1.NodeAgent"
#define PATIENCE_USEC 500000

struct agent {
	const char *config_path;
	bool config_named; /* by the operator, so it must be there */
	bool confined;
	struct settings settings;
	struct service service;
	sd_event *event;
	struct store *store;
	struct sandboxlink *link;
	struct prober *prober;
	struct engine *engine;
	struct telemetry *telemetry;
	struct pressure *pressure;
	struct images *images;     /* NULL where nothing is kept */
	struct provider *provider; /* the same */
	struct grpc_server *server;
	struct grpc_health *health;
	struct grpc_descriptors *descriptors;
	sd_event_source *readiness;
	sd_event_source *patience; /* with berth-sandboxd, before clients are let in without it */
	bool serving;
};

static void usage(FILE *file)
{
	(void)fprintf(
		file,
		"berthd: the agent of a Berth host\n\n"
		"  --config FILE           instead of " SETTINGS_PATH
		"; FILE.d/*.conf are read too\n"
		"  --check-config          read the configuration, say what is wrong, end\n"
		"  --print-default-config  every key with its meaning and its default\n"
		"  --no-confine            without Landlock and seccomp, for debuggers\n"
		"  --version\n"
		"  --help\n\n"
		"SIGHUP reads the configuration and the certificates again; SIGTERM drains and ends.\n");
}

/* ---- Wiring ---- */

static int load_settings(struct agent *agent, struct err *err)
{
	return config_load(&settings_table, agent->config_path,
			   agent->config_named ? CONFIG_MUST_EXIST : CONFIG_MAY_BE_MISSING,
			   &agent->settings, err);
}

static struct engine_config engine_config(const struct settings *settings)
{
	return (struct engine_config){
		.capacity = { .workloads = (uint32_t)settings->max_workloads },
		.reserve = { .cpu_millis = settings->reserve_cpu_millis,
			     .memory_bytes = settings->reserve_memory_bytes,
			     .pids = settings->reserve_pids },
		.events_max = settings->keep_events,
		.records_max = settings->keep_records,
		.record_bytes_max = settings->keep_record_bytes,
		.record_age_ms = settings->keep_record_ms,
		.agent_version = BERTH_VERSION,
	};
}

static struct pressure_config pressure_config(const struct settings *settings)
{
	return (struct pressure_config){
		.enabled = settings->pressure_enabled,
		.enforce_reserve = settings->enforce_reserve,
		.stall_ms = settings->pressure_stall_ms,
		.window_ms = settings->pressure_window_ms,
		.act_below_percent = settings->pressure_act_below,
		.relieve_above_percent = settings->pressure_relieve_above,
		.relieve_after_ms = settings->pressure_relieve_after_ms,
		.freeze_max_ms = settings->pressure_freeze_max_ms,
		.best_effort = &settings->pressure_best_effort,
		.batch = &settings->pressure_batch,
		.production = &settings->pressure_production,
	};
}

static int open_store(struct agent *agent, struct err *err)
{
	const struct store_sqlite_config config = {
		.directory = agent->settings.store_directory,
		.events_max = agent->settings.keep_events,
	};

	if (agent->settings.store_durable)
		return store_sqlite_new(agent->event, &config, &agent->store, err);
	agent->store = store_memory_new();
	return agent->store ? 0 : err_oom(err);
}

static int open_images(struct agent *agent, struct err *err)
{
	const struct settings *settings = &agent->settings;
	char directory[PATH_MAX];
	const struct images_config config = {
		.directory = directory,
		.keep_free_bytes = settings->images_keep_free_bytes,
		.parallel_layers = settings->images_parallel_layers,
		.stall_ms = settings->images_stall_ms,
		.collect_above = settings->images_collect_above,
		.collect_below = settings->images_collect_below,
		.unused_ms = settings->images_unused_ms,
		.proxy = settings->images_proxy,
		.no_proxy = settings->images_no_proxy,
		.credentials_path = settings->images_credentials,
		.registries = &settings->images_registries,
		.require_digests = &settings->images_require_digests,
		.plain_http = &settings->images_plain_http,
		.mirrors = &settings->images_mirrors,
		.authorities = &settings->images_authorities,
		.pinned = &settings->images_pinned,
	};

	int r;

	if (!settings->store_durable)
		return 0;
	if (snprintf(directory, sizeof(directory), "%s/images", settings->store_directory) >=
	    (int)sizeof(directory))
		return err_set(err, ERR_INVALID, ENAMETOOLONG, "Directory in [Store] is too long");
	r = images_new(agent->event, &config, &agent->images, err);
	return r < 0 ? r
		     : provider_new(agent->event, agent->images, agent->link, &agent->provider,
				    err);
}

static int open_engine(struct agent *agent, struct err *err)
{
	struct engine_config config = engine_config(&agent->settings);
	const struct sandboxlink_socket_config link_config = {
		.path = agent->settings.sandbox_socket,
		.version = BERTH_VERSION,
	};
	const struct telemetry_config telemetry_config = {
		.sample_interval_ms = agent->settings.sample_interval_ms,
	};
	const struct pressure_config pressure = pressure_config(&agent->settings);
	int r;

	r = open_store(agent, err);
	if (r == 0)
		r = sandboxlink_socket_new(agent->event, &link_config, &agent->link, err);
	if (r == 0)
		r = prober_new(agent->event, &agent->prober, err);
	if (r == 0)
		r = open_images(agent, err);
	config.prober = agent->prober;
	config.provider = agent->provider;
	if (r == 0)
		r = engine_new(agent->event, &config, agent->store, agent->link, &agent->engine,
			       err);
	if (r == 0)
		r = telemetry_new(agent->event, agent->engine, &telemetry_config, &agent->telemetry,
				  err);
	if (r == 0)
		r = pressure_new(agent->event, agent->engine, agent->telemetry, agent->link,
				 &pressure, &agent->pressure, err);
	return r;
}

static struct grpc_tls_files tls_files(const struct settings *settings)
{
	return (struct grpc_tls_files){ .cert_path = settings->certificate,
					.key_path = settings->key,
					.ca_path = settings->client_ca };
}

/* The sockets that systemd passed (berthd.socket). Returns their number. */
static int listen_passed(struct agent *agent, struct err *err)
{
	const struct grpc_tls_files files = tls_files(&agent->settings);
	int count = sd_listen_fds(1);
	int r = 0;

	for (int i = 0; i < count && r == 0; i++) {
		int fd = SD_LISTEN_FDS_START + i;
		bool is_unix = sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0;

		if (!is_unix && !settings_have_tls(&agent->settings))
			r = err_set(err, ERR_INVALID, EINVAL,
				    "%s: systemd passes a TCP socket, which needs all of [TLS]",
				    agent->config_path);
		if (r == 0)
			r = grpc_server_listen_fd(agent->server, fd, is_unix ? NULL : &files, err);
	}
	return r < 0 ? r : count;
}

static int listen_unix(struct agent *agent, struct err *err)
{
	const char *group_name = agent->settings.socket_group;
	const struct group *group = getgrnam(group_name);

	if (!group)
		log_event(LOG_WARNING, NULL,
			  "there is no group %s: only root and berthd's own user can connect to %s",
			  group_name, agent->settings.socket);
	return grpc_server_listen_unix(agent->server, agent->settings.socket, 0660,
				       group ? group->gr_gid : (gid_t)-1, err);
}

static int listen_all(struct agent *agent, struct err *err)
{
	const struct grpc_tls_files files = tls_files(&agent->settings);
	int r = listen_passed(agent, err);

	if (r == 0)
		r = listen_unix(agent, err);
	for (size_t i = 0; i < agent->settings.addresses.n && r >= 0; i++) {
		uint16_t port = 0;

		r = grpc_server_listen_tcp(agent->server, agent->settings.addresses.items[i],
					   &files, &port, err);
		if (r == 0)
			log_event(LOG_NOTICE, NULL, "listening on %s (port %u)",
				  agent->settings.addresses.items[i], port);
	}
	return r < 0 ? r : 0;
}

static void log_server(int priority, const char *text, void *user)
{
	log_event(priority, NULL, "%s", text);
}

static int open_server(struct agent *agent, struct err *err)
{
	const struct grpc_server_options options = {
		.max_connections = (unsigned int)agent->settings.max_connections,
		.max_calls = (unsigned int)agent->settings.max_calls,
		.authorise = service_authorise,
		.on_call_end = service_log_call,
		.log = log_server,
		.user = &agent->service,
	};
	const struct grpc_method *methods;
	size_t count;
	int r;

	agent->service = (struct service){ .event = agent->event,
					   .engine = agent->engine,
					   .telemetry = agent->telemetry,
					   .images = agent->images,
					   .settings = &agent->settings };
	r = grpc_server_new(agent->event, &options, &agent->server, err);
	if (r < 0)
		return r;
	methods = service_methods(&count);
	r = grpc_server_add_methods(agent->server, methods, count, &agent->service, err);
	if (r == 0)
		r = grpc_health_new(agent->server, &agent->health, err);
	if (r == 0)
		r = grpc_descriptors_new(grpc_public_descriptors, grpc_public_descriptors_size,
					 &agent->descriptors, err);
	if (r == 0)
		r = grpc_reflection_add(agent->server, agent->descriptors, err);
	return r < 0 ? r : listen_all(agent, err);
}

/* The directory of @path, in @buffer; for an unset path one that does not exist. */
static const char *directory_of(const char *path, char buffer[static PATH_MAX])
{
	if (!path[0])
		return "/nonexistent";
	(void)snprintf(buffer, PATH_MAX, "%s", path);
	return dirname(buffer);
}

/* @path, or the directory above it while it is not there: berth-sandboxd makes its log directory when it
 * starts, and that may be later. */
static const char *there_or_above(const char *path, char buffer[static PATH_MAX])
{
	return access(path, F_OK) == 0 ? path : directory_of(path, buffer);
}

#define READ_PLACES_MAX 512 /* [Images] Authorities has at most 256 */

/* Certificates may be replaced below their directory; anything else that SIGHUP needs is in /etc. */
static int confine(struct agent *agent, struct err *err)
{
	const struct settings *settings = &agent->settings;
	const struct config_list *authorities = &settings->images_authorities;
	char certificate[PATH_MAX], key[PATH_MAX], client_ca[PATH_MAX], config[PATH_MAX];
	char socket[PATH_MAX], logs[PATH_MAX], credentials[PATH_MAX], resolver[PATH_MAX];
	char resolver_directory[PATH_MAX];
	const char *read_only[READ_PLACES_MAX] = {
		"/etc",
		"/usr",
		"/lib",
		"/lib64",
		"/proc",
		"/sys",
		"/dev/null",
		"/dev/urandom",
		"/run/systemd",
		there_or_above(settings->log_directory, logs),
		directory_of(settings->certificate, certificate),
		directory_of(settings->key, key),
		directory_of(settings->client_ca, client_ca),
		directory_of(agent->config_path, config),
		directory_of(settings->images_credentials, credentials),
		/* Where it is a link, as resolvconf and NetworkManager make it. */
		realpath("/etc/resolv.conf", resolver) ? directory_of(resolver, resolver_directory)
						       : "/nonexistent",
	};
	const char *const read_write[] = { directory_of(settings->socket, socket),
					   settings->store_durable ? settings->store_directory
								   : "/nonexistent",
					   NULL };
	size_t n = 0;

	while (read_only[n])
		n++;
	for (size_t i = 0; i < authorities->n && n < READ_PLACES_MAX - 1; i++)
		read_only[n++] = strchr(authorities->items[i], '=') + 1;
	/* Where it cannot be made the store says why. */
	if (settings->store_durable)
		(void)mkdir(settings->store_directory, 0700);

	return confine_agent(&(struct confine_paths){ read_only, read_write }, err);
}

/* ---- Life ---- */

static void set_serving(struct agent *agent, bool serving)
{
	agent->serving = serving;
	(void)grpc_health_set(agent->health, "", serving);
	(void)grpc_health_set(agent->health, SERVICE_NAME, serving);
	(void)sd_notifyf(0, "STATUS=%s",
			 serving ? "Serving." : "Waiting for berth-sandboxd; workloads run on.");
}

static void let_in(struct agent *agent)
{
	agent->patience = sd_event_source_disable_unref(agent->patience);
	grpc_server_hold(agent->server, false);
}

/* Before each wait of the loop: health follows what the engine says of itself. */
static int on_turn(sd_event_source *source, void *userdata)
{
	struct agent *agent = userdata;
	bool ready = engine_is_ready(agent->engine);

	if (agent->store->unread && !agent->store->failure[0]) {
		log_event(LOG_NOTICE, NULL,
			  "the agent's store can be read now: ending, to begin with what it has");
		return sd_event_exit(agent->event, EXIT_FAILURE);
	}

	if (ready != agent->serving)
		set_serving(agent, ready);
	if (ready && agent->patience)
		let_in(agent);
	return 0;
}

static int on_patience_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	let_in(userdata);
	return 0;
}

/* Clients wait in the backlog, for a moment only, until berth-sandboxd has said what there is: else the first
 * launches after a restart would be refused. */
static int hold_clients(struct agent *agent, struct err *err)
{
	int r = sd_event_add_time_relative(agent->event, &agent->patience, CLOCK_BOOTTIME,
					   PATIENCE_USEC, 0, on_patience_over, agent);

	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the clock: %m");
	grpc_server_hold(agent->server, true);
	return 0;
}

static void on_drained(struct grpc_server *server, void *user)
{
	struct agent *agent = user;

	(void)sd_event_exit(agent->event, 0);
}

static int on_terminate(sd_event_source *source, const struct signalfd_siginfo *info,
			void *userdata)
{
	struct agent *agent = userdata;

	if (grpc_server_draining(agent->server))
		return sd_event_exit(agent->event, 0); /* asked twice: at once */
	log_event(LOG_NOTICE, NULL, "ending on signal %u: workloads run on", info->ssi_signo);
	(void)sd_notify(0, "STOPPING=1");
	if (grpc_server_drain(agent->server, agent->settings.drain_ms * 1000, on_drained, agent) <
	    0)
		return sd_event_exit(agent->event, 0);
	return 0;
}

static void apply_settings(struct agent *agent)
{
	const struct engine_config config = engine_config(&agent->settings);
	const struct pressure_config pressure = pressure_config(&agent->settings);
	const struct telemetry_config telemetry_config = {
		.sample_interval_ms = agent->settings.sample_interval_ms,
	};

	log_set_priority_max(agent->settings.log_level);
	engine_reconfigure(agent->engine, &config);
	telemetry_reconfigure(agent->telemetry, &telemetry_config);
	pressure_reconfigure(agent->pressure, &pressure);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct agent *agent = userdata;
	struct err err = { 0 };
	uint64_t now_us = 0;

	(void)sd_event_now(agent->event, CLOCK_MONOTONIC, &now_us);
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_us);
	if (load_settings(agent, &err) < 0) {
		(void)err_prefix(&err, 0, "reload: the old configuration stays");
		log_failure(LOG_ERR, NULL, &err);
	} else {
		apply_settings(agent);
		log_event(LOG_NOTICE, NULL, "configuration read again; sockets are as at start");
	}
	if (grpc_server_reload_tls(agent->server, &err) < 0) {
		(void)err_prefix(&err, 0, "reload: the old certificates stay");
		log_failure(LOG_ERR, NULL, &err);
	}
	(void)sd_notify(0, "READY=1");
	return 0;
}

static int watch_signals(struct agent *agent, struct err *err)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	r = sd_event_add_signal(agent->event, NULL, SIGTERM, on_terminate, agent);
	if (r >= 0)
		r = sd_event_add_signal(agent->event, NULL, SIGINT, on_terminate, agent);
	if (r >= 0)
		r = sd_event_add_signal(agent->event, NULL, SIGHUP, on_reload, agent);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch for signals: %m");
	return 0;
}

static int start(struct agent *agent, struct err *err)
{
	int r = sd_event_default(&agent->event);

	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot make an event loop: %m");
	r = watch_signals(agent, err);
	if (r == 0 && agent->confined)
		r = confine(agent, err);
	if (r == 0)
		r = open_engine(agent, err);
	if (r == 0)
		r = open_server(agent, err);
	if (r < 0)
		return r;
	FAILPOINT("berthd.start.listening");
	set_serving(agent, false);
	r = sd_event_add_post(agent->event, &agent->readiness, on_turn, agent);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the loop: %m");
	r = hold_clients(agent, err);
	if (r < 0)
		return r;
	(void)sd_event_set_watchdog(agent->event, true);
	(void)sd_notify(0, "READY=1");
	log_event(LOG_NOTICE, NULL, "berthd " BERTH_VERSION " is up");
	return 0;
}

static void stop(struct agent *agent)
{
	sd_event_source_disable_unref(agent->readiness);
	sd_event_source_disable_unref(agent->patience);
	grpc_server_free(agent->server);
	grpc_health_free(agent->health);
	grpc_descriptors_free(agent->descriptors);
	pressure_free(agent->pressure);
	telemetry_free(agent->telemetry);
	if (agent->engine)
		engine_free(agent->engine);
	provider_free(agent->provider);
	images_free(agent->images);
	prober_free(agent->prober);
	sandboxlink_free(agent->link);
	store_free(agent->store);
	sd_event_unref(agent->event);
	config_free(&settings_table, &agent->settings);
}

static int run(struct agent *agent)
{
	struct err err = { 0 };
	int r = start(agent, &err);

	if (r == 0) {
		r = sd_event_loop(agent->event);
		if (r < 0)
			(void)err_set(&err, ERR_INTERNAL, -r, "the event loop failed: %m");
	}
	if (r < 0)
		log_failure(LOG_ERR, NULL, &err);
	stop(agent);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

enum { OPTION_CONFIG = 256, OPTION_CHECK, OPTION_PRINT, OPTION_NO_CONFINE, OPTION_VERSION };

static const struct option options[] = {
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "check-config", no_argument, NULL, OPTION_CHECK },
	{ "print-default-config", no_argument, NULL, OPTION_PRINT },
	{ "no-confine", no_argument, NULL, OPTION_NO_CONFINE },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

int main(int argc, char **argv)
{
	struct agent agent = { .config_path = SETTINGS_PATH, .confined = true };
	struct err err = { 0 };
	bool check = false;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (option) {
		case OPTION_CONFIG:
			agent.config_path = optarg;
			agent.config_named = true;
			break;
		case OPTION_CHECK:
			check = true;
			break;
		case OPTION_PRINT:
			return config_print_defaults(&settings_table, stdout) < 0;
		case OPTION_NO_CONFINE:
			agent.confined = false;
			break;
		case OPTION_VERSION:
			return puts("berthd " BERTH_VERSION) < 0;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "berthd: unknown argument %s\n", argv[optind]);
		return 2;
	}
	log_open("berthd", LOG_INFO);
	if (load_settings(&agent, &err) < 0) {
		log_failure(LOG_ERR, NULL, &err);
		return EXIT_FAILURE;
	}
	log_set_priority_max(agent.settings.log_level);
	if (check) {
		config_free(&settings_table, &agent.settings);
		return puts("the configuration is good") < 0;
	}
	return run(&agent);
}

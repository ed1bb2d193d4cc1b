/*
 * berth-sandboxd: root's half of Berth on a host. It has no network peer: berthd asks over a socket,
 * and it carries out a closed list of checked requests.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/hierarchy.h"
#include "sandbox/launch.h"
#include "sandbox/leftovers.h"
#include "sandbox/namespace_pool.h"
#include "sandbox/requests.h"
#include "sandbox/shutdown.h"
#include "sandbox/startup.h"

#define STATUS_EVERY_USEC (5ULL * 1000 * 1000)

#ifndef BERTH_MONITOR_PATH
#define BERTH_MONITOR_PATH "/usr/libexec/berth/berth-monitor"
#endif
#ifndef BERTH_UNPACK_PATH
#define BERTH_UNPACK_PATH "/usr/libexec/berth/berth-unpack"
#endif

static const char usage[] =
	"berth-sandboxd [OPTION...]\n"
	"\n"
	"Launches and confines workloads on behalf of berthd. Runs as root, in the foreground.\n"
	"\n"
	"  --config=FILE            policy, with drop-ins in FILE.d/ (" POLICY_FILE ")\n"
	"  --socket=PATH            where berthd connects (/run/berth/sandboxd.sock),\n"
	"                           unless systemd passes a socket\n"
	"  --monitor=PATH           the program that monitors become\n"
	"                           (" BERTH_MONITOR_PATH ")\n"
	"  --unpack=PROGRAM         the program that reads layers of images\n"
	"                           (" BERTH_UNPACK_PATH ")\n"
	"  --stop-workloads-on-exit kill and remove all workloads at SIGTERM; else they live on\n"
	"  --debug                  log every request\n"
	"  --check-config           say whether the policy is good, and end\n"
	"  --print-default-config   print the documented default policy, and end\n"
	"  --print-config           print what holds, and end\n"
	"  --version, --help\n"
	"\n"
	"SIGHUP reads the policy again. SIGTERM ends the daemon and leaves workloads running.\n"
	"Exit status: 0 ended as asked, 1 could not start or failed, 2 wrong options or policy.\n";

enum action { RUN, CHECK_CONFIG, PRINT_DEFAULTS, PRINT_CONFIG };

struct options {
	struct startup_options startup;
	enum action action;
	bool stop_workloads;
	bool debug;
};

enum {
	OPT_CONFIG = 256,
	OPT_SOCKET,
	OPT_MONITOR,
	OPT_UNPACK,
	OPT_STOP,
	OPT_DEBUG,
	OPT_CHECK,
	OPT_DEFAULTS,
	OPT_PRINT,
	OPT_VERSION,
	OPT_HELP
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "monitor", required_argument, NULL, OPT_MONITOR },
	{ "unpack", required_argument, NULL, OPT_UNPACK },
	{ "stop-workloads-on-exit", no_argument, NULL, OPT_STOP },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "print-default-config", no_argument, NULL, OPT_DEFAULTS },
	{ "print-config", no_argument, NULL, OPT_PRINT },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static _Noreturn void print_and_exit(const char *text)
{
	exit(fputs(text, stdout) < 0 || fflush(stdout) != 0);
}

static void take_option(int option, struct options *options)
{
	switch (option) {
	case OPT_CONFIG:
		options->startup.policy_path = optarg;
		options->startup.policy_must_exist = true;
		break;
	case OPT_SOCKET:
		options->startup.socket_path = optarg;
		break;
	case OPT_MONITOR:
		options->startup.monitor_path = optarg;
		break;
	case OPT_UNPACK:
		options->startup.unpack_path = optarg;
		break;
	case OPT_STOP:
		options->stop_workloads = true;
		break;
	case OPT_DEBUG:
		options->debug = true;
		break;
	case OPT_CHECK:
		options->action = CHECK_CONFIG;
		break;
	case OPT_DEFAULTS:
		options->action = PRINT_DEFAULTS;
		break;
	case OPT_PRINT:
		options->action = PRINT_CONFIG;
		break;
	case OPT_VERSION:
		print_and_exit("berth-sandboxd " SANDBOXD_VERSION "\n");
	case OPT_HELP:
		print_and_exit(usage);
	default:
		exit(2); /* getopt_long(3) has said why */
	}
}

static struct options parse_options(int argc, char **argv)
{
	struct options options = { .startup = { .policy_path = POLICY_FILE,
						.socket_path = "/run/berth/sandboxd.sock",
						.monitor_path = BERTH_MONITOR_PATH,
						.unpack_path = BERTH_UNPACK_PATH } };
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		take_option(option, &options);
	if (optind < argc) {
		fprintf(stderr, "berth-sandboxd: unexpected argument %s (see --help)\n",
			argv[optind]);
		exit(2);
	}
	return options;
}

static int look_at_config(const struct options *options)
{
	cleanup_policy struct policy policy = { 0 };
	struct err err = { 0 };

	if (options->action == PRINT_DEFAULTS)
		return policy_print_defaults(stdout) < 0;
	if (policy_load(options->startup.policy_path,
			options->startup.policy_must_exist ? CONFIG_MUST_EXIST
							   : CONFIG_MAY_BE_MISSING,
			&policy, &err) < 0) {
		fprintf(stderr, "berth-sandboxd: %s\n", err.text);
		return 2;
	}
	return options->action == PRINT_CONFIG ? policy_print(&policy, stdout) < 0 : 0;
}

static void tell_reloaded(struct sandboxd *host)
{
	log_event(LOG_NOTICE, NULL, "the policy was read again");
	requests_tell_policy(host);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct sandboxd *host = userdata;
	struct err err = { 0 };

	if (host->stopping)
		return 0;
	(void)sd_notify(0, "RELOADING=1");
	if (startup_reload(host, &err) < 0)
		log_event(LOG_ERR, NULL, "the policy stays as it was: %s", err.text);
	else
		tell_reloaded(host);
	(void)sd_notify(0, "READY=1");
	return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct sandboxd *host = userdata;

	host->stopping = true;
	return 0;
}

static void tell_status(struct sandboxd *host)
{
	(void)sd_notifyf(
		0, "STATUS=%zu workloads; %zu sets of namespaces ready; %zu groups to remove%s",
		host->registry.n_workloads, namespace_pool_ready(host->pool),
		leftovers_count(host->leftovers),
		agent_link_is_ready(host->link) ? "" : "; berthd is not here");
}

static int on_status(sd_event_source *source, uint64_t usec, void *userdata)
{
	if (((const struct sandboxd *)userdata)->stopping)
		return 0;
	tell_status(userdata);
	(void)sd_event_source_set_time_relative(source, STATUS_EVERY_USEC);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static int add_signals(struct sandboxd *host, struct err *err)
{
	int r = sd_event_add_signal(host->event, NULL, SIGTERM, on_stop, host);

	if (r >= 0)
		r = sd_event_add_signal(host->event, NULL, SIGINT, on_stop, host);
	if (r >= 0)
		r = sd_event_add_signal(host->event, NULL, SIGHUP, on_reload, host);
	if (r >= 0)
		r = sd_event_set_watchdog(host->event, true);
	/* Only a manager wants to know; without one nothing wakes up for nothing. */
	if (r >= 0 && getenv("NOTIFY_SOCKET"))
		r = sd_event_add_time_relative(host->event, NULL, CLOCK_BOOTTIME, STATUS_EVERY_USEC,
					       STATUS_EVERY_USEC, on_status, host);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "cannot wait for signals: %m") : 0;
}

static void block_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static int serve(struct sandboxd *host, struct err *err)
{
	int r = add_signals(host, err);

	if (r < 0)
		return r;
	log_event(LOG_NOTICE, NULL, "berth-sandboxd %s is ready: cgroups %s below %s",
		  SANDBOXD_VERSION, hierarchy_layout_name(host->hierarchy->layout),
		  host->hierarchy->base);
	(void)sd_notify(0, "READY=1");
	tell_status(host);
	while (r >= 0 && !host->stopping)
		r = sd_event_run(host->event, UINT64_MAX);
	(void)sd_notify(0, "STOPPING=1");
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "the event loop failed: %m") : 0;
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct sandboxd host = { 0 };
	struct err err = { 0 };
	int r;

	log_open("berth-sandboxd", options.debug ? LOG_DEBUG : LOG_INFO);
	if (options.action != RUN)
		return look_at_config(&options);
	r = launch_protect_program(argv, &err);
	if (r < 0) {
		log_failure(LOG_ERR, NULL, &err);
		return 1;
	}
	block_signals();
	r = startup_open(&options.startup, &host, &err);
	if (r == 0)
		r = serve(&host, &err);
	if (r < 0)
		log_failure(LOG_ERR, NULL, &err);
	if (host.event)
		shutdown_run(&host, options.stop_workloads);
	startup_close(&host);
	return r < 0;
}

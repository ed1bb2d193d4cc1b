/*
 * echo_server --unix PATH | --tcp ADDRESS --cert F --key F --ca F  [--grace-ms N] [--set NAME=NUMBER]...
 *
 * Serves echo.proto, health and reflection. Prints "ready" or "ready PORT" on standard output once it
 * listens. SIGTERM drains; SIGHUP reads the TLS files again; SIGUSR1 turns the health of berth.test.v1.Echo
 * over. --set changes an option of the server by name.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#include "agent/grpc/descriptors.h"
#include "agent/grpc/health.h"
#include "agent/grpc/reflection.h"
#include "echo.h"
#include "proto/cleanup.h"

struct program {
	sd_event *event;
	struct grpc_server *server;
	struct grpc_health *health;
	uint64_t grace_usec;
	bool unhealthy;
};

static const struct setting {
	const char *name;
	size_t offset;
	size_t size;
} settings[] = {
#define SETTING(field)                                                   \
	{                                                                \
#field, offsetof(struct grpc_server_options, field),     \
			sizeof(((struct grpc_server_options *)0)->field) \
	}
	SETTING(max_receive_bytes),
	SETTING(max_connections),
	SETTING(max_connections_per_uid),
	SETTING(max_connections_per_address),
	SETTING(max_streams),
	SETTING(max_calls),
	SETTING(max_calls_per_connection),
	SETTING(handshake_usec),
	SETTING(header_usec),
	SETTING(body_usec),
	SETTING(idle_usec),
	SETTING(stall_usec),
	SETTING(keepalive_usec),
	SETTING(keepalive_timeout_usec),
	SETTING(receive_budget_bytes),
};

static int apply_setting(struct grpc_server_options *options, char *text)
{
	char *equals = strchr(text, '=');
	unsigned long long value;

	if (!equals)
		return -EINVAL;
	*equals = '\0';
	value = strtoull(equals + 1, NULL, 10);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		char *field = (char *)options + settings[i].offset;

		if (strcmp(settings[i].name, text) != 0)
			continue;
		if (settings[i].size == sizeof(unsigned))
			*(unsigned *)(void *)field = (unsigned)value;
		else
			*(uint64_t *)(void *)field = value;
		return 0;
	}
	return -EINVAL;
}

static void on_drained(struct grpc_server *server, void *user)
{
	struct program *program = user;

	(void)sd_event_exit(program->event, 0);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
	struct program *program = user;
	struct err err = { 0 };

	if (info->ssi_signo == SIGTERM) {
		(void)grpc_server_drain(program->server, program->grace_usec, on_drained, program);
	} else if (info->ssi_signo == SIGHUP) {
		if (grpc_server_reload_tls(program->server, &err) < 0)
			(void)fprintf(stderr, "reload: %s\n", err.text);
		(void)printf("reloaded\n");
		(void)fflush(stdout);
	} else {
		program->unhealthy = !program->unhealthy;
		(void)grpc_health_set(program->health, "berth.test.v1.Echo", !program->unhealthy);
	}
	return 0;
}

static int watch_signals(struct program *program)
{
	const int numbers[] = { SIGTERM, SIGHUP, SIGUSR1 };
	sigset_t mask;

	(void)sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		(void)sigaddset(&mask, numbers[i]);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		int r = sd_event_add_signal(program->event, NULL, numbers[i], on_signal, program);

		if (r < 0)
			return r;
	}
	return 0;
}

static const struct option long_options[] = {
	{ "unix", required_argument, NULL, 'u' },     { "tcp", required_argument, NULL, 't' },
	{ "cert", required_argument, NULL, 'c' },     { "key", required_argument, NULL, 'k' },
	{ "ca", required_argument, NULL, 'a' },       { "set", required_argument, NULL, 's' },
	{ "grace-ms", required_argument, NULL, 'g' }, { 0 },
};

struct arguments {
	const char *unix_path;
	const char *tcp_address;
	struct grpc_tls_files files;
	struct grpc_server_options options;
	uint64_t grace_usec;
};

static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 'u':
			arguments->unix_path = optarg;
			break;
		case 't':
			arguments->tcp_address = optarg;
			break;
		case 'c':
			arguments->files.cert_path = optarg;
			break;
		case 'k':
			arguments->files.key_path = optarg;
			break;
		case 'a':
			arguments->files.ca_path = optarg;
			break;
		case 'g':
			arguments->grace_usec = strtoull(optarg, NULL, 10) * 1000;
			break;
		case 's':
			if (apply_setting(&arguments->options, optarg) < 0) {
				(void)fprintf(stderr, "unknown setting %s\n", optarg);
				return -EINVAL;
			}
			break;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

static int listen_all(struct grpc_server *server, const struct arguments *arguments,
		      struct err *err)
{
	uint16_t port = 0;
	int r = 0;

	if (arguments->unix_path)
		r = grpc_server_listen_unix(server, arguments->unix_path, 0600, (gid_t)-1, err);
	if (r == 0 && arguments->tcp_address)
		r = grpc_server_listen_tcp(server, arguments->tcp_address, &arguments->files, &port,
					   err);
	if (r < 0)
		return r;
	(void)printf("ready %u\n", port);
	(void)fflush(stdout);
	return 0;
}

static int add_services(struct program *program, struct echo **ret_echo,
			struct grpc_descriptors **ret_descriptors, struct err *err)
{
	int r;

	r = echo_new(program->event, program->server, ret_echo, err);
	if (r == 0)
		r = grpc_health_new(program->server, &program->health, err);
	if (r == 0)
		r = grpc_descriptors_new(echo_descriptors, echo_descriptors_size, ret_descriptors,
					 err);
	if (r == 0)
		r = grpc_descriptors_check_methods(*ret_descriptors, echo_methods, n_echo_methods,
						   err);
	if (r == 0)
		r = grpc_reflection_add(program->server, *ret_descriptors, err);
	if (r == 0)
		r = grpc_health_set(program->health, "", true);
	if (r == 0)
		r = grpc_health_set(program->health, "berth.test.v1.Echo", true);
	return r;
}

int main(int argc, char **argv)
{
	struct arguments arguments = { .grace_usec = 5000000 };
	struct program program = { 0 };
	struct grpc_descriptors *descriptors = NULL;
	struct echo *echo = NULL;
	struct err err = { 0 };
	int r;

	if (parse_arguments(argc, argv, &arguments) < 0)
		return 2;
	program.grace_usec = arguments.grace_usec;
	r = sd_event_default(&program.event);
	if (r >= 0)
		r = watch_signals(&program);
	if (r >= 0)
		r = grpc_server_new(program.event, &arguments.options, &program.server, &err);
	if (r >= 0)
		r = add_services(&program, &echo, &descriptors, &err);
	if (r >= 0)
		r = listen_all(program.server, &arguments, &err);
	if (r >= 0)
		r = sd_event_loop(program.event);
	if (r < 0)
		(void)fprintf(stderr, "echo_server: %s\n", err.text);
	grpc_server_free(program.server);
	grpc_health_free(program.health);
	grpc_descriptors_free(descriptors);
	echo_free(echo);
	sd_event_unref(program.event);
	return r < 0;
}

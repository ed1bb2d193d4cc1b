#include "agent/cli/run_probe.h"

#include <string.h>

#include "agent/cli/cli.h"
#include "proto/quantity.h"

enum what { EXEC, HTTP, TCP, GRPC, DELAY, PERIOD, TIMEOUT, FAILURES, SUCCESSES, WHATS };

/* By kind, then by what; also the words of refusals. */
static const char *const names[] = {
#define KIND(kind)                                                                            \
	kind "-exec", kind "-http", kind "-tcp", kind "-grpc", kind "-delay", kind "-period", \
		kind "-timeout", kind "-failures", kind "-successes"
	KIND("startup"), KIND("readiness"), KIND("liveness")
};

_Static_assert(ARRAY_SIZE(names) == RUN_PROBE_OPTIONS, "as the header says");

void run_probe_options(struct option ret[static RUN_PROBE_OPTIONS])
{
	for (int i = 0; i < RUN_PROBE_OPTIONS; i++)
		ret[i] = (struct option){ names[i], required_argument, NULL, RUN_PROBE_FIRST + i };
}

#define NEW(arena, Type, type) ((Type *)arena_message(arena, &berth__v1__##type##__descriptor))

static Berth__V1__Probe *probe_of(Berth__V1__Container *container, int kind, struct arena *arena)
{
	Berth__V1__Probe **all[] = { &container->startup_probe, &container->readiness_probe,
				     &container->liveness_probe };

	if (!*all[kind])
		*all[kind] = NEW(arena, Berth__V1__Probe, probe);
	return *all[kind];
}

static int no_memory(void)
{
	return cli_fail(CLI_FAILED, "out of memory");
}

/* By a shell, as one writes it on a command line. */
static int take_exec(Berth__V1__Probe *probe, const char *value, struct arena *arena)
{
	static const char *const shell[] = { "/bin/sh", "-c" };
	Berth__V1__ExecProbe *exec = NEW(arena, Berth__V1__ExecProbe, exec_probe);

	if (!exec || arena_append(arena, &exec->command, &exec->n_command, (char *)shell[0]) < 0 ||
	    arena_append(arena, &exec->command, &exec->n_command, (char *)shell[1]) < 0 ||
	    arena_append(arena, &exec->command, &exec->n_command, (char *)value) < 0)
		return no_memory();
	probe->action_case = BERTH__V1__PROBE__ACTION_EXEC;
	probe->exec = exec;
	return 0;
}

/* PORT, and what stands after the first slash: *ret_rest points to it, or to the end. */
static int take_port(const char *name, const char *value, uint32_t *ret_port, const char **ret_rest,
		     struct arena *arena)
{
	size_t n = strcspn(value, "/");
	char *port = arena_strndup(arena, value, n);
	char option[40];
	struct err err = { 0 };
	uint64_t number;

	if (!port)
		return no_memory();
	(void)snprintf(option, sizeof(option), "--%s", name);
	if (quantity_parse_decimal(port, 1, 65535, &number, &err) < 0)
		return cli_fail_usage(&err, option);
	*ret_port = (uint32_t)number;
	*ret_rest = value + n;
	return 0;
}

static int take_network(Berth__V1__Probe *probe, enum what what, const char *name,
			const char *value, struct arena *arena)
{
	const char *rest = "";
	uint32_t port = 0;
	int code = take_port(name, value, &port, &rest, arena);

	if (code != 0)
		return code;
	if (what == HTTP) {
		probe->http = NEW(arena, Berth__V1__HttpProbe, http_probe);
		if (!probe->http)
			return no_memory();
		probe->action_case = BERTH__V1__PROBE__ACTION_HTTP;
		probe->http->port = port;
		probe->http->path = (char *)rest;
	} else if (what == GRPC) {
		probe->grpc = NEW(arena, Berth__V1__GrpcProbe, grpc_probe);
		if (!probe->grpc)
			return no_memory();
		probe->action_case = BERTH__V1__PROBE__ACTION_GRPC;
		probe->grpc->port = port;
		probe->grpc->service = (char *)(*rest ? rest + 1 : rest);
	} else {
		probe->tcp = NEW(arena, Berth__V1__TcpProbe, tcp_probe);
		if (!probe->tcp || *rest)
			return !probe->tcp ? no_memory()
					   : cli_fail(CLI_USAGE, "--%s %s: a port is all there is",
						      name, value);
		probe->action_case = BERTH__V1__PROBE__ACTION_TCP;
		probe->tcp->port = port;
	}
	return 0;
}

#define SET(probe, FIELD, field, value)                                          \
	do {                                                                     \
		(probe)->_##field##_case = BERTH__V1__PROBE___##FIELD##_##FIELD; \
		(probe)->field = (value);                                        \
	} while (0)

static int take_figure(Berth__V1__Probe *probe, enum what what, const char *name, const char *value)
{
	struct err err = { 0 };
	char option[40];
	uint64_t number;
	int r = what >= FAILURES ? quantity_parse_decimal(value, 1, 1000, &number, &err)
				 : quantity_parse_duration_ms(value, &number, &err);

	(void)snprintf(option, sizeof(option), "--%s", name);
	if (r < 0)
		return cli_fail_usage(&err, option);
	if (number > UINT32_MAX)
		return cli_fail(CLI_USAGE, "%s %s: is too long", option, value);
	switch (what) {
	case DELAY:
		probe->initial_delay_ms = (uint32_t)number;
		break;
	case PERIOD:
		SET(probe, PERIOD_MS, period_ms, (uint32_t)number);
		break;
	case TIMEOUT:
		SET(probe, TIMEOUT_MS, timeout_ms, (uint32_t)number);
		break;
	case FAILURES:
		SET(probe, FAILURE_THRESHOLD, failure_threshold, (uint32_t)number);
		break;
	default:
		SET(probe, SUCCESS_THRESHOLD, success_threshold, (uint32_t)number);
		break;
	}
	return 0;
}

int run_probe_take(Berth__V1__Container *container, int option, const char *value,
		   struct arena *arena)
{
	int index = option - RUN_PROBE_FIRST;
	Berth__V1__Probe *probe;
	enum what what;

	if (index < 0 || index >= RUN_PROBE_OPTIONS)
		return -1;
	what = (enum what)(index % WHATS);
	probe = probe_of(container, index / WHATS, arena);
	if (!probe)
		return no_memory();
	if (what == EXEC)
		return take_exec(probe, value, arena);
	return what < DELAY ? take_network(probe, what, names[index], value, arena)
			    : take_figure(probe, what, names[index], value);
}

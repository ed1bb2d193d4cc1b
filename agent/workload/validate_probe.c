#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/workload/validate.h"
#include "proto/cleanup.h"

#define DELAY_MAX_MS     86400000
#define PERIOD_MIN_MS    100
#define PERIOD_MAX_MS    86400000
#define TIMEOUT_MIN_MS   10
#define TIMEOUT_MAX_MS   3600000
#define THRESHOLD_MAX    1000
#define PATH_MAX_BYTES   1024
#define HEADERS_MAX      32
#define HEADER_NAME_MAX  128
#define HEADER_VALUE_MAX 1024
#define SERVICE_MAX      256

static void check_port(uint32_t port, const struct check *check, const char *field)
{
	if (port < 1 || port > 65535)
		check_wrong(check, "must be from 1 to 65535", "%s", field);
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static void check_path(const char *path, const struct check *check)
{
	if (!*path)
		return;
	if (path[0] != '/' || !is_printable(path) || strpbrk(path, " #"))
		check_wrong(check, "must begin with / and be printable ASCII without spaces and #",
			    "http.path");
	if (strlen(path) > PATH_MAX_BYTES)
		check_wrong(check, "at most 1024 bytes", "http.path");
}

/* RFC 9110, 5.6.2 */
static bool is_token(const char *text)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";

	return *text && text[strspn(text, allowed)] == '\0';
}

static void check_header(const Berth__V1__HttpHeader *header, const struct check *check, size_t i)
{
	static const char *const ours[] = { "Connection", "Content-Length", "Transfer-Encoding" };

	if (!is_token(header->name) || strlen(header->name) > HEADER_NAME_MAX)
		check_wrong(check, "must be a header's name, of at most 128 bytes",
			    "http.headers[%zu].name", i);
	for (size_t j = 0; j < ARRAY_SIZE(ours); j++)
		if (strcasecmp(header->name, ours[j]) == 0)
			check_wrong(check, "may not be set", "http.headers[%zu].name", i);
	if (!is_printable(header->value) || strlen(header->value) > HEADER_VALUE_MAX)
		check_wrong(check, "must be printable ASCII, at most 1024 bytes",
			    "http.headers[%zu].value", i);
}

static bool is_status(uint32_t status)
{
	return status >= 200 && status <= 599;
}

static void check_http(const Berth__V1__HttpProbe *http, const struct check *check)
{
	check_port(http->port, check, "http.port");
	check_path(http->path, check);
	if (http->n_headers > HEADERS_MAX)
		check_wrong(check, "at most 32", "http.headers");
	for (size_t i = 0; i < http->n_headers && i < HEADERS_MAX; i++)
		check_header(http->headers[i], check, i);
	if (http->status_first && !is_status(http->status_first))
		check_wrong(check, "must be from 200 to 599", "http.status_first");
	if (http->status_last && !is_status(http->status_last))
		check_wrong(check, "must be from 200 to 599", "http.status_last");
	if ((http->status_last ? http->status_last : 399) <
	    (http->status_first ? http->status_first : 200))
		check_wrong(check, "must not be below status_first", "http.status_last");
}

static void check_action(const Berth__V1__Probe *probe, const struct check *check)
{
	char prefix[128];
	const struct check exec = { .fault = check->fault, .prefix = prefix };

	switch (probe->action_case) {
	case BERTH__V1__PROBE__ACTION_EXEC:
		(void)snprintf(prefix, sizeof(prefix), "%s.exec", check->prefix);
		validate_command(probe->exec->command, probe->exec->n_command, &exec);
		break;
	case BERTH__V1__PROBE__ACTION_HTTP:
		check_http(probe->http, check);
		break;
	case BERTH__V1__PROBE__ACTION_TCP:
		check_port(probe->tcp->port, check, "tcp.port");
		break;
	case BERTH__V1__PROBE__ACTION_GRPC:
		check_port(probe->grpc->port, check, "grpc.port");
		if (strlen(probe->grpc->service) > SERVICE_MAX ||
		    !is_printable(probe->grpc->service))
			check_wrong(check, "must be printable ASCII, at most 256 bytes",
				    "grpc.service");
		break;
	default:
		check_wrong(check, "needs one of exec, http, tcp, grpc", "%s", "");
	}
}

static void check_times(const Berth__V1__Probe *probe, const struct check *check)
{
	if (probe->initial_delay_ms > DELAY_MAX_MS)
		check_wrong(check, "at most 86400000, a day", "initial_delay_ms");
	if (probe->_period_ms_case &&
	    (probe->period_ms < PERIOD_MIN_MS || probe->period_ms > PERIOD_MAX_MS))
		check_wrong(check, "must be from 100 to 86400000", "period_ms");
	if (probe->_timeout_ms_case &&
	    (probe->timeout_ms < TIMEOUT_MIN_MS || probe->timeout_ms > TIMEOUT_MAX_MS))
		check_wrong(check, "must be from 10 to 3600000", "timeout_ms");
}

static bool is_threshold(uint32_t n)
{
	return n >= 1 && n <= THRESHOLD_MAX;
}

static void check_one(const Berth__V1__Probe *probe, bool readiness, const struct check *check)
{
	check_action(probe, check);
	check_times(probe, check);
	if (probe->_failure_threshold_case && !is_threshold(probe->failure_threshold))
		check_wrong(check, "must be from 1 to 1000", "failure_threshold");
	if (!probe->_success_threshold_case)
		return;
	if (!readiness && probe->success_threshold != 1)
		check_wrong(check, "must be 1 for startup and liveness", "success_threshold");
	else if (!is_threshold(probe->success_threshold))
		check_wrong(check, "must be from 1 to 1000", "success_threshold");
}

void validate_probes(const Berth__V1__Container *container, const struct check *check)
{
	const struct {
		const Berth__V1__Probe *probe;
		const char *field;
	} all[] = { { container->startup_probe, "startup_probe" },
		    { container->readiness_probe, "readiness_probe" },
		    { container->liveness_probe, "liveness_probe" } };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		char prefix[128];
		const struct check inner = { .fault = check->fault, .prefix = prefix };

		if (!all[i].probe)
			continue;
		(void)snprintf(prefix, sizeof(prefix), "%s.%s", check->prefix, all[i].field);
		if (container->role == BERTH__V1__CONTAINER_ROLE__ROLE_INIT)
			check_wrong(check, "init containers have no probes", "%s", all[i].field);
		check_one(all[i].probe, i == 1, &inner);
	}
}

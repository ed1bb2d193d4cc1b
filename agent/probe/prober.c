/*
 * The life of a try: connect, talk as its kind wants, be told of, go. A socket that did its work is
 * dissolved (connect(2) with AF_UNSPEC) and handed back: a probe that goes well asks nobody for another.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/probe/try.h"
#include "proto/cleanup.h"

/* ---- what is asked -------------------------------------------------------------------------------- */

static bool is_ipv6(const Berth__V1__Probe *probe)
{
	switch (probe->action_case) {
	case BERTH__V1__PROBE__ACTION_HTTP:
		return probe->http->ipv6;
	case BERTH__V1__PROBE__ACTION_TCP:
		return probe->tcp->ipv6;
	case BERTH__V1__PROBE__ACTION_GRPC:
		return probe->grpc->ipv6;
	default:
		return false;
	}
}

static uint32_t port_of(const Berth__V1__Probe *probe)
{
	switch (probe->action_case) {
	case BERTH__V1__PROBE__ACTION_HTTP:
		return probe->http->port;
	case BERTH__V1__PROBE__ACTION_TCP:
		return probe->tcp->port;
	case BERTH__V1__PROBE__ACTION_GRPC:
		return probe->grpc->port;
	default:
		return 0;
	}
}

const char *probe_what(const Berth__V1__Probe *probe, char buffer[static PROBE_WHAT_MAX])
{
	const char *host = is_ipv6(probe) ? "[::1]" : "127.0.0.1";
	uint32_t port = port_of(probe);

	switch (probe->action_case) {
	case BERTH__V1__PROBE__ACTION_HTTP:
		(void)snprintf(buffer, PROBE_WHAT_MAX, "GET %s:%u%.120s", host, port,
			       probe->http->path);
		break;
	case BERTH__V1__PROBE__ACTION_TCP:
		(void)snprintf(buffer, PROBE_WHAT_MAX, "TCP %s:%u", host, port);
		break;
	case BERTH__V1__PROBE__ACTION_GRPC:
		(void)snprintf(buffer, PROBE_WHAT_MAX, "gRPC health of %s%s%.80s%s:%u",
			       *probe->grpc->service ? "\"" : "", probe->grpc->service,
			       *probe->grpc->service ? "\" at " : "", host, port);
		break;
	default:
		(void)snprintf(buffer, PROBE_WHAT_MAX, "exec %.140s",
			       probe->exec && probe->exec->n_command ? probe->exec->command[0]
								     : "");
		break;
	}
	return buffer;
}

static void set_address(struct probe_try *try)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&try->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&try->address;
	uint16_t port = htons((uint16_t)port_of(try->probe));

	if (is_ipv6(try->probe)) {
		*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
					     .sin6_addr = IN6ADDR_LOOPBACK_INIT,
					     .sin6_port = port };
		try->address_bytes = sizeof(*v6);
	} else {
		*v4 = (struct sockaddr_in){ .sin_family = AF_INET,
					    .sin_addr = { htonl(INADDR_LOOPBACK) },
					    .sin_port = port };
		try->address_bytes = sizeof(*v4);
	}
}

/* ---- the end -------------------------------------------------------------------------------------- */

/* Of what a workload wrote nothing but printable ASCII comes through. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static void say(struct probe_result *result, const Berth__V1__Probe *probe, const char *why)
{
	char what[PROBE_WHAT_MAX];

	result->success = false;
	(void)snprintf(result->text, sizeof(result->text), "%s: %s", probe_what(probe, what), why);
	make_printable(result->text);
}

static void try_free(struct probe_try *try)
{
	sd_event_source_disable_unref(try->io);
	probe_http_free(try->http);
	probe_grpc_free(try->grpc);
	fd_close(&try->fd);
	free(try);
}

/* Connected to nobody again. What the peer has not sent by now it will not get rid of any more. */
static bool dissolve(int fd)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	(void)shutdown(fd, SHUT_WR);
	return connect(fd, &nobody, sizeof(nobody)) == 0;
}

static void tell(struct probe_try *try, struct probe_result *result)
{
	void (*done)(void *, struct probe_result *) = try->done;
	void *userdata = try->userdata;

	/* Out of epoll before the socket is given away. */
	try->io = sd_event_source_disable_unref(try->io);
	result->fd = result->success && dissolve(try->fd) ? take_fd(&try->fd) : -1;
	try_free(try);
	done(userdata, result);
	fd_close(&result->fd);
}

void try_succeeded(struct probe_try *try)
{
	struct probe_result result = { .success = true, .fd = -1 };

	tell(try, &result);
}

void try_failed(struct probe_try *try, const char *fmt, ...)
{
	struct probe_result result = { .fd = -1 };
	char why[PROBE_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	say(&result, try->probe, why);
	tell(try, &result);
}

/* ---- connecting ----------------------------------------------------------------------------------- */

/* Where nobody listens on a port of the range from which the kernel takes ours, it may take that very one,
 * and connect the socket to itself. */
static bool is_with_itself(const struct probe_try *try)
{
	struct sockaddr_storage own = { 0 };
	socklen_t n = sizeof(own);

	/* The port has one place in addresses of both families. */
	return getsockname(try->fd, (struct sockaddr *)&own, &n) == 0 &&
	       ((const struct sockaddr_in *)&own)->sin_port ==
		       ((const struct sockaddr_in *)&try->address)->sin_port;
}

static void talk(struct probe_try *try)
{
	try->connected = true;
	if (is_with_itself(try))
		try_failed(try, "cannot connect: %s", strerrordesc_np(ECONNREFUSED));
	else if (try->http)
		probe_http_start(try);
	else
		try_succeeded(try);
}

static void connected(struct probe_try *try)
{
	socklen_t n = sizeof(int);
	int error = 0;

	if (getsockopt(try->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (error)
		try_failed(try, "cannot connect: %s", strerrordesc_np(error));
	else
		talk(try);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct probe_try *try = userdata;

	if (!try->connected)
		connected(try);
	else
		probe_http_readable(try);
	return 0;
}

/* Over loopback it is mostly connected at once, or refused at once. The loop tells either; only a request
 * leaves now, so that there is but the answer to wait for. */
static int begin_connect(struct probe_try *try, struct err *err)
{
	uint32_t events = EPOLLOUT;
	int r = connect(try->fd, (const struct sockaddr *)&try->address, try->address_bytes);

	if (r < 0 && errno != EINPROGRESS && errno != ECONNREFUSED && errno != ECONNRESET)
		return err_set(err, ERR_INTERNAL, errno, "cannot connect: %m");
	if (r == 0 && try->http && !is_with_itself(try) && probe_http_send(try) > 0) {
		try->connected = true;
		events = EPOLLIN;
	}
	r = sd_event_add_io(try->prober->event, &try->io, try->fd, events, on_io, try);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "cannot watch a socket: %m") : 0;
}

static int start(struct probe_try *try, struct err *err)
{
	set_address(try);
	if (try->probe->action_case == BERTH__V1__PROBE__ACTION_GRPC)
		return probe_grpc_start(try, err);
	if (try->probe->action_case == BERTH__V1__PROBE__ACTION_HTTP && probe_http_new(try) < 0)
		return err_oom(err);
	return begin_connect(try, err);
}

static int begin(struct prober *prober, const Berth__V1__Probe *probe, int fd,
		 void (*done)(void *userdata, struct probe_result *result), void *userdata,
		 struct probe_try **ret_try, struct err *err)
{
	struct probe_try *try = calloc(1, sizeof(*try));
	int r;

	if (!try) {
		fd_close(&fd);
		return err_oom(err);
	}
	try->prober = (struct real_prober *)prober;
	try->probe = probe;
	try->fd = fd;
	try->done = done;
	try->userdata = userdata;
	r = start(try, err);
	if (r < 0) {
		try_free(try);
		return r;
	}
	*ret_try = try;
	return 0;
}

static void cancel(struct prober *prober, struct probe_try *try, struct probe_result *ret)
{
	char why[PROBE_TEXT_MAX];

	if (ret) {
		*ret = (struct probe_result){ .fd = -1 };
		if (try->grpc)
			say(ret, try->probe, "no answer in time");
		else if (!try->connected)
			say(ret, try->probe, "no connection in time");
		else if (probe_http_conclude(try, why))
			ret->success = true;
		else
			say(ret, try->probe, why);
	}
	try_free(try);
}

/* ---- the prober ----------------------------------------------------------------------------------- */

static void free_prober(struct prober *prober)
{
	struct real_prober *real = (struct real_prober *)prober;

	sd_event_unref(real->event);
	free(real);
}

static const struct prober_ops ops = { .begin = begin, .cancel = cancel, .free = free_prober };

int prober_new(sd_event *event, struct prober **ret_prober, struct err *err)
{
	struct real_prober *real = calloc(1, sizeof(*real));

	if (!real)
		return err_oom(err);
	real->prober.ops = &ops;
	real->event = sd_event_ref(event);
	*ret_prober = &real->prober;
	return 0;
}

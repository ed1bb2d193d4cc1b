/*
 * GET over HTTP/1.1. The head decides. The body is read to its end, as far as 16 KiB, only so that the
 * server may finish: its last bytes in vain would end many a server by SIGPIPE.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "agent/probe/http_head.h"
#include "agent/probe/try.h"
#include "proto/cleanup.h"

#define REQUEST_MAX    (64U * 1024)
#define BODY_MAX       (16U * 1024)
#define EXCERPT_MAX    120
#define READS_PER_TURN 4

struct probe_http {
	char *request;
	size_t n_request;
	size_t sent;
	struct http_head head;
	size_t body; /* bytes of it */
	size_t n_excerpt;
	char excerpt[EXCERPT_MAX];
};

/* ---- the request ---------------------------------------------------------------------------------- */

static const char *header(const Berth__V1__HttpProbe *probe, const char *name)
{
	for (size_t i = 0; i < probe->n_headers; i++)
		if (strcasecmp(probe->headers[i]->name, name) == 0)
			return probe->headers[i]->value;
	return NULL;
}

static void write_request(FILE *file, const Berth__V1__HttpProbe *probe)
{
	(void)fprintf(file, "GET %s HTTP/1.1\r\n", probe->path);
	if (!header(probe, "Host"))
		(void)fprintf(file, "Host: %s:%u\r\n", probe->ipv6 ? "[::1]" : "127.0.0.1",
			      probe->port);
	if (!header(probe, "User-Agent"))
		(void)fputs("User-Agent: berth-probe\r\n", file);
	if (!header(probe, "Accept"))
		(void)fputs("Accept: */*\r\n", file);
	for (size_t i = 0; i < probe->n_headers; i++)
		(void)fprintf(file, "%s: %s\r\n", probe->headers[i]->name,
			      probe->headers[i]->value);
	(void)fputs("Connection: close\r\n\r\n", file);
}

int probe_http_new(struct probe_try *try)
{
	struct probe_http *http = calloc(1, sizeof(*http));
	FILE *file = http ? open_memstream(&http->request, &http->n_request) : NULL;

	try->http = http;
	if (!file)
		return -ENOMEM;
	write_request(file, try->probe->http);
	return fclose(file) == 0 ? 0 : -ENOMEM;
}

void probe_http_free(struct probe_http *http)
{
	if (!http)
		return;
	free(http->request);
	free(http);
}

static void watch(struct probe_try *try, uint32_t events)
{
	if (sd_event_source_set_io_events(try->io, events) < 0)
		try_failed(try, "this host cannot watch its socket");
}

int probe_http_send(struct probe_try *try)
{
	struct probe_http *http = try->http;
	ssize_t n = send(try->fd, http->request + http->sent, http->n_request - http->sent,
			 MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	if (n > 0)
		http->sent += (size_t)n;
	return http->sent == http->n_request;
}

void probe_http_start(struct probe_try *try)
{
	int r = probe_http_send(try);

	if (r < 0)
		try_failed(try, "the connection was lost: %s", strerrordesc_np(-r));
	else
		watch(try, r > 0 ? EPOLLIN : EPOLLOUT);
}

/* ---- the answer ----------------------------------------------------------------------------------- */

/* What a whole head says. */
static bool is_wanted(const struct probe_try *try, char why[static PROBE_TEXT_MAX])
{
	const Berth__V1__HttpProbe *probe = try->probe->http;
	const struct probe_http *http = try->http;
	const struct http_head *head = &http->head;

	if (head->status >= probe->status_first && head->status <= probe->status_last)
		return true;
	(void)snprintf(why, PROBE_TEXT_MAX, "answered %u%s%s%s%.*s", head->status,
		       *head->reason ? " " : "", head->reason, http->n_excerpt ? ": " : "",
		       (int)http->n_excerpt, http->excerpt);
	return false;
}

static void decide(struct probe_try *try)
{
	char why[PROBE_TEXT_MAX];

	if (is_wanted(try, why))
		try_succeeded(try);
	else
		try_failed(try, "%s", why);
}

bool probe_http_conclude(const struct probe_try *try, char why[static PROBE_TEXT_MAX])
{
	const struct probe_http *http = try->http;

	if (http->head.done)
		return is_wanted(try, why);
	(void)snprintf(why, PROBE_TEXT_MAX, "%s",
		       http->sent < http->n_request ? "it did not take the request in time"
		       : http->head.taken           ? "no whole answer in time"
						    : "no answer in time");
	return false;
}

static void take_body(struct probe_http *http, const char *bytes, size_t n)
{
	size_t room = EXCERPT_MAX - http->n_excerpt;

	if (n < room)
		room = n;
	memcpy(http->excerpt + http->n_excerpt, bytes, room);
	http->n_excerpt += room;
	http->body += n;
}

static bool is_whole(const struct probe_http *http)
{
	const struct http_head *head = &http->head;

	if (!head->done)
		return false;
	return head->status == 204 || head->status == 304 || http->body >= BODY_MAX ||
	       (head->has_length && http->body >= head->length);
}

/* Returns whether it goes on; the try is over otherwise. */
static bool take(struct probe_try *try, const char *bytes, size_t n)
{
	struct probe_http *http = try->http;
	struct err err = { 0 };
	ssize_t taken = http_head_take(&http->head, bytes, n, &err);

	if (taken < 0) {
		try_failed(try, "%s", err.text);
		return false;
	}
	take_body(http, bytes + taken, n - (size_t)taken);
	if (!is_whole(http))
		return true;
	decide(try);
	return false;
}

static void ended(struct probe_try *try, int error)
{
	const struct http_head *head = &try->http->head;

	if (head->done)
		decide(try);
	else if (error)
		try_failed(try, "the connection was lost: %s", strerrordesc_np(error));
	else
		try_failed(try, head->taken ? "the answer ends in its head"
					    : "closed the connection without an answer");
}

void probe_http_readable(struct probe_try *try)
{
	struct probe_http *http = try->http;
	char bytes[4096];

	if (http->sent < http->n_request) {
		probe_http_start(try);
		return; /* it may be over */
	}
	for (int i = 0; i < READS_PER_TURN; i++) {
		ssize_t n = recv(try->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			ended(try, n < 0 ? errno : 0);
			return;
		}
		if (!take(try, bytes, (size_t)n))
			return;
	}
}

#include "agent/image/transfer.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "proto/cleanup.h"
#include "proto/quantity.h"

#define CONNECT_MS   10000L /* name, connection and TLS together */
#define BUFFER_BYTES 262144L
#define RETRY_MS_MAX 60000

struct transfers {
	sd_event *event;
	CURLM *multi;
	sd_event_source *timer;
	struct transfers_config config;
	LIST_HEAD(, transfer) all;
};

struct transfer {
	LIST_ENTRY(transfer) link;
	struct transfers *transfers;
	CURL *easy;
	struct curl_slist *fields;
	struct transfer_request request;
	struct transfer_head head;
	size_t head_bytes;
	char error[CURL_ERROR_SIZE];
	struct err err; /* of on_body */
	int r;
};

/* ---- libcurl and the loop ---- */

static void take_messages(struct transfers *transfers);

static void act(struct transfers *transfers, curl_socket_t fd, int events)
{
	int running;

	(void)curl_multi_socket_action(transfers->multi, fd, events, &running);
	take_messages(transfers);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	int events = (revents & EPOLLIN ? CURL_CSELECT_IN : 0) |
		     (revents & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
		     (revents & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

	act(userdata, fd, events);
	return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	act(userdata, CURL_SOCKET_TIMEOUT, 0);
	return 0;
}

/* The source of a socket is what libcurl keeps for us beside it. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *of_socket)
{
	struct transfers *transfers = user;
	sd_event_source *source = of_socket;
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0) |
			  (what & CURL_POLL_OUT ? EPOLLOUT : 0);

	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(source);
		(void)curl_multi_assign(transfers->multi, fd, NULL);
		return 0;
	}
	if (source)
		return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
	if (sd_event_add_io(transfers->event, &source, fd, events, on_io, transfers) < 0)
		return -1;
	return curl_multi_assign(transfers->multi, fd, source) == CURLM_OK ? 0 : -1;
}

static int on_timeout(CURLM *multi, long timeout_ms, void *user)
{
	struct transfers *transfers = user;

	if (timeout_ms < 0)
		return sd_event_source_set_enabled(transfers->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	if (sd_event_source_set_time_relative(transfers->timer, (uint64_t)timeout_ms * 1000) < 0 ||
	    sd_event_source_set_enabled(transfers->timer, SD_EVENT_ONESHOT) < 0)
		return -1;
	return 0;
}

static void transfer_free(struct transfer *transfer)
{
	if (!transfer)
		return;
	curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->fields);
	free(transfer);
}
DEFINE_CLEANUP(struct transfer *, transfer_free)

static enum err_kind kind_of(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return ERR_TIMEOUT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return ERR_PRECONDITION; /* another try comes to the same */
	case CURLE_OUT_OF_MEMORY:
		return ERR_INTERNAL;
	default:
		return ERR_UNAVAILABLE;
	}
}

/* What libcurl knows of the answer better than its fields do. */
static void complete_head(struct transfer *transfer)
{
	struct transfer_head *head = &transfer->head;
	curl_off_t retry_after = 0;
	char *location = NULL;
	long status = 0;

	(void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	(void)curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &location);
	head->status = (int)status;
	if (retry_after > 0)
		head->retry_after_ms = retry_after > RETRY_MS_MAX / 1000
					       ? RETRY_MS_MAX
					       : (uint64_t)retry_after * 1000;
	if (location && strlen(location) < sizeof(head->location))
		(void)strcpy(head->location, location);
}

static const char *advice(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
		return "; is the registry's name right, and is it up?";
	case CURLE_SSL_CONNECT_ERROR:
		return "; a registry without TLS must be named in PlainHTTP in [Images]";
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		return "; name its authority's certificate in Authorities in [Images]";
	case CURLE_UNSUPPORTED_PROTOCOL:
		return "; a server without TLS must be named in PlainHTTP in [Images]";
	default:
		return "";
	}
}

static void finish(struct transfer *transfer, CURLcode code)
{
	struct err err = transfer->err;
	int r = transfer->r;

	complete_head(transfer);
	if (code == CURLE_WRITE_ERROR && r == 0) /* of a failure's text there was enough */
		code = CURLE_OK;
	LIST_REMOVE(transfer, link);
	(void)curl_multi_remove_handle(transfer->transfers->multi, transfer->easy);
	if (r == 0 && code != CURLE_OK)
		r = err_set(&err, kind_of(code), EIO, "%s%s",
			    transfer->error[0] ? transfer->error : curl_easy_strerror(code),
			    advice(code));
	transfer->request.on_end(transfer, r, &err, transfer->request.user);
	transfer_free(transfer);
}

static void take_messages(struct transfers *transfers)
{
	const CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(transfers->multi, &left))) {
		struct transfer *transfer = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		finish(transfer, code);
	}
}

int transfers_new(sd_event *event, const struct transfers_config *config,
		  struct transfers **ret_transfers, struct err *err)
{
	struct transfers *transfers = calloc(1, sizeof(*transfers));
	int r;

	if (!transfers)
		return err_oom(err);
	LIST_INIT(&transfers->all);
	transfers->config = *config;
	transfers->event = sd_event_ref(event);
	transfers->multi = curl_multi_init();
	r = sd_event_add_time_relative(event, &transfers->timer, CLOCK_BOOTTIME, 0, 1, on_time,
				       transfers);
	if (r >= 0)
		r = sd_event_source_set_enabled(transfers->timer, SD_EVENT_OFF);
	if (r < 0 || !transfers->multi) {
		transfers_free(transfers);
		return err_oom(err);
	}
	(void)curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(transfers->multi, CURLMOPT_SOCKETDATA, transfers);
	(void)curl_multi_setopt(transfers->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	(void)curl_multi_setopt(transfers->multi, CURLMOPT_TIMERDATA, transfers);
	*ret_transfers = transfers;
	return 0;
}

void transfers_free(struct transfers *transfers)
{
	if (!transfers)
		return;
	if (transfers->multi)
		(void)curl_multi_cleanup(transfers->multi);
	sd_event_source_disable_unref(transfers->timer);
	sd_event_unref(transfers->event);
	free(transfers);
}

/* ---- One transfer ---- */

/* The value of @line if it is the field @name: its length, without white space around it; -1 if not. */
static ssize_t field_value(const char *line, size_t length, const char *name,
			   const char **ret_value)
{
	size_t at = strlen(name);

	if (length <= at || line[at] != ':' || strncasecmp(line, name, at) != 0)
		return -1;
	at++;
	while (at < length && (line[at] == ' ' || line[at] == '\t'))
		at++;
	while (length > at && strchr(" \t\r\n", line[length - 1]))
		length--;
	*ret_value = line + at;
	return (ssize_t)(length - at);
}

static void keep_field(const char *line, size_t length, const char *name, char *buffer, size_t size)
{
	const char *value;
	ssize_t n = field_value(line, length, name, &value);

	if (n < 0 || (size_t)n >= size || memchr(value, '\0', (size_t)n))
		return;
	memcpy(buffer, value, (size_t)n);
	buffer[n] = '\0';
}

/* "bytes 100-199/200": 100 */
static void keep_range(const char *line, size_t length, struct transfer_head *head)
{
	char text[64] = "", *dash;

	keep_field(line, length, "Content-Range", text, sizeof(text));
	dash = strchr(text, '-');
	if (strncmp(text, "bytes ", 6) != 0 || !dash)
		return;
	*dash = '\0';
	(void)quantity_parse_decimal(text + 6, 0, UINT64_MAX - 1, &head->range_from, NULL);
}

/* Of several challenges (RFC 9110 allows a field for each) the one that asks for a token is kept. */
static void keep_challenge(const char *line, size_t length, struct transfer_head *head)
{
	char text[TRANSFER_FIELD_MAX] = "";

	keep_field(line, length, "WWW-Authenticate", text, sizeof(text));
	if (text[0] && (!head->challenge[0] || strncasecmp(text, "Bearer", 6) == 0))
		(void)strcpy(head->challenge, text);
}

static size_t on_head(char *line, size_t size, size_t n, void *user)
{
	struct transfer *transfer = user;
	struct transfer_head *head = &transfer->head;
	size_t length = size * n;

	transfer->head_bytes += length;
	if (transfer->head_bytes > TRANSFER_HEAD_BYTES) {
		transfer->r = err_set(&transfer->err, ERR_INVALID, EINVAL,
				      "the head of its answer has more than %u bytes",
				      TRANSFER_HEAD_BYTES);
		return 0;
	}
	if (length > 5 && strncmp(line, "HTTP/", 5) == 0) /* the last head is the answer's */
		*head = (struct transfer_head){ .range_from = UINT64_MAX };
	keep_field(line, length, "Content-Type", head->content_type, sizeof(head->content_type));
	keep_challenge(line, length, head);
	keep_range(line, length, head);
	return length;
}

static int status_of(const struct transfer *transfer)
{
	long status = 0;

	(void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *user)
{
	struct transfer *transfer = user;
	struct transfer_head *head = &transfer->head;
	size_t length = size * n, used = strlen(head->text), room;

	head->status = status_of(transfer);
	if (head->status == 200 || head->status == 206) {
		transfer->r = transfer->request.on_body(transfer, bytes, length,
							transfer->request.user, &transfer->err);
		return transfer->r < 0 ? 0 : length;
	}
	room = sizeof(head->text) - 1 - used;
	for (size_t i = 0; i < length && room > 0; i++, room--)
		head->text[used++] = bytes[i] == '"'                     ? '\''
				     : bytes[i] >= ' ' && bytes[i] < 127 ? bytes[i]
									 : ' ';
	head->text[used] = '\0';
	return room > 0 ? length : 0; /* enough was said */
}

static int add_field(struct transfer *transfer, const char *name, const char *value)
{
	cleanup_free char *field = NULL;
	struct curl_slist *longer;

	if (asprintf(&field, "%s: %s", name, value) < 0)
		return -ENOMEM;
	longer = curl_slist_append(transfer->fields, field);
	if (!longer)
		return -ENOMEM;
	transfer->fields = longer;
	return 0;
}

#define SET(option, value) (ok &= curl_easy_setopt(easy, (option), (value)) == CURLE_OK)

static bool set_reach(CURL *easy, const struct transfers_config *config,
		      const struct transfer_request *request)
{
	bool ok = true;

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_PROTOCOLS_STR, request->plain_http ? "http,https" : "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PROXY, config->proxy); /* "" is none, whatever the environment has */
	SET(CURLOPT_NOPROXY, config->no_proxy);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
	SET(CURLOPT_LOW_SPEED_TIME, (long)((config->stall_ms + 999) / 1000));
	SET(CURLOPT_NOSIGNAL, 1L);
	if (request->ca_file) /* the host's own directory of them stays */
		SET(CURLOPT_CAINFO, request->ca_file);
	return ok;
}

static bool set_calls(struct transfer *transfer)
{
	CURL *easy = transfer->easy;
	bool ok = true;

	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_HEADERFUNCTION, on_head);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, on_bytes);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	SET(CURLOPT_USERAGENT, "berth");
	if (transfer->request.range_from > 0) {
		char range[32];

		(void)snprintf(range, sizeof(range), "%" PRIu64 "-", transfer->request.range_from);
		SET(CURLOPT_RANGE, range);
	}
	if (transfer->request.accept)
		ok &= add_field(transfer, "Accept", transfer->request.accept) == 0;
	if (transfer->request.authorization)
		ok &= add_field(transfer, "Authorization", transfer->request.authorization) == 0;
	SET(CURLOPT_HTTPHEADER, transfer->fields);
	SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* the proxy gets none of them */
	return ok;
}

int transfer_begin(struct transfers *transfers, const struct transfer_request *request,
		   struct transfer **ret_transfer, struct err *err)
{
	cleanup(transfer_free_p) struct transfer *transfer = calloc(1, sizeof(*transfer));

	if (!transfer)
		return err_oom(err);
	transfer->transfers = transfers;
	transfer->request = *request;
	transfer->head.range_from = UINT64_MAX;
	transfer->easy = curl_easy_init();
	if (!transfer->easy || !set_reach(transfer->easy, &transfers->config, request) ||
	    !set_calls(transfer))
		return err_oom(err);
	if (curl_multi_add_handle(transfers->multi, transfer->easy) != CURLM_OK)
		return err_oom(err);
	LIST_INSERT_HEAD(&transfers->all, transfer, link);
	*ret_transfer = take_ptr(&transfer);
	return 0;
}

void transfer_cancel(struct transfer *transfer)
{
	if (!transfer)
		return;
	LIST_REMOVE(transfer, link);
	(void)curl_multi_remove_handle(transfer->transfers->multi, transfer->easy);
	transfer_free(transfer);
}

const struct transfer_head *transfer_head(const struct transfer *transfer)
{
	return &transfer->head;
}

#include "agent/image/registry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "agent/image/challenge.h"
#include "agent/image/token.h"
#include "proto/log.h"
#include "proto/names.h"

#define PLACES_MAX       9 /* eight mirrors, and the registry itself */
#define TRIES_MAX        5
#define REDIRECTS_MAX    5
#define FIRST_PAUSE_MS   400
#define TOKEN_ANSWER_MAX 65536U

/* docker.io is a name, not a host. */
#define DOCKER_NAME "docker.io"
#define DOCKER_HOST "registry-1.docker.io"

struct place {
	char host[REFERENCE_HOST_MAX + 1];
	bool plain_http;
	bool is_origin;
	char *authorization; /* what the last challenge came to */
};

struct registry {
	sd_event *event;
	struct transfers *transfers;
	const struct registry_rules *rules;
	struct reference reference;
	struct credentials credentials;
	struct place places[PLACES_MAX];
	size_t n_places;
	size_t first_place; /* those before it have failed, and are asked no more */
};

struct fetch {
	struct registry *registry;
	struct fetch_request request;
	char *path;
	size_t place;
	unsigned int tries, redirects;
	bool authenticated; /* in this try, after its challenge */
	bool resumed;
	bool begun;     /* bytes of this answer were added */
	bool restarted; /* from the first byte, after what was there turned out wrong */
	uint64_t range_from;
	char url[TRANSFER_URL_MAX];
	struct transfer *transfer;
	sd_event_source *pause;
	char *token_answer; /* of the token server, while it is asked */
	size_t token_bytes;
};

/* ---- The configuration's items ---- */

static int check_pair(const char *item, const char **ret_value, struct err *err)
{
	char name[REFERENCE_HOST_MAX + 1];
	const char *equals = strchr(item, '=');
	size_t length = equals ? (size_t)(equals - item) : 0;

	if (!equals || length >= sizeof(name))
		return err_set(err, ERR_INVALID, EINVAL, "a registry's name, '=', and its value");
	memcpy(name, item, length);
	name[length] = '\0';
	*ret_value = equals + 1;
	return registry_check_host(name, err);
}

int registry_check_host(const char *item, struct err *err)
{
	if (reference_is_host(item))
		return 0;
	return err_set(
		err, ERR_INVALID, EINVAL,
		"the name of a registry, as images have it: registry.example or registry.example:5000");
}

int registry_check_host_or_all(const char *item, struct err *err)
{
	return strcmp(item, "*") == 0 ? 0 : registry_check_host(item, err);
}

int registry_check_mirror(const char *item, struct err *err)
{
	const char *value;
	int r = check_pair(item, &value, err);

	return r < 0 ? r : registry_check_host(value, err);
}

int registry_check_authority(const char *item, struct err *err)
{
	const char *value;
	int r = check_pair(item, &value, err);

	return r < 0 ? r : names_check_path(value, err);
}

/* What stands behind @name in an item of @list, from *@at on; NULL if nothing does. */
static const char *value_of(const struct config_list *list, const char *name, size_t *at)
{
	for (; *at < list->n; ++*at) {
		const char *item = list->items[*at], *equals = strchr(item, '=');
		size_t length = (size_t)(equals - item);

		if (strlen(name) != length || strncmp(item, name, length) != 0)
			continue;
		++*at;
		return equals + 1;
	}
	return NULL;
}

static bool allows_plain_http(const struct registry_rules *rules, const char *host)
{
	for (size_t i = 0; i < rules->plain_http->n; i++)
		if (strcmp(rules->plain_http->items[i], host) == 0)
			return true;
	return false;
}

static void host_of(const char *url, char host[static REFERENCE_HOST_MAX + 1])
{
	host[0] = '\0';
	(void)sscanf(url, "%*[a-z]://%255[^/?#]", host);
}

/* The file for the host that @url names, or NULL. */
static const char *authority_for(const struct registry *registry, const char *url)
{
	char host[REFERENCE_HOST_MAX + 1];
	size_t at = 0;

	host_of(url, host);
	return value_of(registry->rules->authorities,
			strcmp(host, DOCKER_HOST) == 0 ? DOCKER_NAME : host, &at);
}

/* ---- Opening ---- */

static void add_place(struct registry *registry, const char *host, bool is_origin)
{
	struct place *place = &registry->places[registry->n_places++];

	(void)snprintf(place->host, sizeof(place->host), "%s",
		       strcmp(host, DOCKER_NAME) == 0 ? DOCKER_HOST : host);
	place->is_origin = is_origin;
	place->plain_http = allows_plain_http(registry->rules, host);
}

int registry_open(sd_event *event, struct transfers *transfers, const struct registry_rules *rules,
		  const struct reference *reference, const struct credentials *credentials,
		  struct registry **ret_registry, struct err *err)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	const char *mirror;
	size_t at = 0;

	if (!registry)
		return err_oom(err);
	registry->event = sd_event_ref(event);
	registry->transfers = transfers;
	registry->rules = rules;
	registry->reference = *reference;
	if (credentials->user && credentials_set(credentials->user, credentials->password,
						 &registry->credentials, err) < 0) {
		registry_free(registry);
		return err_oom(err);
	}
	while (registry->n_places < PLACES_MAX - 1 &&
	       (mirror = value_of(rules->mirrors, reference->host, &at)))
		add_place(registry, mirror, false);
	add_place(registry, reference->host, true);
	*ret_registry = registry;
	return 0;
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	for (size_t i = 0; i < registry->n_places; i++)
		secret_free(registry->places[i].authorization);
	credentials_done(&registry->credentials);
	sd_event_unref(registry->event);
	free(registry);
}

/* ---- Sentences ---- */

/* Without what stands behind '?': where redirects lead, that is a secret of its own. */
static int describe(const struct fetch *fetch, int r, struct err *err)
{
	return err_prefix(err, r, "GET %.*s", (int)strcspn(fetch->url, "?"), fetch->url);
}

static enum err_kind kind_of_status(int status)
{
	switch (status) {
	case 401:
	case 403:
		return ERR_DENIED;
	case 404:
	case 410:
		return ERR_NOT_FOUND;
	case 408:
	case 425:
	case 429:
	case 500:
	case 502:
	case 503:
	case 504:
		return ERR_UNAVAILABLE;
	default:
		return ERR_PRECONDITION;
	}
}

static const char *advice(const struct fetch *fetch, int status)
{
	switch (kind_of_status(status)) {
	case ERR_DENIED:
		return fetch->registry->credentials.user
			       ? "the credentials given do not permit it"
			       : "it needs credentials: give them with the pull, or in the file that Credentials in [Images] names";
	case ERR_NOT_FOUND:
		return "the registry has no such repository, tag or digest";
	case ERR_UNAVAILABLE:
		return "try again later";
	default:
		return "is it a registry?";
	}
}

static int status_failed(const struct fetch *fetch, const struct transfer_head *head,
			 struct err *err)
{
	char text[NAME_QUOTED_MAX];

	return err_set(err, kind_of_status(head->status), EIO, "status %d%s%s: %s", head->status,
		       head->text[0] ? ", " : "",
		       head->text[0] ? names_quote(head->text, text) : "",
		       advice(fetch, head->status));
}

/* ---- Fetching ---- */

static void try_now(struct fetch *fetch);

static struct place *place_of(const struct fetch *fetch)
{
	return &fetch->registry->places[fetch->place];
}

static void fetch_free(struct fetch *fetch)
{
	transfer_cancel(fetch->transfer);
	sd_event_source_disable_unref(fetch->pause);
	secret_free(fetch->token_answer);
	free(fetch->path);
	free(fetch);
}

void fetch_cancel(struct fetch *fetch)
{
	if (fetch)
		fetch_free(fetch);
}

static void end(struct fetch *fetch, int r, const struct err *err)
{
	struct fetch_request request = fetch->request;

	fetch_free(fetch);
	request.end(r, err, request.user);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct fetch *fetch = userdata;

	fetch->pause = sd_event_source_disable_unref(fetch->pause);
	fetch->authenticated = false;
	try_now(fetch);
	return 0;
}

/* 0.4, 0.8, 1.6, ... s, each half to whole of it by chance: hosts that failed together come back apart. */
static uint64_t pause_ms(const struct fetch *fetch, uint64_t asked_ms)
{
	uint64_t ms = (uint64_t)FIRST_PAUSE_MS << fetch->tries;
	uint32_t chance;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) != sizeof(chance))
		chance = 0;
	ms = ms / 2 + chance % (ms / 2 + 1);
	return asked_ms > ms ? asked_ms : ms;
}

static void from_place(struct fetch *fetch, size_t place)
{
	fetch->place = place;
	fetch->tries = 0;
	fetch->authenticated = false;
	try_now(fetch);
}

/* This try has failed: another one, the next place, or the end. */
static void failed(struct fetch *fetch, uint64_t retry_after_ms, int r, struct err *err)
{
	struct registry *registry = fetch->registry;
	bool passing = err->kind == ERR_UNAVAILABLE || err->kind == ERR_TIMEOUT;
	bool stale = err->kind == ERR_INVALID && fetch->resumed && !fetch->restarted;

	fetch->transfer = NULL;
	r = describe(fetch, r, err);
	if (err->kind == ERR_EXHAUSTED || err->kind == ERR_INTERNAL) {
		end(fetch, r, err); /* this host's own failure */
	} else if (stale) {
		fetch->restarted = true; /* what an earlier try left may have been wrong */
		try_now(fetch);
	} else if (!place_of(fetch)->is_origin) {
		log_event(LOG_INFO, NULL, "mirror %s is passed over: %s", place_of(fetch)->host,
			  err->text);
		if (registry->first_place <= fetch->place && err->kind != ERR_NOT_FOUND)
			registry->first_place = fetch->place + 1;
		from_place(fetch, fetch->place + 1);
	} else if (passing && fetch->tries + 1 < TRIES_MAX &&
		   sd_event_add_time_relative(registry->event, &fetch->pause, CLOCK_BOOTTIME,
					      pause_ms(fetch, retry_after_ms) * 1000, 0,
					      on_pause_over, fetch) >= 0) {
		fetch->tries++;
	} else {
		end(fetch, r, err);
	}
}

/* ---- Tokens ---- */

static int on_token_body(struct transfer *transfer, const void *bytes, size_t length, void *user,
			 struct err *err)
{
	struct fetch *fetch = user;

	if (fetch->token_bytes + length > TOKEN_ANSWER_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "a token of more than %u bytes",
			       TOKEN_ANSWER_MAX);
	memcpy(fetch->token_answer + fetch->token_bytes, bytes, length);
	fetch->token_bytes += length;
	return 0;
}

static void on_token_end(struct transfer *transfer, int r, const struct err *err, void *user)
{
	const struct transfer_head *head = transfer_head(transfer);
	uint64_t retry_after_ms = head->retry_after_ms;
	struct fetch *fetch = user;
	struct err why = *err;
	char *field = NULL;

	fetch->transfer = NULL;
	if (r == 0 && head->status != 200)
		r = status_failed(fetch, head, &why);
	if (r == 0)
		r = token_read(fetch->token_answer, fetch->token_bytes, &field, &why);
	explicit_bzero(fetch->token_answer, TOKEN_ANSWER_MAX);
	if (r < 0) {
		failed(fetch, retry_after_ms, r, &why);
		return;
	}
	secret_free(place_of(fetch)->authorization);
	place_of(fetch)->authorization = field;
	try_now(fetch);
}

/* @text as a value behind '?' in a URL. */
static void append_escaped(char *url, size_t size, const char *text)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
	size_t used = strlen(url);

	for (; *text && used + 4 < size; text++) {
		if (strchr(plain, *text))
			url[used++] = *text;
		else
			used += (size_t)snprintf(url + used, 4, "%%%02X", (unsigned char)*text);
	}
	url[used] = '\0';
}

/* The scope is what is needed, whatever the registry says of it. */
static int token_url(struct fetch *fetch, const struct challenge *challenge, struct err *err)
{
	char scope[REFERENCE_PATH_MAX + 32];
	size_t size = sizeof(fetch->url);

	if (strncmp(challenge->realm, "https://", 8) != 0 &&
	    !(place_of(fetch)->plain_http && strncmp(challenge->realm, "http://", 7) == 0))
		return err_set(err, ERR_PRECONDITION, EPROTO,
			       "it sends us for a token to a server without TLS");
	(void)snprintf(scope, sizeof(scope), "repository:%s:pull", fetch->registry->reference.path);
	(void)snprintf(fetch->url, size, "%s%cscope=", challenge->realm,
		       strchr(challenge->realm, '?') ? '&' : '?');
	append_escaped(fetch->url, size, scope);
	if (challenge->service[0]) {
		(void)strncat(fetch->url, "&service=", size - strlen(fetch->url) - 1);
		append_escaped(fetch->url, size, challenge->service);
	}
	return 0;
}

static int basic_field(const struct fetch *fetch, char **ret_field, struct err *err)
{
	*ret_field = NULL;
	if (!place_of(fetch)->is_origin || !fetch->registry->credentials.user)
		return 0;
	return token_of_credentials(&fetch->registry->credentials, ret_field, err);
}

static int ask_for_token(struct fetch *fetch, const struct challenge *challenge, struct err *err)
{
	char *basic = NULL;
	int r = token_url(fetch, challenge, err);

	if (r == 0 && !fetch->token_answer)
		fetch->token_answer = calloc(1, TOKEN_ANSWER_MAX + 1);
	if (r == 0 && !fetch->token_answer)
		r = err_oom(err);
	if (r == 0)
		r = basic_field(fetch, &basic, err);
	fetch->token_bytes = 0;
	if (r == 0) {
		const struct transfer_request request = {
			.url = fetch->url,
			.authorization = basic,
			.ca_file = authority_for(fetch->registry, fetch->url),
			.plain_http = place_of(fetch)->plain_http,
			.on_body = on_token_body,
			.on_end = on_token_end,
			.user = fetch,
		};

		r = transfer_begin(fetch->registry->transfers, &request, &fetch->transfer, err);
	}
	secret_free(basic);
	return r;
}

/* A 401. Once for each try: what was agreed before may have become too old. Never where a redirect led. */
static int authenticate(struct fetch *fetch, const struct transfer_head *head, struct err *err)
{
	struct challenge challenge;
	char *field = NULL;
	int r;

	if (fetch->authenticated || fetch->redirects > 0)
		return status_failed(fetch, head, err);
	fetch->authenticated = true;
	r = challenge_parse(head->challenge, &challenge, err);
	if (r < 0)
		return err_prefix(err, r, "status 401");
	if (challenge.scheme == CHALLENGE_BEARER)
		return ask_for_token(fetch, &challenge, err);
	r = basic_field(fetch, &field, err);
	if (r == 0 && !field)
		r = status_failed(fetch, head, err);
	if (r < 0)
		return r;
	secret_free(place_of(fetch)->authorization);
	place_of(fetch)->authorization = field;
	return 0;
}

/* ---- The piece itself ---- */

static int on_piece_body(struct transfer *transfer, const void *bytes, size_t length, void *user,
			 struct err *err)
{
	const struct transfer_head *head = transfer_head(transfer);
	struct fetch *fetch = user;
	int r = 0;

	if (!fetch->begun) {
		if (head->status == 206 && head->range_from != fetch->range_from)
			return err_set(err, ERR_INVALID, EPROTO,
				       "asked for what is from byte %" PRIu64
				       " on it sends something else",
				       fetch->range_from);
		if (head->status == 200 && fetch->range_from > 0)
			r = fetch->request.restart(fetch->request.user, err);
		fetch->resumed = head->status == 206;
		fetch->begun = true;
	}
	return r < 0 ? r : fetch->request.add(bytes, length, fetch->request.user, err);
}

static int begin_transfer(struct fetch *fetch, const char *authorization, bool plain_http,
			  struct err *err);

static int follow(struct fetch *fetch, const struct transfer_head *head, struct err *err)
{
	char host[REFERENCE_HOST_MAX + 1];
	bool plain_http;

	if (!head->location[0] || ++fetch->redirects > REDIRECTS_MAX)
		return err_set(err, ERR_PRECONDITION, ELOOP,
			       "status %d leads nowhere, or on and on", head->status);
	(void)snprintf(fetch->url, sizeof(fetch->url), "%s", head->location);
	host_of(fetch->url, host);
	plain_http = allows_plain_http(fetch->registry->rules, host);
	return begin_transfer(fetch, NULL, plain_http, err);
}

static int on_answer(struct fetch *fetch, const struct transfer_head *head, struct err *err)
{
	int r;

	switch (head->status) {
	case 200:
	case 206:
		if (!fetch->begun && fetch->range_from > 0 && head->status == 200)
			(void)fetch->request.restart(fetch->request.user, NULL);
		r = fetch->request.complete(head, fetch->request.user, err);
		if (r == 0)
			end(fetch, 0, err);
		return r;
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		return follow(fetch, head, err);
	case 401:
		r = authenticate(fetch, head, err);
		if (r == 0 && !fetch->transfer)
			try_now(fetch);
		return r;
	case 416: /* what there is, is not what it has */
		if (fetch->range_from == 0 || fetch->restarted)
			break;
		fetch->restarted = true;
		r = fetch->request.restart(fetch->request.user, err);
		if (r == 0)
			try_now(fetch);
		return r;
	default:
		break;
	}
	return status_failed(fetch, head, err);
}

static void on_piece_end(struct transfer *transfer, int r, const struct err *err, void *user)
{
	const struct transfer_head *head = transfer_head(transfer);
	struct fetch *fetch = user;
	uint64_t retry_after_ms = head->retry_after_ms;
	struct err why = *err;

	fetch->transfer = NULL;
	if (r == 0)
		r = on_answer(fetch, head, &why); /* may have freed the fetch: then r is 0 */
	if (r < 0)
		failed(fetch, retry_after_ms, r, &why);
}

static int begin_transfer(struct fetch *fetch, const char *authorization, bool plain_http,
			  struct err *err)
{
	const struct transfer_request request = {
		.url = fetch->url,
		.accept = fetch->request.accept,
		.authorization = authorization,
		.ca_file = authority_for(fetch->registry, fetch->url),
		.plain_http = plain_http,
		.range_from = fetch->range_from,
		.on_body = on_piece_body,
		.on_end = on_piece_end,
		.user = fetch,
	};

	fetch->begun = false;
	return transfer_begin(fetch->registry->transfers, &request, &fetch->transfer, err);
}

static int try_place(struct fetch *fetch, struct err *err)
{
	const struct place *place = place_of(fetch);

	fetch->redirects = 0;
	fetch->resumed = false;
	fetch->range_from = fetch->request.have ? fetch->request.have(fetch->request.user) : 0;
	(void)snprintf(fetch->url, sizeof(fetch->url), "%s://%s/v2/%s/%s",
		       place->plain_http ? "http" : "https", place->host,
		       fetch->registry->reference.path, fetch->path);
	return begin_transfer(fetch, place->authorization, place->plain_http, err);
}

static void try_now(struct fetch *fetch)
{
	struct err err = { 0 };
	int r = try_place(fetch, &err);

	if (r < 0)
		end(fetch, r, &err);
}

int fetch_begin(struct registry *registry, const struct fetch_request *request,
		struct fetch **ret_fetch, struct err *err)
{
	struct fetch *fetch = calloc(1, sizeof(*fetch));
	int r;

	if (!fetch)
		return err_oom(err);
	fetch->registry = registry;
	fetch->request = *request;
	fetch->place = registry->first_place;
	fetch->path = strdup(request->path);
	r = fetch->path ? try_place(fetch, err) : err_oom(err);
	if (r < 0) {
		fetch_free(fetch);
		return r;
	}
	*ret_fetch = fetch;
	return 0;
}

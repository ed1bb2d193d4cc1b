#include "agent/cli/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "agent/cli/text.h"
#include "agent/grpc/details.h"
#include "agent/json/protojson.h"

#define JSON_MAX (4u << 20)

int cli_fail(int code, const char *fmt, ...)
{
	va_list ap;

	(void)fputs("berthctl: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return code;
}

int cli_fail_usage(const struct err *err, const char *what)
{
	return cli_fail(CLI_USAGE, "%s: %s", what, err->text);
}

int cli_connect(struct cli *cli)
{
	const struct grpc_tls_files files = { .cert_path = cli->certificate,
					      .key_path = cli->key,
					      .ca_path = cli->ca };
	struct grpc_client_options options = { .target = cli->address,
					       .server_name = cli->server_name };
	struct err err = { 0 };
	int r;

	if (cli->client)
		return CLI_OK;
	r = sd_event_new(&cli->event);
	if (r < 0)
		return cli_fail(CLI_FAILED, "cannot make an event loop: %s", strerror(-r));
	if (cli->ca && grpc_tls_new_client(&files, &cli->tls, &err) < 0)
		return cli_fail(CLI_FAILED, "%s", err.text);
	options.tls = cli->tls;
	if (grpc_client_new(cli->event, &options, &cli->client, &err) < 0)
		return cli_fail(CLI_FAILED, "%s", err.text);
	return CLI_OK;
}

void cli_close(struct cli *cli)
{
	grpc_client_free(cli->client);
	grpc_tls_unref(cli->tls);
	sd_event_unref(cli->event);
}

static int exit_of_code(enum grpc_code code)
{
	switch (code) {
	case GRPC_OK:
		return CLI_OK;
	case GRPC_NOT_FOUND:
		return CLI_NOT_FOUND;
	case GRPC_INVALID_ARGUMENT:
		return CLI_INVALID;
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return CLI_DENIED;
	case GRPC_UNAVAILABLE:
	case GRPC_DEADLINE_EXCEEDED:
		return CLI_UNAVAILABLE;
	case GRPC_RESOURCE_EXHAUSTED:
		return CLI_EXHAUSTED;
	case GRPC_FAILED_PRECONDITION:
	case GRPC_ALREADY_EXISTS:
	case GRPC_ABORTED:
	case GRPC_OUT_OF_RANGE:
		return CLI_CONFLICT;
	default:
		return CLI_FAILED;
	}
}

static void say_detail(const struct grpc_detail *detail)
{
	char subject[TEXT_ESCAPED_MAX], text[TEXT_ESCAPED_MAX];

	(void)text_escape(detail->subject, strlen(detail->subject), subject);
	(void)text_escape(detail->text, strlen(detail->text), text);
	if (detail->kind == GRPC_DETAIL_FIELD || detail->kind == GRPC_DETAIL_QUOTA)
		(void)fprintf(stderr, "  %s: %s\n", subject, text);
}

bool cli_outcome_has_reason(const struct grpc_outcome *outcome, const char *reason)
{
	struct grpc_details *details = NULL;
	bool found = false;

	if (grpc_details_decode(outcome->details, outcome->n_details, &details) < 0)
		return false;
	for (size_t i = 0; i < grpc_details_count(details); i++)
		found |= grpc_details_at(details, i)->kind == GRPC_DETAIL_REASON &&
			 strcmp(grpc_details_at(details, i)->name, reason) == 0;
	grpc_details_free(details);
	return found;
}

int cli_say_outcome(const char *method, const struct grpc_outcome *outcome)
{
	char text[TEXT_ESCAPED_MAX];
	struct grpc_details *details = NULL;

	(void)text_escape(outcome->message, strlen(outcome->message), text);
	(void)cli_fail(0, "%s: %s (%s)", method, text, grpc_code_name(outcome->code));
	if (outcome->n_details > 0 &&
	    grpc_details_decode(outcome->details, outcome->n_details, &details) == 0) {
		for (size_t i = 0; i < grpc_details_count(details); i++)
			say_detail(grpc_details_at(details, i));
		grpc_details_free(details);
	}
	return exit_of_code(outcome->code);
}

static const char *path_of(const char *method, char buffer[static 64])
{
	(void)snprintf(buffer, 64, "/berth.v1.NodeAgent/%s", method);
	return buffer;
}

int cli_try(struct cli *cli, const char *method, const ProtobufCMessage *request,
	    const ProtobufCMessageDescriptor *response, struct grpc_reply *ret_reply)
{
	struct err err = { 0 };
	char path[64];
	int code = cli_connect(cli);

	if (code != CLI_OK)
		return code;
	if (grpc_client_unary(cli->client, path_of(method, path), request, response,
			      cli->timeout_us, ret_reply, &err) < 0)
		return cli_fail(CLI_FAILED, "%s: %s", method, err.text);
	return CLI_OK;
}

int cli_call(struct cli *cli, const char *method, const ProtobufCMessage *request,
	     const ProtobufCMessageDescriptor *response, struct grpc_reply *ret_reply)
{
	int code = cli_try(cli, method, request, response, ret_reply);

	if (code != CLI_OK || ret_reply->outcome.code == GRPC_OK)
		return code;
	code = cli_say_outcome(method, &ret_reply->outcome);
	grpc_reply_done(ret_reply);
	return code;
}

/* ---- Streams ---- */

#define FOLLOW_USEC       60000000ULL
#define FOLLOW_PAUSE_USEC 100000ULL

struct reading {
	struct cli *cli;
	const char *method;
	bool (*on_message)(const ProtobufCMessage *message, void *userdata);
	void *userdata;
	bool follows;
	struct grpc_client_call *call;
	bool begun;   /* the agent has answered */
	bool stopped; /* by us: how it ends then is no news */
	bool ended;
	uint64_t lost_usec; /* since when the agent is away; 0: it is not */
	int code;
};

static uint64_t now_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void stop_reading(struct reading *reading)
{
	if (reading->stopped)
		return;
	reading->stopped = true;
	if (reading->call)
		grpc_client_cancel(reading->call);
}

static void on_stream_message(struct grpc_client_call *call, const ProtobufCMessage *message,
			      void *user)
{
	struct reading *reading = user;

	reading->begun = true;
	if (reading->lost_usec)
		(void)cli_fail(0, "%s: the agent is back, and this goes on where it was",
			       reading->method);
	reading->lost_usec = 0;
	if (!reading->stopped && !reading->on_message(message, reading->userdata))
		stop_reading(reading);
}

/* A restart of the agent: its own word when it drains, without the details that a refusal has; or a
 * connection that broke. */
static bool is_restart(struct reading *reading, const struct grpc_outcome *outcome)
{
	if (!reading->follows || outcome->code != GRPC_UNAVAILABLE)
		return false;
	if (outcome->from_server && outcome->n_details == 0)
		reading->begun = true;
	if (!reading->begun)
		return false;
	if (!reading->lost_usec) {
		reading->lost_usec = now_usec();
		(void)cli_fail(0, "%s: the agent went away (%s): waiting for it", reading->method,
			       outcome->message);
	}
	return now_usec() - reading->lost_usec < FOLLOW_USEC;
}

static void on_stream_end(struct grpc_client_call *call, const struct grpc_outcome *outcome,
			  void *user)
{
	struct reading *reading = user;

	reading->call = NULL;
	reading->ended = true;
	if (reading->stopped || outcome->code == GRPC_OK) {
		reading->follows = false;
		return;
	}
	if (is_restart(reading, outcome))
		return;
	reading->follows = false;
	reading->code = cli_say_outcome(reading->method, outcome);
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info,
			void *userdata)
{
	stop_reading(userdata);
	return 0;
}

static const struct grpc_client_events stream_events = { .on_message = on_stream_message,
							 .on_end = on_stream_end };

static int read_once(struct reading *reading, const ProtobufCMessage *request,
		     const ProtobufCMessageDescriptor *response)
{
	struct err err = { 0 };
	char path[64];

	reading->ended = false;
	if (grpc_client_start(reading->cli->client, path_of(reading->method, path), request,
			      response, 0, &stream_events, reading, &reading->call, &err) < 0) {
		reading->follows = false;
		return cli_fail(CLI_FAILED, "%s: %s", reading->method, err.text);
	}
	/* not sd_event_loop(): a loop that was told to exit cannot be run again */
	while (!reading->ended && sd_event_run(reading->cli->event, UINT64_MAX) >= 0)
		;
	return reading->code;
}

static void pause_reading(struct reading *reading)
{
	uint64_t end = now_usec() + FOLLOW_PAUSE_USEC;

	for (uint64_t now = now_usec(); now < end && !reading->stopped; now = now_usec())
		if (sd_event_run(reading->cli->event, end - now) < 0)
			return;
}

static int read_stream(struct reading *reading, const ProtobufCMessage *request,
		       const ProtobufCMessageDescriptor *response, void (*resume)(void *userdata))
{
	sd_event_source *interrupt = NULL;
	sigset_t set;
	int code = cli_connect(reading->cli);

	if (code != CLI_OK)
		return code;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)sd_event_add_signal(reading->cli->event, &interrupt, SIGINT, on_interrupt, reading);
	code = read_once(reading, request, response);
	while (reading->follows && !reading->stopped) {
		pause_reading(reading);
		if (resume)
			resume(reading->userdata);
		code = read_once(reading, request, response);
	}
	sd_event_source_disable_unref(interrupt);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	return code;
}

int cli_stream(struct cli *cli, const char *method, const ProtobufCMessage *request,
	       const ProtobufCMessageDescriptor *response,
	       bool (*on_message)(const ProtobufCMessage *message, void *userdata), void *userdata)
{
	struct reading reading = {
		.cli = cli, .method = method, .on_message = on_message, .userdata = userdata
	};

	return read_stream(&reading, request, response, NULL);
}

int cli_follow(struct cli *cli, const char *method, const ProtobufCMessage *request,
	       const ProtobufCMessageDescriptor *response,
	       bool (*on_message)(const ProtobufCMessage *message, void *userdata),
	       void (*resume)(void *userdata), void *userdata)
{
	struct reading reading = { .cli = cli,
				   .method = method,
				   .on_message = on_message,
				   .userdata = userdata,
				   .follows = true };

	return read_stream(&reading, request, response, resume);
}

/* ---- Fences ---- */

static int highest_epoch(struct cli *cli, uint64_t *ret)
{
	const Berth__V1__GetNodeRequest request = BERTH__V1__GET_NODE_REQUEST__INIT;
	struct grpc_reply reply;
	int code = cli_call(cli, "GetNode", &request.base,
			    &berth__v1__get_node_response__descriptor, &reply);

	if (code != CLI_OK)
		return code;
	*ret = ((const Berth__V1__GetNodeResponse *)reply.message)->node->highest_epoch;
	grpc_reply_done(&reply);
	return CLI_OK;
}

static int current_generation(struct cli *cli, const char *id, uint64_t *ret)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	struct grpc_reply reply;
	int code;

	request.id = (char *)id;
	code = cli_call(cli, "Get", &request.base, &berth__v1__get_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	*ret = ((const Berth__V1__GetResponse *)reply.message)->workload->status->generation;
	grpc_reply_done(&reply);
	return CLI_OK;
}

int cli_fence(struct cli *cli, const char *id, Berth__V1__Fence *ret)
{
	int code = CLI_OK;

	berth__v1__fence__init(ret);
	ret->epoch = cli->epoch;
	if (!cli->has_epoch)
		code = highest_epoch(cli, &ret->epoch);
	if (code == CLI_OK && id)
		code = current_generation(cli, id, &ret->generation);
	return code;
}

/* ---- JSON ---- */

int cli_print_json(const ProtobufCMessage *message, bool pretty)
{
	const struct protojson_options options = { .pretty = pretty };
	struct err err = { 0 };

	if (protojson_write(stdout, message, &options, &err) < 0)
		return cli_fail(CLI_FAILED, "%s", err.text);
	(void)putchar('\n');
	(void)fflush(stdout);
	return CLI_OK;
}

void *cli_read_json(const char *path, const ProtobufCMessageDescriptor *descriptor,
		    struct arena *arena)
{
	bool from_stdin = strcmp(path, "-") == 0;
	cleanup_file FILE *opened = from_stdin ? NULL : fopen(path, "re");
	FILE *file = from_stdin ? stdin : opened;
	cleanup_free char *text = malloc(JSON_MAX + 1);
	struct err err = { 0 };
	void *message;
	size_t n;

	if (!file || !text) {
		(void)cli_fail(0, "cannot read %s: %s", path, strerror(errno));
		return NULL;
	}
	n = fread(text, 1, JSON_MAX + 1, file);
	if (n > JSON_MAX) {
		(void)cli_fail(0, "%s is larger than %u bytes", path, JSON_MAX);
		return NULL;
	}
	message = protojson_parse(descriptor, text, n, arena, &err);
	if (!message)
		(void)cli_fail(0, "%s: %s", from_stdin ? "standard input" : path, err.text);
	return message;
}

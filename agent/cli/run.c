/*
 * run: launch, then follow to the end as if the program ran here: its output, its exit code, ^C.
 */
#include <string.h>
#include <unistd.h>

#include "agent/cli/run_pull.h"
#include "agent/cli/run_spec.h"
#include "agent/cli/session.h"
#include "agent/cli/text.h"
#include "agent/cli/verbs.h"
#include "agent/grpc/details.h"

static bool has_ended(const Berth__V1__WorkloadStatus *status)
{
	return status->state == BERTH__V1__WORKLOAD_STATE__EXITED ||
	       status->state == BERTH__V1__WORKLOAD_STATE__STUCK ||
	       status->state == BERTH__V1__WORKLOAD_STATE__LOST;
}

static bool is_not_started(const Berth__V1__WorkloadStatus *status)
{
	return has_ended(status) && (status->reason == BERTH__V1__REASON__START_FAILED ||
				     status->reason == BERTH__V1__REASON__PULL_FAILED ||
				     status->reason == BERTH__V1__REASON__HOST_FAILURE);
}

static int say_not_started(const Berth__V1__WorkloadStatus *status)
{
	char sentence[TEXT_ESCAPED_MAX];

	return cli_fail(CLI_NOT_STARTED, "%s: %s", status->id,
			text_escape(status->sentence, strlen(status->sentence), sentence));
}

/* The number that a refusal names as @key; 0 where it does not. */
static uint64_t number_of_outcome(const struct grpc_outcome *outcome, const char *key)
{
	struct grpc_details *details = NULL;
	uint64_t number = 0;

	if (grpc_details_decode(outcome->details, outcome->n_details, &details) < 0)
		return 0;
	for (size_t i = 0; i < grpc_details_count(details); i++) {
		const struct grpc_detail *detail = grpc_details_at(details, i);

		if (detail->kind == GRPC_DETAIL_METADATA && strcmp(detail->name, key) == 0)
			number = strtoull(detail->text, NULL, 10);
	}
	grpc_details_free(details);
	return number;
}

static int try_launch(struct cli *cli, const struct run_spec *run, Berth__V1__Fence *fence,
		      bool no_wait, struct grpc_reply *reply)
{
	Berth__V1__LaunchRequest request = BERTH__V1__LAUNCH_REQUEST__INIT;

	request.no_wait = no_wait;
	request.fence = fence;
	request.spec = run->spec;
	return cli_try(cli, "Launch", &request.base, &berth__v1__launch_response__descriptor,
		       reply);
}

/* An id that this host has seen before, and that nobody gave a generation for, takes the next one. */
static int launch_next(struct cli *cli, const struct run_spec *run, Berth__V1__Fence *fence,
		       bool no_wait, struct grpc_reply *reply)
{
	uint64_t highest;
	int code;

	fence->generation = run->generation ? run->generation : 1;
	code = try_launch(cli, run, fence, no_wait, reply);
	if (code != CLI_OK || reply->outcome.code != GRPC_FAILED_PRECONDITION || run->generation)
		return code;
	highest = number_of_outcome(&reply->outcome, "highest_generation");
	if (highest == 0)
		return CLI_OK;
	grpc_reply_done(reply);
	fence->generation = highest + 1;
	return try_launch(cli, run, fence, no_wait, reply);
}

/* Images may take longer than one call: it is launched, its images are waited for, and then it. */
static int launch_and_wait(struct cli *cli, const struct run_spec *run, Berth__V1__Fence *fence,
			   struct grpc_reply *reply)
{
	bool has_images = run_has_images(run->spec);
	int code = launch_next(cli, run, fence, has_images, reply);

	if (code != CLI_OK || reply->outcome.code != GRPC_OK || !has_images)
		return code;
	grpc_reply_done(reply);
	code = run_pull_follow(cli, run->spec->id);
	return code == CLI_OK ? try_launch(cli, run, fence, false, reply) : code;
}

static int launch(struct cli *cli, const struct run_spec *run)
{
	const Berth__V1__WorkloadStatus *status;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, NULL, &fence);

	if (code == CLI_OK)
		code = launch_and_wait(cli, run, &fence, &reply);
	if (code != CLI_OK)
		return code;
	if (reply.outcome.code != GRPC_OK) {
		code = cli_say_outcome("Launch", &reply.outcome);
		grpc_reply_done(&reply);
		return code;
	}
	status = ((const Berth__V1__LaunchResponse *)reply.message)->status;
	if (is_not_started(status))
		code = say_not_started(status);
	else if (cli->json)
		code = cli_print_json(&status->base, false);
	else if (run->detach)
		(void)puts(status->id);
	grpc_reply_done(&reply);
	return code;
}

struct follower {
	struct cli *cli;
	bool tty; /* what it wrote was for a terminal */
};

static bool on_lines(const ProtobufCMessage *message, void *userdata)
{
	const Berth__V1__ReadLogsResponse *response = (const void *)message;
	const struct follower *follower = userdata;

	for (size_t i = 0; i < response->n_lines; i++) {
		const Berth__V1__LogLine *line = response->lines[i];
		FILE *file = line->is_stderr ? stderr : stdout;

		text_write(file, line->text.data, line->text.len,
			   follower->tty || follower->cli->raw || !isatty(fileno(file)));
		if (!line->partial)
			(void)fputc('\n', file);
	}
	(void)fflush(stdout);
	return !ferror(stdout);
}

static int follow(struct cli *cli, const char *id, bool tty)
{
	Berth__V1__ReadLogsRequest request = BERTH__V1__READ_LOGS_REQUEST__INIT;
	struct follower follower = { .cli = cli, .tty = tty };

	request.id = (char *)id;
	request.follow = true;
	return cli_stream(cli, "ReadLogs", &request.base,
			  &berth__v1__read_logs_response__descriptor, on_lines, &follower);
}

static int connect_terminal(struct cli *cli, const struct run_spec *run, enum session_end *ret_end)
{
	Berth__V1__AttachRequest request = BERTH__V1__ATTACH_REQUEST__INIT;
	Berth__V1__AttachStart start = BERTH__V1__ATTACH_START__INIT;
	struct session_options session = { .is_attach = true,
					   .first = &request.base,
					   .send_stdin = run->interactive,
					   .tty = run->tty && isatty(STDIN_FILENO),
					   .may_be_over = true };
	Berth__V1__TerminalSize size;

	start.id = run->spec->id;
	if (run->tty && session_terminal_size(&size))
		start.size = &size;
	request.message_case = BERTH__V1__ATTACH_REQUEST__MESSAGE_START;
	request.start = &start;
	return session_run(cli, &session, ret_end);
}

/* The exit code of the container that ended it: the first main one with a record. */
static int code_of_status(const Berth__V1__WorkloadStatus *status)
{
	int code = CLI_FAILED;

	for (size_t i = 0; i < status->n_containers; i++) {
		const Berth__V1__ContainerStatus *container = status->containers[i];

		if (container->last_exit &&
		    container->role == BERTH__V1__CONTAINER_ROLE__ROLE_MAIN) {
			code = session_exit_code(container->last_exit);
			if (code != 0)
				return code;
		}
	}
	return code;
}

/* How it ended; stop it first when it has not (^C). */
static int finish(struct cli *cli, const struct run_spec *run)
{
	Berth__V1__StopRequest request = BERTH__V1__STOP_REQUEST__INIT;
	const Berth__V1__WorkloadStatus *status;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, run->spec->id, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.id = run->spec->id;
	code = cli_call(cli, "Stop", &request.base, &berth__v1__stop_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	status = ((const Berth__V1__StopResponse *)reply.message)->status;
	code = is_not_started(status) ? say_not_started(status) : code_of_status(status);
	if (status->reason == BERTH__V1__REASON__OOM_KILLED)
		(void)cli_fail(0, "%s: %s", status->id, status->sentence);
	grpc_reply_done(&reply);
	return code;
}

static int forget(struct cli *cli, const char *id)
{
	Berth__V1__DeleteRequest request = BERTH__V1__DELETE_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, id, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.id = (char *)id;
	request.force = true;
	code = cli_call(cli, "Delete", &request.base, &berth__v1__delete_response__descriptor,
			&reply);
	if (code == CLI_OK)
		grpc_reply_done(&reply);
	return code;
}

static int run_and_follow(struct cli *cli, const struct run_spec *run)
{
	enum session_end end = SESSION_OVER;
	int code = launch(cli, run);

	if (code != CLI_OK || run->detach)
		return code;
	if (run->interactive || run->tty) {
		code = connect_terminal(cli, run, &end);
		if (end == SESSION_LEFT)
			return code; /* it goes on; berthctl attach finds it again */
	}
	if (end == SESSION_OVER) {
		code = follow(cli, run->spec->id, run->tty);
		if (code != CLI_OK)
			return code;
	}
	return finish(cli, run);
}

VERB(run)
{
	struct run_spec run;
	int code = run_spec_parse(cli, &run, argc, argv);

	if (code == CLI_OK) {
		code = run_and_follow(cli, &run);
		if (run.remove && !run.detach)
			(void)forget(cli, run.spec->id);
	}
	run_spec_done(&run);
	return code;
}

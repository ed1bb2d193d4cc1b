#include "agent/cli/session.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "agent/cli/text.h"

#define CHUNK_BYTES (16u << 10)

struct session {
	struct cli *cli;
	const struct session_options *options;
	struct grpc_client_call *call;
	sd_event_source *input;
	bool polled; /* standard input can be polled; a plain file cannot, and is always ready */
	bool input_ended;
	uint8_t chunk[CHUNK_BYTES];
	size_t held; /* of the chunk, not yet sent */
	bool begun;  /* the agent has said something */
	int code;
	enum session_end end;
};

/* ---- The terminal ---- */

static struct termios saved_termios;
static bool is_raw;

static void restore_terminal(void)
{
	if (is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_termios);
	is_raw = false;
}

static void make_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved_termios) < 0)
		return;
	raw = saved_termios;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0) {
		is_raw = true;
		(void)atexit(restore_terminal);
	}
}

bool session_terminal_size(Berth__V1__TerminalSize *ret)
{
	struct winsize size;

	berth__v1__terminal_size__init(ret);
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 &&
	    ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
		return false;
	ret->rows = size.ws_row;
	ret->columns = size.ws_col;
	return true;
}

int session_exit_code(const Berth__V1__ExitRecord *record)
{
	switch (record->kind) {
	case BERTH__V1__EXIT_KIND__EXIT_CODE:
		return record->code;
	case BERTH__V1__EXIT_KIND__EXIT_SIGNAL:
	case BERTH__V1__EXIT_KIND__EXIT_CORE_DUMPED:
		return 128 + record->signal;
	default:
		return CLI_FAILED;
	}
}

/* ---- To the agent ---- */

/* Exec and Attach have the same requests; only their messages differ. */
static int send_stdin(struct session *session, const uint8_t *bytes, size_t n)
{
	ProtobufCBinaryData data = { .data = (uint8_t *)bytes, .len = n };
	Berth__V1__ExecRequest exec = BERTH__V1__EXEC_REQUEST__INIT;
	Berth__V1__AttachRequest attach = BERTH__V1__ATTACH_REQUEST__INIT;

	exec.message_case = BERTH__V1__EXEC_REQUEST__MESSAGE_STDIN;
	exec.stdin = data;
	attach.message_case = BERTH__V1__ATTACH_REQUEST__MESSAGE_STDIN;
	attach.stdin = data;
	return grpc_client_send(session->call,
				session->options->is_attach ? &attach.base : &exec.base);
}

static void send_size(struct session *session)
{
	Berth__V1__ExecRequest exec = BERTH__V1__EXEC_REQUEST__INIT;
	Berth__V1__AttachRequest attach = BERTH__V1__ATTACH_REQUEST__INIT;
	Berth__V1__TerminalSize size;

	if (!session_terminal_size(&size))
		return;
	exec.message_case = BERTH__V1__EXEC_REQUEST__MESSAGE_RESIZE;
	exec.resize = &size;
	attach.message_case = BERTH__V1__ATTACH_REQUEST__MESSAGE_RESIZE;
	attach.resize = &size;
	(void)grpc_client_send(session->call,
			       session->options->is_attach ? &attach.base : &exec.base);
}

static void end_input(struct session *session)
{
	session->input_ended = true;
	session->input = sd_event_source_disable_unref(session->input);
	grpc_client_half_close(session->call);
}

/* Read and send while both go. */
static void pump_input(struct session *session)
{
	while (!session->input_ended) {
		ssize_t n;

		if (session->held > 0) {
			if (send_stdin(session, session->chunk, session->held) == -EAGAIN) {
				if (session->polled)
					(void)sd_event_source_set_enabled(session->input,
									  SD_EVENT_OFF);
				return; /* on_writable goes on */
			}
			session->held = 0;
		}
		n = read(STDIN_FILENO, session->chunk, sizeof(session->chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			end_input(session);
			return;
		}
		session->held = (size_t)n;
		if (session->polled) { /* one read for each time that it is ready */
			if (send_stdin(session, session->chunk, session->held) == 0)
				session->held = 0;
			else
				(void)sd_event_source_set_enabled(session->input, SD_EVENT_OFF);
			return;
		}
	}
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	pump_input(userdata);
	return 0;
}

static void on_writable(struct grpc_client_call *call, void *user)
{
	struct session *session = user;

	if (!session->options->send_stdin || session->input_ended)
		return;
	if (!session->polled) {
		pump_input(session);
	} else if (session->held > 0 && send_stdin(session, session->chunk, session->held) == 0) {
		session->held = 0;
		(void)sd_event_source_set_enabled(session->input, SD_EVENT_ON);
	}
}

/* ---- From the agent ---- */

static void take_exit(struct session *session, const Berth__V1__ExitRecord *record)
{
	session->end = SESSION_ENDED;
	session->code = session_exit_code(record);
}

static void print_output(const struct session *session, FILE *file, ProtobufCBinaryData data)
{
	/* A terminal session is between the program and this terminal; a plain one is escaped on it. */
	bool raw = session->options->tty || session->cli->raw || !isatty(fileno(file));

	text_write(file, data.data, data.len, raw);
	(void)fflush(file);
}

static void on_exec_message(struct session *session, const Berth__V1__ExecResponse *response)
{
	switch (response->message_case) {
	case BERTH__V1__EXEC_RESPONSE__MESSAGE_STDOUT:
		print_output(session, stdout, response->stdout);
		break;
	case BERTH__V1__EXEC_RESPONSE__MESSAGE_STDERR:
		print_output(session, stderr, response->stderr);
		break;
	case BERTH__V1__EXEC_RESPONSE__MESSAGE_EXIT:
		take_exit(session, response->exit);
		break;
	default:
		break;
	}
}

static void on_attach_message(struct session *session, const Berth__V1__AttachResponse *response)
{
	switch (response->message_case) {
	case BERTH__V1__ATTACH_RESPONSE__MESSAGE_STDOUT:
		print_output(session, stdout, response->stdout);
		break;
	case BERTH__V1__ATTACH_RESPONSE__MESSAGE_STDERR:
		print_output(session, stderr, response->stderr);
		break;
	case BERTH__V1__ATTACH_RESPONSE__MESSAGE_EXIT:
		take_exit(session, response->exit);
		break;
	default:
		break;
	}
}

static void on_message(struct grpc_client_call *call, const ProtobufCMessage *message, void *user)
{
	struct session *session = user;

	session->begun = true;
	if (session->options->is_attach)
		on_attach_message(session, (const Berth__V1__AttachResponse *)message);
	else
		on_exec_message(session, (const Berth__V1__ExecResponse *)message);
}

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	struct session *session = user;

	session->call = NULL;
	if (session->end == SESSION_ENDED || outcome->code == GRPC_OK)
		return;
	restore_terminal();
	if (session->options->may_be_over && outcome->code == GRPC_FAILED_PRECONDITION) {
		session->end = SESSION_OVER;
	} else {
		session->code = cli_say_outcome(session->options->is_attach ? "Attach" : "Exec",
						outcome);
		if ((session->begun || session->options->is_attach) &&
		    outcome->code == GRPC_UNAVAILABLE && outcome->n_details == 0)
			(void)cli_fail(
				0,
				session->options->is_attach
					? "the session has ended with the agent, the container goes on: attach again"
					: "the session has ended with the agent, and its program with it: run it again");
		if (cli_outcome_has_reason(outcome, "START_FAILED"))
			session->code = CLI_NOT_STARTED;
	}
}

static int on_resized(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct session *session = userdata;

	if (session->call)
		send_size(session);
	return 0;
}

static const struct grpc_client_events events = { .on_message = on_message,
						  .on_writable = on_writable,
						  .on_end = on_end };

static int open_input(struct session *session)
{
	int r;

	if (!session->options->send_stdin) {
		end_input(session);
		return 0;
	}
	r = sd_event_add_io(session->cli->event, &session->input, STDIN_FILENO, EPOLLIN, on_input,
			    session);
	session->polled = r >= 0;
	return r == -EPERM ? 0 : r;
}

int session_run(struct cli *cli, const struct session_options *options, enum session_end *ret_end)
{
	const char *path = options->is_attach ? "/berth.v1.NodeAgent/Attach"
					      : "/berth.v1.NodeAgent/Exec";
	struct session session = { .cli = cli, .options = options };
	sd_event_source *resized = NULL;
	struct err err = { 0 };
	sigset_t set;
	int code = cli_connect(cli);

	if (code != CLI_OK)
		return code;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGWINCH);
	if (grpc_client_open(cli->client, path,
			     options->is_attach ? &berth__v1__attach_response__descriptor
						: &berth__v1__exec_response__descriptor,
			     0, &events, &session, &session.call, &err) < 0)
		return cli_fail(CLI_FAILED, "%s", err.text);
	(void)grpc_client_send(session.call, options->first);
	if (open_input(&session) < 0)
		return cli_fail(CLI_FAILED, "cannot read standard input");
	if (options->tty) {
		(void)sigprocmask(SIG_BLOCK, &set, NULL);
		(void)sd_event_add_signal(cli->event, &resized, SIGWINCH, on_resized, &session);
		make_raw();
	}
	while (session.call && sd_event_run(cli->event, UINT64_MAX) >= 0)
		;
	restore_terminal();
	sd_event_source_disable_unref(resized);
	sd_event_source_disable_unref(session.input);
	*ret_end = session.end;
	return session.code;
}

/*
 * Exec and Attach: bytes between a call and the descriptors that the engine hands over.
 *
 * Towards the caller it is pulled: a descriptor is read only when the peer can take the bytes, and polled
 * only when it was found empty. From the caller one message is held at most: while the program does not
 * read its input, the call is paused. So neither end can make the agent hold more than a message.
 *
 * Exec without a terminal has pipes, with one the master; Attach has the packet socket of
 * proto/attach.h, where a byte before the data tells the stream.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "agent/service/handlers.h"
#include "agent/service/status.h"
#include "proto/attach.h"
#include "proto/ranges.h"

#define CHUNK_BYTES (32U << 10)
#define INPUT_MAX   (64U << 10)
/* How much is still read once the program has ended: what it wrote before, but not without end what a
 * process that it left behind goes on writing. */
#define LAST_BYTES (4U << 20)
#define EOT        0x04 /* what a terminal's line discipline takes for the end of input */

enum output { OUTPUT_STDOUT, OUTPUT_STDERR, OUTPUT_COUNT };

struct session {
	struct engine_session engine;
	struct grpc_call *call;
	struct service *service;
	bool is_attach;
	bool tty;
	bool begun;       /* the engine has it */
	bool over;        /* the engine has let go of it */
	bool input_ended; /* close the input once what is held is written */
	bool end_told;    /* that of a terminal or an attachment is among what is held, or was */
	int input_fd;     /* of a terminal or an attachment a duplicate of outputs[0] */
	int outputs[OUTPUT_COUNT];
	sd_event_source *readable[OUTPUT_COUNT];
	sd_event_source *writable;
	size_t held, written; /* of `input` */
	size_t last_budget;
	/* Of an attachment's start: told once the terminal can be reached. An exec is born with its. */
	Berth__V1__TerminalSize first_size;
	uint8_t *exit; /* the packed record, once it has ended */
	size_t exit_size;
	uint8_t input[INPUT_MAX + 1];
};

static void session_free(struct session *session)
{
	if (session->begun && !session->over)
		engine_session_close(&session->engine);
	for (size_t i = 0; i < OUTPUT_COUNT; i++) {
		sd_event_source_disable_unref(session->readable[i]);
		fd_close(&session->outputs[i]);
	}
	sd_event_source_disable_unref(session->writable);
	fd_close(&session->input_fd);
	free(session->exit);
	free(session);
}

static void session_fail(struct session *session, const struct err *err,
			 const struct engine_fault *fault)
{
	status_fail(session->call, err, fault);
	session_free(session);
}

/* ---- To the caller ---- */

static int send_output(struct session *session, enum output output, const uint8_t *bytes, size_t n)
{
	ProtobufCBinaryData data = { .data = (uint8_t *)bytes, .len = n };
	Berth__V1__ExecResponse exec = BERTH__V1__EXEC_RESPONSE__INIT;
	Berth__V1__AttachResponse attach = BERTH__V1__ATTACH_RESPONSE__INIT;

	if (session->is_attach) {
		attach.message_case = output == OUTPUT_STDERR
					      ? BERTH__V1__ATTACH_RESPONSE__MESSAGE_STDERR
					      : BERTH__V1__ATTACH_RESPONSE__MESSAGE_STDOUT;
		attach.stdout = data; /* the members share their place */
		return grpc_call_send(session->call, &attach.base);
	}
	exec.message_case = output == OUTPUT_STDERR ? BERTH__V1__EXEC_RESPONSE__MESSAGE_STDERR
						    : BERTH__V1__EXEC_RESPONSE__MESSAGE_STDOUT;
	exec.stdout = data;
	return grpc_call_send(session->call, &exec.base);
}

static void finish(struct session *session)
{
	cleanup_arena struct arena arena;
	Berth__V1__ExecResponse exec = BERTH__V1__EXEC_RESPONSE__INIT;
	Berth__V1__AttachResponse attach = BERTH__V1__ATTACH_RESPONSE__INIT;
	Berth__V1__ExitRecord *record;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	record = berth__v1__exit_record__unpack(&arena.allocator, session->exit_size,
						session->exit);
	if (!record) {
		grpc_call_fail(session->call, GRPC_RESOURCE_EXHAUSTED,
			       "the program ended, but there is no memory for its record", NULL);
		session_free(session);
		return;
	}
	exec.message_case = BERTH__V1__EXEC_RESPONSE__MESSAGE_EXIT;
	exec.exit = record;
	attach.message_case = BERTH__V1__ATTACH_RESPONSE__MESSAGE_EXIT;
	attach.exit = record;
	(void)grpc_call_send(session->call, session->is_attach ? &attach.base : &exec.base);
	grpc_call_finish(session->call);
	session_free(session);
}

static void close_output(struct session *session, enum output output)
{
	session->readable[output] = sd_event_source_disable_unref(session->readable[output]);
	fd_close(&session->outputs[output]);
}

/* One read of @output. Returns 1 when something was sent, 0 when there is nothing now or any more. */
static int pump_output(struct session *session, enum output output)
{
	uint8_t bytes[ATTACH_PACKET_MAX + 1];
	size_t want = session->is_attach ? sizeof(bytes) : CHUNK_BYTES;
	enum output to = output;
	const uint8_t *data = bytes;
	ssize_t n;

	if (session->outputs[output] < 0)
		return 0;
	n = read(session->outputs[output], bytes, want);
	/* That a monitor ended without reading our last input is told first, once; what it had sent is
	 * still there. */
	if (n < 0 && errno == ECONNRESET)
		n = read(session->outputs[output], bytes, want);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		(void)sd_event_source_set_enabled(session->readable[output], SD_EVENT_ONESHOT);
		return 0;
	}
	if (n <= 0) { /* end of file; EIO is a terminal whose last user has gone */
		close_output(session, output);
		return 0;
	}
	if (session->is_attach) {
		to = bytes[0] == ATTACH_STDERR ? OUTPUT_STDERR : OUTPUT_STDOUT;
		data++;
		n--;
	}
	if (session->exit)
		session->last_budget -= (size_t)n < session->last_budget ? (size_t)n
									 : session->last_budget;
	return send_output(session, to, data, (size_t)n) == 0;
}

/* The monitor sends what it kept, and lets go, after the container's end may have been told. */
static bool is_told(const struct session *session)
{
	return !session->is_attach || session->outputs[OUTPUT_STDOUT] < 0 ||
	       session->last_budget == 0;
}

static void on_writable(struct grpc_call *call, void *user)
{
	struct session *session = user;

	for (enum output output = 0; output < OUTPUT_COUNT; output++)
		if ((!session->exit || session->last_budget > 0) &&
		    pump_output(session, output) > 0)
			return; /* asked again when that has gone */
	if (session->exit && is_told(session))
		finish(session);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct session *session = userdata;

	grpc_call_wake(session->call);
	return 0;
}

/* ---- From the caller ---- */

/* The source first: a duplicate keeps the file, and with it what epoll knows of the descriptor. */
static void close_input(struct session *session)
{
	session->writable = sd_event_source_disable_unref(session->writable);
	fd_close(&session->input_fd);
}

/* What is held, into the descriptor. Returns 0 when all is written or given up, -EAGAIN otherwise. */
static int flush_input(struct session *session)
{
	while (session->written < session->held) {
		ssize_t n = write(session->input_fd, session->input + session->written,
				  session->held - session->written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return -EAGAIN;
		if (n < 0) { /* EPIPE: the program reads no more; that is no failure of the call */
			close_input(session);
			break;
		}
		session->written += (size_t)n;
	}
	session->held = session->written = 0;
	return 0;
}

/* A pipe is closed; a terminal and a monitor are told, when they have room for it. */
static void end_input(struct session *session)
{
	if (session->input_fd < 0)
		return;
	if ((session->is_attach || session->tty) && !session->end_told) {
		session->end_told = true;
		session->input[session->held++] = session->is_attach ? ATTACH_STDIN_CLOSED : EOT;
		if (flush_input(session) == -EAGAIN) {
			(void)sd_event_source_set_enabled(session->writable, SD_EVENT_ON);
			return;
		}
	}
	close_input(session);
}

static int on_input_possible(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct session *session = userdata;

	if (flush_input(session) == -EAGAIN)
		return 0;
	if (session->writable)
		(void)sd_event_source_set_enabled(session->writable, SD_EVENT_OFF);
	if (session->input_ended)
		end_input(session);
	grpc_call_resume(session->call);
	return 0;
}

/* The call is paused while something is held, so nothing is held here. */
static void hold_input(struct session *session, ProtobufCBinaryData data)
{
	if (session->input_fd < 0 || data.len == 0)
		return;
	if (session->is_attach)
		session->input[session->held++] = ATTACH_STDIN;
	memcpy(session->input + session->held, data.data, data.len);
	session->held += data.len;
	if (flush_input(session) == -EAGAIN) {
		grpc_call_pause(session->call);
		(void)sd_event_source_set_enabled(session->writable, SD_EVENT_ON);
	}
}

static void take_end_of_input(struct session *session)
{
	session->input_ended = true;
	if (session->held == 0)
		end_input(session);
}

static bool is_size(const Berth__V1__TerminalSize *size)
{
	return size->rows <= RANGE_TERMINAL_MAX && size->columns <= RANGE_TERMINAL_MAX;
}

static void resize(struct session *session, const Berth__V1__TerminalSize *size)
{
	struct winsize winsize = { .ws_row = (unsigned short)size->rows,
				   .ws_col = (unsigned short)size->columns };
	uint8_t packet[1 + 2 * sizeof(uint16_t)] = { ATTACH_RESIZE };

	if (session->is_attach) {
		memcpy(packet + 1, &winsize.ws_row, sizeof(uint16_t));
		memcpy(packet + 3, &winsize.ws_col, sizeof(uint16_t));
		(void)!send(session->outputs[OUTPUT_STDOUT], packet, sizeof(packet), MSG_NOSIGNAL);
	} else if (session->tty && session->outputs[OUTPUT_STDOUT] >= 0) {
		(void)ioctl(session->outputs[OUTPUT_STDOUT], TIOCSWINSZ, &winsize);
	}
}

/* ---- From the engine ---- */

static int watch_descriptors(struct session *session)
{
	int r = 0;

	for (size_t i = 0; i < OUTPUT_COUNT && r >= 0; i++) {
		if (session->outputs[i] < 0)
			continue;
		r = sd_event_add_io(session->service->event, &session->readable[i],
				    session->outputs[i], EPOLLIN, on_readable, session);
		if (r >= 0)
			r = sd_event_source_set_enabled(session->readable[i], SD_EVENT_OFF);
	}
	if (session->input_fd >= 0 && r >= 0)
		r = sd_event_add_io(session->service->event, &session->writable, session->input_fd,
				    EPOLLOUT, on_input_possible, session);
	if (session->input_fd >= 0 && r >= 0)
		r = sd_event_source_set_enabled(session->writable, SD_EVENT_OFF);
	return r;
}

static void on_opened(struct engine_session *engine_session, int *fds, size_t n_fds)
{
	struct session *session = engine_session->userdata;

	if (session->is_attach || session->tty) {
		session->outputs[OUTPUT_STDOUT] = n_fds > 0 ? take_fd(&fds[0]) : -1;
		session->input_fd = fcntl(session->outputs[OUTPUT_STDOUT], F_DUPFD_CLOEXEC, 3);
	} else {
		size_t at = 0;

		if (n_fds == 3)
			session->input_fd = take_fd(&fds[at++]);
		session->outputs[OUTPUT_STDOUT] = at < n_fds ? take_fd(&fds[at++]) : -1;
		session->outputs[OUTPUT_STDERR] = at < n_fds ? take_fd(&fds[at++]) : -1;
	}
	if (watch_descriptors(session) < 0) {
		/* Without them no byte moves, but the exit record still comes. */
		close_output(session, OUTPUT_STDOUT);
		close_output(session, OUTPUT_STDERR);
	}
	if (session->first_size.rows && session->outputs[OUTPUT_STDOUT] >= 0)
		resize(session, &session->first_size);
	if (session->input_ended)
		end_input(session);
	grpc_call_resume(session->call);
	grpc_call_wake(session->call);
}

static void on_started(struct engine_session *engine_session, const Berth__V1__ExecStarted *started)
{
	struct session *session = engine_session->userdata;
	Berth__V1__ExecResponse reply = BERTH__V1__EXEC_RESPONSE__INIT;

	reply.message_case = BERTH__V1__EXEC_RESPONSE__MESSAGE_STARTED;
	reply.started = (Berth__V1__ExecStarted *)started;
	(void)grpc_call_send(session->call,
			     &reply.base); /* a caller that went is told by on_cancel */
}

static void on_ended(struct engine_session *engine_session, const Berth__V1__ExitRecord *record)
{
	struct session *session = engine_session->userdata;

	session->over = true;
	session->exit_size = berth__v1__exit_record__get_packed_size(record);
	session->exit = malloc(session->exit_size + 1);
	if (!session->exit) {
		session_fail(session,
			     &(struct err){ .kind = ERR_INTERNAL, .text = "out of memory" }, NULL);
		return;
	}
	berth__v1__exit_record__pack(record, session->exit);
	session->last_budget = LAST_BYTES;
	grpc_call_wake(session->call);
}

static void on_failed(struct engine_session *engine_session, const struct engine_answer *answer)
{
	struct session *session = engine_session->userdata;

	session->over = true;
	session_fail(session, answer->err, answer->fault);
}

static const struct engine_session_ops engine_ops = {
	.opened = on_opened,
	.started = on_started,
	.ended = on_ended,
	.failed = on_failed,
};

/* ---- The calls ---- */

static void refuse_message(struct session *session, const char *text)
{
	struct err err;

	(void)err_set(&err, ERR_INVALID, EINVAL, "%s: %s", session->is_attach ? "attach" : "exec",
		      text);
	session_fail(session, &err, NULL);
}

static void refuse_field(struct session *session, const char *field, const char *rule)
{
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };

	engine_fault_init(&fault);
	engine_fault_add_field(&fault, field, rule);
	(void)engine_fault_check_fields(&fault, &err);
	session_fail(session, &err, &fault);
}

static void refuse_size(struct session *session, const char *field)
{
	refuse_field(session, field, "at most 10000 rows and columns");
}

static void take_input(struct session *session, ProtobufCBinaryData data)
{
	if (data.len <= INPUT_MAX)
		hold_input(session, data);
	else
		refuse_field(session, "stdin", "at most 64 KiB in one message");
}

static void take_size(struct session *session, const Berth__V1__TerminalSize *size)
{
	if (is_size(size))
		resize(session, size);
	else
		refuse_size(session, "resize");
}

/* What comes before the descriptors do waits in the call. */
static void begin_exec(struct session *session, const Berth__V1__ExecStart *start)
{
	session->begun = true;
	session->tty = start->tty;
	grpc_call_pause(session->call);
	engine_exec(session->service->engine, start, &session->engine);
}

static void on_exec_message(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__V1__ExecRequest *request = (const void *)message;
	struct session *session = user;
	struct err err = { 0 };

	if (!session->begun && request->message_case == BERTH__V1__EXEC_REQUEST__MESSAGE_START) {
		begin_exec(session, request->start);
		return;
	}
	if (!session->begun) {
		refuse_message(session, "the first message must be `start`");
		return;
	}
	switch (request->message_case) {
	case BERTH__V1__EXEC_REQUEST__MESSAGE_STDIN:
		take_input(session, request->stdin);
		break;
	case BERTH__V1__EXEC_REQUEST__MESSAGE_STDIN_CLOSED:
		take_end_of_input(session);
		break;
	case BERTH__V1__EXEC_REQUEST__MESSAGE_RESIZE:
		take_size(session, request->resize);
		break;
	case BERTH__V1__EXEC_REQUEST__MESSAGE_SIGNAL:
		if (!session->over &&
		    engine_session_signal(&session->engine, request->signal, &err) < 0 &&
		    err.kind == ERR_INVALID)
			session_fail(session, &err, NULL);
		break;
	default:
		refuse_message(session, "a message that is none of stdin, stdin_closed, resize, "
					"signal; `start` comes once");
	}
}

static void on_attach_message(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__V1__AttachRequest *request = (const void *)message;
	struct session *session = user;

	if (!session->begun && request->message_case == BERTH__V1__ATTACH_REQUEST__MESSAGE_START) {
		if (request->start->size && !is_size(request->start->size)) {
			refuse_size(session, "start.size");
			return;
		}
		session->begun = true;
		if (request->start->size)
			session->first_size = *request->start->size;
		grpc_call_pause(session->call);
		engine_attach(session->service->engine, request->start, &session->engine);
		return;
	}
	if (!session->begun) {
		refuse_message(session, "the first message must be `start`");
		return;
	}
	switch (request->message_case) {
	case BERTH__V1__ATTACH_REQUEST__MESSAGE_STDIN:
		take_input(session, request->stdin);
		break;
	case BERTH__V1__ATTACH_REQUEST__MESSAGE_STDIN_CLOSED:
		take_end_of_input(session);
		break;
	case BERTH__V1__ATTACH_REQUEST__MESSAGE_RESIZE:
		take_size(session, request->resize);
		break;
	default:
		refuse_message(session, "a message that is none of stdin, stdin_closed, resize; "
					"`start` comes once");
	}
}

static void on_half_close(struct grpc_call *call, void *user)
{
	struct session *session = user;

	if (!session->begun)
		refuse_message(session, "the first message must be `start`");
	else
		take_end_of_input(session);
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	grpc_call_finish(call);
	session_free(user);
}

static const struct grpc_call_events exec_events = { .on_message = on_exec_message,
						     .on_half_close = on_half_close,
						     .on_writable = on_writable,
						     .on_cancel = on_cancel };
static const struct grpc_call_events attach_events = { .on_message = on_attach_message,
						       .on_half_close = on_half_close,
						       .on_writable = on_writable,
						       .on_cancel = on_cancel };

static void session_open(struct grpc_call *call, struct service *service, bool is_attach)
{
	struct session *session = malloc(sizeof(*session));

	if (!session) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "open a session: out of memory",
			       NULL);
		return;
	}
	memset(session, 0, offsetof(struct session, input));
	session->engine.ops = &engine_ops;
	session->engine.userdata = session;
	session->call = call;
	session->service = service;
	session->is_attach = is_attach;
	session->input_fd = session->outputs[0] = session->outputs[1] = -1;
	grpc_call_set_events(call, is_attach ? &attach_events : &exec_events, session);
}

HANDLER(exec)
{
	session_open(call, user, false);
}

HANDLER(attach)
{
	session_open(call, user, true);
}

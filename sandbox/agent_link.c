#include "sandbox/agent_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/log.h"
#include "proto/packet.h"

#define QUEUE_BYTES_MAX    (8U << 20)
#define QUEUE_MESSAGES_MAX 8192
/* From here on the peer has to read before it is heard again. */
#define QUEUE_MESSAGES_FULL 1024
#define PACKETS_A_TURN      32 /* then others of the loop have theirs */

struct agent_link {
	sd_event *event;
	int listen_fd;
	int spare_fd; /* given up to take a connection when there is no other number left */
	sd_event_source *listen_source;
	uid_t agent_uid;
	agent_link_func *func;
	void *userdata;
	/* the connection */
	int fd;
	uint64_t connection; /* counts up; 0: none yet */
	bool ready;
	bool deaf;   /* see agent_link_stop_asking() */
	bool ending; /* to be closed when the frames above are done with it */
	struct ucred peer;
	char peer_text[64];
	sd_event_source *source;
	struct packet_queue queue;
	uint8_t buffer[PACKET_BYTES_MAX];
};

static struct log_about about_peer(const struct agent_link *link)
{
	return (struct log_about){ .peer = link->peer_text };
}

static void hang_up(struct agent_link *link)
{
	if (link->fd < 0)
		return;
	link->source = sd_event_source_disable_unref(link->source);
	fd_close(&link->fd);
	packet_queue_done(&link->queue);
	packet_queue_init(&link->queue, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX);
	link->ready = false;
	link->ending = false;
}

static void update_events(struct agent_link *link)
{
	uint32_t events = 0;

	if (!link->deaf && link->queue.messages < QUEUE_MESSAGES_FULL)
		events |= EPOLLIN;
	if (!packet_queue_is_empty(&link->queue))
		events |= EPOLLOUT;
	(void)sd_event_source_set_io_events(link->source, events);
}

void agent_link_stop_asking(struct agent_link *link)
{
	if (!link)
		return;
	link->deaf = true;
	(void)sd_event_source_set_enabled(link->listen_source, SD_EVENT_OFF);
	if (link->source)
		update_events(link);
}

/* One packet. Returns 1 to go on, 0 when there is none or the connection is to end. */
static int receive_one(struct agent_link *link)
{
	struct log_about about = about_peer(link);
	cleanup_packet struct packet packet = { .n_fds = 0 };
	struct err err = { 0 };
	int r = packet_recv(link->fd, link->buffer, sizeof(link->buffer), &packet, &err);

	if (r == -EAGAIN)
		return 0;
	if (r == 0) {
		log_event(LOG_NOTICE, &about, "berthd has hung up");
		link->ending = true;
		return 0;
	}
	if (r > 0)
		r = link->func(link->connection, &packet, link->userdata, &err);
	if (r < 0) {
		(void)err_prefix(&err, r, "connection closed");
		log_failure(LOG_WARNING, &about, &err);
		link->ending = true;
		return 0;
	}
	return 1;
}

static int flush(struct agent_link *link)
{
	struct log_about about = about_peer(link);
	struct err err = { 0 };
	int r = packet_flush(link->fd, &link->queue, &err);

	if (r < 0) {
		log_failure(LOG_WARNING, &about, &err);
		link->ending = true;
	}
	return r;
}

static int on_peer(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct agent_link *link = userdata;

	if (revents & EPOLLOUT)
		(void)flush(link);
	for (int i = 0; i < PACKETS_A_TURN && !link->ending && (revents & EPOLLIN); i++)
		if (link->queue.messages >= QUEUE_MESSAGES_FULL || receive_one(link) == 0)
			break;
	if (link->ending || (revents & (EPOLLERR | EPOLLHUP) && !(revents & EPOLLIN)))
		hang_up(link);
	else
		update_events(link);
	return 0;
}

static int check_peer(const struct agent_link *link, int fd, struct ucred *ret_peer)
{
	socklen_t length = sizeof(*ret_peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &length) < 0)
		return -errno;
	return ret_peer->uid == 0 || ret_peer->uid == link->agent_uid ? 0 : -EPERM;
}

/* A connection that cannot be taken stays in the queue and wakes the loop for ever: it is taken with the
 * spare number and hung up. */
static int accept_connection(struct agent_link *link)
{
	int fd = accept4(link->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
		return fd;
	log_event(LOG_ERR, NULL,
		  "a connection is refused: no descriptor is left (see LimitNOFILE=)");
	fd_close(&link->spare_fd);
	fd = accept4(link->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	fd_close(&fd);
	link->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return -1;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct agent_link *link = userdata;
	cleanup_fd int fd = accept_connection(link);
	struct ucred peer = { 0 };
	struct log_about about;
	struct err err = { 0 };

	if (fd < 0)
		return 0;
	if (check_peer(link, fd, &peer) < 0) {
		log_event(LOG_WARNING, NULL,
			  "connection of pid %d, uid %u, refused: only root and AgentUser may ask",
			  (int)peer.pid, peer.uid);
		return 0;
	}
	if (packet_prepare_socket(fd, &err) < 0) {
		log_failure(LOG_ERR, NULL, &err);
		return 0;
	}
	hang_up(link);
	if (sd_event_add_io(link->event, &link->source, fd, EPOLLIN, on_peer, link) < 0)
		return 0;
	link->fd = take_fd(&fd);
	link->connection++;
	link->peer = peer;
	(void)snprintf(link->peer_text, sizeof(link->peer_text), "pid %d uid %u", (int)peer.pid,
		       peer.uid);
	about = about_peer(link);
	log_event(LOG_NOTICE, &about, "berthd is here");
	return 0;
}

int agent_link_new(sd_event *event, int listen_fd, uid_t agent_uid, agent_link_func *func,
		   void *userdata, struct agent_link **ret_link, struct err *err)
{
	cleanup(agent_link_free_p) struct agent_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return err_oom(err);
	link->event = event;
	link->fd = -1;
	link->listen_fd = listen_fd;
	link->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	link->agent_uid = agent_uid;
	link->func = func;
	link->userdata = userdata;
	packet_queue_init(&link->queue, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX);
	r = sd_event_add_io(event, &link->listen_source, listen_fd, EPOLLIN, on_connection, link);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the socket of berthd: %m");
	*ret_link = take_ptr(&link);
	return 0;
}

void agent_link_free(struct agent_link *link)
{
	if (!link)
		return;
	hang_up(link);
	packet_queue_done(&link->queue);
	sd_event_source_disable_unref(link->listen_source);
	fd_close(&link->listen_fd);
	fd_close(&link->spare_fd);
	free(link);
}

/* The name is replaced as a whole, so that there is no moment at which another one could connect with
 * other rights or to nothing. */
int agent_link_listen(const char *path, gid_t gid, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a socket: %m");
	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s.new", path) >=
	    (int)sizeof(address.sun_path))
		return err_set(err, ERR_INVALID, ENAMETOOLONG, "socket path %s is too long", path);
	(void)unlink(address.sun_path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chown(address.sun_path, 0, gid) < 0 || chmod(address.sun_path, 0660) < 0 ||
	    listen(fd, 8) < 0 || rename(address.sun_path, path) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot listen at %s: %m", path);
	return take_fd(&fd);
}

void agent_link_set_agent_uid(struct agent_link *link, uid_t agent_uid)
{
	link->agent_uid = agent_uid;
}

bool agent_link_is_ready(const struct agent_link *link)
{
	return link && link->fd >= 0 && link->ready && !link->ending;
}

void agent_link_set_ready(struct agent_link *link, bool ready)
{
	link->ready = ready;
}

pid_t agent_link_peer_pid(const struct agent_link *link)
{
	return link && link->fd >= 0 ? link->peer.pid : 0;
}

/* The frames above may be in the middle of this peer's packet: a failure only marks the connection. An
 * event source that says "writable" then ends it. */
static void send_message(struct agent_link *link, const ProtobufCMessage *message, const int *fds,
			 size_t n_fds)
{
	struct log_about about = about_peer(link);
	struct err err = { 0 };
	int r = packet_send(link->fd, &link->queue, message, fds, n_fds, &err);

	if (r < 0) {
		(void)err_prefix(&err, r, "connection closed: berthd does not take its messages");
		log_failure(LOG_WARNING, &about, &err);
		link->ending = true;
		(void)sd_event_source_set_io_events(link->source, EPOLLIN | EPOLLOUT);
		(void)shutdown(link->fd, SHUT_RDWR);
		return;
	}
	update_events(link);
}

void agent_link_reply(struct agent_link *link, struct asker asker, Berth__Sandbox__V1__Reply *reply,
		      const int *fds, size_t n_fds)
{
	Berth__Sandbox__V1__ToAgent message = BERTH__SANDBOX__V1__TO_AGENT__INIT;

	if (!link || link->fd < 0 || link->ending || asker.connection != link->connection)
		return;
	reply->id = asker.request;
	message.message_case = BERTH__SANDBOX__V1__TO_AGENT__MESSAGE_REPLY;
	message.reply = reply;
	send_message(link, &message.base, fds, n_fds);
}

void agent_link_reply_failure(struct agent_link *link, struct asker asker, const struct err *err)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__Failure failure = BERTH__SANDBOX__V1__FAILURE__INIT;

	failure.kind = err->kind;
	failure.errnum = err->errnum;
	failure.text = (char *)err->text;
	reply.failure = &failure;
	agent_link_reply(link, asker, &reply, NULL, 0);
}

void agent_link_fact(struct agent_link *link, Berth__Sandbox__V1__Fact *fact, const int *fds,
		     size_t n_fds)
{
	Berth__Sandbox__V1__ToAgent message = BERTH__SANDBOX__V1__TO_AGENT__INIT;

	if (!agent_link_is_ready(link))
		return;
	message.message_case = BERTH__SANDBOX__V1__TO_AGENT__MESSAGE_FACT;
	message.fact = fact;
	send_message(link, &message.base, fds, n_fds);
}

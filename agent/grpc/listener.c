#include "agent/grpc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>

#include "agent/grpc/connection.h"
#include "proto/cleanup.h"

#define BACKLOG             256
#define ACCEPTS_PER_TURN    32
#define RETRY_USEC          100000
#define RETRY_ACCURACY_USEC 10000

static void free_files(struct grpc_tls_files *files)
{
	free((char *)(uintptr_t)files->cert_path);
	free((char *)(uintptr_t)files->key_path);
	free((char *)(uintptr_t)files->ca_path);
}

static void listener_free(struct listener *listener)
{
	sd_event_source_disable_unref(listener->io);
	sd_event_source_disable_unref(listener->retry);
	if (listener->path)
		(void)unlink(listener->path);
	free(listener->path);
	fd_close(&listener->fd);
	grpc_tls_unref(listener->tls);
	free_files(&listener->files);
	free(listener);
}
DEFINE_CLEANUP(struct listener *, listener_free)

void listeners_close(struct grpc_server *server)
{
	while (!LIST_EMPTY(&server->listeners)) {
		struct listener *listener = LIST_FIRST(&server->listeners);

		LIST_REMOVE(listener, entry);
		listener_free(listener);
	}
}

int listener_reload_tls(struct listener *listener, struct err *err)
{
	struct grpc_tls *renewed;
	int r;

	if (!listener->tls)
		return 0;
	r = grpc_tls_new_server(&listener->files, &renewed, err);
	if (r < 0)
		return r;
	grpc_tls_unref(listener->tls);
	listener->tls = renewed;
	return 0;
}

/* --- accepting --- */

static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	struct listener *listener = user;

	listener_hold(listener, listener->server->holds);
	return 0;
}

void listener_hold(struct listener *listener, bool hold)
{
	(void)sd_event_source_set_enabled(listener->io, hold ? SD_EVENT_OFF : SD_EVENT_ON);
}

/* The connection stays in the backlog and the descriptor readable: without a rest the loop would spin. */
static void rest(struct listener *listener)
{
	(void)sd_event_source_set_time_relative(listener->retry, RETRY_USEC);
	(void)sd_event_source_set_enabled(listener->retry, SD_EVENT_ONESHOT);
	(void)sd_event_source_set_enabled(listener->io, SD_EVENT_OFF);
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void welcome(struct listener *listener, int fd)
{
	struct grpc_server *server = listener->server;
	struct err err = { 0 };
	int r;

	if (server->stats.connections >= server->options.max_connections) {
		server->stats.connections_refused++;
		fd_close(&fd);
		return;
	}
	r = connection_new(server, fd, listener->tls, &err);
	if (r < 0) {
		server->stats.connections_refused++;
		server_log(server, LOG_NOTICE, "%s", err.text);
	}
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct listener *listener = user;

	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (accepted >= 0) {
			welcome(listener, accepted);
			continue;
		}
		if (is_shortage(errno)) {
			server_log(listener->server, LOG_WARNING, "cannot accept connections: %m");
			rest(listener);
		}
		if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	return 0;
}

/* --- binding --- */

static int copy_files(struct grpc_tls_files *copy, const struct grpc_tls_files *files)
{
	copy->cert_path = strdup(files->cert_path);
	copy->key_path = strdup(files->key_path);
	copy->ca_path = strdup(files->ca_path);
	return copy->cert_path && copy->key_path && copy->ca_path ? 0 : -ENOMEM;
}

static int add_sources(struct listener *listener)
{
	sd_event *event = listener->server->event;
	int r;

	r = sd_event_add_io(event, &listener->io, listener->fd, EPOLLIN, on_accept, listener);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(event, &listener->retry, CLOCK_BOOTTIME, RETRY_USEC,
				       RETRY_ACCURACY_USEC, on_retry, listener);
	if (r < 0)
		return r;
	listener_hold(listener, listener->server->holds);
	return sd_event_source_set_enabled(listener->retry, SD_EVENT_OFF);
}

/* Takes @fd. @path may be NULL. */
static int listener_add(struct grpc_server *server, int fd, const char *path,
			const struct grpc_tls_files *files, struct err *err)
{
	cleanup(listener_free_p) struct listener *listener = calloc(1, sizeof(*listener));
	int r;

	if (!listener) {
		fd_close(&fd);
		return err_oom(err);
	}
	listener->server = server;
	listener->fd = fd;
	if (files) {
		r = grpc_tls_new_server(files, &listener->tls, err);
		if (r < 0)
			return r;
		if (copy_files(&listener->files, files) < 0)
			return err_oom(err);
	}
	if (path) {
		listener->path = strdup(path);
		if (!listener->path)
			return err_oom(err);
	}
	r = add_sources(listener);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch a listening socket: %m");
	LIST_INSERT_HEAD(&server->listeners, listener, entry);
	listener = NULL; /* the server's now */
	return 0;
}

static int fill_address(struct sockaddr_un *addr, const char *path, struct err *err)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (path[0] != '/' || strlen(path) >= sizeof(addr->sun_path))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"cannot listen on %s: a socket needs an absolute path below %zu bytes",
			path, sizeof(addr->sun_path));
	(void)stpcpy(addr->sun_path, path);
	return 0;
}

/* Make way for bind(2): a socket that nobody answers on is a leftover of one of our predecessors. */
static int remove_leftover(const struct sockaddr_un *addr, struct err *err)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0
				       : err_set(err, ERR_INTERNAL, errno, "cannot look at %s: %m",
						 addr->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_EXISTS, EEXIST,
			       "cannot listen on %s: something that is no socket is in its place",
			       addr->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a socket: %m");
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
		return err_set(err, ERR_EXISTS, EADDRINUSE,
			       "cannot listen on %s: another process does", addr->sun_path);
	if (unlink(addr->sun_path) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot remove the old %s: %m",
			       addr->sun_path);
	return 0;
}

/* Nobody may connect before mode and group are right: bind(2) makes the file, listen(2) opens the door. */
static int open_door(int fd, const char *path, mode_t mode, gid_t gid, struct err *err)
{
	if (gid != (gid_t)-1 && lchown(path, (uid_t)-1, gid) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot give %s to group %u: %m", path,
			       (unsigned)gid);
	if (chmod(path, mode) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot set the mode of %s: %m", path);
	if (listen(fd, BACKLOG) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot listen on %s: %m", path);
	return 0;
}

int grpc_server_listen_unix(struct grpc_server *server, const char *path, mode_t mode, gid_t gid,
			    struct err *err)
{
	cleanup_fd int fd = -1;
	struct sockaddr_un addr;
	int r;

	r = fill_address(&addr, path, err);
	if (r == 0)
		r = remove_leftover(&addr, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a socket: %m");
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_set(err, errno == EADDRINUSE ? ERR_EXISTS : ERR_INTERNAL, errno,
			       "cannot bind %s: %m", path);
	r = open_door(fd, path, mode, gid, err);
	if (r == 0)
		r = listener_add(server, take_fd(&fd), path, NULL, err);
	if (r < 0)
		(void)unlink(path); /* best effort: r is the news */
	return r;
}

/* "host:port" or "[v6]:port" into two strings; -EINVAL. */
static int split_address(const char *address, char *host, size_t n_host, const char **ret_port)
{
	const char *colon = strrchr(address, ':');
	size_t n;

	if (!colon || !colon[1])
		return -EINVAL;
	n = (size_t)(colon - address);
	if (n >= 2 && address[0] == '[' && colon[-1] == ']') {
		address++;
		n -= 2;
	} else if (memchr(address, ':', n)) {
		return -EINVAL;
	}
	if (n >= n_host)
		return -EINVAL;
	memcpy(host, address, n);
	host[n] = '\0';
	*ret_port = colon + 1;
	return 0;
}

/* Of names and of both kinds of numbers, with an interface behind a % . */
#define HOST_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%"

bool grpc_server_is_address(const char *address)
{
	char host[NI_MAXHOST];
	const char *port;
	size_t digits;

	if (split_address(address, host, sizeof(host), &port) < 0 || !host[0] ||
	    host[strspn(host, HOST_BYTES)] != '\0')
		return false;
	digits = strspn(port, "0123456789");
	return digits > 0 && digits <= 5 && port[digits] == '\0' && atoi(port) <= UINT16_MAX;
}

static int bind_tcp(const struct addrinfo *info, const char *address, struct err *err)
{
	cleanup_fd int fd = -1;
	int on = 1;

	fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a socket: %m");
	/* A restart must not wait for the last process's connections to time out. */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return err_set(err, errno == EADDRINUSE ? ERR_EXISTS : ERR_INTERNAL, errno,
			       "cannot listen on %s: %m", address);
	return take_fd(&fd);
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t n = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &n) < 0)
		return 0;
	return ntohs(((const struct sockaddr_in *)&addr)->sin_port); /* at the same place in IPv6 */
}

int grpc_server_listen_tcp(struct grpc_server *server, const char *address,
			   const struct grpc_tls_files *files, uint16_t *ret_port, struct err *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *info;
	const char *port;
	char host[256];
	uint16_t chosen;
	int fd, r;

	if (!files)
		return err_set(err, ERR_INVALID, EINVAL, "cannot listen on %s: TCP needs TLS files",
			       address);
	if (split_address(address, host, sizeof(host), &port) < 0)
		return err_set(err, ERR_INVALID, EINVAL,
			       "cannot listen on %s: it must be host:port or [address]:port",
			       address);
	r = getaddrinfo(*host ? host : NULL, port, &hints, &info);
	if (r != 0)
		return err_set(err, ERR_INVALID, EINVAL, "cannot listen on %s: %s", address,
			       gai_strerror(r));
	fd = bind_tcp(info, address, err);
	freeaddrinfo(info);
	if (fd < 0)
		return fd;
	chosen = bound_port(fd);
	r = listener_add(server, fd, NULL, files, err);
	if (r == 0 && ret_port)
		*ret_port = chosen;
	return r;
}

/* The socket's family if it can be served; a negative errno otherwise. */
static int check_handed(int fd, struct err *err)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t n = sizeof(addr);
	int listening = 0;
	socklen_t n_listening = sizeof(listening);
	int flags;

	if (getsockname(fd, (struct sockaddr *)&addr, &n) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n_listening) < 0)
		return err_set(err, ERR_INVALID, errno, "descriptor %d is no socket: %m", fd);
	if (!listening)
		return err_set(err, ERR_INVALID, EINVAL, "socket %d is not listening", fd);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot set up socket %d: %m", fd);
	return addr.ss_family;
}

int grpc_server_listen_fd(struct grpc_server *server, int fd, const struct grpc_tls_files *files,
			  struct err *err)
{
	cleanup_fd int owned = fd;
	int family = check_handed(fd, err);

	if (family < 0)
		return family;
	if (family == AF_UNIX && files)
		return err_set(err, ERR_INVALID, EINVAL, "socket %d: no TLS on unix sockets", fd);
	if (family != AF_UNIX && !files)
		return err_set(err, ERR_INVALID, EINVAL, "socket %d: TCP needs TLS files", fd);
	return listener_add(server, take_fd(&owned), NULL, files, err);
}

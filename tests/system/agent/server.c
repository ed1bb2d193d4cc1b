/*
 * Servers inside a workload, for probes to ask; good ones and others:
 *
 *   server grpc PORT FILE   grpc.health.v1: SERVING while FILE exists, else NOT_SERVING
 *   server http PORT        200 to whatever is asked
 *   server silent PORT      takes connections, and says nothing
 *   server drip PORT        a head that goes on by a byte each 20 ms
 *   server flood PORT       bytes of a body without an end or a head
 *   server frames PORT      HTTP/2 frames without an end
 *   server words PORT TEXT  TEXT to whoever connects, then the end
 *
 * One connection after the other. "up" is written once it listens.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int listen_at(uint16_t port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET,
					     .sin_addr = { htonl(INADDR_ANY) },
					     .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0) {
		perror("listen");
		exit(1);
	}
	(void)puts("up");
	(void)fflush(stdout);
	return fd;
}

static int put(int fd, const void *bytes, size_t n)
{
	return send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
}

static int get(int fd, void *bytes, size_t n)
{
	return recv(fd, bytes, n, MSG_WAITALL) == (ssize_t)n ? 0 : -1;
}

/* ---- grpc ---- */

static int put_frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const void *bytes,
		     uint8_t n)
{
	const uint8_t head[9] = { 0,
				  0,
				  n,
				  type,
				  flags,
				  (uint8_t)(stream >> 24),
				  (uint8_t)(stream >> 16),
				  (uint8_t)(stream >> 8),
				  (uint8_t)stream };

	return put(fd, head, sizeof(head)) < 0 || put(fd, bytes, n) < 0 ? -1 : 0;
}

/* HPACK without tables: a new name and a value, both as they are. */
static uint8_t add_header(uint8_t *block, const char *name, const char *value)
{
	uint8_t n = 0;

	block[n++] = 0;
	block[n++] = (uint8_t)strlen(name);
	memcpy(block + n, name, strlen(name));
	n = (uint8_t)(n + strlen(name));
	block[n++] = (uint8_t)strlen(value);
	memcpy(block + n, value, strlen(value));
	return (uint8_t)(n + strlen(value));
}

static int put_answer(int fd, uint32_t stream, const char *file)
{
	uint8_t message[] = { 0, 0, 0, 0, 2, 0x08, access(file, F_OK) == 0 ? 1 : 2 };
	uint8_t block[128];
	uint8_t n = 1;

	block[0] = 0x88; /* :status 200 */
	n = (uint8_t)(n + add_header(block + n, "content-type", "application/grpc"));
	if (put_frame(fd, 1, 4, stream, block, n) < 0 ||
	    put_frame(fd, 0, 0, stream, message, sizeof(message)) < 0)
		return -1;
	n = add_header(block, "grpc-status", "0");
	return put_frame(fd, 1, 5, stream, block, n);
}

static void serve_grpc(int fd, const char *file)
{
	static uint8_t bytes[1 << 16];
	uint8_t head[9];

	if (get(fd, bytes, 24) < 0 || put_frame(fd, 4, 0, 0, "", 0) < 0)
		return;
	while (get(fd, head, sizeof(head)) == 0) {
		uint32_t n = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
		uint32_t stream = (uint32_t)head[7] << 8 | head[8];

		if (n > sizeof(bytes) || (n && get(fd, bytes, n) < 0))
			return;
		if (head[3] == 4 && !(head[4] & 1) && put_frame(fd, 4, 1, 0, "", 0) < 0)
			return;
		if (head[3] <= 1 && (head[4] & 1) && put_answer(fd, stream, file) < 0)
			return;
	}
}

/* ---- others ---- */

static void wait_for_end(int fd)
{
	char bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static void serve_http(int fd)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	char request[4096];
	size_t length = 0;
	ssize_t n;

	while (length + 1 < sizeof(request) &&
	       (n = recv(fd, request + length, sizeof(request) - 1 - length, 0)) > 0) {
		length += (size_t)n;
		request[length] = '\0';
		if (strstr(request, "\r\n\r\n")) {
			(void)put(fd, answer, sizeof(answer) - 1);
			return;
		}
	}
}

static void drip(int fd)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nX-Name: ";

	if (put(fd, head, sizeof(head) - 1) < 0)
		return;
	while (put(fd, "x", 1) == 0)
		(void)usleep(20000);
}

static void repeat(int fd, const void *bytes, size_t n)
{
	static char block[1 << 16];
	size_t length = 0;

	for (; length + n <= sizeof(block); length += n)
		memcpy(block + length, bytes, n);
	while (put(fd, block, length) == 0)
		;
}

int main(int argc, char **argv)
{
	static const uint8_t settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
	const char *verb = argc > 2 ? argv[1] : "";
	int listener = listen_at((uint16_t)strtoul(argc > 2 ? argv[2] : "0", NULL, 10));

	(void)signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (strcmp(verb, "grpc") == 0)
			serve_grpc(fd, argc > 3 ? argv[3] : "");
		else if (strcmp(verb, "http") == 0)
			serve_http(fd);
		else if (strcmp(verb, "silent") == 0)
			wait_for_end(fd);
		else if (strcmp(verb, "drip") == 0)
			drip(fd);
		else if (strcmp(verb, "flood") == 0)
			repeat(fd, "HTTP/1.1 200 OK\r\nA: b\r\n", 23);
		else if (strcmp(verb, "frames") == 0)
			repeat(fd, settings, sizeof(settings));
		else if (strcmp(verb, "words") == 0 && argc > 3)
			(void)put(fd, argv[3], strlen(argv[3]));
		(void)close(fd);
	}
}

#include "sandbox/descriptor_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "proto/cleanup.h"
#include "proto/log.h"

/* What the last daemon left; each is -1 once it was taken. */
static struct {
	char **names;
	size_t n;
	size_t n_sockets;
	int first_socket;
} passed = { .first_socket = -1 };

static bool is_entry(const char *name)
{
	return strncmp(name, DESCRIPTOR_STORE_PREFIX, strlen(DESCRIPTOR_STORE_PREFIX)) == 0;
}

static int fd_of(size_t index)
{
	return SD_LISTEN_FDS_START + (int)index;
}

static void forget_name(size_t index)
{
	free(passed.names[index]);
	passed.names[index] = NULL;
}

void descriptor_store_begin(void)
{
	int n = sd_listen_fds_with_names(1, &passed.names);

	passed.n = n > 0 ? (size_t)n : 0;
	for (size_t i = 0; i < passed.n; i++) {
		(void)fcntl(fd_of(i), F_SETFD, FD_CLOEXEC);
		if (is_entry(passed.names[i]))
			continue;
		if (passed.n_sockets++ == 0)
			passed.first_socket = fd_of(i);
		forget_name(i);
	}
}

size_t descriptor_store_sockets(int *ret_first_fd)
{
	*ret_first_fd = passed.first_socket;
	return passed.n_sockets;
}

size_t descriptor_store_take(const char *name, int fds[static DESCRIPTOR_STORE_FDS_MAX])
{
	size_t taken = 0;

	for (size_t i = 0; i < passed.n && taken < DESCRIPTOR_STORE_FDS_MAX; i++) {
		if (!passed.names[i] || strcmp(passed.names[i], name) != 0)
			continue;
		fds[taken++] = fd_of(i);
		forget_name(i);
	}
	return taken;
}

size_t descriptor_store_discard(void)
{
	size_t discarded = 0;

	for (size_t i = 0; i < passed.n; i++) {
		int fd = fd_of(i);

		if (!passed.names[i])
			continue;
		fd_close(&fd);
		descriptor_store_remove(passed.names[i]);
		forget_name(i);
		discarded++;
	}
	free(passed.names);
	passed.names = NULL;
	passed.n = 0;
	return discarded;
}

/* FDPOLL=0, as systemd else forgets what has hung up: a pipe with the last words in it, or the pidfd of a
 * process whose exit status the kernel keeps as long as somebody has that. */
void descriptor_store_put(const char *name, const int *fds, size_t n)
{
	char state[DESCRIPTOR_STORE_NAME_MAX + 40];
	int r;

	if (n == 0 || !getenv("NOTIFY_SOCKET"))
		return;
	(void)snprintf(state, sizeof(state), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	r = sd_pid_notify_with_fds(0, 0, state, fds, (unsigned int)n);
	if (r < 0)
		log_event(LOG_WARNING, NULL, "systemd does not keep the descriptors %s: %s", name,
			  strerrordesc_np(-r));
}

void descriptor_store_remove(const char *name)
{
	(void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

#include "sandbox/errand.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/reaper.h"

#define TIMEOUT_MS 5000

struct verdict {
	int r;
	struct err err;
};

int errand_run(struct departures *departures, errand_func *run, void *context, struct err *err)
{
	struct verdict verdict = { 0 };
	cleanup_fd int ours = -1;
	struct pollfd ready;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a socket: %m");
	ours = pair[0];
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		verdict.r = run(context, &verdict.err);
		_exit(send(pair[1], &verdict, sizeof(verdict), MSG_NOSIGNAL) < 0);
	}
	(void)close(pair[1]);
	if (pid < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot fork: %m");
	departures_expect(departures, pidfd_open(pid, 0)); /* it ends by itself */
	ready = (struct pollfd){ .fd = ours, .events = POLLIN };
	if (poll(&ready, 1, TIMEOUT_MS) != 1 ||
	    recv(ours, &verdict, sizeof(verdict), 0) != sizeof(verdict)) {
		reaper_kill_child(pid);
		return err_set(err, ERR_INTERNAL, EIO, "the child that does it did not answer");
	}
	if (verdict.r < 0)
		*err = verdict.err;
	return verdict.r;
}

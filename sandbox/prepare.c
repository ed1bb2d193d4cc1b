#include "sandbox/reaper.h"
#include "sandbox/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/departures.h"
#include "sandbox/sandboxd.h"

#define PREPARE_TIMEOUT_MS 5000

struct verdict {
	int r;
	struct err err;
};

/* In a child: root of the host until the last setns(2), root of the workload from then on. */
static int enter_and_prepare(const struct sandboxd *host, const struct workload *workload,
			     const struct launch_sysctl *sysctls, size_t n, struct err *err)
{
	const struct namespace_set *set = &workload->namespaces;

	if (setns(set->uts_fd, CLONE_NEWUTS) < 0 || setns(set->ipc_fd, CLONE_NEWIPC) < 0 ||
	    (set->net_fd >= 0 && setns(set->net_fd, CLONE_NEWNET) < 0) ||
	    (set->user_fd >= 0 && (setns(set->user_fd, CLONE_NEWUSER) < 0 ||
				   setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)))
		return err_set(err, ERR_INTERNAL, errno, "cannot enter the new namespaces: %m");
	return launch_prepare_workload(host->proc_fd, NULL, sysctls, n, err);
}

/* The daemon has one thread and nothing between the two calls of setns(2) can wait. */
static int set_hostname(const struct sandboxd *host, int uts_fd, const char *hostname,
			struct err *err)
{
	cleanup_fd int own_fd = openat(host->proc_fd, "self/ns/uts", O_RDONLY | O_CLOEXEC);
	int r = 0;

	if (own_fd < 0 || setns(uts_fd, CLONE_NEWUTS) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot enter the UTS namespace: %m");
	if (sethostname(hostname, strlen(hostname)) < 0)
		r = err_set(err, ERR_INTERNAL, errno, "cannot set the hostname to %s: %m",
			    hostname);
	if (setns(own_fd, CLONE_NEWUTS) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot leave the UTS namespace: %m");
	return r;
}

static int set_sysctls(const struct sandboxd *host, const struct workload *workload,
		       const struct launch_sysctl *sysctls, size_t n, struct err *err)
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
		verdict.r = enter_and_prepare(host, workload, sysctls, n, &verdict.err);
		_exit(send(pair[1], &verdict, sizeof(verdict), MSG_NOSIGNAL) < 0);
	}
	(void)close(pair[1]);
	if (pid < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot fork: %m");
	departures_expect(host->departures, pidfd_open(pid, 0)); /* it ends by itself */
	ready = (struct pollfd){ .fd = ours, .events = POLLIN };
	if (poll(&ready, 1, PREPARE_TIMEOUT_MS) != 1 ||
	    recv(ours, &verdict, sizeof(verdict), 0) != sizeof(verdict)) {
		reaper_kill_child(pid);
		return err_set(err, ERR_INTERNAL, EIO,
			       "the child that prepares the namespaces did not answer");
	}
	if (verdict.r < 0)
		*err = verdict.err;
	return verdict.r;
}

int prepare_namespaces_of(const struct sandboxd *host, const struct workload *workload,
			  const char *hostname, const struct launch_sysctl *sysctls, size_t n,
			  struct err *err)
{
	int r = set_hostname(host, workload->namespaces.uts_fd,
			     hostname[0] ? hostname : workload->id, err);

	return r == 0 && n > 0 ? set_sysctls(host, workload, sysctls, n, err) : r;
}

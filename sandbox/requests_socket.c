/* Socket: how berthd reaches what a workload serves. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>

#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/sandboxd.h"

#define STACK_BYTES (64U * 1024)

struct visit {
	int first_pidfd;
	int family;
	int fd; /* -1: */
	int errnum;
};

/* In a thread, which ends in the workload's network namespace: nothing has to find its way back, which
 * could fail, and leave the daemon there. */
static void *visit(void *argument)
{
	struct visit *visit = argument;

	if (setns(visit->first_pidfd, CLONE_NEWNET) == 0)
		visit->fd = socket(visit->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
				   IPPROTO_TCP);
	visit->errnum = visit->fd < 0 ? errno : 0;
	return NULL;
}

static int run_visit(struct visit *arguments)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return -r;
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	r = pthread_create(&thread, &attributes, visit, arguments);
	(void)pthread_attr_destroy(&attributes);
	if (r != 0)
		return -r;
	(void)pthread_join(thread, NULL);
	return -arguments->errnum;
}

/*
 * Safe: a TCP socket that is connected to nobody, in the network namespace of a container that runs, which
 * its first process's pidfd names. It can do there what any program of the workload can do, and berthd may run
 * such programs by Exec. Where the workload has the host's network berthd has it already.
 */
int call_socket(struct call *call, struct err *err)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	struct visit wish = { .first_pidfd = call->container->monitor.first_pidfd,
			      .family = call->request->socket->ipv6 ? AF_INET6 : AF_INET,
			      .fd = -1 };
	int r;

	if (wish.first_pidfd < 0)
		return err_set(err, ERR_PRECONDITION, ESRCH, "there is no process yet");
	r = run_visit(&wish);
	if (r == -ESRCH)
		return err_set(err, ERR_PRECONDITION, ESRCH, "the container has ended");
	if (r < 0)
		return err_set(err, r == -EAFNOSUPPORT ? ERR_UNSUPPORTED : ERR_EXHAUSTED, -r,
			       "cannot make a socket in the workload's network: %m");
	agent_link_reply(call->host->link, call->asker, &reply, &wish.fd, 1);
	fd_close(&wish.fd);
	return 1;
}

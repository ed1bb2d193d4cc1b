#include "sandbox/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/errand.h"
#include "sandbox/sandboxd.h"

struct preparation {
	const struct sandboxd *host;
	const struct workload *workload;
	const struct launch_sysctl *sysctls;
	size_t n;
};

/* In a child: root of the host until the last setns(2), root of the workload from then on. */
static int enter_and_prepare(void *context, struct err *err)
{
	const struct preparation *work = context;
	const struct namespace_set *set = &work->workload->namespaces;

	if (setns(set->uts_fd, CLONE_NEWUTS) < 0 || setns(set->ipc_fd, CLONE_NEWIPC) < 0 ||
	    (set->net_fd >= 0 && setns(set->net_fd, CLONE_NEWNET) < 0) ||
	    (set->user_fd >= 0 && (setns(set->user_fd, CLONE_NEWUSER) < 0 ||
				   setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)))
		return err_set(err, ERR_INTERNAL, errno, "cannot enter the new namespaces: %m");
	return launch_prepare_workload(work->host->proc_fd, NULL, work->sysctls, work->n, err);
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
	struct preparation work = { host, workload, sysctls, n };

	return errand_run(host->departures, enter_and_prepare, &work, err);
}

int prepare_namespaces_of(const struct sandboxd *host, const struct workload *workload,
			  const char *hostname, const struct launch_sysctl *sysctls, size_t n,
			  struct err *err)
{
	int r = set_hostname(host, workload->namespaces.uts_fd,
			     hostname[0] ? hostname : workload->id, err);

	return r == 0 && n > 0 ? set_sysctls(host, workload, sysctls, n, err) : r;
}

#include "sandbox/namespace_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netlink/route/link.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/log.h"
#include "sandbox/userns_owner.h"
#include "sandbox/launch.h"

#define MAKE_TIMEOUT_MS  5000
#define RETRY_AFTER_USEC (1000ULL * 1000)
#define QUIET_USEC       (20ULL * 1000) /* since the last taken one, before it is replaced */
#define NETWORK_OWNER    0xfffffffdU    /* beyond all that a workload's user can be */
#define LOOPBACK_INDEX   1              /* loopback is the first link of every network namespace */

/* What the child says when it is ready, or why it is not. */
struct verdict {
	int r;
	struct err err;
};

/* A child that holds new namespaces until they are opened. */
struct holder {
	pid_t pid;
	int pidfd;
	int sock_fd;
	uint32_t id_first;
};

#define HOLDER_NONE                        \
	(struct holder)                    \
	{                                  \
		.pidfd = -1, .sock_fd = -1 \
	}

struct namespace_pool {
	sd_event *event;
	struct idranges *ranges;
	struct departures *departures;
	int proc_fd;
	size_t target;
	size_t n_ready;
	struct namespace_set *ready;
	struct holder holder; /* at most one is being made; pid 0: none */
	sd_event_source *holder_source;
	sd_event_source *refill_source;
	sd_event_source *retry_source;
};

void namespace_set_done(struct namespace_set *set)
{
	fd_close(&set->user_fd);
	fd_close(&set->net_fd);
	fd_close(&set->ipc_fd);
	fd_close(&set->uts_fd);
}

static int loopback_up(struct err *err)
{
	struct nl_sock *sock = nl_socket_alloc();
	struct rtnl_link *which = rtnl_link_alloc();
	struct rtnl_link *change = rtnl_link_alloc();
	int r = -NLE_NOMEM;

	if (sock && which && change) {
		rtnl_link_set_ifindex(which, LOOPBACK_INDEX);
		rtnl_link_set_flags(change, IFF_UP);
		r = nl_connect(sock, NETLINK_ROUTE);
		if (r >= 0)
			r = rtnl_link_change(sock, which, change, 0);
	}
	rtnl_link_put(change);
	rtnl_link_put(which);
	nl_socket_free(sock);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, EIO, "cannot bring loopback up: %s",
			       nl_geterror(r));
	return 0;
}

static int settle(int proc_fd, bool own_network, bool own_users, struct err *err)
{
	int r = own_network ? loopback_up(err) : 0;

	return r == 0 && own_users ? launch_forbid_nested(proc_fd, err) : r;
}

static int raise_permitted(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++)
		data[i].effective = data[i].permitted;
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/*
 * A network namespace for a workload with the host's ids. It belongs to a user namespace that nothing else
 * is in, so that the daemon brings its loopback up without CAP_NET_ADMIN on the host; and that one belongs
 * to a user whom no workload can be, as the owner of a user namespace has all capabilities in it.
 */
static int make_owned_network(struct err *err)
{
	if (syscall(SYS_setresuid, NETWORK_OWNER, NETWORK_OWNER, 0) < 0 || raise_permitted() < 0 ||
	    unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return err_set(err, ERR_UNSUPPORTED, errno,
			       "cannot make a network namespace for ids of the host: %m");
	return 0;
}

/* In the new namespaces, with all capabilities there, until the daemon hangs up. */
static _Noreturn void hold(int sock_fd, int proc_fd, bool own_network, bool own_users)
{
	struct verdict verdict = { 0 };
	char byte;

	if (own_network && !own_users)
		verdict.r = make_owned_network(&verdict.err);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user forgets it */
	if (read(sock_fd, &byte, 1) != 1)
		_exit(1);
	if (verdict.r == 0)
		verdict.r = settle(proc_fd, own_network, own_users, &verdict.err);
	if (send(sock_fd, &verdict, sizeof(verdict), MSG_NOSIGNAL) != sizeof(verdict))
		_exit(1);
	(void)!read(sock_fd, &byte, 1);
	_exit(0);
}

static int write_map(pid_t pid, const char *file, uint32_t id_first, struct err *err)
{
	cleanup_fd int fd = -1;
	char path[64];
	char map[64];
	int length;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	length = snprintf(map, sizeof(map), "0 %u %u\n", id_first, IDRANGE_IDS);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, map, (size_t)length) != length)
		return err_set(err, ERR_INTERNAL, errno, "cannot write %s: %m", path);
	return 0;
}

/* It ends when we hang up. The loop's reaper collects it. */
static void end_holder(struct departures *departures, struct holder *holder)
{
	fd_close(&holder->sock_fd);
	departures_expect(departures, take_fd(&holder->pidfd));
	holder->pid = 0;
}

static int clone_failed(int errnum, struct err *err)
{
	switch (errnum) {
	case EAGAIN:
	case ENOSPC:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return err_set(
			err, ERR_EXHAUSTED, errnum,
			"cannot make namespaces: %m (see user.max_user_namespaces and its like)");
	case EPERM:
	case EINVAL:
		return err_set(
			err, ERR_UNSUPPORTED, errnum,
			"cannot make namespaces: %m (does this kernel have user namespaces?)");
	default:
		return err_set(err, ERR_INTERNAL, errnum, "cannot make namespaces: %m");
	}
}

static pid_t clone_process(struct clone_args *args)
{
	long pid = syscall(SYS_clone3, args, sizeof(*args));

	return pid < 0 ? -errno : (pid_t)pid;
}

static int start_holder(int proc_fd, uint32_t id_first, bool host_network, bool host_ids,
			struct holder *ret_holder, struct err *err)
{
	struct clone_args args = { .flags = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD,
				   .exit_signal = SIGCHLD };
	struct holder holder = HOLDER_NONE;
	cleanup_fd int child_fd = -1;
	int pair[2];
	int r = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a socket: %m");
	holder.sock_fd = pair[0];
	child_fd = pair[1];
	holder.id_first = id_first;
	args.pidfd = (uint64_t)(uintptr_t)&holder.pidfd;
	args.flags |= host_network || host_ids ? 0 : CLONE_NEWNET;
	args.flags |= host_ids ? 0 : CLONE_NEWUSER;
	holder.pid = host_ids ? clone_process(&args) : userns_owner_clone(&args, id_first);
	if (holder.pid == 0) {
		(void)close(holder.sock_fd);
		hold(child_fd, proc_fd, !host_network, !host_ids);
	}
	if (holder.pid < 0) {
		r = clone_failed(-holder.pid, err);
		fd_close(&holder.sock_fd);
		return r;
	}
	if (!host_ids)
		r = write_map(holder.pid, "uid_map", id_first, err);
	if (!host_ids && r == 0)
		r = write_map(holder.pid, "gid_map", id_first, err);
	if (r == 0 && send(holder.sock_fd, "m", 1, MSG_NOSIGNAL) != 1)
		r = err_set(err, ERR_INTERNAL, errno, "the child that makes namespaces died: %m");
	*ret_holder = holder;
	return r;
}

static int open_namespace(pid_t pid, const char *name, int *ret_fd, struct err *err)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err,
			       errno == EMFILE || errno == ENFILE ? ERR_EXHAUSTED : ERR_INTERNAL,
			       errno, "cannot open %s: %m", path);
	*ret_fd = fd;
	return 0;
}

/* The first process's: the daemon's own may be a private one (PrivateNetwork=). Where nobody may look at
 * the first process, as in some virtual machines, there is no such unit either. */
static int open_host_network(int *ret_fd, struct err *err)
{
	if (open_namespace(1, "net", ret_fd, NULL) == 0)
		return 0;
	return open_namespace(getpid(), "net", ret_fd, err);
}

/* Read the verdict, which is there or comes soon, and open what the holder holds. */
static int finish_holder(const struct holder *holder, bool host_network, bool host_ids,
			 struct namespace_set *ret_set, struct err *err)
{
	cleanup(namespace_set_done) struct namespace_set set = NAMESPACE_SET_EMPTY;
	struct verdict verdict;
	int r = 0;

	if (recv(holder->sock_fd, &verdict, sizeof(verdict), 0) != sizeof(verdict))
		return err_set(err, ERR_INTERNAL, EPIPE,
			       "the child that makes namespaces died before it was ready");
	if (verdict.r < 0) {
		*err = verdict.err;
		return verdict.r;
	}
	if (!host_ids)
		r = open_namespace(holder->pid, "user", &set.user_fd, err);
	if (r == 0)
		r = host_network ? open_host_network(&set.net_fd, err)
				 : open_namespace(holder->pid, "net", &set.net_fd, err);
	if (r == 0)
		r = open_namespace(holder->pid, "ipc", &set.ipc_fd, err);
	if (r == 0)
		r = open_namespace(holder->pid, "uts", &set.uts_fd, err);
	if (r < 0)
		return r;
	set.id_first = host_ids ? 0 : holder->id_first;
	*ret_set = set;
	set = (struct namespace_set)NAMESPACE_SET_EMPTY;
	return 0;
}

int namespace_pool_make(struct departures *departures, int proc_fd, uint32_t id_first,
			bool host_network, bool host_ids, struct namespace_set *ret_set,
			struct err *err)
{
	struct holder holder = HOLDER_NONE;
	struct pollfd ready;
	int r = start_holder(proc_fd, id_first, host_network, host_ids, &holder, err);

	ready = (struct pollfd){ .fd = holder.sock_fd, .events = POLLIN };
	if (r == 0 && poll(&ready, 1, MAKE_TIMEOUT_MS) != 1)
		r = err_set(err, ERR_TIMEOUT, ETIMEDOUT, "making namespaces took more than %d ms",
			    MAKE_TIMEOUT_MS);
	if (r == 0)
		r = finish_holder(&holder, host_network, host_ids, ret_set, err);
	end_holder(departures, &holder);
	return r;
}

static void arm_refill(struct namespace_pool *pool)
{
	if (pool->n_ready < pool->target && !pool->holder.pid)
		(void)sd_event_source_set_enabled(pool->refill_source, SD_EVENT_ONESHOT);
}

static void refill_after(struct namespace_pool *pool, uint64_t usec)
{
	(void)sd_event_source_set_enabled(pool->refill_source, SD_EVENT_OFF);
	(void)sd_event_source_set_time_relative(pool->retry_source, usec);
	(void)sd_event_source_set_enabled(pool->retry_source, SD_EVENT_ONESHOT);
}

/* While workloads come one after the other their launches go first, as long as there are sets. */
static void replace_taken(struct namespace_pool *pool)
{
	if (pool->n_ready > 0)
		refill_after(pool, QUIET_USEC);
	else
		arm_refill(pool);
}

static void try_again_later(struct namespace_pool *pool, const struct err *err)
{
	log_event(LOG_WARNING, NULL, "cannot prepare namespaces ahead: %s", err->text);
	refill_after(pool, RETRY_AFTER_USEC);
}

static void drop_holder(struct namespace_pool *pool, bool keep_ids)
{
	pool->holder_source = sd_event_source_disable_unref(pool->holder_source);
	if (!keep_ids)
		idranges_give_back(pool->ranges, pool->holder.id_first);
	end_holder(pool->departures, &pool->holder);
}

static int on_holder(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct namespace_pool *pool = userdata;
	struct err err = { 0 };
	int r = finish_holder(&pool->holder, false, false, &pool->ready[pool->n_ready], &err);

	drop_holder(pool, r == 0);
	if (r < 0) {
		try_again_later(pool, &err);
		return 0;
	}
	pool->n_ready++;
	arm_refill(pool);
	return 0;
}

static int start_one(struct namespace_pool *pool, struct err *err)
{
	uint32_t id_first;
	int r = idranges_take(pool->ranges, &id_first, err);

	if (r < 0)
		return r;
	r = start_holder(pool->proc_fd, id_first, false, false, &pool->holder, err);
	if (r == 0)
		r = sd_event_add_io(pool->event, &pool->holder_source, pool->holder.sock_fd,
				    EPOLLIN, on_holder, pool);
	if (r < 0) {
		pool->holder.id_first = id_first;
		drop_holder(pool, false);
	}
	return r;
}

/* At idle priority: one a turn of the loop, when nothing else is to be done. */
static int on_refill(sd_event_source *source, void *userdata)
{
	struct namespace_pool *pool = userdata;
	struct err err = { 0 };

	if (pool->n_ready >= pool->target || pool->holder.pid)
		return 0;
	if (start_one(pool, &err) < 0)
		try_again_later(pool, &err);
	return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	arm_refill(userdata);
	return 0;
}

static int add_sources(struct namespace_pool *pool)
{
	int r = sd_event_add_defer(pool->event, &pool->refill_source, on_refill, pool);

	if (r >= 0)
		r = sd_event_source_set_priority(pool->refill_source, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_add_time_relative(pool->event, &pool->retry_source, CLOCK_BOOTTIME,
					       RETRY_AFTER_USEC, 0, on_retry, pool);
	if (r >= 0)
		r = sd_event_source_set_enabled(pool->retry_source, SD_EVENT_OFF);
	return r;
}

int namespace_pool_new(sd_event *event, struct idranges *ranges, struct departures *departures,
		       int proc_fd, size_t target, struct namespace_pool **ret_pool,
		       struct err *err)
{
	cleanup(namespace_pool_free_p) struct namespace_pool *pool = calloc(1, sizeof(*pool));
	int r;

	if (!pool)
		return err_oom(err);
	pool->event = event;
	pool->ranges = ranges;
	pool->departures = departures;
	pool->proc_fd = proc_fd;
	pool->holder = HOLDER_NONE;
	pool->target = target;
	pool->ready = calloc(target + 1, sizeof(*pool->ready));
	if (!pool->ready)
		return err_oom(err);
	r = add_sources(pool);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the pool of namespaces: %m");
	arm_refill(pool);
	*ret_pool = take_ptr(&pool);
	return 0;
}

void namespace_pool_free(struct namespace_pool *pool)
{
	if (!pool)
		return;
	if (pool->holder.pid)
		drop_holder(pool, false);
	for (size_t i = 0; i < pool->n_ready; i++) {
		idranges_give_back(pool->ranges, pool->ready[i].id_first);
		namespace_set_done(&pool->ready[i]);
	}
	sd_event_source_disable_unref(pool->refill_source);
	sd_event_source_disable_unref(pool->retry_source);
	free(pool->ready);
	free(pool);
}

int namespace_pool_take(struct namespace_pool *pool, bool host_network, bool host_ids,
			struct namespace_set *ret_set, struct err *err)
{
	uint32_t id_first = 0;
	int r;

	if (!host_network && !host_ids && pool->n_ready > 0) {
		*ret_set = pool->ready[--pool->n_ready];
		replace_taken(pool);
		return 0;
	}
	if (!host_ids) {
		r = idranges_take(pool->ranges, &id_first, err);
		if (r < 0)
			return r;
	}
	r = namespace_pool_make(pool->departures, pool->proc_fd, id_first, host_network, host_ids,
				ret_set, err);
	if (r < 0 && !host_ids)
		idranges_give_back(pool->ranges, id_first);
	arm_refill(pool);
	return r;
}

size_t namespace_pool_ready(const struct namespace_pool *pool)
{
	return pool->n_ready;
}

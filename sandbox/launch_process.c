#include "sandbox/launch_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/launch_program.h"
#include "sandbox/rootfs.h"
#include "sandbox/terminal.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void step_name(char name[static GATE_STEP_MAX], const char *text)
{
	memset(name, 0, GATE_STEP_MAX);
	memcpy(name, text, strnlen(text, GATE_STEP_MAX - 1));
}

static void step_done(struct gate_page *page, uint64_t ns)
{
	struct monitor_step *step;

	if (page->step_count >= MONITOR_STEPS_MAX)
		return;
	step = &page->steps[page->step_count++];
	step_name(step->name, page->step);
	step->ns = ns;
}

/* What we do here is charged to the container's own group already. */
static void blame_limit(struct err *err)
{
	if (err->errnum != ENOMEM)
		return;
	err->kind = ERR_START;
	(void)err_prefix(err, -ENOMEM, "the memory limit may be too small to start in");
}

void process_run(struct gate *gate, const struct process_step *steps, size_t count, void *context)
{
	struct gate_page *page = gate->page;

	for (size_t i = 0; i < count; i++) {
		uint64_t began_ns = now_ns();

		step_name(page->step, steps[i].name);
		if (steps[i].run(context, &page->err) < 0) {
			blame_limit(&page->err);
			gate_tell(gate, GATE_FAILED);
			_exit(1);
		}
		step_done(page, now_ns() - began_ns);
	}
	_exit(1); /* the last step is the program's start: it does not come back */
}

/* The program begins as if there had been no daemon: each signal has its default, none is blocked. */
static void signals_reset(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)sigaction(number, &action, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int process_begin(struct process *process, struct err *err)
{
	signals_reset();
	/* Nobody else's ptrace, /proc/PID/exe or core until execve(2) makes it the workload's own. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot forbid tracing: %m");
	if (setsid() < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a session: %m");
	return 0;
}

/* Root of the namespace, by the system calls themselves: the C library's set every thread's ids, and
 * there are none. */
int process_become_root(struct err *err)
{
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
	    syscall(SYS_setresuid, 0, 0, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot become the workload's root: %m");
	return 0;
}

static void warn_limit(struct process *process, const struct identity_limit *limit, int errnum)
{
	struct err err = { 0 };

	(void)err_set(
		&err, ERR_UNSUPPORTED, errnum,
		"resource limit %d stays at the host's hard limit, below the %llu asked for: %m",
		limit->resource, (unsigned long long)limit->value.rlim_max);
	gate_warn(process->gate, &err);
}

int process_raise_limits(struct process *process, struct err *err)
{
	for (size_t i = 0; i < process->limit_count; i++) {
		const struct identity_limit *limit = &process->limits[i];
		struct rlimit now;

		if (getrlimit(limit->resource, &now) < 0)
			return err_set(err, ERR_INVALID, errno, "resource limit %d: %m",
				       limit->resource);
		if (limit->value.rlim_max <= now.rlim_max)
			continue;
		now.rlim_max = limit->value.rlim_max;
		if (setrlimit(limit->resource, &now) < 0)
			warn_limit(process, limit, errno);
	}
	return 0;
}

/* Last of all that opens something: RLIMIT_NOFILE holds for us too. */
static int set_limits(struct process *process, struct err *err)
{
	for (size_t i = 0; i < process->limit_count; i++) {
		const struct identity_limit *limit = &process->limits[i];
		struct rlimit value = limit->value;
		struct rlimit now;

		if (getrlimit(limit->resource, &now) < 0)
			return err_set(err, ERR_INTERNAL, errno, "resource limit %d: %m",
				       limit->resource);
		if (value.rlim_max > now.rlim_max)
			value.rlim_max = now.rlim_max;
		if (value.rlim_cur > value.rlim_max)
			value.rlim_cur = value.rlim_max;
		if (setrlimit(limit->resource, &value) < 0)
			return err_set(err, ERR_INTERNAL, errno, "resource limit %d: %m",
				       limit->resource);
	}
	return 0;
}

static int open_terminal(struct process *process, struct err *err)
{
	cleanup_fd int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int master_fd;

	if (root_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the root: %m");
	master_fd = terminal_open(root_fd, process->rows, process->columns, process->identity->uid,
				  err);
	if (master_fd < 0)
		return master_fd;
	/* The monitor's from now on: it is in its table too. */
	process->gate->page->terminal_fd = master_fd;
	return 0;
}

int process_settle(struct process *process, struct err *err)
{
	int r;

	(void)umask(022);
	/* The daemon's session keyring is not the workload's (keyrings are not namespaced). ENOSYS: a
	 * kernel without keys. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return err_set(err, ERR_INTERNAL, errno, "cannot join a session keyring: %m");
	if (process->tty) {
		r = open_terminal(process, err);
		if (r < 0)
			return r;
	}
	/* The monitor's death is ours until the gate: half a container is of no use to anybody. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot follow the monitor: %m");
	/* It may have died before that. Then the socket that we share with it would answer for it for ever. */
	if (gate_is_abandoned(process->gate))
		return err_set(err, ERR_INTERNAL, ESRCH, "the monitor has died");
	return rootfs_chdir(process->working_dir, err);
}

int process_wait_gate(struct process *process, struct err *err)
{
	int r;

	gate_tell(process->gate, GATE_WAITING);
	r = gate_wait(process->gate);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot wait at the gate: %m");
	return 0;
}

int process_take_identity(struct process *process, struct err *err)
{
	int r = set_limits(process, err);

	if (r < 0)
		return r;
	r = identity_apply(process->identity, err);
	if (r < 0)
		return r;
	/* A change of ids makes a process dumpable again where fs.suid_dumpable says so. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot forbid tracing: %m");
	return 0;
}

/*
 * Nothing but 0, 1 and 2 may reach the program: all else becomes close-on-exec, in the table that
 * the monitor shares, which it does not mind; execve(2) then gives us a table of our own and closes.
 */
static int close_on_exec(struct err *err)
{
	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return err_set(err, ERR_UNSUPPORTED, errno,
			       "cannot mark descriptors close-on-exec (Linux 5.11 can): %m");
	return 0;
}

int process_exec(struct process *process, struct err *err)
{
	struct gate_page *page = process->gate->page;
	char path[PATH_MAX];
	int listener_fd = -1;
	int r;

	r = program_find(process->argv[0], process->env, path, sizeof(path), err);
	if (r < 0)
		return r;
	gate_take_table(process->gate); /* should the monitor die now, we do too */
	if (prctl(PR_SET_PDEATHSIG, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot part from the monitor: %m");
	r = close_on_exec(err);
	if (r < 0)
		return r;
	r = gate_watch_exec(process->gate);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the start: %m");
	fd_close(&process->low_fd);
	FAILPOINT("first.exec.loading");
	gate_tell(process->gate, GATE_LOADING);

	/* From here no system call but execve(2): whichever else the profile might deny. */
	r = filter_load(process->filter, &listener_fd, err);
	if (r < 0)
		return r;
	__atomic_store_n(&page->listener_fd, listener_fd, __ATOMIC_RELEASE);
	gate_give_table(process->gate);
	(void)execve(path, (char *const *)process->argv, (char *const *)process->env);
	r = errno;
	(void)program_exec_failed(path, r, &page->err);
	__atomic_store_n(&page->exec_errnum, r, __ATOMIC_RELEASE);
	_exit(1);
}

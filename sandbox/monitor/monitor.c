/*
 * The monitor's whole life after the launch. What it keeps true: the container's end is collected, recorded and told
 * exactly once, whoever listens; the container's output is always taken, whatever the disk says; and no
 * denied call waits for anything else.
 */
#include "sandbox/monitor/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/denial.h"
#include "sandbox/exit_info.h"
#include "sandbox/monitor/group.h"
#include "sandbox/monitor/output.h"
#include "sandbox/monitor/page_writer.h"

#define KILL_PATIENCE_MS 10000 /* until processes that do not end are told of */
#define EMPTY_RETRY_MS   10    /* between looks at a group that is being killed */
#define COLLECTED_MS     2000  /* for the daemon to tell of an end that the kernel does not keep */
#define DAEMON_LOOK_MS   5000  /* between looks whether a daemon can still come for the record */
#define DENIALS_A_TURN   16    /* answered before the others get their turn */
#define GOING_DOWN_MS    10000 /* for what runs, when the host goes down */

struct monitor {
	struct monitor_setup *setup;
	struct container_page *page;
	struct group group;
	struct output output;
	struct denial_table denials;
	bool answers;     /* denials was read */
	bool ended;       /* the first process was collected */
	bool told;        /* exited holds, and was recorded */
	bool done;        /* the daemon has the record */
	bool held_part;   /* a stream holds an unfinished line */
	bool keeps_stdin; /* the daemon was told to */
	bool exit_seen;   /* the first process has ended; of a successor: is not collected yet */
	uint64_t exit_seen_ms;
	uint64_t kill_since_ms; /* 0: nobody asked for it */
	int signal_fd;
	uint64_t going_down_since_ms; /* 0: the host stays up */
	struct monitor_exited exited;
	struct log_counters page_counters; /* as they are in the page */
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ms(void)
{
	return clock_ns(CLOCK_BOOTTIME) / 1000000;
}

/* ---- the daemon ---- */

static void tell(struct monitor *monitor, uint32_t kind, struct monitor_message *message,
		 const int *fds, size_t fd_count)
{
	int r = monitor_send(monitor->setup->control_fd, kind, message, fds, fd_count);

	if (r == -EPIPE || r == -ECONNRESET)
		fd_close(&monitor->setup->control_fd);
}

static void tell_exited(struct monitor *monitor)
{
	struct monitor_message message = { 0 };

	message.exited = monitor->exited;
	tell(monitor, MONITOR_EXITED, &message, NULL, 0);
}

/* What is open by now. */
static void tell_keep(struct monitor *monitor)
{
	const struct monitor_setup *setup = monitor->setup;
	const int fds[MONITOR_KEEP_COUNT] = {
		[MONITOR_KEEP_NONE] = -1,
		[MONITOR_KEEP_STDIN] = setup->stdin_fd,
		[MONITOR_KEEP_STDOUT] = monitor->output.streams[0].fd,
		[MONITOR_KEEP_STDERR] = monitor->output.streams[1].fd,
		[MONITOR_KEEP_TERMINAL] = monitor->output.streams[2].fd,
		[MONITOR_KEEP_LISTENER] = setup->listener_fd,
		[MONITOR_KEEP_ESTATE] = setup->estate_fd,
	};

	monitor->keeps_stdin = setup->stdin_fd >= 0;
	if (!setup->session && setup->control_fd >= 0)
		(void)monitor_send_keep(setup->control_fd, fds);
}

/* An input that a client has closed ends only when the daemon's descriptor of it does, too. */
static void give_up_stdin(struct monitor *monitor)
{
	if (monitor->keeps_stdin && monitor->setup->stdin_fd < 0)
		tell_keep(monitor);
}

static void tell_started(struct monitor *monitor)
{
	struct monitor_message message = { .started = monitor->setup->started };
	int fds[MONITOR_FDS_MAX];
	size_t count = 0;

	message.started.step_count = 0;
	for (uint32_t i = 0; i < message.started.fd_count && i < MONITOR_FDS_MAX; i++) {
		uint32_t kind = message.started.fds[i];

		fds[count++] = kind == MONITOR_FD_PIDFD ? monitor->setup->child_pidfd
							: monitor->setup->dirs[kind];
	}
	message.started.monitor_pid = getpid();
	tell(monitor, MONITOR_STARTED, &message, fds, count);
	if (!monitor->setup->session && monitor->setup->control_fd >= 0)
		(void)monitor_send_streams(
			monitor->setup->control_fd, monitor->output.streams[0].fd,
			monitor->output.streams[1].fd, monitor->output.streams[2].fd);
	tell_keep(monitor);
}

static void signal_first(struct monitor *monitor, int number)
{
	if (!monitor->ended)
		(void)syscall(SYS_pidfd_send_signal, monitor->setup->child_pidfd, number, NULL, 0);
}

/* The group is the container's, or that of a probe; other sessions have none to themselves. */
static bool has_group(const struct monitor *monitor)
{
	return !monitor->setup->session || monitor->setup->above_fd >= 0;
}

static void kill_all(struct monitor *monitor)
{
	if (!has_group(monitor))
		signal_first(monitor, SIGKILL);
	else
		group_kill(&monitor->group);
	if (!monitor->kill_since_ms)
		monitor->kill_since_ms = now_ms();
}

static void take_signal(struct monitor *monitor, const struct monitor_signal *signal)
{
	FAILPOINT("monitor.stop.signal");
	if (signal->number < 0 || signal->number >= NSIG)
		return;
	if (signal->all && signal->number == SIGKILL)
		kill_all(monitor);
	else if (signal->all && has_group(monitor))
		group_signal(&monitor->group, signal->number);
	else
		signal_first(monitor, signal->number);
}

static void take_resize(struct monitor *monitor, const struct monitor_resize *resize)
{
	struct winsize size = { .ws_row = resize->rows, .ws_col = resize->columns };

	if (monitor->setup->terminal_fd >= 0)
		(void)ioctl(monitor->setup->terminal_fd, TIOCSWINSZ, &size);
}

static void note_end(struct monitor *monitor, int code, int status);

static void take_message(struct monitor *monitor, const struct monitor_message *message, int *fds,
			 size_t fd_count)
{
	switch (message->header.kind) {
	case MONITOR_ABORT:
		kill_all(monitor);
		break;
	case MONITOR_SIGNAL:
		take_signal(monitor, &message->signal);
		break;
	case MONITOR_RESIZE:
		take_resize(monitor, &message->resize);
		break;
	case MONITOR_ATTACH:
		if (fd_count == 1) {
			(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
			attachment_begin(&monitor->output.attachment, take_fd(&fds[0]));
		}
		if (monitor->told) /* too late for more than what was kept */
			attachment_end(&monitor->output.attachment);
		break;
	case MONITOR_COLLECTED:
		if (monitor->setup->successor && !monitor->ended)
			note_end(monitor, message->collected.exit_si_code,
				 message->collected.exit_si_status);
		break;
	case MONITOR_ACK_EXIT:
		FAILPOINT("monitor.exit.acknowledged");
		monitor->done = monitor->told;
		break;
	default:
		break;
	}
}

static void hear_daemon(struct monitor *monitor)
{
	struct monitor_message message;
	int fds[MONITOR_FDS_MAX];
	size_t fd_count;
	int r = monitor_receive(monitor->setup->control_fd, &message, fds, &fd_count);

	if (r == -EAGAIN || r == -EINTR)
		return;
	if (r <= 0) {
		fd_close(&monitor->setup->control_fd);
		return;
	}
	take_message(monitor, &message, fds, fd_count);
	for (size_t i = 0; i < fd_count; i++)
		fd_close(&fds[i]);
}

/* A daemon that comes back. The directory lets only root in; this is the second look. */
static void take_connection(struct monitor *monitor)
{
	cleanup_fd int fd = accept4(monitor->setup->listen_fd, NULL, NULL,
				    SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 ||
	    peer.uid != geteuid())
		return;
	fd_close(&monitor->setup->control_fd);
	FAILPOINT("monitor.run.connection");
	monitor->setup->control_fd = take_fd(&fd);
	tell_started(monitor);
	if (monitor->told)
		tell_exited(monitor);
}

/* ---- the host goes down ---- */

static int open_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM); /* blocked since our birth, as all are */
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* systemd, after all units are stopped, sends SIGTERM to every process, the container's among them, and waits for
 * us all; `systemctl kill` of the workloads' unit does so, too. Anybody's SIGTERM but the first process's is no
 * word of that, and ends no workload. */
static void take_signals(struct monitor *monitor)
{
	struct signalfd_siginfo info;

	if (read(monitor->signal_fd, &info, sizeof(info)) != sizeof(info) ||
	    info.ssi_code != SI_USER || info.ssi_pid != 1 || monitor->going_down_since_ms)
		return;
	monitor->going_down_since_ms = now_ms();
	group_thaw(&monitor->group); /* what is frozen hears nothing */
}

/* ---- denied calls ---- */

static void count_denial(struct monitor *monitor, const struct denial *denial)
{
	struct monitor_message message = { 0 };
	bool first;

	if (!monitor->page)
		return;
	page_writer_begin(monitor->page, monitor->setup->page_fd);
	first = denial_count(monitor->page, denial);
	page_writer_end(monitor->page, monitor->setup->page_fd);
	if (!first)
		return;
	message.denied.nr = denial->nr;
	message.denied.errnum = denial->errnum;
	memcpy(message.denied.program, denial->program, sizeof(message.denied.program) - 1);
	tell(monitor, MONITOR_DENIED, &message, NULL, 0);
}

static void answer_denials(struct monitor *monitor, short revents)
{
	struct denial_room *room = &monitor->output.estate->denial;

	for (int i = 0; i < DENIALS_A_TURN; i++) {
		struct pollfd again = { .fd = monitor->setup->listener_fd, .events = POLLIN };
		struct denial denial;
		int r;

		if (!(revents & POLLIN)) {
			if (revents & (POLLHUP | POLLERR))
				fd_close(&monitor->setup->listener_fd);
			return;
		}
		r = denial_answer(monitor->setup->listener_fd, &monitor->denials, room, &denial);
		if (r < 0) {
			fd_close(&monitor->setup->listener_fd);
			return;
		}
		if (r == 1)
			count_denial(monitor, &denial);
		denial_forget(room);
		if (poll(&again, 1, 0) <= 0)
			return;
		revents = again.revents;
	}
}

/* ---- output ---- */

static void publish_counters(struct monitor *monitor)
{
	const struct log_counters *counters = &monitor->output.log.books.counters;

	if (!monitor->page || monitor->setup->session ||
	    !memcmp(counters, &monitor->page_counters, sizeof(*counters)))
		return;
	page_writer_begin(monitor->page, monitor->setup->page_fd);
	monitor->page->log_bytes = counters->bytes;
	monitor->page->log_dropped_bytes = counters->dropped_bytes;
	monitor->page->log_rotated_bytes = counters->rotated_bytes;
	page_writer_end(monitor->page, monitor->setup->page_fd);
	monitor->page_counters = *counters;
}

static void flush_output(struct monitor *monitor)
{
	output_flush(&monitor->output);
	publish_counters(monitor);
}

static void let_go_of_parts(struct monitor *monitor)
{
	output_let_go(&monitor->output);
	publish_counters(monitor);
}

/* ---- the end ---- */

static void note_end(struct monitor *monitor, int code, int status)
{
	FAILPOINT("monitor.exit.collected");
	monitor->ended = true;
	monitor->exited.exit_si_code = code;
	monitor->exited.exit_si_status = status;
	monitor->exited.finished_wall_ns = clock_ns(CLOCK_REALTIME);
	monitor->exited.finished_boot_ns = clock_ns(CLOCK_BOOTTIME);
	if (has_group(monitor)) {
		monitor->exited.killed_processes = group_count(&monitor->group);
		if (monitor->exited.killed_processes)
			kill_all(monitor);
	}
}

/* Whoever is its parent collects it: the daemon, which then says so, or init. Until then it is a zombie and
 * the descriptor readable, which is of no interest; POLLHUP comes all the same. */
static void look_at_strangers_child(struct monitor *monitor, short revents)
{
	int code, status;
	int r = exit_info_read(monitor->setup->child_pidfd, &code, &status);

	if (r > 0)
		note_end(monitor, code, status);
	else if (r == 0 && (revents & POLLHUP))
		note_end(monitor, 0, 0);
	else if (!monitor->exit_seen)
		monitor->exit_seen_ms = now_ms();
	monitor->exit_seen = true;
}

/* On a kernel that keeps no status only the daemon can know, and not each daemon does. */
static void give_up_status(struct monitor *monitor)
{
	int code, status;

	if (monitor->exit_seen && !monitor->ended &&
	    now_ms() - monitor->exit_seen_ms >= COLLECTED_MS &&
	    exit_info_read(monitor->setup->child_pidfd, &code, &status) < 0)
		note_end(monitor, 0, 0);
}

static void collect(struct monitor *monitor, short revents)
{
	siginfo_t info = { 0 };

	if (monitor->setup->successor)
		look_at_strangers_child(monitor, revents);
	else if (waitid(P_PIDFD, (id_t)monitor->setup->child_pidfd, &info, WEXITED | WNOHANG) < 0)
		/* Only if somebody else collected our child: the record says that nothing is known. */
		note_end(monitor, 0, 0);
	else if (info.si_pid != 0)
		note_end(monitor, info.si_code, info.si_status);
}

static void write_exit_record(struct monitor *monitor)
{
	struct container_page *page = monitor->page;
	const struct monitor_exited *exited = &monitor->exited;

	if (!page || monitor->setup->session)
		return;
	page_writer_begin(page, monitor->setup->page_fd);
	page->exit_si_code = exited->exit_si_code;
	page->exit_si_status = exited->exit_si_status;
	FAILPOINT("monitor.exit.half-recorded");
	page->exit_killed_processes = exited->killed_processes;
	page->finished_wall_ns = exited->finished_wall_ns;
	page->finished_boot_ns = exited->finished_boot_ns;
	page->total_cpu_ns = exited->total_cpu_ns;
	page->total_memory_peak_bytes = exited->total_memory_peak_bytes;
	page->total_io_read_bytes = exited->total_io_read_bytes;
	page->total_io_write_bytes = exited->total_io_write_bytes;
	page->total_oom_kills = exited->total_oom_kills;
	page->state = PAGE_EXITED;
	page_writer_end(page, monitor->setup->page_fd);
}

/* Once nobody is left in the container: its last output, its totals, its record. */
static void finish(struct monitor *monitor)
{
	if (has_group(monitor) && group_count(&monitor->group)) {
		if (!monitor->setup->kill_by_cgroup)
			group_kill(&monitor->group);
		return;
	}
	/* Where a zombie still holds it, it goes with the container's. */
	if (monitor->setup->above_fd >= 0)
		(void)unlinkat(monitor->setup->above_fd, monitor->setup->own_group, AT_REMOVEDIR);
	if (!monitor->setup->session) {
		output_drain(&monitor->output);
		publish_counters(monitor);
		FAILPOINT("monitor.exit.drained");
		group_read_totals(&monitor->group, &monitor->exited);
		monitor->exited.log_bytes = monitor->output.log.books.counters.bytes;
		monitor->exited.log_dropped_bytes =
			monitor->output.log.books.counters.dropped_bytes;
	}
	monitor->kill_since_ms = 0;
	write_exit_record(monitor);
	FAILPOINT("monitor.exit.recorded");
	monitor->told = true;
	attachment_end(&monitor->output.attachment);
	fd_close(&monitor->setup->listener_fd);
	tell_exited(monitor);
	FAILPOINT("monitor.exit.told");
}

static uint64_t end_ms(const struct monitor *monitor)
{
	const struct monitor_setup *setup = monitor->setup;
	uint64_t end = UINT64_MAX;

	if (setup->deadline_ms)
		end = setup->started.started_boot_ns / 1000000 + setup->deadline_ms;
	if (monitor->going_down_since_ms && monitor->going_down_since_ms + GOING_DOWN_MS < end)
		end = monitor->going_down_since_ms + GOING_DOWN_MS;
	return end;
}

/* How long a probe, or anything on a host that goes down, may still run; -1: no end is set. */
static int time_left_ms(const struct monitor *monitor)
{
	uint64_t end = end_ms(monitor), now = now_ms();

	if (end == UINT64_MAX || monitor->ended || monitor->kill_since_ms)
		return -1;
	return end > now ? (int)(end - now) : 0;
}

static bool waits_for_daemon(const struct monitor *monitor)
{
	return monitor->told && !monitor->done && monitor->setup->control_fd < 0;
}

/* The next daemon comes by the socket in the run directory. Where that was removed, with the container
 * itself, nobody is left whom the record could be told; nor is anybody where the host goes down. */
static void give_up_record(struct monitor *monitor)
{
	struct stat st;

	if (waits_for_daemon(monitor) &&
	    (monitor->going_down_since_ms || monitor->setup->listen_fd < 0 ||
	     fstat(monitor->setup->run_dir_fd, &st) < 0 || st.st_nlink == 0))
		monitor->done = true;
}

static void tell_unkillable(struct monitor *monitor)
{
	struct monitor_message message = { 0 };

	if (!monitor->kill_since_ms || now_ms() - monitor->kill_since_ms < KILL_PATIENCE_MS)
		return;
	for (uint32_t i = 0; i < 16; i++) {
		if (!group_describe(&monitor->group, i, message.text.text,
				    sizeof(message.text.text)))
			break;
		tell(monitor, MONITOR_UNKILLABLE, &message, NULL, 0);
	}
	monitor->kill_since_ms = now_ms(); /* and again after as long */
}

/* ---- the loop ---- */

enum {
	CONTROL,
	LISTEN,
	CHILD,
	LISTENER,
	SIGNALS,
	CLIENT,
	INPUT,
	FIRST_STREAM,
	POLLED = FIRST_STREAM + ESTATE_STREAMS
};

static void fill_polled(const struct monitor *monitor, struct pollfd polled[static POLLED])
{
	const struct monitor_setup *setup = monitor->setup;
	bool room = attachment_has_room(&monitor->output.attachment);

	polled[CONTROL] = (struct pollfd){ setup->control_fd, POLLIN, 0 };
	polled[LISTEN] = (struct pollfd){ setup->listen_fd, POLLIN, 0 };
	polled[CHILD] = (struct pollfd){ monitor->ended ? -1 : setup->child_pidfd,
					 monitor->exit_seen ? 0 : POLLIN, 0 };
	polled[LISTENER] = (struct pollfd){ monitor->answers ? setup->listener_fd : -1, POLLIN, 0 };
	polled[SIGNALS] = (struct pollfd){ monitor->signal_fd, POLLIN, 0 };
	polled[CLIENT] = (struct pollfd){ monitor->output.attachment.fd,
					  attachment_events(&monitor->output.attachment), 0 };
	polled[INPUT] = (struct pollfd){ attachment_input_events(&monitor->output.attachment)
						 ? *monitor->output.attachment.input_fd
						 : -1,
					 POLLOUT, 0 };
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		polled[FIRST_STREAM + i] =
			(struct pollfd){ room ? monitor->output.streams[i].fd : -1, POLLIN, 0 };
}

static int earlier(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int timeout_ms(const struct monitor *monitor)
{
	int timeout = attachment_timeout_ms(&monitor->output.attachment);

	if (monitor->output.held_part)
		timeout = earlier(timeout, STREAM_PART_MS);
	if (monitor->exit_seen && !monitor->ended)
		timeout = earlier(timeout, COLLECTED_MS);
	if (monitor->ended && !monitor->told)
		timeout = earlier(timeout, EMPTY_RETRY_MS);
	else if (waits_for_daemon(monitor))
		timeout = earlier(timeout, DAEMON_LOOK_MS);
	else if (monitor->kill_since_ms)
		timeout = earlier(timeout, monitor->setup->kill_by_cgroup ? KILL_PATIENCE_MS
									  : EMPTY_RETRY_MS);
	return earlier(timeout, time_left_ms(monitor));
}

static void take_events(struct monitor *monitor, const struct pollfd polled[static POLLED])
{
	bool output = false;

	if (polled[LISTENER].revents)
		answer_denials(monitor, polled[LISTENER].revents);
	if (polled[SIGNALS].revents)
		take_signals(monitor);
	for (int i = 0; i < ESTATE_STREAMS; i++)
		if (polled[FIRST_STREAM + i].revents)
			output |= output_take(&monitor->output, i);
	if (output)
		flush_output(monitor);
	if (polled[CLIENT].revents && monitor->output.attachment.fd == polled[CLIENT].fd)
		attachment_ready(&monitor->output.attachment, polled[CLIENT].revents);
	if (polled[INPUT].revents)
		attachment_input_ready(&monitor->output.attachment, polled[INPUT].revents);
	if (polled[CONTROL].revents)
		hear_daemon(monitor);
	if (polled[LISTEN].revents)
		take_connection(monitor);
	if (polled[CHILD].revents)
		collect(monitor, polled[CHILD].revents);
}

static void turn(struct monitor *monitor)
{
	struct pollfd polled[POLLED];
	int n;

	fill_polled(monitor, polled);
	n = poll(polled, POLLED, timeout_ms(monitor));
	if (n > 0)
		take_events(monitor, polled);
	else if (n == 0 && monitor->output.held_part)
		let_go_of_parts(monitor);
	attachment_check_stall(&monitor->output.attachment);
	give_up_stdin(monitor);
	give_up_status(monitor);
	if (time_left_ms(monitor) == 0)
		kill_all(monitor);
	if (monitor->kill_since_ms && !monitor->ended && !monitor->setup->kill_by_cgroup &&
	    has_group(monitor))
		group_kill(&monitor->group);
	if (monitor->ended && !monitor->told)
		finish(monitor);
	/* A daemon that comes back looks for containers; who waited for a session went with the old one. */
	if (monitor->told && monitor->setup->session && monitor->setup->control_fd < 0)
		monitor->done = true;
	tell_unkillable(monitor);
	give_up_record(monitor);
}

/* Without an estate, as an earlier release left none, only what is in the page is known. */
static void read_counters(struct monitor *monitor)
{
	monitor->output.log.books.counters = (struct log_counters){
		.bytes = monitor->page->log_bytes,
		.dropped_bytes = monitor->page->log_dropped_bytes,
		.rotated_bytes = monitor->page->log_rotated_bytes,
	};
}

static void resume_denial(struct monitor *monitor)
{
	struct denial denial;

	if (!monitor->answers || denial_resume(monitor->setup->listener_fd, &monitor->denials,
					       &monitor->output.estate->denial, &denial) == 0)
		return;
	count_denial(monitor, &denial);
	denial_forget(&monitor->output.estate->denial);
}

/* What the one before us was about is in the page, in the files, and in its estate. */
static void succeed(struct monitor *monitor)
{
	struct monitor_setup *setup = monitor->setup;
	bool inherited = estate_is_inherited(monitor->output.estate);

	if (monitor->page) {
		page_writer_begin(monitor->page, setup->page_fd);
		monitor->page->monitor_pid = getpid();
		if (!inherited)
			read_counters(monitor);
		page_writer_end(monitor->page, setup->page_fd);
	}
	resume_denial(monitor);
	if (inherited)
		output_resume(&monitor->output);
	publish_counters(monitor);
	if (setup->attach_fd >= 0)
		attachment_begin(&monitor->output.attachment, take_fd(&setup->attach_fd));
	if (setup->is_collected)
		note_end(monitor, setup->collected.exit_si_code, setup->collected.exit_si_status);
}

static void prepare_output(struct monitor *monitor, struct monitor_setup *setup)
{
	const int fds[ESTATE_STREAMS] = { setup->stdout_fd, setup->stderr_fd,
					  setup->session ? -1 : setup->terminal_fd };

	output_init(&monitor->output, estate_map(setup->estate_fd), setup->log_dir_fd,
		    setup->log_max_file_bytes, setup->log_max_files, fds);
	if (setup->terminal && setup->terminal_fd >= 0)
		(void)fcntl(setup->terminal_fd, F_SETFL, O_NONBLOCK);
	attachment_init(&monitor->output.attachment,
			setup->terminal ? &monitor->output.streams[ESTATE_STREAMS - 1].fd
					: &setup->stdin_fd,
			setup->terminal);
}

static void prepare(struct monitor *monitor, struct monitor_setup *setup)
{
	monitor->setup = setup;
	monitor->group = (struct group){ setup->dirs, setup->freezer_fd, setup->kill_by_cgroup };
	monitor->page = page_writer_map(setup->page_fd);
	monitor->signal_fd = open_signals();
	monitor->answers = setup->listener_fd >= 0 &&
			   denial_table_read(setup->image_fd, &monitor->denials) == 0;
	prepare_output(monitor, setup);
	monitor->keeps_stdin = setup->stdin_fd >= 0;
	if (setup->successor)
		succeed(monitor);
}

int monitor_run(struct monitor_setup *setup)
{
	static struct monitor
		monitor; /* one a process; untouched pages of its buffers cost nothing */

	(void)prctl(PR_SET_NAME, "berth-monitor");
	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)umask(0);
	(void)!chdir("/");
	prepare(&monitor, setup);
	FAILPOINT("monitor.run.begin");
	while (!monitor.done)
		turn(&monitor);
	if (setup->run_dir_fd >= 0 && setup->listen_fd >= 0)
		(void)unlinkat(setup->run_dir_fd, setup->socket_name, 0);
	log_done(&monitor.output.log);
	return 0;
}

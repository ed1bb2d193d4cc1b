#include "sandbox/gate.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"

int gate_init(struct gate *gate, struct err *err)
{
	*gate = (struct gate){ .up_fd = -1, .down_fd = -1, .monitor_fd = -1 };
	gate->page = mmap(NULL, sizeof(*gate->page), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (gate->page == MAP_FAILED) {
		gate->page = NULL;
		return err_oom(err);
	}
	gate->page->listener_fd = -1;
	gate->page->terminal_fd = -1;
	gate->up_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	gate->down_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	gate->monitor_fd = pidfd_open(getpid(), 0);
	if (gate->up_fd < 0 || gate->down_fd < 0 || gate->monitor_fd < 0) {
		int r = err_set(err, ERR_EXHAUSTED, errno,
				"cannot make an eventfd, or a pidfd: %m");

		gate_done(gate);
		return r;
	}
	return 0;
}

void gate_done(struct gate *gate)
{
	if (gate->page)
		(void)munmap(gate->page, sizeof(*gate->page));
	gate->page = NULL;
	fd_close(&gate->up_fd);
	fd_close(&gate->down_fd);
	fd_close(&gate->monitor_fd);
}

bool gate_is_abandoned(const struct gate *gate)
{
	struct pollfd monitor = { .fd = gate->monitor_fd, .events = POLLIN };

	return poll(&monitor, 1, 0) == 1;
}

static void eventfd_raise(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void gate_tell(struct gate *gate, enum gate_phase phase)
{
	__atomic_store_n(&gate->page->phase, phase, __ATOMIC_RELEASE);
	eventfd_raise(gate->up_fd);
}

int gate_wait(struct gate *gate)
{
	uint64_t count;

	while (read(gate->down_fd, &count, sizeof(count)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

void gate_warn(struct gate *gate, const struct err *err)
{
	struct gate_page *page = gate->page;
	struct monitor_text *warning;
	size_t length;

	if (page->warning_count >= GATE_WARNINGS_MAX)
		return;
	warning = &page->warnings[page->warning_count++];
	length = strnlen(err->text, sizeof(warning->text) - 1);
	memcpy(warning->text, err->text, length);
	warning->text[length] = '\0';
}

static bool change_table(struct gate *gate, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&gate->page->table, &from, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

void gate_take_table(struct gate *gate)
{
	while (!change_table(gate, GATE_TABLE_FREE, GATE_TABLE_PROCESS)) {
		(void)change_table(gate, GATE_TABLE_MONITOR, GATE_TABLE_AWAITED);
		(void)syscall(SYS_futex, &gate->page->table, FUTEX_WAIT, GATE_TABLE_AWAITED, NULL,
			      NULL, 0);
	}
}

void gate_give_table(struct gate *gate)
{
	__atomic_store_n(&gate->page->table, GATE_TABLE_FREE, __ATOMIC_RELEASE);
}

void gate_free_table(struct gate *gate)
{
	uint32_t was = __atomic_exchange_n(&gate->page->table, GATE_TABLE_FREE, __ATOMIC_ACQ_REL);

	if (was == GATE_TABLE_AWAITED)
		(void)syscall(SYS_futex, &gate->page->table, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool gate_try_table(struct gate *gate)
{
	return change_table(gate, GATE_TABLE_FREE, GATE_TABLE_MONITOR);
}

/*
 * A robust list of one: the kernel walks it when the address space is released (mm_release() in
 * kernel/fork.c), finds our thread id in the word, sets FUTEX_OWNER_DIED there and wakes one waiter if
 * FUTEX_WAITERS is set. The word's thread id is that of our own pid namespace.
 */
int gate_watch_exec(struct gate *gate)
{
	static struct robust_list_head head;
	struct gate_page *page = gate->page;

	head.list.next = &page->node;
	page->node.next = &head.list;
	head.futex_offset = (long)offsetof(struct gate_page, owner) -
			    (long)offsetof(struct gate_page, node);
	head.list_op_pending = NULL;
	__atomic_store_n(&page->owner, (uint32_t)syscall(SYS_gettid) | FUTEX_WAITERS,
			 __ATOMIC_RELEASE);
	if (syscall(SYS_set_robust_list, &head, sizeof(head)) < 0)
		return -errno;
	return 0;
}

void gate_let_pass(struct gate *gate)
{
	eventfd_raise(gate->down_fd);
}

enum gate_phase gate_phase(const struct gate *gate)
{
	return __atomic_load_n(&gate->page->phase, __ATOMIC_ACQUIRE);
}

int gate_wait_exec(struct gate *gate, unsigned int timeout_ms)
{
	const struct timespec timeout = { .tv_sec = timeout_ms / 1000,
					  .tv_nsec = (long)(timeout_ms % 1000) * 1000000 };

	for (;;) {
		uint32_t owner = __atomic_load_n(&gate->page->owner, __ATOMIC_ACQUIRE);

		if (owner & FUTEX_OWNER_DIED)
			return 0;
		if (syscall(SYS_futex, &gate->page->owner, FUTEX_WAIT, owner, &timeout, NULL, 0) <
			    0 &&
		    errno == ETIMEDOUT)
			return -ETIME;
	}
}

#include "filtered_child.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/err.h"

struct filtered_results *filtered_results_new(void)
{
	void *page = mmap(NULL, sizeof(struct filtered_results), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(page, MAP_FAILED);
	return page;
}

struct filter *compile_or_fail(const struct filter_request *request)
{
	struct filter *filter = NULL;
	struct err err = { 0 };

	if (filter_compile(request, &filter, &err) < 0)
		fail_msg("%s", err.text);
	return filter;
}

static void run_child(const struct filter *filter, int ready_fd, int go_fd,
		      void (*probe)(struct filtered_results *), struct filtered_results *results)
{
	const struct rlimit no_core = { 0, 0 };
	struct err err = { 0 };
	char byte = 0;

	(void)setrlimit(RLIMIT_CORE, &no_core); /* some probes are killed on purpose */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    filter_load(filter, &results->listener_fd, &err) < 0)
		_exit(99);
	/* The test takes its copy of the listener before anything can be denied. */
	if (write(ready_fd, &byte, 1) != 1 || read(go_fd, &byte, 1) != 1)
		_exit(98);
	probe(results);
	_exit(0);
}

static void serve(int listener_fd, int pid_fd, const struct denial_table *table,
		  struct filtered_results *results)
{
	struct pollfd fds[] = { { pid_fd, POLLIN, 0 }, { listener_fd, POLLIN, 0 } };

	while (poll(fds, 2, 30000) > 0) {
		struct denial_room room = { .bytes = { 0 } };
		struct denial denial;

		if (fds[1].revents & POLLIN) {
			int r = denial_answer(listener_fd, table, &room, &denial);

			assert_true(r >= 0);
			if (r == 1 && results->denial_count < ARRAY_SIZE(results->denials))
				results->denials[results->denial_count] = denial;
			results->denial_count += r == 1;
			continue;
		}
		if (fds[0].revents)
			return;
		if (fds[1].revents & POLLHUP)
			fds[1].fd = -1;
	}
	fail_msg("the child did nothing for 30 s");
}

int run_filtered(const struct filter *filter, void (*probe)(struct filtered_results *),
		 struct filtered_results *results)
{
	int ready[2];
	int go[2];
	cleanup_fd int listener_fd = -1;
	cleanup_fd int pid_fd = -1;
	int status;
	pid_t pid;
	char byte = 0;

	memset(results, 0, sizeof(*results));
	assert_return_code(pipe2(ready, O_CLOEXEC), errno);
	assert_return_code(pipe2(go, O_CLOEXEC), errno);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0)
		run_child(filter, ready[1], go[0], probe, results);
	(void)close(ready[1]);
	(void)close(go[0]);
	pid_fd = (int)syscall(__NR_pidfd_open, pid, 0);
	assert_return_code(pid_fd, errno);
	if (read(ready[0], &byte, 1) == 1) {
		if (results->listener_fd >= 0) {
			listener_fd = (int)syscall(__NR_pidfd_getfd, pid_fd, results->listener_fd,
						   0);
			assert_return_code(listener_fd, errno);
		}
		assert_int_equal(write(go[1], &byte, 1), 1);
		serve(listener_fd, pid_fd, &filter->denials, results);
	}
	(void)close(ready[0]);
	(void)close(go[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

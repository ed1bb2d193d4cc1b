#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "proto/err.h"
#include "sandbox/filter.h"

int filter_load(const struct filter *filter, int *ret_listener_fd, struct err *err)
{
	struct sock_fprog program = {
		.len = (unsigned short)filter->instruction_count,
		.filter = filter->instructions,
	};
	/* Killable: a signal that arrives while the monitor answers waits. Without it the call
	 * would be tried again, answered again and counted again. */
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER |
			      SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	long r;

	if (filter->instruction_count == 0) {
		*ret_listener_fd = -1;
		return 0;
	}
	r = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, filter->notifies ? flags : 0, &program);
	if (r < 0 && errno == EINVAL && filter->notifies)
		r = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			    &program);
	if (r < 0 && errno == EBUSY)
		return err_set(
			err, ERR_UNSUPPORTED, EBUSY,
			"cannot load seccomp filter: a filter above this process has a listener, the kernel takes one");
	if (r < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot load seccomp filter of %u instructions: %m",
			       filter->instruction_count);
	*ret_listener_fd = filter->notifies ? (int)r : -1;
	return 0;
}

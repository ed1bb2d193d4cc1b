#include "sandbox/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "proto/cleanup.h"

/* Kept free for what is under way: on a host with 20,000, fifty launches; two at least, for what a monitor
 * sends when its container runs is lost where there is no room for it. */
#define KEPT_SHARE 16
#define KEPT_MIN   (2 * DESCRIPTORS_PER_WORKLOAD)

int descriptors_check_room(struct err *err)
{
	/* The lowest number that is free: all below it are in use. */
	cleanup_fd int lowest_fd = open("/", O_PATH | O_CLOEXEC);
	struct rlimit files;
	rlim_t kept;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot read RLIMIT_NOFILE: %m");
	kept = files.rlim_cur / KEPT_SHARE;
	if (kept < KEPT_MIN)
		kept = KEPT_MIN;
	if (lowest_fd >= 0 && (rlim_t)lowest_fd + kept < files.rlim_cur)
		return 0;
	return err_set(
		err, ERR_EXHAUSTED, EMFILE,
		"berth-sandboxd has no descriptors left for another container: the limit is %llu (LimitNOFILE=)",
		(unsigned long long)files.rlim_cur);
}

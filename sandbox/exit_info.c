#include "sandbox/exit_info.h"

#include <errno.h>
#include <linux/types.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

/* linux/pidfd.h of Linux 6.15; Debian 12's headers are older. */
struct exit_info {
	__u64 mask;
	__u64 cgroup_id;
	__u32 ids[11];
	__s32 exit_code; /* as wait(2) has it */
};
#define EXIT_INFO_GET  _IOWR(0xff, 11, struct exit_info)
#define EXIT_INFO_MASK (1U << 3)

int exit_info_read(int pidfd, int *ret_code, int *ret_status)
{
	struct exit_info info = { .mask = EXIT_INFO_MASK };

	if (ioctl(pidfd, EXIT_INFO_GET, &info) < 0)
		return errno == ENOTTY || errno == EINVAL ? -EOPNOTSUPP : 0;
	if (!(info.mask & EXIT_INFO_MASK))
		return 0;
	if (WIFEXITED(info.exit_code)) {
		*ret_code = CLD_EXITED;
		*ret_status = WEXITSTATUS(info.exit_code);
	} else {
		*ret_code = WCOREDUMP(info.exit_code) ? CLD_DUMPED : CLD_KILLED;
		*ret_status = WTERMSIG(info.exit_code);
	}
	return 1;
}

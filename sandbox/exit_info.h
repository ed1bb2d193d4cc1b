/*
 * How a process ended that is nobody's child of ours: since Linux 6.15 the kernel keeps its exit status with
 * the pidfd (PIDFD_GET_INFO), for as long as anybody holds one.
 */
#pragma once

/*
 * Returns 1 when it is known: *ret_code and *ret_status are as waitid(2) would have told them; 0 when the
 * process has not ended, or its parent has not collected it yet (the descriptor then has no POLLHUP); or
 * -EOPNOTSUPP where this kernel does not keep it.
 */
int exit_info_read(int pidfd, int *ret_code, int *ret_status);

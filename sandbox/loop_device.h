/*
 * A file as a block device, for as long as somebody uses that.
 */
#pragma once

#include "proto/err.h"

#define LOOP_DEVICE_NAME_MAX 32

/*
 * Attach @file_fd, open for reading and writing, to a loop device of the host that is free, of which there are more
 * made as they are wanted. *ret_name is what to mount it by. It is detached when the last descriptor and mount of it
 * are gone, and the one returned, the caller's, is the first. @file_fd may be closed.
 *   ERR_UNSUPPORTED  this host has no loop devices (CONFIG_BLK_DEV_LOOP), or the daemon may not use them
 *   ERR_EXHAUSTED    none is free
 */
int loop_device_attach(int file_fd, char name[static LOOP_DEVICE_NAME_MAX], struct err *err);

#include "sandbox/loop_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "proto/cleanup.h"

#define CONTROL "/dev/loop-control"
/* Somebody else may take the one that was free: other launches, at most as many as there are at once. */
#define TRIES_MAX 256

static int failed(const char *what, const char *name, struct err *err)
{
	bool none = errno == ENOENT || errno == ENXIO || errno == ENODEV;
	bool forbidden = errno == EPERM || errno == EACCES;

	return err_set(err, none || forbidden ? ERR_UNSUPPORTED : ERR_EXHAUSTED, errno,
		       "cannot %s %s: %m%s", what, name,
		       none ? " (the kernel's module loop)"
		       : forbidden
			       ? " (DeviceAllow=block-loop rw and /dev/loop-control rw of the unit)"
			       : "");
}

/* Its descriptor; -EBUSY where it was taken meanwhile. */
static int attach_to(const char *name, int file_fd, struct err *err)
{
	const struct loop_config config = { .fd = (uint32_t)file_fd,
					    .block_size = 4096,
					    .info = { .lo_flags = LO_FLAGS_AUTOCLEAR } };
	cleanup_fd int fd = open(name, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return failed("open", name, err);
	if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
		return take_fd(&fd);
	return errno == EBUSY ? -EBUSY : failed("attach a file to", name, err);
}

int loop_device_attach(int file_fd, char name[static LOOP_DEVICE_NAME_MAX], struct err *err)
{
	cleanup_fd int control_fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	int r = -EBUSY;

	if (control_fd < 0)
		return failed("open", CONTROL, err);
	for (int i = 0; i < TRIES_MAX && r == -EBUSY; i++) {
		int number = ioctl(control_fd, LOOP_CTL_GET_FREE);

		if (number < 0)
			return failed("get a loop device from", CONTROL, err);
		(void)snprintf(name, LOOP_DEVICE_NAME_MAX, "/dev/loop%d", number);
		r = attach_to(name, file_fd, err);
	}
	if (r == -EBUSY)
		return err_set(err, ERR_EXHAUSTED, EBUSY,
			       "cannot get a loop device: others were quicker %d times", TRIES_MAX);
	return r;
}

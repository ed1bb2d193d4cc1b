#include "sandbox/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/path.h"

static int open_master(int root_fd, struct err *err)
{
	cleanup_fd int pts_fd = path_open_dir(root_fd, "/dev/pts", PATH_BENEATH, err);
	int master_fd;
	int r;

	if (pts_fd < 0)
		return pts_fd;
	r = path_check_fs(pts_fd, DEVPTS_SUPER_MAGIC, "/dev/pts", err);
	if (r < 0)
		return r;
	master_fd = path_open(pts_fd, "ptmx", PATH_BENEATH | PATH_NO_XDEV,
			      O_RDWR | O_NOCTTY | O_NONBLOCK, 0);
	if (master_fd < 0)
		return err_set(err, ERR_INTERNAL, -master_fd, "cannot open a terminal: %m");
	return master_fd;
}

/* The slave by TIOCGPTPEER, without a name that something else could have by now. */
static int take_slave(int master_fd, uid_t uid, struct err *err)
{
	cleanup_fd int slave_fd = -1;
	int unlock = 0;

	if (ioctl(master_fd, TIOCSPTLCK, &unlock) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot unlock the terminal: %m");
	slave_fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the terminal's slave: %m");
	if (fchown(slave_fd, uid, (gid_t)-1) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot give the terminal away: %m");
	if (ioctl(slave_fd, TIOCSCTTY, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot take the terminal: %m");
	for (int fd = 0; fd < 3; fd++) {
		if (dup2(slave_fd, fd) < 0)
			return err_set(err, ERR_INTERNAL, errno, "cannot set the streams: %m");
	}
	return 0;
}

int terminal_open(int root_fd, uint16_t rows, uint16_t columns, uid_t uid, struct err *err)
{
	struct winsize size = { .ws_row = rows ? rows : 24, .ws_col = columns ? columns : 80 };
	cleanup_fd int master_fd = open_master(root_fd, err);
	int r;

	if (master_fd < 0)
		return master_fd;
	if (ioctl(master_fd, TIOCSWINSZ, &size) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot size the terminal: %m");
	r = take_slave(master_fd, uid, err);
	return r < 0 ? r : take_fd(&master_fd);
}

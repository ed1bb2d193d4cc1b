/*
 * The guest's whole initial ramdisk: load /NN.ko in order, mount /dev/vda, make it the root, become
 * systemd. Linked statically; nothing else is in the ramdisk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what)
{
	dprintf(2, "initrd: %s: %s\n", what, strerror(errno));
	for (;;)
		pause();
}

static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
}

static void load_modules(void)
{
	for (int i = 0; i < 100; i++) {
		char name[16];
		int fd;

		snprintf(name, sizeof(name), "/%02d.ko", i);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)
			die(name);
		close(fd);
	}
}

/* The disk shows up a moment after its driver. */
static void mount_root(void)
{
	for (int i = 0; mount("/dev/vda", "/newroot", "ext4", MS_NOATIME, "") != 0; i++) {
		if (i > 2000)
			die("mount /dev/vda");
		usleep(5000);
	}
}

int main(void)
{
	mount("dev", "/dev", "devtmpfs", 0, 0);
	open_console();
	load_modules();
	mount_root();
	if (mount("/dev", "/newroot/dev", 0, MS_MOVE, 0) != 0)
		die("move /dev");
	if (chdir("/newroot") != 0 || mount(".", "/", 0, MS_MOVE, 0) != 0 || chroot(".") != 0 ||
	    chdir("/") != 0)
		die("switch root");
	execl("/lib/systemd/systemd", "/lib/systemd/systemd", (char *)0);
	die("exec systemd");
}

/*
 * What a process is, holds and sees: descriptors, credentials, mounts, devices, sockets, interfaces.
 */
#include "tests/escape/probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static void find_more(const char *text)
{
	probe_find("%s%s", probe_found[0] ? "," : "", text);
}

/* The open descriptors of the process @pid, "self" for our own. */
static long list_descriptors(const char *pid)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%s/fd", *pid ? pid : "self");
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && (*pid || atoi(entry->d_name) != dirfd(dir)))
			find_more(entry->d_name);
	(void)closedir(dir);
	return 0;
}

/* Fields of /proc/self/status, in the order asked for: CapInh:CapEff:NoNewPrivs */
static long look_status(const char *names)
{
	char text[256], line[256], *rest = text, *name;

	(void)snprintf(text, sizeof(text), "%s", names);
	while ((name = probe_part(&rest))) {
		FILE *file = fopen("/proc/self/status", "re");
		size_t length = strlen(name);

		if (!file)
			return -errno;
		while (fgets(line, sizeof(line), file)) {
			if (strncmp(line, name, length) != 0 || line[length] != ':')
				continue;
			for (char *c = line; *c; c++)
				*c = *c == '\t' ? ' ' : *c == '\n' ? '\0' : *c;
			find_more(line + length + 2);
		}
		(void)fclose(file);
	}
	return 0;
}

static long look_ids(const char *argument)
{
	probe_find("%u:%u:%u", getuid(), geteuid(), getegid());
	return 0;
}

/* The kernel's own answer for the working directory: "(unreachable)" is one outside of the root. */
static long look_cwd(const char *path)
{
	char where[PATH_MAX];

	if (*path && chdir(path) < 0)
		return -errno;
	if (syscall(SYS_getcwd, where, sizeof(where)) < 0)
		return -errno;
	probe_find("%s", where[0] == '/' ? "inside" : "outside");
	return 0;
}

/* Mounts by what their line in mountinfo says: "writable proc" and the like. */
struct mount_line {
	char root[PATH_MAX], where[PATH_MAX], options[512], type[64];
};

static bool next_mount(FILE *file, struct mount_line *ret)
{
	char line[3 * PATH_MAX];

	while (fgets(line, sizeof(line), file)) {
		const char *dash = strstr(line, " - ");

		if (dash &&
		    sscanf(line, "%*s %*s %*s %4095s %4095s %511s", ret->root, ret->where,
			   ret->options) == 3 &&
		    sscanf(dash, " - %63s", ret->type) == 1)
			return true;
	}
	return false;
}

/* Where a filesystem of @type is mounted with something other than the whole of it, and writable:
 * a mask that went somewhere else. */
static long list_writable_parts(const char *type)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mount_line mount;

	if (!file)
		return -errno;
	while (next_mount(file, &mount))
		if (!strcmp(mount.type, type) && strcmp(mount.root, "/") != 0 &&
		    !strncmp(mount.options, "rw", 2))
			find_more(mount.where);
	(void)fclose(file);
	if (!probe_found[0])
		probe_find("none");
	return 0;
}

static long list_of_type(const char *type)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mount_line mount;

	if (!file)
		return -errno;
	while (next_mount(file, &mount))
		if (!strncmp(mount.type, type, strlen(type)))
			find_more(mount.where);
	(void)fclose(file);
	if (!probe_found[0])
		probe_find("none");
	return 0;
}

/* Mounts but the root that would honour a set-user-id bit or a device node; /dev needs its own nodes. */
static long list_unlocked(const char *argument)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mount_line mount;

	if (!file)
		return -errno;
	while (next_mount(file, &mount))
		if (!strstr(mount.options, "nosuid") ||
		    (!strstr(mount.options, "nodev") && strncmp(mount.where, "/dev", 4) != 0))
			find_more(mount.where);
	(void)fclose(file);
	if (!probe_found[0])
		probe_find("none");
	return 0;
}

/* The part of its file system that is mounted at @where. */
static long look_mount_root(const char *where)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mount_line mount;

	if (!file)
		return -errno;
	while (next_mount(file, &mount))
		if (!strncmp(mount.where, where, strlen(where)))
			find_more(mount.root);
	(void)fclose(file);
	return 0;
}

/* Device nodes in /dev that are not the six that everybody has. */
static long list_devices(const char *argument)
{
	DIR *dir = opendir("/dev");
	struct dirent *entry;
	struct stat st;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		unsigned int major, minor;

		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)))
			continue;
		major = major(st.st_rdev);
		minor = minor(st.st_rdev);
		if (S_ISCHR(st.st_mode) &&
		    ((major == 1 && strchr("35789", (int)('0' + minor)) && minor <= 9) ||
		     (major == 5 && minor == 0)))
			continue;
		find_more(entry->d_name);
	}
	(void)closedir(dir);
	if (!probe_found[0])
		probe_find("none");
	return 0;
}

static long list_interfaces(const char *argument)
{
	FILE *file = fopen("/proc/self/net/dev", "re");
	char line[512], name[64];

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file))
		if (strchr(line, ':') && sscanf(line, " %63[^:]:", name) == 1)
			find_more(name);
	(void)fclose(file);
	return 0;
}

/* ---- who answers ---- */

static long connect_unix(const char *path, bool abstract)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	long r = -ENOENT;

	(void)snprintf(address.sun_path + (abstract ? 1 : 0),
		       sizeof(address.sun_path) - (abstract ? 1 : 0), "%s", path);
	length += offsetof(struct sockaddr_un, sun_path) + 1;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		r = OUTCOME(connect(fd, (struct sockaddr *)&address, (socklen_t)length));
		(void)close(fd);
		if (r != -EPROTOTYPE)
			break;
	}
	return r;
}

static long try_unix(const char *path)
{
	return connect_unix(path, false);
}

/* Whether a connection is kept, when nothing is said for a while. */
static long try_talk(const char *path)
{
	static const int types[] = { SOCK_SEQPACKET, SOCK_STREAM };
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);
		struct pollfd polled = { .fd = fd, .events = POLLIN | POLLRDHUP };

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
			if (errno != EPROTOTYPE)
				return -errno;
			(void)close(fd);
			continue;
		}
		(void)poll(&polled, 1, 3000);
		return polled.revents & (POLLHUP | POLLRDHUP | POLLERR) ? -ECONNRESET : 0;
	}
	return -EPROTOTYPE;
}

/* Abstract names with "berth" in them: seen in the list, and the one asked for connected to. */
static long try_abstract(const char *name)
{
	FILE *file = fopen("/proc/self/net/unix", "re");
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strchr(line, '@');

		line[strcspn(line, "\n")] = '\0';
		if (at && strstr(at, "berth"))
			find_more(at + 1);
	}
	if (file)
		(void)fclose(file);
	if (connect_unix(name, true) == 0)
		find_more("connected");
	if (!probe_found[0])
		probe_find("none");
	return 0;
}

static int inet_socket(const char *argument, struct sockaddr_in *ret)
{
	char text[64], *rest = text;

	(void)snprintf(text, sizeof(text), "%s", argument);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET };
	(void)inet_pton(AF_INET, probe_part(&rest), &ret->sin_addr);
	ret->sin_port = htons((uint16_t)atoi(rest));
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* 127.0.0.1:80 */
static long try_inet(const char *argument)
{
	struct timeval timeout = { .tv_sec = 2 };
	struct sockaddr_in address;
	int fd = inet_socket(argument, &address);

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return OUTCOME(connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

/* For the host's side: listen, say where, and stay until the standard input ends. */
static long hold(int fd)
{
	char byte;

	if (listen(fd, 16) < 0)
		return -errno;
	(void)printf("listening\n");
	(void)fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	return 0;
}

static long hold_inet(const char *argument)
{
	struct sockaddr_in address;
	int fd = inet_socket(argument, &address);

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return hold(fd);
}

static long hold_abstract(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "%s", name);
	if (bind(fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) < 0)
		return -errno;
	return hold(fd);
}

const struct probe probe_looks[] = {
	{ "fds", list_descriptors },
	{ "status", look_status },
	{ "ids", look_ids },
	{ "cwd", look_cwd },
	{ "writable-parts", list_writable_parts },
	{ "mounts-of", list_of_type },
	{ "unlocked-mounts", list_unlocked },
	{ "mount-root", look_mount_root },
	{ "devices", list_devices },
	{ "interfaces", list_interfaces },
	{ "unix", try_unix },
	{ "talk", try_talk },
	{ "abstract", try_abstract },
	{ "inet", try_inet },
	{ "hold-inet", hold_inet },
	{ "hold-abstract", hold_abstract },
	{ 0 },
};

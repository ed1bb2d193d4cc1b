#include "sandbox/denial.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/page.h"
#include "sandbox/filter_image.h"

#define ERRNO_MAX 4095 /* the kernel's MAX_ERRNO */

static bool image_is_sound(const struct filter_image *image, off_t size)
{
	uint64_t want;

	if (image->magic != FILTER_IMAGE_MAGIC || image->version != FILTER_IMAGE_VERSION ||
	    image->instruction_count > BPF_MAXINSNS || image->denial_count > DENIAL_RULES_MAX ||
	    image->default_errnum > ERRNO_MAX || image->notifies > 1)
		return false;
	want = sizeof(*image) + (uint64_t)image->instruction_count * sizeof(struct sock_filter) +
	       (uint64_t)image->denial_count * sizeof(struct denial_rule);
	return size >= 0 && (uint64_t)size == want;
}

int denial_table_read(int image_fd, struct denial_table *ret)
{
	struct filter_image image;
	struct stat st;
	size_t bytes;
	off_t at;

	if (fstat(image_fd, &st) < 0)
		return -errno;
	if (pread(image_fd, &image, sizeof(image), 0) != sizeof(image) ||
	    !image_is_sound(&image, st.st_size))
		return -EBADMSG;
	bytes = image.denial_count * sizeof(struct denial_rule);
	at = (off_t)(sizeof(image) + image.instruction_count * sizeof(struct sock_filter));
	if (pread(image_fd, ret->rules, bytes, at) != (ssize_t)bytes)
		return -EBADMSG;
	ret->count = image.denial_count;
	ret->default_errnum = image.default_errnum;
	for (uint32_t i = 0; i < ret->count; i++)
		if (ret->rules[i].errnum > ERRNO_MAX ||
		    (ret->rules[i].arg > 5 && ret->rules[i].arg != DENIAL_ANY_ARGS))
			return -EBADMSG;
	return 0;
}

int denial_errnum(const struct denial_table *table, const struct seccomp_data *data)
{
	for (uint32_t i = 0; i < table->count; i++) {
		const struct denial_rule *rule = &table->rules[i];

		if (rule->nr == (uint32_t)data->nr &&
		    (rule->arg == DENIAL_ANY_ARGS || (uint32_t)data->args[rule->arg] == rule->low))
			return rule->errnum;
	}
	return (int)table->default_errnum;
}

/* "/proc/<pid>/<name>", with neither allocation nor stdio. */
static void proc_path(char path[48], pid_t pid, const char *name)
{
	char digits[12];
	size_t count = 0;
	char *end = stpcpy(path, "/proc/");

	do {
		digits[count++] = (char)('0' + pid % 10);
		pid /= 10;
	} while (pid > 0);
	while (count > 0)
		*end++ = digits[--count];
	*end++ = '/';
	strcpy(end, name);
}

static ssize_t read_comm(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t length;

	if (fd < 0)
		return -1;
	length = read(fd, buffer, size);
	(void)close(fd);
	return length > 0 && buffer[length - 1] == '\n' ? length - 1 : length;
}

/* The caller's program; its comm, which a program can choose, where the link may not be read; or
 * "". The name is the workload's own and ends on terminals: nothing but printable ASCII leaves
 * here. */
static void read_program(pid_t pid, char program[DENIAL_PROGRAM_MAX])
{
	ssize_t length;
	char path[48];

	program[0] = '\0';
	if (pid <= 0)
		return;
	proc_path(path, pid, "exe");
	length = readlink(path, program, DENIAL_PROGRAM_MAX - 1);
	if (length < 0) {
		proc_path(path, pid, "comm");
		length = read_comm(path, program, DENIAL_PROGRAM_MAX - 1);
	}
	if (length < 0)
		length = 0;
	program[length] = '\0';
	for (ssize_t i = 0; i < length; i++)
		if (program[i] < 0x20 || program[i] > 0x7e)
			program[i] = '?';
}

static int check_sizes(void)
{
	struct seccomp_notif_sizes sizes;

	if (syscall(__NR_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return -errno;
	return sizes.seccomp_notif > DENIAL_ROOM_BYTES ||
			       sizes.seccomp_notif_resp > DENIAL_ROOM_BYTES
		       ? -EOVERFLOW
		       : 0;
}

/* The caller may die at any moment, and a signal may take its call back: ENOENT, nothing to
 * answer. */
static int gone_or_broken(int errnum)
{
	return errnum == ENOENT || errnum == EINTR || errnum == EAGAIN ? 0 : -errnum;
}

static struct seccomp_notif *notification_in(struct denial_room *room)
{
	return (struct seccomp_notif *)room->bytes;
}

static void describe(const struct seccomp_notif *notification, const struct denial_table *table,
		     struct denial *ret)
{
	ret->nr = (uint32_t)notification->data.nr;
	ret->pid = (pid_t)notification->pid;
	ret->errnum = (uint32_t)denial_errnum(table, &notification->data);
	read_program(ret->pid, ret->program);
}

static int refuse(int listener_fd, uint64_t id, uint32_t errnum)
{
	union {
		struct seccomp_notif_resp answer;
		char room[DENIAL_ROOM_BYTES];
	} out = { .room = { 0 } };

	out.answer.id = id;
	out.answer.error = -(int)errnum;
	return ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_SEND, &out) < 0 ? -errno : 0;
}

void denial_forget(struct denial_room *room)
{
	memset(room, 0, sizeof(*room));
}

int denial_answer(int listener_fd, const struct denial_table *table, struct denial_room *room,
		  struct denial *ret)
{
	struct seccomp_notif *notification = notification_in(room);
	struct denial denial;
	int r = check_sizes();

	if (r < 0)
		return r;
	denial_forget(room);
	if (ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_RECV, notification) < 0)
		return gone_or_broken(errno);
	FAILPOINT("monitor.denial.taken");
	describe(notification, table, &denial);

	/* Until the answer the caller is parked and its pid is its own, if the call is still there
	 * now: only then was that program's name read. */
	r = ioctl(listener_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &notification->id) < 0 ? -errno : 0;
	if (r == 0)
		r = refuse(listener_fd, notification->id, denial.errnum);
	FAILPOINT("monitor.denial.answered");
	if (r < 0) {
		denial_forget(room);
		return gone_or_broken(-r);
	}
	*ret = denial;
	return 1;
}

int denial_resume(int listener_fd, const struct denial_table *table, struct denial_room *room,
		  struct denial *ret)
{
	const struct seccomp_notif *notification = notification_in(room);

	if (notification->id == 0)
		return 0;
	describe(notification, table, ret);
	(void)refuse(listener_fd, notification->id, ret->errnum); /* ENOENT: it was, or is gone */
	return 1;
}

/* The end of a path says more than its beginning. */
static void keep_program(struct page_denied *slot, const char *program)
{
	size_t length = strlen(program);
	size_t skip = length < PAGE_PROGRAM_MAX ? 0 : length - (PAGE_PROGRAM_MAX - 1);

	strncpy(slot->program, program + skip, PAGE_PROGRAM_MAX - 1);
	slot->program[PAGE_PROGRAM_MAX - 1] = '\0';
}

bool denial_count(struct container_page *page, const struct denial *denial)
{
	struct page_denied *slot = NULL;
	bool first = false;

	page->denied_total++;
	for (uint32_t i = 0; !slot && i < page->denied_count; i++)
		if (page->denied[i].number == denial->nr &&
		    page->denied[i].errnum == (int32_t)denial->errnum)
			slot = &page->denied[i];
	if (!slot && page->denied_count < PAGE_DENIED_MAX) {
		slot = &page->denied[page->denied_count++];
		slot->number = denial->nr;
		slot->errnum = (int32_t)denial->errnum;
		first = true;
	}
	if (!slot)
		return false;
	slot->times++;
	keep_program(slot, denial->program);
	return first;
}

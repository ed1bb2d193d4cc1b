/*
 * Answering system calls that a filter denies, and counting them so that a workload's status can
 * say "mount(2) denied 3 times, last by /bin/x".
 *
 * The kernel parks the caller and wakes the monitor through the filter's listener
 * (seccomp_unotify(2)); the monitor looks up the errno in the profile's table and answers at once.
 * It never lets a call continue, so that nothing here decides by memory which the caller could
 * change meanwhile.
 *
 * Part of the static monitor: no allocation, no stdio, no library but libc.
 */
#pragma once

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct container_page;

#define DENIAL_RULES_MAX   512 /* more than there are calls */
#define DENIAL_ANY_ARGS    0xffff
#define DENIAL_PROGRAM_MAX 256

/* The errno for a denied call: of the first rule that fits, else the table's own. A rule compares
 * the low 32 bits, as the kernel does with the int arguments that filters look at. */
struct denial_rule {
	uint32_t nr;
	uint16_t errnum;
	uint16_t arg; /* 0 to 5, or DENIAL_ANY_ARGS */
	uint32_t low; /* the low 32 bits of that argument */
};

struct denial_table {
	uint32_t count;
	uint32_t default_errnum;
	struct denial_rule rules[DENIAL_RULES_MAX];
};

/* The kernel writes its own structures' size, which a later one may have grown. */
#define DENIAL_ROOM_BYTES 512

/* Where the kernel puts the call that is being answered: zero at first, and in memory that a successor has. */
struct denial_room {
	_Alignas(8) char bytes[DENIAL_ROOM_BYTES];
};

/* One denied call, for counting and for a log line. */
struct denial {
	uint32_t nr;
	uint32_t errnum;
	pid_t pid; /* in our pid namespace; may be gone already */
	char program
		[DENIAL_PROGRAM_MAX]; /* path seen in its mount namespace; printable ASCII; may be "" */
};

/* Read the table out of a filter's image (filter_serialize(), any file offset). Every length and
 * errno is checked. Returns 0 or a negative errno: EBADMSG for what is no image. */
int denial_table_read(int image_fd, struct denial_table *ret);

/* The errno, positive, with which @data is to be refused. */
int denial_errnum(const struct denial_table *table, const struct seccomp_data *data);

/*
 * Take one call from the listener into @room and refuse it. Call when poll(2) says POLLIN; POLLHUP without it
 * means that no process with the filter is left, and that the listener may be closed.
 *
 * Returns 1 with *ret filled in; 0 when the caller died or was interrupted before it was answered
 * (nothing to count); or a negative errno, after which the listener is of no use.
 */
int denial_answer(int listener_fd, const struct denial_table *table, struct denial_room *room,
		  struct denial *ret);

/*
 * With the room of somebody who died: the call that it had taken and not answered, if any, would wait for
 * ever, since nobody else is told of it. Returns 1 with *ret filled in where there was one, now refused;
 * it may be that it had been, and was not counted. Else 0.
 */
int denial_resume(int listener_fd, const struct denial_table *table, struct denial_room *room,
		  struct denial *ret);

/* The call in @room was counted. */
void denial_forget(struct denial_room *room);

/* Count @denial in the container's page, between page_write_begin() and page_write_end() of the
 * caller's. A full table counts in the total only. Returns whether this call's number was not in
 * the table before and now is: the first denial of a syscall is an event. */
bool denial_count(struct container_page *page, const struct denial *denial);

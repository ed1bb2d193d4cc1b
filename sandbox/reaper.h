/*
 * The ends of processes. The daemon is a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): besides its
 * own children it becomes the parent of a container's first process when that one's monitor dies, and of
 * whatever else loses its parent below it. All zombies are collected here, each by the one who watches
 * its pid; nobody else calls wait.
 *
 * A pid can be watched before the process is a child of ours: it is told only once it is, and has ended.
 * While a zombie is not collected its number cannot become another's, so that pids are exact here.
 */
#pragma once

#include <sys/types.h>

#include <systemd/sd-event.h>

#include "proto/cleanup.h"
#include "proto/err.h"

struct reaper;

/* The process @pid has ended, and is collected: @code and @status are waitid(2)'s si_code and si_status. */
typedef void reaper_func(pid_t pid, int code, int status, void *userdata);

/* SIGCHLD must be blocked. */
int reaper_new(sd_event *event, struct reaper **ret_reaper, struct err *err);
void reaper_free(struct reaper *reaper); /* accepts NULL */
DEFINE_CLEANUP(struct reaper *, reaper_free)

/* Tell @func of the end of @pid, once. An earlier watch of this number is over: the process that it
 * was for must be gone. Returns 0 or ERR_INTERNAL without memory. */
int reaper_watch(struct reaper *reaper, pid_t pid, reaper_func *func, void *userdata,
		 struct err *err);

/* No longer, if it is still @userdata's. */
void reaper_forget(struct reaper *reaper, pid_t pid, const void *userdata);

/* Collect what has ended by now. The loop does it by itself; for tests and for shutting down. */
void reaper_collect(struct reaper *reaper);

/* SIGKILL to @pid, if it is a child of ours: by its pidfd, so that a number that is not, or no longer, a
 * child's reaches nobody. */
void reaper_kill_child(pid_t pid);

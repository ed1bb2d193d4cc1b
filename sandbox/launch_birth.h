/*
 * The time between clone3 and a running program, seen from the monitor of a launch or of an exec
 * session: waiting for the process and the daemon at once, telling the daemon how it went, and becoming
 * the small program.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/aside.h"
#include "sandbox/gate.h"
#include "sandbox/identity.h"
#include "sandbox/launch.h"
#include "sandbox/monitor/setup.h"

struct birth {
	const char *what; /* "t-42/main": for the process's title */
	struct gate gate;
	bool gate_open;
	bool at_gate; /* the process waits there, and the table is clear */
	struct aside aside;
	const struct taskgroup *group; /* of a container */
	pid_t pid;                     /* 0: not born yet */
	char step[GATE_STEP_MAX];
	uint32_t step_count;
	struct monitor_step steps[MONITOR_STEPS_MAX];
	int streams[3];             /* what becomes the process's 0, 1 and 2 */
	struct monitor_setup setup; /* filled in on the way; descriptors -1 at first */
	int program_fd; /* of the small program; -1 in the launcher's forks, which are that */
};

/* One step of a monitor. @undo is safe if the step never ran. */
struct birth_step {
	const char *name;
	int (*run)(void *context, struct err *err);
	void (*undo)(void *context);
};

/* What launch_fork() and exec_fork() do: a socket pair, and a child that runs @monitor with its end
 * of it, in the cgroup @monitors_fd (-1: the caller's own). */
int birth_fork(int monitors_fd, int (*monitor)(const void *spec, int control_fd), const void *spec,
	       struct launched *ret, struct err *err);

/* Its parts, for a launcher: what holds for all monitors, and what each does for itself. */
void birth_quiet(void);
void birth_detach(void);

int birth_init(struct birth *birth, int control_fd, struct err *err);
/* The same for a successor, which waits for nobody's birth: without the gate. */
void birth_init_heir(struct birth *birth, int control_fd);

/* Run @steps; *ret_done counts those that were begun, for birth_undo(). */
int birth_run(struct birth *birth, const struct birth_step *steps, size_t count, void *context,
	      size_t *ret_done, struct err *err);
void birth_undo(const struct birth_step *steps, size_t done, void *context);

/* Pipes, or nothing for a terminal; 0 from @null_fd where @stdin_open is false. Ends with 0, 1 and 2 of
 * the shared table being the process's. @owner_uid and @owner_gid (the host's) own the pipes, so that
 * the program may open /dev/stdout anew. */
int birth_make_pipes(struct birth *birth, bool stdin_open, int null_fd, uid_t owner_uid,
		     gid_t owner_gid, struct err *err);
int birth_place_streams(struct birth *birth, struct err *err);

/* clone3 with @flags and CLONE_FILES, CLONE_PIDFD, into @group_fd (-1: none). The child runs
 * @process, which does not return. */
int birth_clone(struct birth *birth, uint64_t flags, int group_fd, void (*process)(void *context),
		void *context, struct err *err);

/* @known where the daemon has it, with its image; otherwise what @compile makes of @request, here, where it
 * delays nobody else, and the daemon is sent the image. *ret_compiled is the caller's to free. */
int birth_find_filter(struct birth *birth, const struct filter *known, int known_image_fd,
		      const struct filter_request *request, filter_compile_func *compile,
		      struct filter **ret_compiled, const struct filter **ret_filter,
		      struct err *err);

/* Host's oom_score_adj of the process; a refusal is a warning. */
void birth_set_oom_score(struct birth *birth, int oom_score_adj);

/*
 * Behind the gate the process follows names that the image and the workload chose, and /proc/self/fd/N is one. So
 * all that the monitor needs later and that leads anywhere is set aside, and the rest of the table closed: what
 * stays are sockets, pipes and events. execve(2) looks interpreters up as well; it gives the process a table
 * of its own only then.
 *
 *   ERR_EXHAUSTED  no descriptors
 */
int birth_clear_table(struct birth *birth, struct err *err);

/*
 * Until the program is exec'd: 0; or a negative errno with @err and birth->step:
 *   ERR_CANCELLED  the daemon said so, or went away with the gate closed
 *   ERR_START      the process says why, or was killed on the way
 */
int birth_wait(struct birth *birth, struct err *err);

/* End the process, if it was born, and collect it. */
void birth_kill(struct birth *birth);

/* The small program's socket in birth->setup.run_dir_fd. Without one the monitor works, but a later
 * daemon cannot talk to it: a warning. */
void birth_listen(struct birth *birth, const char *name);

/* What the small program needs of the container's group: directories, identity, how it is killed. */
int birth_open_group(struct birth *birth, const struct hierarchy *hierarchy,
		     const struct taskgroup *group, struct err *err);

/* Instead of birth_tell_started(), by a successor: birth->setup.started is what the next daemon is told. */
void birth_take_over(struct birth *birth);

void birth_warn(struct birth *birth, const char *text);

/* The program runs from now on. */
void birth_stamp(struct birth *birth);

/* MONITOR_STARTED, as birth->setup says. */
void birth_tell_started(struct birth *birth);
void birth_tell_failed(struct birth *birth, const struct err *why);

/* Become the small program; it goes on in this one where there is none to execute. Returns the exit status. */
int birth_hand_over(struct birth *birth);

/* @env with PATH and HOME (and TERM for a terminal) where it lacks them; malloc'ed array of borrowed
 * strings. NULL without memory. */
const char **birth_environment(const char *const *env, const struct identity *identity, bool tty);

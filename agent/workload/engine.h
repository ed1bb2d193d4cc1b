/*
 * The engine: desired and observed state of all workloads of this host, and every rule about them:
 * validation, admission, fencing, order of starts and stops, restarts, draining. It does not know
 * gRPC; faces in agent/service decode, authorise, call one function here, and encode.
 *
 * Single-threaded, on the sd-event loop it was given. Nothing here blocks. Commands take the decoded
 * messages of the public contract, which stay the caller's and are only read during the call.
 *
 * A command that may have to wait takes a `struct engine_waiter` of the caller: `done` is called
 * exactly once, possibly before the command returns, unless engine_waiter_cancel() came first. What
 * the answer points to lives until `done` returns. The effect of a command does not depend on anyone
 * waiting for it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "agent/workload/fault.h"
#include "berth/v1/node_agent.pb-c.h"
#include "berth/v1/types.pb-c.h"
#include "proto/arena.h"
#include "proto/err.h"

struct engine;
struct workload;
struct store;
struct sandboxlink;
struct prober;
struct provider;

/* Readings of clocks, so that tests can own time. NULL in the configuration: the host's. */
struct engine_clock {
	uint64_t (*boot_ns)(void *userdata);
	uint64_t (*wall_ns)(void *userdata);
	void *userdata;
};

struct engine_resources {
	uint64_t cpu_millis;
	uint64_t memory_bytes;
	uint64_t pids;
	uint32_t workloads;
};

struct engine_config {
	struct engine_resources capacity; /* 0 in a member: what the host has; workloads: 1000 */
	struct engine_resources reserve;  /* kept for the host itself; workloads is not used */
	size_t events_max;                /* kept for watchers; 0: 16384 */
	size_t event_bytes_max;           /* the same, in bytes; 0: 8 MiB */
	size_t records_max;               /* terminal records; 0: 4096 */
	size_t record_bytes_max;          /* the same, in bytes; 0: 8 MiB */
	uint64_t record_age_ms;           /* of those that are acknowledged; 0: one day */
	const char *agent_version;        /* for GetNode; copied */
	const struct engine_clock *clock; /* NULL: CLOCK_BOOTTIME and CLOCK_REALTIME; not copied */
	struct prober *prober; /* outlives the engine; NULL: probes over a network are not asked */
	struct provider *provider; /* the same; NULL: this host keeps no images */
};

/* ---- Commands ------------------------------------------------------------------------------------- */

struct engine_answer {
	int r;                 /* 0, or a negative errno: then @err and @fault tell why */
	const struct err *err; /* never NULL */
	const struct engine_fault *fault; /* never NULL; empty where there is nothing to add */
	/* Success: the workload concerned, for engine_fill_status(); NULL for commands on the node. A
	 * deleted one is still whole here. */
	const struct workload *workload;
	bool already_applied; /* the same command was applied before; nothing changed */
};

struct engine_waiter {
	void (*done)(struct engine_waiter *waiter, const struct engine_answer *answer);
	void *userdata; /* the caller's */
	/* Who commands, for engine_launch() and engine_reconcile(): as for engine_call_began(), read
	 * during the call only. NULL: not known. */
	const char *scheduler;

	/* the engine's own from here */
	LIST_ENTRY(engine_waiter) link;
	bool linked;
	int until;
	uint64_t generation;
	bool already_applied;
};

/* The asker is gone: `done` will not be called. Allowed at any time after the command, also when it
 * has been answered. */
void engine_waiter_cancel(struct engine_waiter *waiter);

/*
 * Start with no workloads, or with what @store loads. @event may be NULL: timers then only run by
 * engine_run_timers(), for tests. @store and @link must outlive the engine.
 * Returns 0, or a negative errno with @err.
 */
int engine_new(sd_event *event, const struct engine_config *config, struct store *store,
	       struct sandboxlink *link, struct engine **ret_engine, struct err *err);
/* Forgets everything; workloads run on. All waiters, sessions and watches must have been cancelled. */
void engine_free(struct engine *engine);

/* Take over capacity and reserve from a reloaded configuration. Running workloads stay, whatever the
 * new numbers. */
void engine_reconfigure(struct engine *engine, const struct engine_config *config);

/*
 * Failures that commands share, as err.kind (and fault.reason):
 *   ERR_INVALID       fields of the request; all wrong ones at once in fault.fields
 *   ERR_PRECONDITION  STALE_EPOCH, STALE_GENERATION, NOT_ENDED, NOT_RUNNING, ENDED, STUCK
 *   ERR_NOT_FOUND     no such workload or container
 *   ERR_EXISTS        SPEC_DIFFERS
 *   ERR_EXHAUSTED     NO_ROOM, with fault.quotas
 *   ERR_UNSUPPORTED   HOST_CANNOT
 *   ERR_DENIED        POLICY
 *   ERR_UNAVAILABLE   DRAINING, SANDBOX_AWAY, RELEASES_DIFFER, STORE_FAILED
 *   ERR_CANCELLED     SUPERSEDED: while it waited, a later command took the workload elsewhere
 *   ERR_INTERNAL      the host
 */

/* Answered when the workload runs, has ended, waits for a restart or is stuck; with no_wait once the
 * intent is durable. A workload whose program cannot be started is a success with state EXITED (or
 * BACKOFF) and reason START_FAILED. */
void engine_launch(struct engine *engine, const Berth__V1__LaunchRequest *request,
		   struct engine_waiter *waiter);
/* Answered when the kernel has the new limits, and that is durable. UpdateResources, Pause and Resume of one
 * workload are made one after the other; STORE_FAILED where what is asked cannot be kept: then nothing is changed.
 * SANDBOX_AWAY after it was kept: it is made once berth-sandboxd is back. */
void engine_update_resources(struct engine *engine,
			     const Berth__V1__UpdateResourcesRequest *request,
			     struct engine_waiter *waiter);
/* Answered when the workload has ended or is stuck (then its state says so); with no_wait at once. */
void engine_stop(struct engine *engine, const Berth__V1__StopRequest *request,
		 struct engine_waiter *waiter);
/* Answered when nothing of it is left. */
void engine_delete(struct engine *engine, const Berth__V1__DeleteRequest *request,
		   struct engine_waiter *waiter);
void engine_signal(struct engine *engine, const Berth__V1__SignalRequest *request,
		   struct engine_waiter *waiter);
void engine_pause(struct engine *engine, const Berth__V1__PauseRequest *request,
		  struct engine_waiter *waiter);
void engine_resume(struct engine *engine, const Berth__V1__ResumeRequest *request,
		   struct engine_waiter *waiter);
/* Answered when the actions have begun (or, with dry_run, at once). @response is filled before `done`
 * is called, in @arena; both must live until then. */
void engine_reconcile(struct engine *engine, const Berth__V1__ReconcileRequest *request,
		      struct arena *arena, Berth__V1__ReconcileResponse *response,
		      struct engine_waiter *waiter);
/* Answered when accepted; workloads end by and by. */
void engine_set_schedulable(struct engine *engine, const Berth__V1__SetSchedulableRequest *request,
			    struct engine_waiter *waiter);

/*
 * A call of the scheduler @name began, or one ended: it is being heard of from the first to the second,
 * which puts off WorkloadSpec.stop_after_disconnect_ms of the workloads that it placed
 * (engine_waiter.scheduler). @name is as the contract says there, never empty; it stays the caller's.
 */
void engine_call_began(struct engine *engine, const char *name);
void engine_call_ended(struct engine *engine, const char *name);
/* Answered when it is durable; engine_fill_records() has the news. ERR_PRECONDITION with EVENTS_UNKNOWN
 * where there is no such number. */
void engine_ack_records(struct engine *engine, const Berth__V1__AckRecordsRequest *request,
			struct engine_waiter *waiter);

/* ---- Questions: answered at once, in the caller's arena -------------------------------------------- */

/* Each returns 0, or a negative errno with @err and @fault (ERR_INVALID, ERR_NOT_FOUND, ERR_EXHAUSTED
 * when the arena is full). *@ret must have been initialised by its __init function or
 * arena_message(). */
int engine_get(struct engine *engine, const Berth__V1__GetRequest *request, struct arena *arena,
	       Berth__V1__GetResponse *ret, struct err *err, struct engine_fault *fault);
int engine_list(struct engine *engine, const Berth__V1__ListRequest *request, struct arena *arena,
		Berth__V1__ListResponse *ret, struct err *err, struct engine_fault *fault);
int engine_fill_node(struct engine *engine, struct arena *arena, Berth__V1__Node *ret);
/* As it is on record: what is on its way to the disk is not told. */
int engine_fill_status(const struct workload *workload, struct arena *arena,
		       Berth__V1__WorkloadStatus *ret);

void engine_fill_records(const struct engine *engine, Berth__V1__RecordFigures *ret);

/* Where the log files are: <dir>/<workload>/<container>/<9 digits>.log; NULL until berth-sandboxd has
 * said. Valid until the loop runs again. */
const char *engine_log_dir(const struct engine *engine);

/*
 * For readers of logs: whether @id is known, and has the container @container (empty or NULL: any).
 * *ret_ended tells whether no more output will come. 0, or -ENOENT with @err.
 */
int engine_find_log(struct engine *engine, const char *id, const char *container, bool *ret_ended,
		    struct err *err);

/* berth-sandboxd is connected and its inventory is known: launches are possible. */
bool engine_is_ready(const struct engine *engine);

/* ---- Events ---------------------------------------------------------------------------------------- */

/* A reader's place in the history. Costs the engine nothing: a slow reader only falls behind. */
struct engine_cursor {
	uint64_t next;   /* the sequence number that it wants next */
	uint64_t missed; /* fell out of the ring before it was read; not yet told */
	char id[64];     /* only this workload; "" all */
	bool records_only;
	/* Terminal records from record_next on, before record_end, come first. */
	bool with_records;
	bool with_acknowledged;
	uint64_t record_next;
	uint64_t record_end;
};

/* Told when there may be something new for @id; not called again until engine_events_read() found
 * nothing more. */
struct engine_watch {
	void (*available)(struct engine_watch *watch);
	void *userdata;

	/* the engine's own from here */
	LIST_ENTRY(engine_watch) link;
	bool linked;
	bool told;
	struct engine_cursor cursor;
};

/*
 * Begin to watch as @request says. `available` is called from the loop or from within commands.
 * Fails with ERR_PRECONDITION and EVENTS_TOO_OLD or EVENTS_UNKNOWN (to gRPC: OUT_OF_RANGE), or
 * ERR_INVALID.
 */
int engine_watch_begin(struct engine *engine, const Berth__V1__WatchEventsRequest *request,
		       struct engine_watch *watch, struct err *err, struct engine_fault *fault);
void engine_watch_end(struct engine_watch *watch);

/* Up to @max events from the watch's place on, into ret->events and ret->missed. Returns how many
 * events, 0 when all is told, or -ENOMEM (nothing is consumed). */
int engine_events_read(struct engine *engine, struct engine_watch *watch, size_t max,
		       struct arena *arena, Berth__V1__WatchEventsResponse *ret);

/* ---- Sessions: Exec and Attach --------------------------------------------------------------------- */

struct engine_session;

struct engine_session_ops {
	/* The descriptors: of a tty exec the master; of an exec without one stdin (where asked), stdout,
	 * stderr; of Attach the socket of proto/attach.h. Take them with take_fd(); what is left is
	 * closed. */
	void (*opened)(struct engine_session *session, int *fds, size_t n_fds);
	/* Exec only: the program was exec'd. */
	void (*started)(struct engine_session *session, const Berth__V1__ExecStarted *started);
	/* The last call: it ended. Output may still wait in the descriptors. */
	void (*ended)(struct engine_session *session, const Berth__V1__ExitRecord *record);
	/* The last call instead of `ended`: it never began. */
	void (*failed)(struct engine_session *session, const struct engine_answer *answer);
};

struct engine_session {
	const struct engine_session_ops *ops;
	void *userdata;

	/* the engine's own from here */
	LIST_ENTRY(engine_session) link;
	bool linked;
	struct engine *engine;
	uint64_t number; /* on the wire to berth-sandboxd */
	bool attached;   /* Attach, not Exec */
	bool opened;     /* the descriptors are the asker's */
	uint64_t started_boot_ns;
	uint64_t started_wall_ns;
	bool running;
	uint32_t deadline_ms; /* not 0: a probe's */
	uint64_t instance;
	uint32_t attempt;
	char workload[64];
	char container[64];
};

/* Run a program inside a running container. May call `failed` before it returns. The size of the
 * terminal is set by the caller on the master, after this first one. */
void engine_exec(struct engine *engine, const Berth__V1__ExecStart *start,
		 struct engine_session *session);
/* The streams of the container's first process. The session ends with the container. */
void engine_attach(struct engine *engine, const Berth__V1__AttachStart *start,
		   struct engine_session *session);
/* To the exec'd process. @signal as in the contract: name or number. */
int engine_session_signal(struct engine_session *session, const char *signal, struct err *err);
/* The asker is gone: an exec'd process is killed; nothing is called any more. */
void engine_session_close(struct engine_session *session);

/* ---- For telemetry --------------------------------------------------------------------------------- */

struct engine_container {
	const char *workload;
	uint64_t instance; /* of this life of the workload's id */
	uint64_t generation;
	const char *container;
	uint32_t attempt;
};

struct engine_started {
	struct engine_container ref;
	int32_t pid;
	uint64_t started_boot_ns;
	int *page_fd; /* proto/page.h, read-only; -1 where it is not there. Take it, or it is closed. */
	/* Cgroup directories, and which hierarchy each is of ("unified", "memory", ...). Take them. */
	int *cgroup_fds;
	char *const *cgroup_names;
	size_t n_cgroups;
	uint64_t memory_limit_bytes; /* 0: none */
	uint64_t pids_limit;         /* 0: none */
};

/* Hooks, each may be NULL. They must not call commands. Texts are valid during the call. */
struct engine_listener {
	void (*container_started)(void *userdata, const struct engine_started *started);
	void (*container_ended)(void *userdata, const struct engine_container *ref,
				const Berth__V1__ExitRecord *record);
	/* Restarts, labels, limits or state changed: engine_fill_status() has the news. */
	void (*workload_changed)(void *userdata, const struct workload *workload);
	/* It is deleted, or this life of its id is over. */
	void (*workload_gone)(void *userdata, const char *id, uint64_t instance);
	/* The samples before the end of a container, oldest first, into @record, in @arena. Called
	 * before container_ended. */
	void (*last_samples)(void *userdata, const struct engine_container *ref,
			     struct arena *arena, Berth__V1__ExitRecord *record);
	/* Figures of the whole host, for GetNode; NULL when there are none. */
	Berth__V1__NodeUsage *(*node_usage)(void *userdata, struct arena *arena);
	void *userdata;
};

/* @listener is not copied; NULL takes it away. One at a time. */
void engine_set_listener(struct engine *engine, const struct engine_listener *listener);

/* ---- Shortage of memory: agent/pressure decides, the engine carries out ----------------------------- */

enum engine_hold_step {
	HOLD_RECLAIM = 1, /* have the kernel take pages back */
	HOLD_SQUEEZE,     /* lower memory.high */
	HOLD_FREEZE,
	HOLD_KILL,
	HOLD_THAW,
	HOLD_RELEASE, /* memory.high as the spec has it */
};

/* What a decision rests on, and what came of it. */
struct engine_figures {
	uint64_t available_bytes;
	uint32_t some_avg10_permyriad; /* hundredths of a percent */
	uint32_t full_avg10_permyriad;
	uint64_t workload_bytes; /* in use by the workload in question */
};

/* Hooks; they must not call commands, but may call engine_hold() in `ready` and `stepped`. */
struct engine_pressure {
	/* berth-sandboxd is connected and its inventory is known: what held before is found again. */
	void (*ready)(void *userdata);
	/* Measure now. */
	void (*figures)(void *userdata, const struct workload *workload,
			struct engine_figures *ret);
	/* A step is over; @failure NULL: it was done, and its event is told. */
	void (*stepped)(void *userdata, const struct workload *workload, enum engine_hold_step step,
			const struct err *failure);
	/* Into Node.pressure. Returns 0 or -ENOMEM. */
	int (*fill_node)(void *userdata, struct arena *arena, Berth__V1__Node *ret);
	void *userdata;
};

/* @pressure is not copied; NULL takes it away. One at a time. */
void engine_set_pressure(struct engine *engine, const struct engine_pressure *pressure);

/* One workload as it is weighed. */
struct engine_held {
	const struct workload *workload; /* valid until the loop runs again */
	Berth__V1__PriorityBand band;
	bool running;
	bool paused; /* by request */
	bool busy;   /* a step of it is under way */
	bool frozen; /* by a step */
	uint64_t request_bytes;
	uint64_t high_bytes; /* of a squeeze that holds; 0: none */
	uint64_t frozen_ms;
	uint64_t since_reclaim_ms; /* UINT64_MAX: never */
};

/* Those that have not ended, by id. Returns how many were written; engine_count() is enough room. */
size_t engine_list_held(const struct engine *engine, struct engine_held *list, size_t max);
size_t engine_count(const struct engine *engine);

/*
 * Take a step. @bytes: to take back, or the new memory.high. The event has @before and what is measured
 * when it is done, and @sentence, which is also what the workload's owner is told.
 * Returns 0, and `stepped` follows; or ERR_PRECONDITION (a step of it is under way, or it has ended) or
 * ERR_UNAVAILABLE (berth-sandboxd is away).
 */
int engine_hold(struct engine *engine, const struct workload *workload, enum engine_hold_step step,
		uint64_t bytes, const struct engine_figures *before, const char *sentence,
		struct err *err);

/* The event of the node that it is short of memory, or no longer. */
void engine_tell_pressure(struct engine *engine, bool is_short, const char *sentence,
			  const struct engine_figures *figures);
int engine_fill_figures(const struct engine_figures *figures, struct arena *arena,
			Berth__V1__MemoryFigures **ret);

/* What the host has, and that less the reserve. */
void engine_get_memory(const struct engine *engine, uint64_t *ret_capacity,
		       uint64_t *ret_allocatable);
/* As host_has() of agent/workload/host.h. */
bool engine_host_has(const struct engine *engine, const char *feature, const char **ret_sentence);

/* Facts about a workload without building a message. */
const char *engine_workload_id(const struct workload *workload);
uint64_t engine_workload_instance(const struct workload *workload);
uint64_t engine_workload_generation(const struct workload *workload);
Berth__V1__WorkloadState engine_workload_state(const struct workload *workload);
uint32_t engine_workload_restarts(const struct workload *workload);
/* Whether a workload that has not ended, or is to take the place of one, runs from the image that is called
 * @name as a whole. *ret_user is one of them, and is valid until the loop runs again. */
bool engine_uses_image(const struct engine *engine, const char *name, const char **ret_user);
/* As it is on record: what callers may be told. Those before it are as it is now. */
struct engine_told {
	Berth__V1__WorkloadState state;
	uint64_t generation;
	uint32_t restarts;
};
struct engine_told engine_workload_told(const struct workload *workload);
/* NULL where there is none of that name. Valid until the loop runs again. */
const struct workload *engine_find(const struct engine *engine, const char *id);
/* The spec with its defaults filled in; the engine's own. */
const Berth__V1__WorkloadSpec *engine_workload_spec(const struct workload *workload);

/* Run the timers that are due by the configured clock: tests do what the loop does. */
void engine_run_timers(struct engine *engine);

/*
 * What the engine holds: for the files of this folder only.
 *
 * Rules that every file keeps:
 *   - a function that comes from outside (a command, a fact, a reply, a timer) is between
 *     engine_enter() and engine_leave(). Waiters are answered, and workloads freed, in the outermost
 *     engine_leave() only: no answer is given in the middle of a change, and none runs into freed
 *     memory;
 *   - a workload's state changes in workload_set_state() only, which makes the event;
 *   - replies are matched by (slot, instance), never by pointer: the workload may be gone by then.
 */
#pragma once

#include "agent/image/provider.h"
#include "agent/sandboxlink/sandboxlink.h"
#include "agent/store/store.h"
#include "agent/workload/admission.h"
#include "agent/workload/engine.h"
#include "agent/workload/events.h"
#include "agent/workload/fence.h"
#include "agent/workload/host.h"
#include "agent/workload/probe.h"
#include "agent/workload/records.h"
#include "agent/workload/timer.h"
#include "berth/agent/v1/kept.pb-c.h"
#include "proto/page.h"

#define SENTENCE_MAX 512

/* Short names for what this folder says all the time. */
#define STATE(name)  BERTH__V1__WORKLOAD_STATE__##name
#define REASON(name) BERTH__V1__REASON__##name
#define ROLE(name)   BERTH__V1__CONTAINER_ROLE__ROLE_##name

/* A message of the engine's own, with the arena that it lives in. */
struct spec {
	unsigned int refs;
	struct arena arena;
	Berth__V1__WorkloadSpec *message; /* canonical: see canonical.h */
};

struct record {
	struct arena arena;
	Berth__V1__ExitRecord *message;
};

enum container_phase {
	CONTAINER_IDLE,      /* not launched in this attempt */
	CONTAINER_LAUNCHING, /* berth-sandboxd was asked */
	CONTAINER_RUNNING,   /* exec'd */
	CONTAINER_ENDED,     /* the record holds how */
};

struct container {
	struct workload *workload;
	const Berth__V1__Container *spec;
	uint32_t index;
	enum container_phase phase;
	uint32_t attempt; /* of its last launch; 0: none yet */
	int32_t pid;
	uint64_t started_wall_ns;
	uint64_t started_boot_ns;
	const struct container_page *page; /* mapped, or NULL */
	bool gate_waits;                   /* launched with its gate closed */
	bool stop_asked;
	bool kill_asked;
	bool after_grace; /* the kill came because the grace was over */
	bool stuck;
	bool failed;                /* ENDED without having been exec'd */
	unsigned int lost_launches; /* that berth-sandboxd went away with, one after the other */
	struct timer grace;         /* until the kill */
	struct arena *launch;       /* of @steps and @warnings */
	Berth__V1__StepTime **steps;
	size_t n_steps;
	char **warnings;
	size_t n_warnings;
	struct record *last_exit;
	/* Totals at the end of its last attempt: the page is gone by then. */
	uint64_t log_bytes;
	uint64_t log_dropped_bytes;
	/* image.c */
	struct provider_want want;         /* while its image is on the way */
	Berth__Agent__V1__HadImage *image; /* once it is here; NULL: not yet, or its root is none */
	/* probe.c */
	struct probe *probes[PROBES]; /* startup, readiness, liveness; NULL: none */
	bool probes_begun;
	bool probes_found; /* it was running when this process began */
	bool startup_done;
	Berth__V1__ProbeKind ended_by_probe; /* 0: it was not */
	char probe_sentence[SENTENCE_MAX];   /* what that had to say */
	/* readiness.c */
	bool ready;
	uint64_t ready_changed_wall_ns; /* 0: it never ran */
	char unready[PROBE_TEXT_MAX];
};

LIST_HEAD(waiter_list, engine_waiter);

/* What a waiter waits for. */
enum {
	UNTIL_SETTLED = 1, /* launch: RUNNING, EXITED, BACKOFF, STUCK */
	UNTIL_DURABLE,     /* launch with no_wait: the intent is */
	UNTIL_ENDED,       /* stop: EXITED or STUCK */
	UNTIL_GONE,        /* delete */
};

/* Of a volume that is an image; of others it stays empty. */
struct volume_image {
	struct workload *workload;
	struct provider_want want;
	Berth__Agent__V1__HadImage *image; /* layers and digests alone */
};

/* A newer generation that takes the place of what is still there. */
struct successor {
	struct spec *spec;
	uint64_t generation;
	uint64_t epoch;
	char *scheduler;
	struct charge charge;
};

/* What is done once all that was put so far is durable: promise.c. Embedded; all zero: nothing waits. */
struct promise {
	TAILQ_ENTRY(promise) link;
	struct engine *engine;
	uint64_t serial;
	bool waits;
	struct timer patience;
	void (*kept)(struct promise *promise, const struct err *err);
};

/* A life as it was put, packed; and the spec that it had then. */
struct kept_life {
	uint64_t ticket;
	struct spec *spec; /* a reference */
	struct engine_told told;
	size_t n;
	uint8_t bytes[];
};

/* What a shortage of memory did to a workload: hold.c. */
struct hold {
	bool busy;           /* berth-sandboxd was asked */
	bool evicting;       /* being killed */
	bool frozen;         /* beside workload.paused, which is by request */
	uint64_t high_bytes; /* memory.high that is not the spec's; 0: none */
	uint64_t frozen_boot_ns;
	uint64_t reclaimed_boot_ns;
	struct engine_figures before;     /* of the step under way */
	char step_sentence[SENTENCE_MAX]; /* the same */
	char sentence[SENTENCE_MAX];      /* why it is held back; "": it is not */
};

struct workload {
	struct engine *engine;
	char id[64];
	uint32_t slot;
	uint64_t instance;
	uint64_t generation;
	uint64_t stopped_generation; /* the highest that a Stop or Delete spoke of */
	uint64_t epoch;
	struct spec *spec;
	struct spec *launched; /* before UpdateResources of the same generation; NULL: as @spec */
	struct container *containers;
	size_t n_containers;
	struct volume_image *volume_images; /* one for each of the spec's volumes */
	struct charge charge;
	struct successor *successor;

	Berth__V1__WorkloadState state;
	Berth__V1__Reason reason;
	char sentence[SENTENCE_MAX];
	uint64_t event_sequence;
	uint64_t created_wall_ns;
	uint64_t changed_wall_ns;
	uint64_t running_boot_ns; /* when this attempt reached RUNNING; 0: not yet */
	uint64_t next_restart_wall_ns;
	uint32_t host_id_first;
	uint32_t attempt;     /* of the whole workload, from 1 */
	uint32_t restarts;    /* all */
	uint32_t tries;       /* since it last ran long enough */
	bool created;         /* berth-sandboxd has it, or was asked to make it */
	bool durable;         /* the intent is */
	bool refused;         /* the intent could not be kept: nothing of it is to stay */
	bool is_replacement;  /* it took an earlier life's place */
	bool lifeless;        /* loaded, but where it stood is lost: berth-sandboxd may know */
	bool intent_answered; /* the last one is durable, or cannot be */
	/* Its lives on record, and on their way there: told.c. */
	struct kept_life *told;
	struct kept_life *next;
	struct kept_life *last;
	uint64_t life_ticket; /* the last one's */
	bool life_answered;
	uint64_t intent_ticket;
	bool waits_for_room; /* accepted, but what goes away still holds the room */
	bool paused;
	struct hold hold;
	bool ready;
	uint64_t ready_changed_wall_ns;

	/* The end of this attempt, once it is decided. */
	bool ending;
	Berth__V1__Reason end_reason;
	char end_sentence[SENTENCE_MAX];
	uint32_t restart_rule;     /* that fits its end, from 1; 0: none */
	bool no_restart;           /* it was asked to end: the policy does not count */
	bool killed;               /* some container needed the kill after its grace */
	int64_t grace_override_ms; /* -1: the containers' own */
	bool stop_waits;           /* until the stop's intent is durable, or cannot be */
	struct promise stop;       /* of that */
	bool delete_when_ended;
	uint64_t inventory_round; /* the last one that had it */
	bool removing;            /* ended; berth-sandboxd was asked to remove all */
	uint64_t bury_ticket;     /* of its tombstone */
	bool buried;              /* that is durable, or cannot be: it is there no more */

	struct timer backoff;
	struct timer disconnect; /* while @lease */
	struct scheduler *lease; /* whose silence ends it; NULL: nobody's */
	char *scheduler;         /* who placed it; NULL: not known */
	struct waiter_list waiters;
	bool touched; /* since the last engine_leave() */
	TAILQ_ENTRY(workload) touched_link;
	TAILQ_ENTRY(workload) gone_link;
};

/* How far a change of what runs has come: change.c. */
enum change_step {
	CHANGE_WAITS,    /* until those before it are over */
	CHANGE_BEGUN,    /* it is refused, or was so already */
	CHANGE_INTENDED, /* Life.change has it */
	CHANGE_KEPT,     /* and is durable */
	CHANGE_SENT,
};

/* A request of several packets, or one whose reply somebody waits for. */
struct operation {
	TAILQ_ENTRY(operation) link;
	struct engine *engine;
	uint64_t serial;
	struct waiter_list waiters; /* at most one */
	uint32_t slot;
	uint64_t instance;
	uint32_t replies_missing;
	struct err err;             /* the first failure */
	struct engine_fault *fault; /* that it is refused with; NULL: none */
	void (*finish)(struct engine *engine, struct operation *op, struct workload *workload);
	struct promise promise; /* that is waited for before the first packet */
	bool already_applied;
	/* change.c */
	Berth__Agent__V1__Change *change; /* NULL: it is none */
	enum change_step step;
	bool put; /* something of it is to be durable, though it be refused */
	/* for UpdateResources: what becomes true when the kernel has it */
	struct spec *spec;
	struct charge charge;
	struct charge charge_before;
	/* for Signal */
	char container[64]; /* "": all */
	int signal;
	bool all_processes;
};

/* What there is to do for one kind of changes. */
struct change_kind {
	/* Its turn has come. 0; 1: it is so already; or a negative errno with @err and @fault, and nothing to
	 * be undone. */
	int (*begin)(struct operation *op, struct workload *workload, struct engine_fault *fault,
		     struct err *err);
	/* Ask berth-sandboxd, if it has to be asked. Again, too, and without `begin` after a start. 0; 1: it is
	 * not known yet whether it has to be; or a negative errno with @err. */
	int (*send)(struct operation *op, struct workload *workload, struct err *err);
	/* It is done; or it is not, though it had begun. */
	void (*finish)(struct operation *op, struct workload *workload);
	void (*undo)(struct operation *op, struct workload *workload);
};
extern const struct change_kind change_of_resources; /* update.c */
extern const struct change_kind change_of_freezer;   /* pause.c */

/* What berth-sandboxd has and the engine does not know: on its way out. */
struct stray {
	LIST_ENTRY(stray) link;
	char id[64];
	uint64_t instance;
	bool stays; /* the store has lost what was kept of it: it runs on until a command names it */
};

/* Bands are emptied one after the other, the lowest first. */
struct drain {
	bool advancing;
	bool active;
	Berth__V1__PriorityBand band; /* the one being stopped */
	uint64_t deadline_boot_ns;
	uint64_t deadline_wall_ns;
	struct timer timer;
};

struct engine {
	struct store *store;
	struct sandboxlink *link;
	struct prober *prober; /* NULL: nothing can be asked over a network */
	sd_event *event;       /* NULL in tests */
	const struct engine_listener *listener;
	const struct engine_pressure *pressure;
	struct timer_queue timers;
	struct host host;
	struct fence fence;
	struct events events;
	struct records records;
	struct timer records_timer; /* the next one that is too old */
	bool acknowledges;          /* somebody does, ever */
	struct arena scratch;       /* of the request being built */

	struct workload **by_id; /* sorted */
	size_t n_workloads;
	size_t by_id_room;
	struct workload **slots;
	size_t n_slots;
	size_t next_slot;
	uint64_t last_instance;
	uint64_t last_session;
	uint64_t last_serial;
	uint64_t last_ticket;
	struct engine_resources capacity;
	struct engine_resources reserve;
	struct charge charged;
	uint64_t start_boot_ns;
	char version[64];

	bool link_up;
	bool ready; /* the inventory is in */
	bool was_ready;
	uint64_t strays_removed;
	uint64_t inventory_round;
	bool schedulable;
	char unschedulable[SENTENCE_MAX];
	struct drain drain;

	struct waiter_list node_waiters;    /* for what is true of the whole host to be durable */
	TAILQ_HEAD(, operation) operations; /* the oldest first */
	LIST_HEAD(, engine_session) sessions;
	LIST_HEAD(, stray) strays;
	LIST_HEAD(, release) releases;
	LIST_HEAD(, scheduler) schedulers;
	bool rebooted;                     /* since what is loaded was kept */
	uint64_t boot_first_sequence;      /* events before it are of an earlier boot */
	Berth__Agent__V1__Node *kept_node; /* while loading */
	LIST_HEAD(, unkept) unkept;        /* while loading */
	bool loaded; /* workloads of before this start; until the first inventory */
	/* The store may not know all that the host was asked for, so that not to be known is no reason to
	 * end. Until an inventory finds nothing that is not known. */
	bool forgetful;
	bool node_loaded;
	TAILQ_HEAD(, promise) promises;
	TAILQ_HEAD(, workload) touched; /* waiters may be due */
	TAILQ_HEAD(, workload) gone;    /* to be freed */
	struct sandboxlink_listener link_listener;
	unsigned int depth;
};

/* engine.c */
void engine_enter(struct engine *engine);
void engine_leave(struct engine *engine);
void engine_refuse(struct engine_waiter *waiter, int r, const struct err *err,
		   const struct engine_fault *fault);
void engine_accept(struct engine_waiter *waiter, const struct workload *workload,
		   bool already_applied);
/* Accept @waiter once all that was put so far is durable, or cannot be. */
void engine_accept_when_durable(struct engine *engine, struct engine_waiter *waiter);
/* Link @waiter to @workload until what it waits for is so. */
void engine_wait(struct workload *workload, struct engine_waiter *waiter, int until,
		 bool already_applied);
struct workload *engine_find_slot(struct engine *engine, uint32_t slot, uint64_t instance);
struct workload *engine_lookup(const struct engine *engine, const char *id);
int engine_add_workload(struct engine *engine, struct workload *workload, struct err *err);
void engine_drop_workload(struct engine *engine, struct workload *workload);

/* Among by_id: where @id is, or where the first one after it is. */
size_t engine_position(const struct engine *engine, const char *id);
struct charge engine_allocatable(const struct engine *engine);
/* Its waiters are looked at in the next engine_leave(). */
void workload_touch(struct workload *workload);

/* workload.c */
int workload_new(struct engine *engine, struct spec *spec, uint64_t generation, uint64_t epoch,
		 struct workload **ret_workload, struct err *err);
void workload_free(struct workload *workload);
/* @spec, which becomes the workload's, instead of the one before it. Returns 0, or -ENOMEM without containers
 * and spec. */
int workload_change_spec(struct workload *workload, struct spec *spec);
void workload_set_state(struct workload *workload, Berth__V1__WorkloadState state,
			Berth__V1__Reason reason, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* An event that changes no state. */
void workload_event(struct workload *workload, const struct container *container,
		    Berth__V1__Reason reason, const Berth__V1__ExitRecord *record, const char *fmt,
		    ...) __attribute__((format(printf, 5, 6)));
void workload_event_of_memory(struct workload *workload, Berth__V1__Reason reason,
			      Berth__V1__MemoryFigures *before, Berth__V1__MemoryFigures *after,
			      const char *sentence);
void workload_begin(struct workload *workload);        /* make the intent durable and start */
void workload_attempt(struct workload *workload);      /* start all containers once */
void workload_set_starting(struct workload *workload); /* for its attempt */
void workload_start(struct workload *workload);        /* the same, once their images are here */
void workload_advance(struct workload *workload);      /* start what is next */
/* This attempt ends: stop what runs, in order. Ends at once when nothing does. */
void workload_end(struct workload *workload, Berth__V1__Reason reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void workload_attempt_over(struct workload *workload); /* all its containers have ended */
void workload_finish(struct workload *workload, Berth__V1__Reason reason, const char *sentence);
bool workload_is_ended(const struct workload *workload);
bool workload_is_live(const struct workload *workload); /* some container runs or is launching */
struct container *workload_container(const struct workload *workload, const char *name);
void workload_put_intent(struct workload *workload, bool stop);
void workload_drop_successor(struct workload *workload);
/* Become the successor: a new life of the same id. */
void workload_succeed(struct workload *workload);
void engine_start_waiting(struct engine *engine); /* those for whom there is room by now */

/* For telemetry: this life of its id is over. */
void workload_tell_life_over(const struct workload *workload);

/* removal.c */
/* The generation @generation of @id, and all before it, may not come back. */
void workload_bury(struct engine *engine, const char *id, uint64_t generation);
void workload_remove(struct workload *workload); /* Delete, once it has ended */
/* Stop it where it has not ended, then remove it. */
void workload_delete(struct workload *workload, Berth__V1__Reason reason, const char *sentence);

/* command.c: what commands begin with. Each refuses @waiter and returns false when it may not go on. */
struct command {
	struct engine *engine;
	struct engine_waiter *waiter;
	const Berth__V1__Fence *fence;
	bool put; /* something of it is to be durable, though it be refused */
	struct engine_fault fault;
	struct err err;
};
void command_begin(struct command *command, struct engine *engine, struct engine_waiter *waiter,
		   const Berth__V1__Fence *fence);
void command_end(struct command *command);
/* Field violations that were collected, then the epoch. */
bool command_passes(struct command *command);
/* The workload @id, whose generation is not above the fence's; raises its epoch. */
bool command_finds(struct command *command, const char *id, struct workload **ret_workload);
/* berth-sandboxd is there. */
bool command_reaches(struct command *command);
int engine_reach_sandbox(const struct engine *engine, struct engine_fault *fault, struct err *err);
void command_refuse(struct command *command, int r);

/* launch.c */
/* What a launch of @spec in @generation would do; shared with Reconcile. */
enum launch_verdict { LAUNCH_NEW, LAUNCH_SAME, LAUNCH_REPLACE, LAUNCH_REFUSED };
struct launch_plan {
	enum launch_verdict verdict;
	struct workload *workload; /* SAME, REPLACE */
	struct spec *spec;         /* NEW, REPLACE: canonical; the plan's until it is carried out */
	struct charge charge;
	bool waits_for_room;
	const char *scheduler; /* who asks; the asker's. NULL: not known */
	int r;                 /* REFUSED */
};
/* @room is what counts as taken; @promised (may be NULL) what is about to be free of that. */
void launch_plan(struct engine *engine, const Berth__V1__WorkloadSpec *spec, uint64_t generation,
		 const struct charge *promised, struct launch_plan *plan,
		 struct engine_fault *fault, struct err *err);
void launch_plan_done(struct launch_plan *plan);
/* SAME: it is @scheduler's (may be NULL) from now on. */
void launch_confirm(struct workload *workload, const char *scheduler);
/* NEW or REPLACE. *ret_workload is the one concerned. */
int launch_carry_out(struct engine *engine, struct launch_plan *plan, uint64_t generation,
		     uint64_t epoch, Berth__V1__Reason reason, struct workload **ret_workload,
		     struct err *err);

/* PENDING, with room, berth-sandboxd there and nothing of an earlier life in the way: start. */
void workload_attempt_if_it_may(struct workload *workload);

/* kept.c: what outlives the process */
/* Put what changed of it, where something did. */
void workload_keep(struct workload *workload);
void engine_keep_node(struct engine *engine);
/* Put everything once more. */
void engine_keep_all(struct engine *engine);
int engine_load(struct engine *engine, struct err *err);

/* unkept.c: launches whose intent was not kept, and whose process died before it had taken them back */
/* @life, which has no intent, until unkept_end(); it is freed. Returns 0 or -ENOMEM. */
int unkept_remember(struct engine *engine, Berth__Agent__V1__Life *life);
/* Become the later life that @life is of. Returns 0 or -ENOMEM. */
int unkept_take_place(struct workload *workload, const Berth__Agent__V1__Life *life);
/* After that, and once its state is loaded: it has ended, and may be asked for again. */
void unkept_refuse(struct workload *workload);
/* Tell how those ended that were remembered, and forget them. Where the store is not @whole it may be the intent
 * that is lost: then nothing is told, and what runs is found by the inventory. */
void unkept_end(struct engine *engine, bool whole);

/* promise.c */
/* Call @kept once all that was put so far is durable (@err NULL), or cannot be made so, or the disk does not
 * answer: perhaps before this returns, and never after promise_drop(). */
void promise_make(struct engine *engine, struct promise *promise,
		  void (*kept)(struct promise *promise, const struct err *err));
void promise_drop(struct promise *promise);

/* release.c: berth-sandboxd may forget, once what it told is durable */
struct release;
void release_container(struct container *container, uint32_t attempt);
void release_workload(struct engine *engine, const char *id, uint64_t instance, bool remove_logs,
		      const struct sandboxlink_call *call);
bool release_waits(const struct engine *engine, const char *id);
void release_again(struct engine *engine); /* those that the store had failed */
void release_forget(struct engine *engine);

/* lease.c: stop_after_disconnect_ms */
/* Begin to watch whoever placed it, or go on with that after a start; nothing without a lease. */
void lease_watch(struct workload *workload);
void lease_end(struct workload *workload);
/* The scheduler @name (NULL: nobody that is known) has said that it shall be there. */
void lease_pass_to(struct workload *workload, const char *name);
/* How long its scheduler may still be silent; 0 also without a lease. */
uint64_t lease_left_ns(const struct workload *workload);
/* 0, or -1 without memory. */
int leases_fill(struct engine *engine, struct arena *arena, Berth__Agent__V1__Node *node);
void leases_load(struct engine *engine, const Berth__Agent__V1__Node *node);
void leases_loaded(struct engine *engine); /* those that no workload hangs on go */
void leases_forget(struct engine *engine);

/* acknowledge.c */
/* The event @sequence is a terminal record of @workload. */
void records_keep(struct engine *engine, const struct workload *workload, uint64_t sequence);
/* Drop what is too old, or too much. */
void records_apply_limits(struct engine *engine);
void records_reconfigure(struct engine *engine, const struct record_limits *limits);

/* watch.c: ERR_PRECONDITION and EVENTS_UNKNOWN where @instance ("": any) is of another history, or
 * @sequence was not told yet. */
int watch_check_number(const struct events *events, const char *instance, uint64_t sequence,
		       struct err *err, struct engine_fault *fault);

/* restart.c */
/* The rule that fits how a container ended, from 1; 0: none does. @record may be NULL. */
uint32_t restart_find_rule(const struct workload *workload, const Berth__V1__ExitRecord *record);
/* What follows an attempt that ended for @reason. */
Berth__V1__RestartAction restart_action(const struct workload *workload, Berth__V1__Reason reason);
/* Until the next attempt begins; 0: none is waited for. */
uint64_t restart_left_ms(const struct workload *workload);
void restart_schedule(struct workload *workload, Berth__V1__Reason reason, const char *sentence);
uint64_t restart_delay_ms(const Berth__V1__RestartPolicy *policy, uint32_t n);
void restart_now(struct workload *workload);
void restart_resume(struct workload *workload, uint64_t at_boot_ns);

/* hold.c */
/* It has ended, or begins a new attempt: nothing holds it. */
void hold_ended(struct workload *workload);
/* Thaw it, whoever froze it; returns whether anyone had. */
bool hold_thaw(struct workload *workload);
/* Its memory.high was written by somebody else: the squeeze goes on. */
void hold_again(struct workload *workload);
void hold_adopt(struct workload *workload, const Berth__Sandbox__V1__KnownWorkload *known);
void hold_release_unknown(struct engine *engine, const Berth__Sandbox__V1__KnownWorkload *known);

/* readiness.c */
/* @container runs, and is ready, or why it is not. */
void readiness_set(struct container *container, bool ready, const char *why);
/* It does not run any more, or soon will not. */
void readiness_lost(struct container *container, const char *why);
/* Of the workload, from its state and its containers. */
void readiness_update(struct workload *workload);

/* stop.c */
void stop_advance(struct workload *workload);
/* It was asked to end; a second call may only shorten. Nothing is sent before that is durable. */
void stop_workload(struct workload *workload, Berth__V1__Reason reason, int64_t grace_ms,
		   const char *sentence);
/* Do not wait for the disk: see hold.c. */
void stop_at_once(struct workload *workload);
void stop_resend(struct workload *workload); /* the link is back */
/* The kill of @container is due @at_boot_ns: this process has to see to it now. */
void stop_resume(struct container *container, uint64_t at_boot_ns);

/* image.c: the images of containers, which are had once for a life of the workload */
/* Images come from @provider; NULL: there are none. */
void images_attach(struct engine *engine, struct provider *provider);
void images_detach(struct engine *engine);
/* Some image of it is not known to be here. */
bool images_are_missing(const struct workload *workload);
/* Have them: PULLING, and workload_start() when all are here. */
void images_begin(struct workload *workload);
/* They are waited for no more. */
void images_end(struct workload *workload);
void image_forget(struct container *container);
/* berth-sandboxd has not all of it any more: it is to be had anew. */
void image_lost(struct container *container);
/* As the life of it says that it was had; NULL is fine. */
void image_load(struct container *container, const Berth__Agent__V1__HadImage *image);
/* For the status. Returns 0 or -ENOMEM. */
int image_fill(const struct container *container, struct arena *arena,
	       Berth__V1__ContainerStatus *ret);

/* Something that @workload waits for is here, or (@image NULL) is not to be had. @container may be NULL, and may be
 * gone afterwards. */
void image_arrived(struct workload *workload, struct container *container,
		   const Berth__V1__Image *image, const struct err *err);
/* In @arena; NULL without memory. @had may be NULL. */
Berth__V1__ContainerImage *image_status(char *reference, const struct provider_want *want,
					const Berth__Agent__V1__HadImage *had,
					const struct workload *workload, struct arena *arena);

/* volume_image.c */
int volume_images_new(struct workload *workload); /* 0 or -ENOMEM */
void volume_images_forget(struct workload *workload);
void volume_images_free(struct workload *workload);
bool volume_images_any(const struct workload *workload);
/* The reference of the first that is not known to be here; NULL: all are. */
const char *volume_images_missing(const struct workload *workload);
int volume_images_begin(struct workload *workload, struct err *err);
void volume_images_end(struct workload *workload);
/* NULL where no volume of that name is an image, or it is not here. */
const Berth__Agent__V1__HadImage *volume_image_of(const struct workload *workload,
						  const char *name);
void volume_images_each_used(const struct workload *workload,
			     void (*tell)(const char *diff_id, void *set), void *set);
int volume_images_keep(const struct workload *workload, struct arena *arena,
		       Berth__Agent__V1__Life *life);
void volume_images_load(struct workload *workload, const Berth__Agent__V1__Life *life);
int volume_images_fill(const struct workload *workload, struct arena *arena,
		       Berth__V1__WorkloadStatus *ret);

/* image_run.c */
/* What runs as @container of @image: for the caller to free, in malloc's memory. ERR_INVALID: what the image
 * says is nothing that may be run here. */
int image_run(const struct container *container, const Berth__V1__GetImageResponse *image,
	      Berth__Agent__V1__HadImage **ret_image, struct err *err);

/* container.c */
/* Command, args, env, working directory, identity, stop signal, and mounts as they are launched. */
const Berth__V1__Container *container_run(const struct container *container);
void container_launch(struct container *container);
void container_reset(struct container *container); /* for the next attempt */
/* The steps and warnings of its launch, as an earlier process was told. */
void container_keep_launch(struct container *container, const Berth__V1__ContainerStatus *status);
void container_done(struct container *container);
void container_took_started(struct container *container, const Berth__Sandbox__V1__Started *fact,
			    int *fds, size_t n_fds);
void container_took_failed(struct container *container, const struct err *failure,
			   const char *step);
void container_took_exited(struct container *container, const Berth__Sandbox__V1__Exited *fact);
void container_forgotten(struct container *container, const char *why);
void container_rebooted(struct container *container, const char *why);
/* It was launched as @attempt, which was not known. */
void container_take_attempt(struct container *container, uint32_t attempt);
bool container_is_live(const struct container *container);
uint64_t container_memory_limit(const struct container *container);
const char *container_role_name(const struct container *container);

/* request.c: packets to berth-sandboxd */
int request_create_workload(struct workload *workload, const struct sandboxlink_call *call,
			    struct err *err);
int request_launch(struct container *container, const struct sandboxlink_call *call,
		   struct err *err);
/* A socket in its network; @call gets the descriptor. */
int request_socket(struct container *container, bool ipv6, const struct sandboxlink_call *call,
		   struct err *err);
int request_open_gate(struct container *container, struct err *err);
int request_signal(struct container *container, int signal, bool all,
		   const struct sandboxlink_call *call, struct err *err);
int request_kill(struct container *container, struct err *err);
int request_kill_workload(struct engine *engine, const char *id, uint64_t instance,
			  struct err *err);
int request_freeze(struct workload *workload, bool frozen, const struct sandboxlink_call *call,
		   struct err *err);
int request_thaw_unknown(struct engine *engine, const char *id, uint64_t instance);
int request_reclaim(struct workload *workload, uint64_t bytes, const struct sandboxlink_call *call,
		    struct err *err);
int request_squeeze(struct engine *engine, const char *id, uint64_t instance,
		    uint64_t memory_high_bytes, const struct sandboxlink_call *call,
		    struct err *err);
int request_update_limits(struct workload *workload, const char *container, uint32_t attempt,
			  const Berth__V1__Resources *change, const struct sandboxlink_call *call,
			  struct err *err);
int request_remove_container(struct engine *engine, const char *id, uint64_t instance,
			     const char *container, uint32_t attempt, struct err *err);
int request_remove_workload(struct engine *engine, const char *id, uint64_t instance,
			    bool remove_logs, const struct sandboxlink_call *call, struct err *err);
int request_inventory(struct engine *engine, const char *after, const struct sandboxlink_call *call,
		      struct err *err);

/* change.c */
/* Make @change, once those before it are made. */
void change_ask(struct command *command, struct workload *workload,
		const Berth__Agent__V1__Change *change);
/* What is to be done by the next process, should this one die; NULL: nothing. */
const Berth__Agent__V1__Change *change_intended(const struct workload *workload);
/* ERR_NOT_FOUND, or ERR_PRECONDITION and ENDED, where there is nothing to change any more. */
int change_check_over(const struct workload *workload, struct engine_fault *fault, struct err *err);
/* The change before it is over. */
void change_next(struct engine *engine, uint32_t slot, uint64_t instance);
/* The reply to the packet of @op is lost: whether that is seen to here. */
bool change_lost(struct engine *engine, struct operation *op);
/* A container of it has started or ended. */
void change_go_on(struct workload *workload);
/* An earlier process left it. */
void change_load(struct workload *workload, const Berth__Agent__V1__Change *change);
/* berth-sandboxd is there: those that it was not asked for. */
void changes_go_on(struct engine *engine);

/* operation.c */
/* @workload may be NULL: then it can only be refused. @waiter may be NULL. */
struct operation *operation_new(struct engine *engine, struct workload *workload,
				struct engine_waiter *waiter,
				void (*finish)(struct engine *, struct operation *,
					       struct workload *));
void operation_call(struct operation *op, struct engine *engine, struct sandboxlink_call *ret_call);
/* The packet of the last operation_call() was not sent: @err says why. */
void operation_unsent(struct operation *op, const struct err *err);
/* Nothing was sent, and nothing will be. */
void operation_fail(struct engine *engine, struct operation *op, const struct err *err,
		    const struct engine_fault *fault);
/* Refuse the waiter with @err and @fault once all that was put so far is durable, or cannot be. */
void operation_refuse_when_durable(struct engine *engine, struct operation *op,
				   const struct err *err, const struct engine_fault *fault);
/* All packets are on their way, or none could be sent: then it is answered now. */
void operation_sent(struct engine *engine, struct operation *op);
void operation_free(struct operation *op);

/* drain.c */
void drain_advance(struct engine *engine);
/* A drain of before this start goes on. */
void drain_resume(struct engine *engine);

/* fact.c and inventory.c: the listener of the link */
void fact_arrived(struct engine *engine, const Berth__Sandbox__V1__Fact *fact, int *fds,
		  size_t n_fds);
void inventory_attach(struct engine *engine);
void inventory_forget_strays(struct engine *engine);
bool inventory_has_stray(const struct engine *engine, const char *id);
/* One that stays goes now; returns whether there was one. */
bool inventory_end_stray(struct engine *engine, const char *id);
void inventory_stray_exited(struct engine *engine, const char *id, uint64_t instance);

/* orphan_logs.c: log files of ids that nobody knows. Only while what is known is all there is. */
void orphan_logs_remove(struct engine *engine);

/* session.c */
/* Run @exec in @container, which runs, as a probe: all of it is killed @deadline_ms after it started. It is
 * in nobody's history. May call ops->failed before it returns. */
void session_begin_probe(struct container *container, const Berth__V1__ExecProbe *exec,
			 uint32_t deadline_ms, struct engine_session *session);
void sessions_container_ended(struct container *container);
void sessions_link_lost(struct engine *engine, const struct err *err);
bool sessions_took_fact(struct engine *engine, const Berth__Sandbox__V1__Fact *fact);

/* tail.c: the last lines of a container's log, into @record. */
void tail_read(const char *log_dir, const char *workload, const char *container,
	       uint64_t since_wall_ns, struct arena *arena, Berth__V1__ExitRecord *record);

/* told.c */
/* NULL without memory. */
struct kept_life *kept_life_new(struct spec *spec, const Berth__Agent__V1__Life *life);
void kept_life_free(struct kept_life *kept);
const struct kept_life *told_last(const struct workload *workload); /* NULL: none was put */
void told_put(struct workload *workload, struct kept_life *kept);
void told_answered(struct workload *workload, uint64_t ticket);
void told_forget(struct workload *workload);
/* There is something to be told of. */
bool told_is_there(const struct workload *workload);
const Berth__V1__WorkloadSpec *told_spec(const struct workload *workload);

/* status.c */
/* As it is now, on record or not. */
int status_fill_now(const struct workload *workload, struct arena *arena,
		    Berth__V1__WorkloadStatus *ret);
void status_fill_lease(const struct workload *workload, Berth__V1__WorkloadStatus *ret);
int status_fill_workload(const struct workload *workload, bool with_spec, struct arena *arena,
			 Berth__V1__Workload *ret);

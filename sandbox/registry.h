/*
 * The workloads that this host has, with their containers and exec sessions: plain memory, found by id.
 * What happens to them is other files' (requests_*.c, monitors.c); what has to survive the daemon
 * is in records (sandbox/record.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "proto/names.h"
#include "proto/page.h"
#include "sandbox/filter.h"
#include "sandbox/identity.h"
#include "sandbox/lifeline.h"
#include "sandbox/monitor_wire.h"
#include "sandbox/namespace_pool.h"
#include "sandbox/taskgroup.h"
#include "sandbox/volume.h"

#define REGISTRY_RUNNING_MAX    16 /* containers of a workload that have not ended */
#define REGISTRY_CONTAINERS_MAX 64 /* of a workload, with the ended ones that were not removed */
#define REGISTRY_SESSIONS_MAX   32 /* exec sessions of a container */
#define REGISTRY_PROBES_MAX     8  /* those that are probes, beside them */
#define REGISTRY_RLIMITS_MAX    16
#define REGISTRY_WARNINGS_MAX   8

struct sandboxd;
struct container;
struct session;

/* Who asked, for an answer that comes later: a connection and the request's id on it. 0: nobody. */
struct asker {
	uint64_t connection;
	uint64_t request;
};

/* The daemon's side of a monitor: of a container, or of an exec session in it. */
struct monitor {
	struct sandboxd *host;
	struct container *container;
	struct session *session; /* NULL: the container's own */
	pid_t pid;               /* our child; 0: gone, or from before this daemon */
	pid_t told_pid;          /* its number by its own word */
	int control_fd;
	sd_event_source *control_source;
	sd_event_source *first_source; /* the first process, where it is nobody's child of ours */
	pid_t first_pid;
	int first_pidfd;
	int pending_signal; /* of a session: asked for before its process was known; SIGKILL wins */
	uint64_t started_wall_ns;
	uint64_t started_boot_ns;
	bool started;
	bool ended;        /* MONITOR_EXITED or what stands for it was seen */
	bool lost;         /* it is gone, and the first process lives on */
	bool is_collected; /* the first process ended as our child: as collected says */
	struct monitor_collected collected;
};

/* A program in a running container. */
struct session {
	LIST_ENTRY(session) link;
	uint64_t id;
	struct monitor monitor;
	struct asker asker; /* of Exec with a terminal, until the terminal comes */
	bool probe;
};

/* What a container got at its launch that a later exec or a restart of the daemon needs. */
struct container_settings {
	uint64_t capabilities;
	enum filter_source filter_source;
	char *json; /* FILTER_OCI */
	char *layers; /* that it runs from: their digests in hexadecimal, a space between them; NULL */
	bool tty;
	uint64_t log_max_file_bytes;
	uint32_t log_max_files;
	size_t n_rlimits;
	struct identity_limit rlimits[REGISTRY_RLIMITS_MAX];
};

/* The filter as sandbox/filter.h takes and caches it; @ret points into @settings. */
void settings_filter_request(const struct container_settings *settings, struct filter_request *ret);

struct container {
	LIST_ENTRY(container) link;
	struct workload *workload;
	char name[NAME_ID_MAX + 1];
	uint32_t attempt;
	enum page_state state;
	int run_fd; /* its run directory */
	struct container_settings settings;
	struct monitor monitor;
	uint64_t group_id;
	struct taskgroup *group; /* from MONITOR_STARTED on */
	bool abort_asked;
	/* PAGE_EXITED */
	struct monitor_exited exited;
	char unknown_reason[200];
	/* PAGE_FAILED */
	struct monitor_failed failed;
	char *warnings[REGISTRY_WARNINGS_MAX];
	size_t n_warnings;
	struct lifeline lifeline;
	/* sandbox/successor.h */
	unsigned int successors;
	uint64_t successors_since_usec;
	sd_event_source *successor_timer; /* goes on without a monitor until then */
	/* sandbox/outflow.h */
	sd_event_source *stream_sources[MONITOR_KEEP_COUNT];
	/* since Kill */
	sd_event_source *kill_timer;
	uint64_t killed_usec;
	bool unkillable_told;
	LIST_HEAD(, session) sessions;
	size_t n_sessions; /* without the probes */
	size_t n_probes;
};

struct workload {
	struct sandboxd *host; /* set by who adds it */
	char id[NAME_ID_MAX + 1];
	uint64_t instance;
	enum hierarchy_band band;
	bool host_network;
	bool host_ids;
	struct namespace_set namespaces;
	struct taskgroup *group;
	struct volumes volumes;
	int run_fd;
	LIST_HEAD(, container) containers;
	size_t n_containers;
	/* a Freeze that is under way */
	struct asker freeze_asker;
	bool freeze_wanted;
	uint64_t freeze_deadline_usec;
	int freeze_fd;
	sd_event_source *freeze_source;
	sd_event_source *freeze_timer;
};

struct registry {
	void *by_id; /* tsearch(3) of struct workload */
	size_t n_workloads;
};

/* The workload, or NULL. */
struct workload *registry_find(struct registry *registry, const char *id);

/* A new workload without anything but its name: NULL without memory, or where the id is taken. */
struct workload *registry_add(struct registry *registry, const char *id, uint64_t instance);

/* Out of the registry, and freed with its containers. Closes; undoes nothing on the host. */
void registry_remove(struct registry *registry, struct workload *workload);

/* Remove all: for the daemon's end. */
void registry_clear(struct registry *registry);

/* Call @func for each in the order of the ids until it returns something else than 0, and return
 * that. @func must neither add nor remove any. */
int registry_walk(const struct registry *registry,
		  int (*func)(struct workload *workload, void *userdata), void *userdata);

/* NULL where there is none of that name and attempt. */
struct container *workload_find_container(struct workload *workload, const char *name,
					  uint32_t attempt);
size_t workload_count_running(const struct workload *workload);

/* A new container in PAGE_STARTING; NULL without memory. */
struct container *container_new(struct sandboxd *host, struct workload *workload, const char *name,
				uint32_t attempt);
/* Out of its workload, and freed. Closes; undoes nothing on the host. Accepts NULL. */
void container_free(struct container *container);

struct session *session_new(struct container *container, uint64_t id, bool probe);
struct session *container_find_session(struct container *container, uint64_t id);
void session_free(struct session *session);

bool container_has_ended(const struct container *container);

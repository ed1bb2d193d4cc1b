/*
 * What a restarted daemon has to know of its workloads and containers: a small text file in the run
 * directory of each, on tmpfs, replaced as a whole.
 *
 *	<run>/<workload>.<instance>/workload                 struct record_workload
 *	<run>/<workload>.<instance>/<container>.<attempt>/   page, container, monitor.sock
 *
 * A later release may have written keys that this one does not know, and an earlier one may lack some: the
 * first are ignored, the others have a default that is what that release did.
 *
 * A record of another boot says nothing about processes or groups of this one.
 */
#pragma once

#include "proto/config.h"
#include "proto/err.h"
#include "sandbox/registry.h"

#define RECORD_VERSION       1
#define RECORD_WORKLOAD_NAME "workload"

struct record_workload {
	uint64_t version;
	char *boot_id;
	char *workload;
	uint64_t instance;
	uint64_t band; /* enum hierarchy_band */
	bool host_network;
	bool host_ids;
	uint64_t id_first;
	uint64_t group_id;
	char *hostname;
	struct config_list sysctls; /* name=value */
	struct config_list volumes; /* name:tmpfs:bytes:inodes, name:host:path */
};

struct record_container {
	uint64_t version;
	char *boot_id;
	char *container;
	uint64_t attempt;
	uint64_t group_id; /* 0: not started yet */
	uint64_t first_pid;
	uint64_t capabilities;
	uint64_t filter_source; /* FILTER_OCI: the JSON is in the file "seccomp.json" */
	struct config_list rlimits;
	bool terminal;
	uint64_t log_max_file_bytes;
	uint64_t log_max_files;
	struct config_list layers; /* their digests in hexadecimal */
};

/* Write the record into @run_fd. Returns 0 or ERR_INTERNAL, ERR_EXHAUSTED. */
int record_write_workload(int run_fd, const struct record_workload *record, struct err *err);
int record_write_container(int run_fd, const char *boot_id, const struct container *container,
			   struct err *err);

/* Read it from the directory whose path is @path. ERR_INVALID for what is no record of this version. */
int record_read_workload(const char *path, struct record_workload *ret, struct err *err);
int record_read_container(const char *path, int run_fd, struct record_container *ret_record,
			  struct container_settings *ret_settings, struct err *err);

void record_workload_done(struct record_workload *record);
void record_container_done(struct record_container *record);

/* One of record_workload.volumes, taken apart in place: @item is changed, and the wish points into it. */
int record_parse_volume(char *item, struct volume_wish *ret_wish, struct err *err);

/* A new directory @name in @dir_fd, root's alone; its descriptor, or a negative errno with @err. */
int record_make_dir(int dir_fd, const char *name, struct err *err);

/* Remove the directory @name in @dir_fd with the plain files in it: all that a container's or an empty
 * workload's has. Best effort. */
void record_remove_dir(int dir_fd, const char *name);

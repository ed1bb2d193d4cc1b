/*
 * The durable store's two sides, for sqlite.c (the loop's) and writer.c (the writer's thread), and nothing
 * between them but three lists under one lock:
 *
 *	put ─▶ pending ─submit─▶ queued ─▶ [writer: one transaction] ─▶ answered ─eventfd─▶ done
 */
#pragma once

#include <pthread.h>

#include "agent/store/database.h"
#include "agent/store/store.h"

enum outcome {
	GOOD,
	FULL,   /* all is written but what is new: out of the reserve */
	FAILED, /* nothing is */
};

struct durable {
	struct store store; /* first */
	sd_event_source *source;
	int answered_fd;
	char *directory;
	uint64_t events_max;
	uint64_t retry_ms;
	size_t bytes_max;
	pthread_t thread;
	bool running;
	bool hopeless;             /* of a later release: never tried again */
	struct database *database; /* the writer's once it runs; NULL: to be opened */
	bool distrust;             /* the writer's: the file is to be written anew */
	struct write_list pending; /* since the last submit; the loop's */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	struct write_list queued;
	struct write_list answered;
	size_t bytes; /* pending, queued and answered */
	bool ending;
	enum outcome state;
	bool recovered; /* from FAILED, until the loop has seen it */
	struct err why; /* it is not GOOD */
	char damage[STORE_SENTENCE_MAX];
};

/* Returns 0 or a negative errno. */
int writer_start(struct durable *durable);
/* Before the writer runs: open the file, and take the reserve. */
int writer_open(struct durable *durable, struct database_found *found, struct err *err);
enum outcome writer_take_reserve(struct durable *durable);
void writer_say_full(const struct durable *durable, struct err *err);

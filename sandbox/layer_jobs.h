/*
 * What is done with layers and takes its time: each in a child of the daemon, which writes, waits for the disk
 * and removes, while the daemon goes on, and which for unpacking and verifying starts berth-unpack, where an
 * archive that somebody made is read (sandbox/unpack/confine.h). Few at a time; others wait their turn.
 *
 * A job goes on though its asker is gone: a layer that is complete counts, and the next who asks for it is told
 * that it is there. With the daemon all of them end, and nothing counts of what was not complete.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "sandbox/layer_store.h"
#include "sandbox/registry.h"
#include "sandbox/unpack/wire.h"

struct layer_jobs;
struct sandboxd;

/* NULL without memory. @program_fd, -1 if there is none, is of berth-unpack and stays the caller's. */
struct layer_jobs *layer_jobs_new(struct sandboxd *host, int program_fd);
/* Those under way are ended, unanswered. Accepts NULL. */
/* End what runs, unanswered, and begin nothing any more: the jobs' control groups go with it. NULL is fine. */
void layer_jobs_stop(struct layer_jobs *jobs);
void layer_jobs_free(struct layer_jobs *jobs);

/*
 * Answer @asker with an UnpackLayerResult when the layer @order->digest is there. @blob_fd becomes theirs on
 * success. Where it is being unpacked already @asker waits for that one.
 *   ERR_EXHAUSTED    too many wait
 *   ERR_UNSUPPORTED  there is no berth-unpack
 */
int layer_jobs_unpack(struct layer_jobs *jobs, const struct unpack_order *order, int *blob_fd,
		      struct asker asker, struct err *err);

/* Answer with a VerifyLayerResult. */
int layer_jobs_verify(struct layer_jobs *jobs, const struct layer *layer, struct asker asker,
		      struct err *err);

/* Remove the directory @name of the store, which is no layer's any more, and answer when it is gone; nobody
 * where @asker has no connection. */
int layer_jobs_remove(struct layer_jobs *jobs, const char *name, struct asker asker,
		      struct err *err);

/* Remove what the store found at its start. ERR_INTERNAL without memory. */
int layer_jobs_sweep(struct layer_jobs *jobs, struct err *err);

/* Whether @hex is being verified or unpacked. */
bool layer_jobs_has(const struct layer_jobs *jobs, const char *hex);

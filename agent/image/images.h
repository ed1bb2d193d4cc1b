/*
 * The images of this host, as the rest of berthd sees them: questions and pulls, answered on the loop. All
 * that waits for a disk, hashes, or speaks with registries is in a thread of its own, with a loop of its
 * own; the two sides share nothing but two lists under one lock:
 *
 *	ask ─▶ queued ─eventfd─▶ [thread: content, catalogue, pulls] ─▶ answered ─eventfd─▶ done
 */
#pragma once

#include <systemd/sd-event.h>

#include "agent/image/text_set.h"
#include "agent/image/pull.h"
#include "berth/v1/node_agent.pb-c.h"
#include "proto/config.h"

#define IMAGES_PULLS_MAX 64U /* that callers wait for */

/* All of it is copied: a reload changes nothing of it. */
struct images_config {
	const char *directory;
	uint64_t keep_free_bytes;
	uint64_t parallel_layers;
	uint64_t stall_ms;
	uint64_t collect_above, collect_below; /* percent of the disk; 100: never */
	uint64_t unused_ms;                    /* 0: however long */
	const char *proxy;
	const char *no_proxy;
	const char *credentials_path;
	const struct config_list *registries;      /* that may be pulled from; empty: all */
	const struct config_list *require_digests; /* registries, or "*" */
	const struct config_list *plain_http, *mirrors, *authorities;
	const struct config_list *pinned; /* images that are never collected */
};

struct images;

/* A directory that cannot be used is no failure here: each question then says so. */
int images_new(sd_event *event, const struct images_config *config, struct images **ret_images,
	       struct err *err);
/* What was asked is answered with nothing more; all pulls have been ended. NULL is fine. */
void images_free(struct images *images);

enum images_verb {
	IMAGES_LIST,
	IMAGES_GET,
	IMAGES_REMOVE,
	IMAGES_USAGE,
	IMAGES_VERIFY,
	IMAGES_COLLECT,
};

/*
 * Ask. @request is the verb's message of berth.v1, and lives until the answer. @answered is called from the
 * loop, with the verb's response, valid during the call, or NULL and why not. On failure it is not called.
 */
int images_ask(struct images *images, enum images_verb verb, const ProtobufCMessage *request,
	       void (*answered)(const ProtobufCMessage *reply, const struct err *err, void *user),
	       void *user, struct err *err);

/* As UnpackLayer.compression of berth-sandboxd has it. */
enum { IMAGES_PLAIN = 0, IMAGES_GZIP = 1, IMAGES_ZSTD = 2 };

struct images_piece {
	int fd; /* for reading; take it with take_fd(), or it is closed */
	uint64_t bytes;
	uint32_t compression;
};

/* Open the piece @digest of an image ("sha256:..."), which is copied. @opened is called from the loop, with
 * the piece, or NULL and why not. On failure it is not called. */
int images_open(struct images *images, const char *digest,
		void (*opened)(struct images_piece *piece, const struct err *err, void *user),
		void *user, struct err *err);

/* The diff ids of all layers of all images. @answered is called from the loop, with them, to be taken or left,
 * or NULL and why not. On failure it is not called. */
int images_needed_layers(struct images *images,
			 void (*answered)(struct text_set *needed, const struct err *err,
					  void *user),
			 void *user, struct err *err);

/* A step of making room, where that is needed; @in_use are names of images that stay, and is copied. @trimmed is
 * called from the loop: whether something was removed, and whether another step is to follow. -ENOMEM. */
int images_trim(struct images *images, const struct text_set *in_use,
		void (*trimmed)(bool removed, bool again, void *user), void *user);

/* @removed is called from the loop when something was removed on request. One at a time. */
void images_set_removed(struct images *images, void (*removed)(void *user), void *user);

/* Whether an image may be pulled by @reference: ERR_INVALID, ERR_UNSUPPORTED, ERR_DENIED. */
int images_check(const struct images *images, const char *reference,
		 struct reference *ret_reference, struct err *err);

struct images_pull;

struct images_pull_state {
	struct pull_progress progress;
	bool ended;
	int r; /* when it has ended */
	struct err err;
	struct image image; /* when it has ended well */
};

/* Begin a pull, or join one. @changed is called from the loop; what it is then, images_pull_read() tells.
 * The credentials are copied. ERR_INVALID, ERR_DENIED, ERR_EXHAUSTED; the last only for a caller's, of which
 * there may be IMAGES_PULLS_MAX. */
int images_pull_begin(struct images *images, const Berth__V1__PullImageRequest *request,
		      bool is_callers, void (*changed)(void *user), void *user,
		      struct images_pull **ret_pull, struct err *err);
void images_pull_read(struct images_pull *pull, struct images_pull_state *ret_state);
/* Its `changed` is not called any more. A pull that nobody waits for ends. NULL is fine. */
void images_pull_end(struct images_pull *pull);

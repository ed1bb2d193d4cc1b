/*
 * The two sides of images: images.c is the loop's, keeper.c the thread's.
 */
#pragma once

#include <pthread.h>

#include "agent/image/images.h"

/* The thread's own: nobody else looks at it while it runs. */
struct keeper {
	sd_event *event;
	sd_event_source *queue;
	struct content *content;
	struct catalogue *catalogue;
	struct transfers *transfers;
	struct pull_yard yard;
	struct registry_rules rules;
	LIST_HEAD(, shared_pull) shared;
	LIST_HEAD(, verification) verifications;
	bool makes_room; /* between the two marks, on the way down */
	struct err why;  /* nothing can be done, if it has a kind */
};

/* A request on its way. Who has it: the list that it is in. */
struct job {
	STAILQ_ENTRY(job) link;
	void (*work)(struct images *images,
		     struct job *job); /* in the thread; images_answer() ends it */
	void (*done)(struct job *job); /* on the loop; frees it */
};
STAILQ_HEAD(job_list, job);

struct question {
	struct job job; /* first */
	struct images *images;
	enum images_verb verb;
	const ProtobufCMessage *request;
	void (*answered)(const ProtobufCMessage *reply, const struct err *err, void *user);
	void *user;
	struct arena arena;
	ProtobufCMessage *reply;
	struct err err;
};

struct opening {
	struct job job; /* first */
	char digest[DIGEST_TEXT_MAX];
	void (*opened)(struct images_piece *piece, const struct err *err, void *user);
	void *user;
	struct images_piece piece;
	struct err err;
};

struct census {
	struct job job; /* first */
	void (*answered)(struct text_set *needed, const struct err *err, void *user);
	void *user;
	struct text_set needed;
	struct err err;
};

struct trimming {
	struct job job; /* first */
	struct text_set in_use;
	void (*trimmed)(bool removed, bool again, void *user);
	void *user;
	bool removed, again;
};

struct images_pull {
	struct job join, leave; /* the one, then the other */
	LIST_ENTRY(images_pull) link;
	struct images *images;
	struct reference reference;
	struct credentials credentials;
	bool joined; /* the thread's: to @shared, while that goes on */
	struct shared_pull *shared;
	LIST_ENTRY(images_pull) sibling;
	bool is_callers;
	void (*changed)(void *user); /* the loop's; NULL: ended */
	void *user;
	bool has_changed; /* under the lock, as all below */
	struct images_pull_state state;
};

struct images {
	sd_event *event;
	sd_event_source *answers;
	int answered_fd, queued_fd;
	pthread_t thread;
	bool running;
	char *directory, *proxy, *no_proxy, *credentials_path;
	uint64_t keep_free_bytes, parallel_layers, stall_ms;
	uint64_t collect_above, collect_below, unused_ms;
	struct config_list registries, require_digests, plain_http, mirrors, authorities, pinned;
	LIST_HEAD(, images_pull) pulls;
	unsigned int n_callers_pulls;
	void (*removed)(void *user);
	void *removed_user;
	struct keeper keeper;

	pthread_mutex_t lock; /* of all below */
	struct job_list queued, answered;
	bool ending;
	bool told; /* the loop, and it has not looked yet */
};

/* The thread's main function: of a struct images. */
void *keeper_run(void *images);
/* Hand @job back to the loop. */
void images_answer(struct images *images, struct job *job);
/* Of something that changed under the lock, which is held. */
void images_tell(struct images *images);
/* Jobs of pulls, in keeper_pulls.c; questions, in keeper_questions.c; pieces, in keeper_pieces.c. */
void keeper_join(struct images *images, struct job *job);
void keeper_leave(struct images *images, struct job *job);
void keeper_question(struct images *images, struct job *job);
void keeper_questions_end(struct images *images);
void keeper_open(struct images *images, struct job *job);
void keeper_census(struct images *images, struct job *job);
void keeper_trim(struct images *images, struct job *job);
/* Pieces of no image: how many bytes, and (with @remove) take them away. */
int keeper_collect(struct keeper *keeper, bool remove, uint64_t *ret_bytes, struct err *err);
/* Whether the image @name is being pulled. */
bool keeper_pulls(struct keeper *keeper, const char *name);

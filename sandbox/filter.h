/*
 * System call filters: a profile compiled once to classic BPF, kept, and loaded by each launch with
 * one system call.
 *
 * A profile may be a caller's JSON, and compiling takes milliseconds: both are for a forked child,
 * which hands the image back through a memfd: filter_compile() and filter_serialize() there,
 * filter_deserialize() and filter_cache_put() in the daemon.
 *
 * Verdicts: a call that is allowed costs next to nothing (the kernel remembers it per filter). A
 * known call that the profile denies becomes a notification that the monitor answers with an errno
 * and counts (sandbox/denial.h). A number that the profile does not know is ENOSYS, so that libc
 * falls back to older calls. The i386 and x32 entries kill the process: each profile is for the
 * native ABI only.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/filter_rules.h"
#include "sandbox/denial.h"

struct err;

#define FILTER_INSTRUCTIONS_MAX 4096 /* BPF_MAXINSNS: the kernel's */

enum filter_source {
	FILTER_DEFAULT = 1, /* "berth-2026", sandbox/filter_default.c */
	FILTER_OCI = 2,     /* a JSON profile, as in config.json or as docker and podman take it */
	FILTER_UNCONFINED = 3, /* none; whether that is allowed is the policy's to say */
};

struct filter_request {
	enum filter_source source;
	const char *json; /* FILTER_OCI: need not end in NUL */
	size_t json_length;
	uint64_t capabilities; /* bit CAP_x: opens the calls that go with it, and no others */
	bool listener;         /* false: nobody will answer notifications; plain errnos instead */
};

struct filter {
	uint32_t instruction_count; /* 0: unconfined, there is nothing to load */
	bool notifies;              /* load with a listener */
	uint32_t unknown_names;     /* in the JSON profile, ignored as other runtimes do */
	struct sock_filter *instructions;
	struct denial_table denials;
	char note[200]; /* what the profile asked for and did not get literally; "" if nothing */
};

/*
 * Compile: 1 ms for the built-in profile, tens of ms for a JSON profile with many compared
 * arguments; not for an event loop. On success *ret_filter is the caller's, to end with
 * filter_free().
 *   ERR_INVALID      the JSON is malformed, too large, or asks for what it may not: a listener of
 *                    its own (SCMP_ACT_NOTIFY), tracing, or not to allow execve(2)
 *   ERR_UNSUPPORTED  libseccomp or the kernel cannot do it
 */
typedef int filter_compile_func(const struct filter_request *request, struct filter **ret_filter,
				struct err *err);
filter_compile_func filter_compile;
void filter_free(struct filter *filter);
DEFINE_CLEANUP(struct filter *, filter_free)

/* Write the image of @filter into a new memfd, sealed against changes. Returns the descriptor. The
 * same descriptor serves filter_deserialize() and denial_table_read(). */
int filter_serialize(const struct filter *filter, struct err *err);

/* Read an image. Every length is checked, the instructions are not: the kernel checks those on
 * load. EBADMSG with ERR_INTERNAL for what is no image of this version. */
int filter_deserialize(int image_fd, struct filter **ret_filter, struct err *err);

/*
 * Load @filter into the calling thread; system calls only, between fork and exec, after
 * no_new_privs. Where filter->notifies, *ret_listener_fd becomes the listener (close-on-exec), else
 * -1. From then on a denied call of this thread, also one on the way to execve(2), waits for an
 * answer: the other end must serve the listener from this moment, not only from the exec.
 *
 * The listener is lost with its last descriptor; denied calls then fail with ENOSYS.
 */
int filter_load(const struct filter *filter, int *ret_listener_fd, struct err *err);

/*
 * What was compiled, by request: the bytes of the request themselves are the key, so that two
 * profiles cannot be taken for each other. At most @max filters; the one not used longest goes
 * first.
 */
struct filter_cache;

struct filter_cache *filter_cache_new(size_t max); /* NULL without memory */
void filter_cache_free(struct filter_cache *cache);
DEFINE_CLEANUP(struct filter_cache *, filter_cache_free)

/* The filter for @request, or NULL. *ret_image_fd (may be NULL) is its image's descriptor. Both
 * stay the cache's and are valid until the next filter_cache_put(). */
const struct filter *filter_cache_get(struct filter_cache *cache,
				      const struct filter_request *request, int *ret_image_fd);

/* Keep @image_fd and what it holds for @request. Takes the descriptor, also on failure. */
int filter_cache_put(struct filter_cache *cache, const struct filter_request *request, int image_fd,
		     struct err *err);

/*
 * One repository of a registry, as one pull sees it: where its mirrors are, what was agreed about
 * authentication, and how a piece is had from it whatever happens on the way. That is: a token when one is
 * asked for, redirects, tries with a pause between them, the next place when one does not have it, and going
 * on where the last try ended.
 *
 * Names and passwords go to the registry that they are for and to the token server that it names over TLS,
 * and nowhere else: not to a mirror, not to where a redirect leads.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/image/credentials.h"
#include "agent/image/reference.h"
#include "agent/image/transfer.h"
#include "proto/config.h"

/* What the host's configuration says; outlives the registries. */
struct registry_rules {
	const struct config_list *plain_http;  /* "localhost:5000" */
	const struct config_list *mirrors;     /* "docker.io=mirror.example:5000" */
	const struct config_list *authorities; /* "registry.example=/etc/berth/ca.pem" */
};

/* Of an item of mirrors or authorities; ERR_INVALID. */
int registry_check_mirror(const char *item, struct err *err);
int registry_check_authority(const char *item, struct err *err);
int registry_check_host(const char *item, struct err *err);
int registry_check_host_or_all(const char *item, struct err *err); /* "*" too */

struct registry;
struct fetch;

/* @credentials, which may have none, are copied. */
int registry_open(sd_event *event, struct transfers *transfers, const struct registry_rules *rules,
		  const struct reference *reference, const struct credentials *credentials,
		  struct registry **ret_registry, struct err *err);
/* All its fetches have ended or were cancelled. NULL is fine. */
void registry_free(struct registry *registry);

struct fetch_request {
	const char *path;   /* "manifests/latest", "blobs/sha256:...": copied */
	const char *accept; /* or NULL */
	/* How many bytes there are already of it. NULL: none, ever. */
	uint64_t (*have)(void *user);
	/* It comes from its first byte on: forget what there is. */
	int (*restart)(void *user, struct err *err);
	int (*add)(const void *bytes, size_t length, void *user, struct err *err);
	/* All of it came; a negative errno means that it is not what it should be. ERR_INVALID then lets the
	 * next place be asked. */
	int (*complete)(const struct transfer_head *head, void *user, struct err *err);
	/* Once, from the loop, unless cancelled. */
	void (*end)(int r, const struct err *err, void *user);
	void *user;
};

int fetch_begin(struct registry *registry, const struct fetch_request *request,
		struct fetch **ret_fetch, struct err *err);
/* Without `end`. NULL is fine. */
void fetch_cancel(struct fetch *fetch);

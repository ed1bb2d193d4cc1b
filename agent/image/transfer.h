/*
 * HTTP for pulls: libcurl's multi interface on an sd-event loop. One request is one transfer; nothing is
 * followed, repeated or decided here.
 *
 * Names are looked up by libcurl's threaded resolver, which is what Debian's build has: getaddrinfo(3) of
 * the host's own library, with all that /etc/nsswitch.conf, /etc/hosts and resolv.conf say, in a thread
 * for each lookup. c-ares would know less of that, and a plain lookup would stop the loop.
 *
 * HTTP/1.1 alone: layers are few and large, each has a connection's whole window, and one that breaks breaks
 * no other.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "proto/err.h"

#define TRANSFER_URL_MAX    4096U
#define TRANSFER_FIELD_MAX  2048U /* longer fields of an answer's head are ignored */
#define TRANSFER_HEAD_BYTES 65536U

struct transfers;
struct transfer;

/* What decides how any host is reached; the strings are the caller's and outlive the transfers. */
struct transfers_config {
	const char *proxy;    /* "" for none; the environment's is not looked at */
	const char *no_proxy; /* hosts, joined by commas */
	uint64_t stall_ms;    /* an answer that brings no byte for so long has failed */
};

struct transfer_request {
	const char *url;
	const char *accept;        /* NULL: anything */
	const char *authorization; /* "Bearer ...", or NULL */
	const char *ca_file;       /* beside those that the host trusts; or NULL */
	bool plain_http;           /* allowed for this one */
	uint64_t range_from;       /* ask for what is from this byte on */
	/* Bytes of the body of an answer of status 200 or 206; a negative errno ends the transfer, with
	 * @err. Of other answers the first TRANSFER_FIELD_MAX bytes are kept as the result's text. */
	int (*on_body)(struct transfer *transfer, const void *bytes, size_t length, void *user,
		       struct err *err);
	/* Once, from the loop, for each that was begun and not cancelled; the transfer is gone after it. */
	void (*on_end)(struct transfer *transfer, int r, const struct err *err, void *user);
	void *user;
};

/* An answer's head: whole when the first byte of its body comes. Empty where a field is not there. */
struct transfer_head {
	int status; /* 0: none came */
	char content_type[256];
	char challenge[TRANSFER_FIELD_MAX]; /* WWW-Authenticate */
	char location[TRANSFER_URL_MAX];    /* made whole with the request's URL */
	char text[512];                     /* of the body of a failure */
	uint64_t range_from;                /* Content-Range; UINT64_MAX: none, or not understood */
	uint64_t retry_after_ms;
};

int transfers_new(sd_event *event, const struct transfers_config *config,
		  struct transfers **ret_transfers, struct err *err);
/* All transfers have ended or were cancelled. NULL is fine. */
void transfers_free(struct transfers *transfers);

/* The request's strings are copied. */
int transfer_begin(struct transfers *transfers, const struct transfer_request *request,
		   struct transfer **ret_transfer, struct err *err);
/* Without on_end; not from on_body. NULL is fine. */
void transfer_cancel(struct transfer *transfer);

const struct transfer_head *transfer_head(const struct transfer *transfer);

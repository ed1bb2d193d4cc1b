/*
 * Messages of one stream that wait for the peer's window, packed and prefixed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <protobuf-c/protobuf-c.h>

#include "agent/grpc/budget.h"

struct outbox_message;

struct outbox {
	struct outbox_message *first;
	struct outbox_message *last;
	size_t bytes; /* not yet taken */
	struct budget *budget;
};

#define OUTBOX_MARK_BYTES (64u << 10) /* a writer is asked to wait above this */

void outbox_init(struct outbox *box, struct budget *budget);
/* Drop all. */
void outbox_done(struct outbox *box);

/* Pack @message at the end. Returns 0, -EMSGSIZE over @max_bytes, -ENOBUFS over the budget, -ENOMEM. */
int outbox_put(struct outbox *box, const ProtobufCMessage *message, size_t max_bytes);
/* The same with bytes that are a message already, prefix included. */
int outbox_put_bytes(struct outbox *box, const void *bytes, size_t n);

/* Move up to @n bytes to @buf. Returns how many. */
size_t outbox_take(struct outbox *box, uint8_t *buf, size_t n);

/*
 * What a container with a terminal or an open input wrote before anybody attached: whoever starts it to talk
 * to it attaches a moment later, and must not miss the prompt. Bounded; the oldest goes first, and is in
 * the log like all the rest. It ends with the first attachment.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/monitor/log.h"

#define BACKLOG_BYTES (4 * LOG_RECORD_MAX)

struct backlog {
	bool keeps;    /* nobody has attached yet */
	size_t length; /* of records: kind, length, bytes; the first is the oldest */
	size_t last;   /* where the newest begins */
	char records[BACKLOG_BYTES];
};

/* Keep from now on. */
void backlog_begin(struct backlog *backlog);

/* Nothing more is kept; what is there stays until it is taken. */
void backlog_seal(struct backlog *backlog);

/* At most LOG_RECORD_MAX bytes of @kind. Of one kind after the other there is one record, while it fits. */
void backlog_add(struct backlog *backlog, uint8_t kind, const char *data, size_t length);

/* The oldest record, which stays; false: there is none. *ret_data is the backlog's own. */
bool backlog_first(const struct backlog *backlog, uint8_t *ret_kind, const char **ret_data,
		   size_t *ret_length);
void backlog_drop_first(struct backlog *backlog);

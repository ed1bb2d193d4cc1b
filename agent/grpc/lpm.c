#include "agent/grpc/lpm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM_BYTES 4096

void lpm_init(struct lpm *lpm, size_t max_bytes, struct budget *budget)
{
	*lpm = (struct lpm){ .max_bytes = max_bytes, .budget = budget };
}

static void drop_body(struct lpm *lpm)
{
	free(lpm->body);
	budget_give(lpm->budget, lpm->room);
	lpm->body = NULL;
	lpm->room = 0;
	lpm->n_body = 0;
}

void lpm_done(struct lpm *lpm)
{
	if (lpm->budget)
		drop_body(lpm);
}

bool lpm_partial(const struct lpm *lpm)
{
	return lpm->n_prefix > 0 &&
	       !(lpm->n_prefix == LPM_PREFIX_BYTES && lpm->n_body == lpm->length);
}

void lpm_prefix(uint8_t *buf, uint32_t length)
{
	buf[0] = 0;
	buf[1] = (uint8_t)(length >> 24);
	buf[2] = (uint8_t)(length >> 16);
	buf[3] = (uint8_t)(length >> 8);
	buf[4] = (uint8_t)length;
}

static int check_prefix(struct lpm *lpm)
{
	const uint8_t *p = lpm->prefix;

	if (p[0] == 1)
		return -EOPNOTSUPP;
	if (p[0] > 1)
		return -EPROTO;
	lpm->length = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
	return lpm->length > lpm->max_bytes ? -EMSGSIZE : 0;
}

/* Returns 1 once the prefix is complete. */
static int take_prefix(struct lpm *lpm, const uint8_t **data, size_t *n)
{
	if (lpm->n_prefix == LPM_PREFIX_BYTES)
		return 1;
	while (*n && lpm->n_prefix < LPM_PREFIX_BYTES) {
		lpm->prefix[lpm->n_prefix++] = *(*data)++;
		(*n)--;
	}
	if (lpm->n_prefix < LPM_PREFIX_BYTES)
		return 0;
	return check_prefix(lpm) ?: 1;
}

static int make_room(struct lpm *lpm, size_t needed)
{
	size_t room = lpm->room ? lpm->room : FIRST_ROOM_BYTES;
	uint8_t *grown;

	if (needed <= lpm->room)
		return 0;
	while (room < needed)
		room *= 2;
	if (room > lpm->length)
		room = lpm->length;
	if (!budget_take(lpm->budget, room - lpm->room))
		return -ENOBUFS;
	grown = realloc(lpm->body, room);
	if (!grown) {
		budget_give(lpm->budget, room - lpm->room);
		return -ENOMEM;
	}
	lpm->body = grown;
	lpm->room = room;
	return 0;
}

static int message(struct lpm *lpm, const uint8_t *bytes, const uint8_t **ret_message,
		   size_t *ret_length)
{
	*ret_message = bytes;
	*ret_length = lpm->length;
	return 1;
}

int lpm_take(struct lpm *lpm, const uint8_t **data, size_t *n, const uint8_t **ret_message,
	     size_t *ret_length)
{
	size_t part;
	int r;

	if (lpm->n_prefix == LPM_PREFIX_BYTES &&
	    lpm->n_body == lpm->length) { /* handed out last time */
		drop_body(lpm);
		lpm->n_prefix = 0;
	}
	r = take_prefix(lpm, data, n);
	if (r <= 0)
		return r;
	if (!lpm->n_body && *n >= lpm->length) { /* all here: no copy */
		const uint8_t *bytes = *data;

		*data += lpm->length;
		*n -= lpm->length;
		lpm->n_prefix = 0;
		return message(lpm, bytes, ret_message, ret_length);
	}
	part = lpm->length - lpm->n_body < *n ? lpm->length - lpm->n_body : *n;
	if (!part)
		return 0;
	r = make_room(lpm, lpm->n_body + part);
	if (r < 0)
		return r;
	memcpy(lpm->body + lpm->n_body, *data, part);
	lpm->n_body += part;
	*data += part;
	*n -= part;
	return lpm->n_body == lpm->length ? message(lpm, lpm->body, ret_message, ret_length) : 0;
}

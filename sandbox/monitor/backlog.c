#include "sandbox/monitor/backlog.h"

#include <string.h>

struct head {
	uint8_t kind;
	uint16_t length;
};

static struct head head_at(const struct backlog *backlog, size_t at)
{
	struct head head;

	memcpy(&head, backlog->records + at, sizeof(head));
	return head;
}

static void put_head(struct backlog *backlog, size_t at, struct head head)
{
	memcpy(backlog->records + at, &head, sizeof(head));
}

void backlog_begin(struct backlog *backlog)
{
	backlog->keeps = true;
}

void backlog_seal(struct backlog *backlog)
{
	backlog->keeps = false;
}

bool backlog_first(const struct backlog *backlog, uint8_t *ret_kind, const char **ret_data,
		   size_t *ret_length)
{
	struct head head;

	if (!backlog->length)
		return false;
	head = head_at(backlog, 0);
	*ret_kind = head.kind;
	*ret_data = backlog->records + sizeof(head);
	*ret_length = head.length;
	return true;
}

void backlog_drop_first(struct backlog *backlog)
{
	size_t size;

	if (!backlog->length)
		return;
	size = sizeof(struct head) + head_at(backlog, 0).length;
	backlog->length -= size;
	backlog->last = backlog->last > size ? backlog->last - size : 0;
	memmove(backlog->records, backlog->records + size, backlog->length);
}

/* Whether the newest record can take @length more bytes of @kind. */
static bool joins_last(const struct backlog *backlog, uint8_t kind, size_t length)
{
	struct head head;

	if (!backlog->length)
		return false;
	head = head_at(backlog, backlog->last);
	return head.kind == kind && head.length + length <= LOG_RECORD_MAX;
}

static void make_room(struct backlog *backlog, size_t size)
{
	while (backlog->length + size > sizeof(backlog->records))
		backlog_drop_first(backlog);
}

void backlog_add(struct backlog *backlog, uint8_t kind, const char *data, size_t length)
{
	struct head head = { .kind = kind };

	if (!backlog->keeps || !length)
		return;
	make_room(backlog, sizeof(head) + length);
	if (joins_last(backlog, kind, length)) {
		head = head_at(backlog, backlog->last);
	} else {
		backlog->last = backlog->length;
		backlog->length += sizeof(head);
	}
	memcpy(backlog->records + backlog->length, data, length);
	backlog->length += length;
	head.length = (uint16_t)(head.length + length);
	put_head(backlog, backlog->last, head);
}

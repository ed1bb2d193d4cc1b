#include "agent/grpc/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/grpc/lpm.h"

struct outbox_message {
	struct outbox_message *next;
	size_t n;
	size_t taken;
	uint8_t bytes[];
};

void outbox_init(struct outbox *box, struct budget *budget)
{
	*box = (struct outbox){ .budget = budget };
}

static void drop_first(struct outbox *box)
{
	struct outbox_message *first = box->first;

	box->first = first->next;
	if (!box->first)
		box->last = NULL;
	budget_give(box->budget, sizeof(*first) + first->n);
	free(first);
}

void outbox_done(struct outbox *box)
{
	while (box->first)
		drop_first(box);
	box->bytes = 0;
}

/* Room for @n bytes at the end, which the caller fills before anything else happens. */
static int append(struct outbox *box, size_t n, uint8_t **ret_bytes)
{
	struct outbox_message *added;

	if (!budget_take(box->budget, sizeof(*added) + n))
		return -ENOBUFS;
	added = malloc(sizeof(*added) + n);
	if (!added) {
		budget_give(box->budget, sizeof(*added) + n);
		return -ENOMEM;
	}
	added->next = NULL;
	added->n = n;
	added->taken = 0;
	if (box->last)
		box->last->next = added;
	else
		box->first = added;
	box->last = added;
	box->bytes += n;
	*ret_bytes = added->bytes;
	return 0;
}

int outbox_put(struct outbox *box, const ProtobufCMessage *message, size_t max_bytes)
{
	size_t n = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes;
	int r;

	if (n > max_bytes || n > UINT32_MAX)
		return -EMSGSIZE;
	r = append(box, LPM_PREFIX_BYTES + n, &bytes);
	if (r < 0)
		return r;
	lpm_prefix(bytes, (uint32_t)n);
	(void)protobuf_c_message_pack(message, bytes + LPM_PREFIX_BYTES);
	return 0;
}

int outbox_put_bytes(struct outbox *box, const void *bytes, size_t n)
{
	uint8_t *copy;
	int r = append(box, n, &copy);

	if (r < 0)
		return r;
	if (n)
		memcpy(copy, bytes, n);
	return 0;
}

size_t outbox_take(struct outbox *box, uint8_t *buf, size_t n)
{
	size_t filled = 0;

	while (box->first && filled < n) {
		struct outbox_message *first = box->first;
		size_t part = first->n - first->taken;

		if (part > n - filled)
			part = n - filled;
		memcpy(buf + filled, first->bytes + first->taken, part);
		first->taken += part;
		filled += part;
		box->bytes -= part;
		if (first->taken == first->n)
			drop_first(box);
	}
	return filled;
}

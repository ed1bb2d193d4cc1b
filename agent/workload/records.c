#include "agent/workload/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEFAULT       4096
#define BYTES_MAX_DEFAULT (8U << 20)
#define AGE_DEFAULT_NS    (24 * 3600 * UINT64_C(1000000000))

void records_init(struct records *records, struct store *store)
{
	const struct record_limits defaults = { 0 };

	*records = (struct records){ .store = store };
	records_set_limits(records, &defaults);
}

void records_done(struct records *records)
{
	for (size_t i = 0; i < records->n; i++)
		event_bytes_unref(records->list[i].event);
	free(records->list);
	records->list = NULL;
	records->n = 0;
}

void records_set_limits(struct records *records, const struct record_limits *limits)
{
	records->limits = (struct record_limits){
		.max = limits->max ? limits->max : MAX_DEFAULT,
		.bytes_max = limits->bytes_max ? limits->bytes_max : BYTES_MAX_DEFAULT,
		.age_ns = limits->age_ns ? limits->age_ns : AGE_DEFAULT_NS,
	};
}

/* The index of the first one from @sequence on. */
static size_t position(const struct records *records, uint64_t sequence)
{
	size_t low = 0;
	size_t high = records->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (records->list[middle].sequence < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct kept_record *records_from(const struct records *records, uint64_t sequence)
{
	size_t i = position(records, sequence);

	return i < records->n ? &records->list[i] : NULL;
}

bool records_has(const struct records *records, uint64_t sequence)
{
	const struct kept_record *record = records_from(records, sequence);

	return record && record->sequence == sequence;
}

static void put(const struct records *records, const struct kept_record *record)
{
	const struct store_done nobody = { 0 };

	records->store->ops->put_record(records->store, record->sequence, record->event->bytes,
					record->event->n, &nobody);
}

void records_put_again(const struct records *records)
{
	for (size_t i = 0; i < records->n; i++)
		put(records, &records->list[i]);
}

int records_add(struct records *records, const struct kept_record *record, bool put_too)
{
	size_t i = position(records, record->sequence);

	if (records->n == records->room) {
		size_t room = records->room ? records->room * 2 : 64;
		struct kept_record *list = reallocarray(records->list, room, sizeof(*list));

		if (!list) {
			event_bytes_unref(record->event);
			return -ENOMEM;
		}
		records->list = list;
		records->room = room;
	}
	memmove(&records->list[i + 1], &records->list[i],
		(records->n - i) * sizeof(struct kept_record));
	records->list[i] = *record;
	records->n++;
	records->bytes += record->event->n;
	records->unacknowledged += !record->acknowledged;
	if (put_too)
		put(records, record);
	return 0;
}

size_t records_acknowledge(struct records *records, uint64_t first, uint64_t last)
{
	size_t news = 0;

	for (size_t i = position(records, first);
	     i < records->n && records->list[i].sequence <= last; i++) {
		news += !records->list[i].acknowledged;
		records->list[i].acknowledged = true;
	}
	records->unacknowledged -= news;
	return news;
}

static void drop(struct records *records, size_t i)
{
	const struct store_done nobody = { 0 };
	struct kept_record *record = &records->list[i];

	records->store->ops->drop_record(records->store, record->sequence, &nobody);
	records->bytes -= record->event->n;
	records->unacknowledged -= !record->acknowledged;
	event_bytes_unref(record->event);
	records->n--;
	memmove(record, record + 1, (records->n - i) * sizeof(*record));
}

/* The oldest that is acknowledged, or n. */
static size_t oldest_acknowledged(const struct records *records)
{
	size_t i = 0;

	if (records->unacknowledged == records->n)
		return records->n;
	while (i < records->n && !records->list[i].acknowledged)
		i++;
	return i;
}

static uint64_t drop_old(struct records *records, uint64_t now_boot_ns)
{
	uint64_t next = 0;

	for (size_t i = 0; i < records->n && records->unacknowledged < records->n;) {
		const struct kept_record *record = &records->list[i];
		uint64_t due = record->boot_ns + records->limits.age_ns;

		if (record->acknowledged && due <= now_boot_ns) {
			drop(records, i);
			continue;
		}
		if (record->acknowledged && (!next || due < next))
			next = due;
		i++;
	}
	return next;
}

uint64_t records_trim(struct records *records, uint64_t now_boot_ns)
{
	uint64_t next = drop_old(records, now_boot_ns);

	while (records->n > records->limits.max || records->bytes > records->limits.bytes_max) {
		size_t i = oldest_acknowledged(records);

		if (i < records->n) {
			drop(records, i);
			continue;
		}
		records->dropped++;
		drop(records, 0);
	}
	return next;
}

int records_fill_acknowledged(const struct records *records, struct arena *arena,
			      Berth__Agent__V1__Node *ret)
{
	Berth__Agent__V1__SequenceRange *range = NULL;

	for (size_t i = 0; i < records->n; i++) {
		const struct kept_record *record = &records->list[i];

		if (!record->acknowledged) {
			range = NULL;
			continue;
		}
		if (!range) {
			range = arena_message(arena, &berth__agent__v1__sequence_range__descriptor);
			if (arena_append(arena, &ret->acknowledged, &ret->n_acknowledged, range) <
			    0)
				return -ENOMEM;
			range->first = record->sequence;
		}
		range->last = record->sequence;
	}
	return 0;
}

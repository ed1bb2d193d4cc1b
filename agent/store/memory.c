/*
 * The store of a host whose agent starts afresh: it holds nothing, since the engine holds all that the
 * process knows, and every write is as durable as it will ever be at once.
 */
#include <stdlib.h>

#include "agent/store/store.h"

static void answer(const struct store_done *done)
{
	if (done->call)
		done->call(done->userdata, done->ticket, NULL);
}

static void put_intent(struct store *store, const struct store_intent *intent,
		       const struct store_done *done)
{
	answer(done);
}

static void put_life(struct store *store, const char *id, const uint8_t *bytes, size_t n,
		     const struct store_done *done)
{
	answer(done);
}

static void put_event(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
		      const struct store_done *done)
{
	answer(done);
}

static void put_record(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
		       const struct store_done *done)
{
	answer(done);
}

static void drop_record(struct store *store, uint64_t sequence, const struct store_done *done)
{
	answer(done);
}

static void put_epoch(struct store *store, uint64_t epoch, const struct store_done *done)
{
	answer(done);
}

static void put_tombstone(struct store *store, const char *id, uint64_t generation,
			  const struct store_done *done)
{
	answer(done);
}

static void put_node(struct store *store, const uint8_t *bytes, size_t n,
		     const struct store_done *done)
{
	answer(done);
}

static void put_barrier(struct store *store, const struct store_done *done)
{
	answer(done);
}

static void submit(struct store *store)
{
}

static int load(struct store *store, const struct store_visitor *visitor, struct err *err)
{
	return 0;
}

static void memory_free(struct store *store)
{
	free(store);
}

static const struct store_ops memory_ops = {
	.put_intent = put_intent,
	.put_life = put_life,
	.put_event = put_event,
	.put_record = put_record,
	.drop_record = drop_record,
	.put_epoch = put_epoch,
	.put_tombstone = put_tombstone,
	.put_node = put_node,
	.put_barrier = put_barrier,
	.submit = submit,
	.load = load,
	.free = memory_free,
};

struct store *store_memory_new(void)
{
	struct store *store = calloc(1, sizeof(*store));

	if (store)
		store->ops = &memory_ops;
	return store;
}

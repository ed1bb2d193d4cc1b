#include "played_store.h"

#include <stdlib.h>
#include <string.h>

#include "berth/v1/types.pb-c.h"

static struct played_store *of(struct store *store)
{
	return (struct played_store *)store;
}

struct played_write *played_store_find(struct played_store *store, char kind, const char *id)
{
	for (size_t i = 0; i < store->n_kept; i++)
		if (store->kept[i].kind == kind && strcmp(store->kept[i].id, id) == 0)
			return &store->kept[i];
	return NULL;
}

static void drop(struct played_store *store, char kind, const char *id)
{
	struct played_write *found = played_store_find(store, kind, id);

	if (!found)
		return;
	free(found->bytes);
	store->n_kept--;
	memmove(found, found + 1, (size_t)(store->kept + store->n_kept - found) * sizeof(*found));
}

static void drop_sequence(struct played_store *store, char kind, uint64_t sequence)
{
	for (size_t i = 0; i < store->n_kept; i++) {
		struct played_write *found = &store->kept[i];

		if (found->kind != kind || found->numbers.generation != sequence)
			continue;
		free(found->bytes);
		store->n_kept--;
		memmove(found, found + 1,
			(size_t)(store->kept + store->n_kept - found) * sizeof(*found));
		return;
	}
}

/* The bytes become the store's. Events and records are known by their number. */
static void keep(struct played_store *store, const struct played_write *write)
{
	if (write->kind == 'd')
		drop_sequence(store, 'r', write->numbers.generation);
	if (write->kind == 'b' || write->kind == 'd') {
		free(write->bytes);
		return;
	}
	if (write->kind == 'e' || write->kind == 'r')
		drop_sequence(store, write->kind, write->numbers.generation);
	else
		drop(store, write->kind, write->id);
	if (write->kind == 't') {
		drop(store, 'i', write->id);
		drop(store, 'l', write->id);
	}
	if (write->kind == 't' && write->numbers.generation == 0) {
		free(write->bytes);
		return;
	}
	if (store->n_kept == PLAYED_KEPT_MAX)
		abort();
	store->kept[store->n_kept++] = *write;
}

static void put(struct store *face, char kind, const char *id, const struct store_intent *numbers,
		const uint8_t *bytes, size_t n, const struct store_done *done)
{
	struct played_store *store = of(face);
	struct played_write write = { .kind = kind, .n = n, .done = *done };

	store->n_lives += kind == 'l';
	store->n_nodes += kind == 'n';
	if (numbers)
		write.numbers = *numbers;
	strncpy(write.id, id, sizeof(write.id) - 1);
	write.bytes = malloc(n + 1);
	if (n)
		memcpy(write.bytes, bytes, n);
	if (store->all_wait || (store->intents_wait && kind == 'i')) {
		if (store->n_waiting == PLAYED_KEPT_MAX)
			abort();
		store->waiting[store->n_waiting++] = write;
		return;
	}
	keep(store, &write);
	if (done->call)
		done->call(done->userdata, done->ticket, NULL);
}

static void put_intent(struct store *store, const struct store_intent *intent,
		       const struct store_done *done)
{
	if (intent->spec_bytes == 0)
		abort();
	put(store, 'i', intent->id, intent, intent->spec, intent->spec_bytes, done);
}

static void put_life(struct store *store, const char *id, const uint8_t *bytes, size_t n,
		     const struct store_done *done)
{
	put(store, 'l', id, NULL, bytes, n, done);
}

static void put_event(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
		      const struct store_done *done)
{
	put(store, 'e', "", &(struct store_intent){ .generation = sequence }, bytes, n, done);
}

static void put_record(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
		       const struct store_done *done)
{
	put(store, 'r', "", &(struct store_intent){ .generation = sequence }, bytes, n, done);
}

static void drop_record(struct store *store, uint64_t sequence, const struct store_done *done)
{
	put(store, 'd', "", &(struct store_intent){ .generation = sequence }, NULL, 0, done);
}

static void put_epoch(struct store *store, uint64_t epoch, const struct store_done *done)
{
	put(store, 'E', "", &(struct store_intent){ .generation = epoch }, NULL, 0, done);
}

static void put_tombstone(struct store *store, const char *id, uint64_t generation,
			  const struct store_done *done)
{
	put(store, 't', id, &(struct store_intent){ .generation = generation }, NULL, 0, done);
}

static void put_node(struct store *store, const uint8_t *bytes, size_t n,
		     const struct store_done *done)
{
	put(store, 'n', "", NULL, bytes, n, done);
}

static void put_barrier(struct store *store, const struct store_done *done)
{
	put(store, 'b', "", NULL, NULL, 0, done);
}

static void submit(struct store *store)
{
}

static int tell(const struct store_visitor *v, const struct played_write *write)
{
	struct store_intent intent = write->numbers;

	switch (write->kind) {
	case 'E':
		return v->epoch(v->userdata, intent.generation);
	case 't':
		return v->generation(v->userdata, write->id, intent.generation);
	case 'n':
		return v->node(v->userdata, write->bytes, write->n);
	case 'r':
		return v->record(v->userdata, intent.generation, write->bytes, write->n);
	case 'e':
		return v->event(v->userdata, intent.generation, write->bytes, write->n);
	case 'i':
		intent.id = write->id;
		intent.spec = write->bytes;
		intent.spec_bytes = write->n;
		return v->intent(v->userdata, &intent);
	default:
		return v->life(v->userdata, write->id, write->bytes, write->n);
	}
}

/* Loading puts again: what is told is what was kept before. */
static int load(struct store *face, const struct store_visitor *visitor, struct err *err)
{
	static const char order[] = "Etneril";
	struct played_store *store = of(face);
	struct played_write *kept = calloc(store->n_kept + 1, sizeof(*kept));
	size_t n = store->n_kept;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		kept[i] = store->kept[i];
		kept[i].bytes = malloc(kept[i].n + 1);
		memcpy(kept[i].bytes, store->kept[i].bytes, kept[i].n);
	}
	for (const char *kind = order; *kind; kind++)
		for (size_t i = 0; i < n && r >= 0; i++)
			if (kept[i].kind == *kind)
				r = tell(visitor, &kept[i]);
	for (size_t i = 0; i < n; i++)
		free(kept[i].bytes);
	free(kept);
	return r;
}

static const struct store_ops ops = { .put_intent = put_intent,
				      .put_life = put_life,
				      .put_event = put_event,
				      .put_record = put_record,
				      .drop_record = drop_record,
				      .put_epoch = put_epoch,
				      .put_tombstone = put_tombstone,
				      .put_node = put_node,
				      .put_barrier = put_barrier,
				      .submit = submit,
				      .load = load };

void played_store_init(struct played_store *store)
{
	store->store.ops = &ops;
}

static void commit(struct played_store *store, size_t n, const struct err *err)
{
	/* Answers may put more, behind these. */
	for (size_t i = 0; i < n; i++) {
		struct played_write write = store->waiting[i];

		if (err)
			free(write.bytes);
		else
			keep(store, &write);
		if (write.done.call)
			write.done.call(write.done.userdata, write.done.ticket, err);
	}
	memmove(store->waiting, store->waiting + n,
		(store->n_waiting - n) * sizeof(store->waiting[0]));
	store->n_waiting -= n;
}

void played_store_commit(struct played_store *store, const struct err *err)
{
	commit(store, store->n_waiting, err);
}

void played_store_commit_first(struct played_store *store, size_t n)
{
	commit(store, n < store->n_waiting ? n : store->n_waiting, NULL);
}

void played_store_commit_all(struct played_store *store)
{
	while (store->n_waiting)
		played_store_commit(store, NULL);
}

static void put_into(const struct played_write *write, struct store *to)
{
	const struct store_done nobody = { 0 };
	struct store_intent intent = write->numbers;

	switch (write->kind) {
	case 'E':
		to->ops->put_epoch(to, intent.generation, &nobody);
		break;
	case 't':
		to->ops->put_tombstone(to, write->id, intent.generation, &nobody);
		break;
	case 'n':
		to->ops->put_node(to, write->bytes, write->n, &nobody);
		break;
	case 'e':
		to->ops->put_event(to, intent.generation, write->bytes, write->n, &nobody);
		break;
	case 'r':
		to->ops->put_record(to, intent.generation, write->bytes, write->n, &nobody);
		break;
	case 'i':
		intent.id = write->id;
		intent.spec = write->bytes;
		intent.spec_bytes = write->n;
		to->ops->put_intent(to, &intent, &nobody);
		break;
	default:
		to->ops->put_life(to, write->id, write->bytes, write->n, &nobody);
		break;
	}
}

void played_store_copy(const struct played_store *store, struct store *to)
{
	for (size_t i = 0; i < store->n_kept; i++)
		put_into(&store->kept[i], to);
	to->ops->submit(to);
}

static int take_epoch(void *userdata, uint64_t epoch)
{
	const struct store_done nobody = { 0 };

	put_epoch(userdata, epoch, &nobody);
	return 0;
}

static int take_generation(void *userdata, const char *id, uint64_t generation)
{
	const struct store_done nobody = { 0 };

	put_tombstone(userdata, id, generation, &nobody);
	return 0;
}

static int take_node(void *userdata, const uint8_t *bytes, size_t n)
{
	const struct store_done nobody = { 0 };

	put_node(userdata, bytes, n, &nobody);
	return 0;
}

static int take_intent(void *userdata, const struct store_intent *intent)
{
	const struct store_done nobody = { 0 };

	put_intent(userdata, intent, &nobody);
	return 0;
}

static int take_life(void *userdata, const char *id, const uint8_t *bytes, size_t n)
{
	const struct store_done nobody = { 0 };

	put_life(userdata, id, bytes, n, &nobody);
	return 0;
}

static int take_event(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	const struct store_done nobody = { 0 };

	put_event(userdata, sequence, bytes, n, &nobody);
	return 0;
}

static int take_record(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	const struct store_done nobody = { 0 };

	put_record(userdata, sequence, bytes, n, &nobody);
	return 0;
}

void played_store_take(struct played_store *store, struct store *from)
{
	const struct store_visitor visitor = { take_epoch,  take_generation, take_node,
					       take_intent, take_life,       take_event,
					       take_record, &store->store };
	struct err err = { 0 };

	if (from->ops->load(from, &visitor, &err) < 0)
		abort();
}

void played_store_crash(struct played_store *store)
{
	for (size_t i = 0; i < store->n_waiting; i++)
		free(store->waiting[i].bytes);
	store->n_waiting = 0;
}

size_t played_store_exits(const struct played_store *store, const char *workload)
{
	size_t exits = 0;

	for (size_t i = 0; i < store->n_kept; i++) {
		Berth__V1__Event *event;

		if (store->kept[i].kind != 'e')
			continue;
		event = berth__v1__event__unpack(NULL, store->kept[i].n, store->kept[i].bytes);
		exits += event && event->exit && strcmp(event->workload, workload) == 0;
		if (event)
			berth__v1__event__free_unpacked(event, NULL);
	}
	return exits;
}

void played_store_done(struct played_store *store)
{
	played_store_crash(store);
	for (size_t i = 0; i < store->n_kept; i++)
		free(store->kept[i].bytes);
	store->n_kept = 0;
}

#include "store_desk.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int desk_begin(void **state)
{
	struct desk *desk = calloc(1, sizeof(*desk));

	(void)snprintf(desk->directory, sizeof(desk->directory), "%.40s/test_store.XXXXXX",
		       getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(desk->directory));
	assert_true(sd_event_new(&desk->event) >= 0);
	*state = desk;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

int desk_end(void **state)
{
	struct desk *desk = *state;

	store_free(desk->store);
	sd_event_unref(desk->event);
	(void)nftw(desk->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(desk);
	return 0;
}

void desk_open(struct desk *desk, uint64_t events_max)
{
	const struct store_sqlite_config config = { .directory = desk->directory,
						    .events_max = events_max,
						    .retry_ms = 20 };
	struct err err = { 0 };

	assert_int_equal(store_sqlite_new(desk->event, &config, &desk->store, &err), 0);
}

void desk_close(struct desk *desk)
{
	store_free(desk->store);
	desk->store = NULL;
}

static int take_epoch(void *userdata, uint64_t epoch)
{
	((struct desk *)userdata)->epoch = epoch;
	return 0;
}

static int take_generation(void *userdata, const char *id, uint64_t generation)
{
	((struct desk *)userdata)->generation = generation;
	((struct desk *)userdata)->tombstones++;
	return 0;
}

static int take_node(void *userdata, const uint8_t *bytes, size_t n)
{
	((struct desk *)userdata)->nodes++;
	return 0;
}

static bool is_all(char letter, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != (uint8_t)letter)
			return false;
	return true;
}

static int take_intent(void *userdata, const struct store_intent *intent)
{
	struct desk *desk = userdata;

	desk->intents++;
	desk->wrong += !is_all('s', intent->spec, intent->spec_bytes) || intent->instance != 7 ||
		       strncmp(intent->id, "w-", 2) != 0;
	desk->stop = intent->stop;
	(void)snprintf(desk->spec, sizeof(desk->spec), "%s %llu %llu %llu %.*s", intent->id,
		       (unsigned long long)intent->instance, (unsigned long long)intent->generation,
		       (unsigned long long)intent->epoch,
		       (int)(intent->spec_bytes < 20 ? intent->spec_bytes : 20),
		       (const char *)intent->spec);
	return 0;
}

static int take_life(void *userdata, const char *id, const uint8_t *bytes, size_t n)
{
	struct desk *desk = userdata;

	desk->lives++;
	desk->wrong += n != 5 || memcmp(bytes, "alive", 5) != 0;
	(void)snprintf(desk->life, sizeof(desk->life), "%s %.*s", id, (int)n, (const char *)bytes);
	return 0;
}

static int take_event(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct desk *desk = userdata;

	assert_true(sequence > desk->last_event);
	desk->last_event = sequence;
	desk->events++;
	desk->wrong += !is_all('e', bytes, n);
	return 0;
}

static int take_record(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct desk *desk = userdata;

	desk->records++;
	desk->last_record = sequence;
	desk->wrong += !is_all('r', bytes, n);
	return 0;
}

void desk_load(struct desk *desk)
{
	const struct store_visitor visitor = { take_epoch,  take_generation,
					       take_node,   take_intent,
					       take_life,   take_event,
					       take_record, desk };
	struct err err = { 0 };

	desk->epoch = desk->generation = desk->last_event = desk->last_record = 0;
	desk->intents = desk->lives = desk->events = desk->records = desk->tombstones =
		desk->nodes = desk->wrong = 0;
	assert_int_equal(desk->store->ops->load(desk->store, &visitor, &err), 0);
}

static void on_done(void *userdata, uint64_t ticket, const struct err *err)
{
	struct desk *desk = userdata;

	assert_true(desk->n_answers < DESK_ANSWERS_MAX);
	desk->tickets[desk->n_answers] = ticket;
	desk->failed[desk->n_answers++] = err != NULL;
}

struct store_done desk_done(struct desk *desk, uint64_t ticket)
{
	return (struct store_done){ .call = on_done, .userdata = desk, .ticket = ticket };
}

void desk_put_event(struct desk *desk, uint64_t sequence)
{
	char bytes[200];
	struct store_done d = desk_done(desk, sequence);

	memset(bytes, 'e', sizeof(bytes));
	desk->store->ops->put_event(desk->store, sequence, (const uint8_t *)bytes, sizeof(bytes),
				    &d);
}

void desk_put_intent(struct desk *desk, const char *id, const char *spec, size_t n, bool stop)
{
	const struct store_intent intent = { .id = id,
					     .instance = 7,
					     .generation = UINT64_MAX,
					     .epoch = 5,
					     .spec = (const uint8_t *)spec,
					     .spec_bytes = n,
					     .stop = stop };
	struct store_done d = desk_done(desk, 1);

	desk->store->ops->put_intent(desk->store, &intent, &d);
}

void desk_put_life(struct desk *desk, const char *id, const char *life)
{
	struct store_done d = desk_done(desk, 2);

	desk->store->ops->put_life(desk->store, id, (const uint8_t *)life, strlen(life), &d);
}

void desk_submit(struct desk *desk)
{
	desk->store->ops->submit(desk->store);
}

void desk_until_answered(struct desk *desk, size_t n)
{
	while (desk->n_answers < n)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	assert_int_equal(desk->n_answers, n);
}

const char *desk_file(const struct desk *desk, const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", desk->directory, name);
	return path;
}

size_t desk_count_files(const struct desk *desk, const char *part)
{
	DIR *dir = opendir(desk->directory);
	const struct dirent *entry;
	size_t n = 0;

	while ((entry = readdir(dir)))
		n += strstr(entry->d_name, part) != NULL && !strstr(entry->d_name, "-wal");
	(void)closedir(dir);
	return n;
}

void desk_empty_directory(struct desk *desk)
{
	DIR *dir = opendir(desk->directory);
	const struct dirent *entry;

	while ((entry = readdir(dir)))
		/* The reserve is as good as a new one. */
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "reserve") != 0)
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	(void)closedir(dir);
}

void desk_put_record(struct desk *desk, uint64_t sequence)
{
	char bytes[300];
	struct store_done d = desk_done(desk, sequence);

	memset(bytes, 'r', sizeof(bytes));
	desk->store->ops->put_record(desk->store, sequence, (const uint8_t *)bytes, sizeof(bytes),
				     &d);
}

void desk_put_tombstone(struct desk *desk, const char *id, uint64_t generation)
{
	struct store_done d = desk_done(desk, generation);

	desk->store->ops->put_tombstone(desk->store, id, generation, &d);
}

void desk_until_well(struct desk *desk)
{
	while (desk->store->failure[0])
		assert_true(sd_event_run(desk->event, 20000000) > 0);
}

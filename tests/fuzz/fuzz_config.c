/*
 * A configuration that loads must print as one that loads and prints the same; one that does not must say
 * why and change nothing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/config.h"

struct settings {
	bool flag;
	uint64_t idle_ms;
	uint64_t room_bytes;
	uint64_t cpu_millis;
	uint64_t count;
	char *name;
	char *socket;
	struct config_list peers;
	int level;
};

static const struct config_choice levels[] = { { "info", 6 }, { "debug", 7 }, { 0 } };

static const struct config_key keys[] = {
	{ "S", "Flag", CONFIG_BOOL, offsetof(struct settings, flag), "no", "." },
	{ "S", "Idle", CONFIG_DURATION_MS, offsetof(struct settings, idle_ms), "30s", "." },
	{ "S", "Room", CONFIG_BYTES, offsetof(struct settings, room_bytes), "64Mi", "." },
	{ "S", "Cpu", CONFIG_CPU_MILLIS, offsetof(struct settings, cpu_millis), "1.5", "." },
	{ "S", "Count", CONFIG_UINT, offsetof(struct settings, count), "10", ".", .max = 100 },
	{ "S", "Name", CONFIG_STRING, offsetof(struct settings, name), "n", "." },
	{ "S", "Socket", CONFIG_PATH, offsetof(struct settings, socket), "", "." },
	{ "S", "Peers", CONFIG_LIST, offsetof(struct settings, peers), "a b", "." },
	{ "L", "Level", CONFIG_ENUM, offsetof(struct settings, level), "info", ".",
	  .choices = levels },
};

static const struct config_table table = CONFIG_TABLE("", struct settings, keys);

static char *print(const struct settings *settings)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file || config_print_settings(&table, settings, file) < 0 || fclose(file) != 0)
		abort();
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct settings none;
	struct settings settings = none;
	struct err err = { 0 };

	if (config_load_text(&table, "x", (const char *)data, size, &settings, &err) == 0) {
		cleanup_free char *first = print(&settings);
		cleanup_free char *second = NULL;

		if (config_load_text(&table, "x", first, strlen(first), &settings, &err) < 0)
			abort();
		second = print(&settings);
		if (strcmp(first, second) != 0)
			abort();
		config_free(&table, &settings);
	} else if (err.kind != ERR_INVALID || !err.text[0]) {
		abort();
	}
	if (memcmp(&settings, &none, sizeof(settings)) != 0)
		abort();
	return 0;
}

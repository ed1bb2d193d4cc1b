#include "agent/telemetry/usage_files.h"

#include <fcntl.h>
#include <string.h>

#define FILE_BYTES 8192 /* the longest is memory.stat */

/* How old a reading may be before the file is read again: memory.stat costs as much as all of the
 * cheap ones together, and the kernel itself renews PSI averages every two seconds only. */
enum pace { EVERY_TIME, EVERY_SECOND, EVERY_TWO_SECONDS, PACES };
static const uint64_t pace_ns[PACES] = { 0, 950000000, 1950000000 };

/* A line "key value" of a file, and where the value goes, times @scale. */
struct key {
	const char *name;
	size_t offset;
	uint64_t scale;
};

#define AT(member)        offsetof(struct usage_sample, member)
#define USER_HZ_NS        10000000u /* cpuacct.stat counts in USER_HZ, which is 100 for all programs */
#define NO_LIMIT_AT_LEAST (UINT64_MAX / 4) /* v1 says "no limit" with a number near the top */

static const struct key cpu_stat_v2[] = { { "usage_usec", AT(cpu_usage_ns), 1000 },
					  { "user_usec", AT(cpu_user_ns), 1000 },
					  { "system_usec", AT(cpu_system_ns), 1000 },
					  { "nr_periods", AT(cpu_periods), 1 },
					  { "nr_throttled", AT(cpu_throttled_periods), 1 },
					  { "throttled_usec", AT(cpu_throttled_ns), 1000 },
					  { 0 } };
static const struct key cpu_stat_v1[] = { { "nr_periods", AT(cpu_periods), 1 },
					  { "nr_throttled", AT(cpu_throttled_periods), 1 },
					  { "throttled_time", AT(cpu_throttled_ns), 1 },
					  { 0 } };
static const struct key cpuacct_stat[] = { { "user", AT(cpu_user_ns), USER_HZ_NS },
					   { "system", AT(cpu_system_ns), USER_HZ_NS },
					   { 0 } };
static const struct key memory_stat_v2[] = { { "anon", AT(memory_anon), 1 },
					     { "file", AT(memory_file), 1 },
					     { "inactive_file", AT(memory_inactive_file), 1 },
					     { 0 } };
static const struct key memory_stat_v1[] = { { "total_rss", AT(memory_anon), 1 },
					     { "total_cache", AT(memory_file), 1 },
					     { "total_swap", AT(memory_swap), 1 },
					     { "total_inactive_file", AT(memory_inactive_file), 1 },
					     { 0 } };
static const struct key memory_events[] = {
	{ "low", AT(events_low), 1 },           { "high", AT(events_high), 1 },
	{ "max", AT(events_max), 1 },           { "oom", AT(events_oom), 1 },
	{ "oom_kill", AT(events_oom_kill), 1 }, { 0 }
};
static const struct key oom_control[] = { { "oom_kill", AT(events_oom_kill), 1 }, { 0 } };

static void parse_keys(const char *text, const struct key *keys, struct usage_sample *sample)
{
	while (*text) {
		const char *space = strchr(text, ' ');
		const char *end = strchr(text, '\n');

		if (!space || !end)
			return;
		for (const struct key *key = keys; key->name; key++)
			if (strlen(key->name) == (size_t)(space - text) &&
			    memcmp(text, key->name, (size_t)(space - text)) == 0)
				*(uint64_t *)((char *)sample + key->offset) =
					strtoull(space + 1, NULL, 10) * key->scale;
		text = end + 1;
	}
}

/* One number, or "max", which is 0 here. */
static void parse_number(const char *text, size_t offset, struct usage_sample *sample)
{
	uint64_t value = text[0] == 'm' ? 0 : strtoull(text, NULL, 10);

	if (value >= NO_LIMIT_AT_LEAST)
		value = 0;
	*(uint64_t *)((char *)sample + offset) = value;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...", a line a device: their sum. */
static void parse_io_stat(const char *text, struct usage_sample *sample)
{
	static const struct key keys[] = { { " rbytes=", AT(io_read_bytes), 1 },
					   { " wbytes=", AT(io_write_bytes), 1 },
					   { " rios=", AT(io_read_ops), 1 },
					   { " wios=", AT(io_write_ops), 1 } };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *at = text;
		uint64_t sum = 0;

		while ((at = strstr(at, keys[i].name))) {
			at += strlen(keys[i].name);
			sum += strtoull(at, NULL, 10);
		}
		*(uint64_t *)((char *)sample + keys[i].offset) = sum;
	}
}

/* "8:0 Read 1\n8:0 Write 2\n...": the sums of both over the devices. */
static void parse_blkio(const char *text, size_t read_offset, size_t write_offset,
			struct usage_sample *sample)
{
	uint64_t sums[2] = { 0 };
	static const char *const names[] = { " Read ", " Write " };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *at = text;

		while ((at = strstr(at, names[i]))) {
			at += strlen(names[i]);
			sums[i] += strtoull(at, NULL, 10);
		}
	}
	*(uint64_t *)((char *)sample + read_offset) = sums[0];
	*(uint64_t *)((char *)sample + write_offset) = sums[1];
}

static uint32_t parse_permyriad(const char *text)
{
	char *end = NULL;
	unsigned long whole = strtoul(text, &end, 10);
	unsigned long part = 0;

	if (*end == '.' && end[1] >= '0' && end[1] <= '9' && end[2] >= '0' && end[2] <= '9')
		part = (unsigned long)(end[1] - '0') * 10 + (unsigned long)(end[2] - '0');
	return (uint32_t)(whole * 100 + part);
}

static void parse_psi_line(const char *line, uint32_t *ret_avg10, uint64_t *ret_total)
{
	const char *avg10 = line ? strstr(line, "avg10=") : NULL;
	const char *total = line ? strstr(line, "total=") : NULL;

	if (!avg10 || !total)
		return;
	*ret_avg10 = parse_permyriad(avg10 + strlen("avg10="));
	*ret_total = strtoull(total + strlen("total="), NULL, 10);
}

void usage_parse_psi(const char *text, struct psi *ret)
{
	parse_psi_line(strstr(text, "some "), &ret->some_avg10_permyriad, &ret->some_total_us);
	parse_psi_line(strstr(text, "full "), &ret->full_avg10_permyriad, &ret->full_total_us);
}

enum form { KEYS, NUMBER, IO_STAT, BLKIO_BYTES, BLKIO_OPS, PSI };

/* Which files a hierarchy has, what is in them, and how often they are read. */
struct file {
	const char *hierarchy;
	const char *name;
	enum pace pace;
	enum form form;
	const struct key *keys; /* KEYS */
	size_t offset;          /* NUMBER, PSI */
};

static const struct file unified_files[] = {
	{ "unified", "cpu.stat", EVERY_TIME, KEYS, cpu_stat_v2, 0 },
	{ "unified", "memory.current", EVERY_TIME, NUMBER, NULL, AT(memory_current) },
	{ "unified", "io.stat", EVERY_TIME, IO_STAT, NULL, 0 },
	{ "unified", "pids.current", EVERY_TIME, NUMBER, NULL, AT(pids) },
	{ "unified", "memory.stat", EVERY_SECOND, KEYS, memory_stat_v2, 0 },
	{ "unified", "memory.events", EVERY_SECOND, KEYS, memory_events, 0 },
	{ "unified", "memory.peak", EVERY_SECOND, NUMBER, NULL, AT(memory_peak) },
	{ "unified", "memory.swap.current", EVERY_TWO_SECONDS, NUMBER, NULL, AT(memory_swap) },
	{ "unified", "memory.max", EVERY_TWO_SECONDS, NUMBER, NULL, AT(memory_limit) },
	{ "unified", "pids.max", EVERY_TWO_SECONDS, NUMBER, NULL, AT(pids_limit) },
	{ "unified", "cpu.pressure", EVERY_TWO_SECONDS, PSI, NULL, AT(cpu_psi) },
	{ "unified", "memory.pressure", EVERY_TWO_SECONDS, PSI, NULL, AT(memory_psi) },
	{ "unified", "io.pressure", EVERY_TWO_SECONDS, PSI, NULL, AT(io_psi) },
};

/* v1 controllers; a hybrid host has pressure in its unified hierarchy besides. */
static const struct file legacy_files[] = {
	{ "cpuacct", "cpuacct.usage", EVERY_TIME, NUMBER, NULL, AT(cpu_usage_ns) },
	{ "cpuacct", "cpuacct.stat", EVERY_TIME, KEYS, cpuacct_stat, 0 },
	{ "cpu", "cpu.stat", EVERY_TIME, KEYS, cpu_stat_v1, 0 },
	{ "memory", "memory.usage_in_bytes", EVERY_TIME, NUMBER, NULL, AT(memory_current) },
	{ "blkio", "blkio.throttle.io_service_bytes", EVERY_TIME, BLKIO_BYTES, NULL, 0 },
	{ "pids", "pids.current", EVERY_TIME, NUMBER, NULL, AT(pids) },
	{ "memory", "memory.stat", EVERY_SECOND, KEYS, memory_stat_v1, 0 },
	{ "memory", "memory.oom_control", EVERY_SECOND, KEYS, oom_control, 0 },
	{ "memory", "memory.failcnt", EVERY_SECOND, NUMBER, NULL, AT(events_max) },
	{ "memory", "memory.max_usage_in_bytes", EVERY_SECOND, NUMBER, NULL, AT(memory_peak) },
	{ "blkio", "blkio.throttle.io_serviced", EVERY_SECOND, BLKIO_OPS, NULL, 0 },
	{ "memory", "memory.limit_in_bytes", EVERY_TWO_SECONDS, NUMBER, NULL, AT(memory_limit) },
	{ "pids", "pids.max", EVERY_TWO_SECONDS, NUMBER, NULL, AT(pids_limit) },
	{ "unified", "cpu.pressure", EVERY_TWO_SECONDS, PSI, NULL, AT(cpu_psi) },
	{ "unified", "memory.pressure", EVERY_TWO_SECONDS, PSI, NULL, AT(memory_psi) },
	{ "unified", "io.pressure", EVERY_TWO_SECONDS, PSI, NULL, AT(io_psi) },
};

#define FILES_MAX ARRAY_SIZE(legacy_files)
#define DIRS_MAX  8

_Static_assert(ARRAY_SIZE(unified_files) <= FILES_MAX, "FILES_MAX is the longer table");

static void parse(const struct file *file, const char *text, struct usage_sample *sample)
{
	switch (file->form) {
	case KEYS:
		parse_keys(text, file->keys, sample);
		break;
	case NUMBER:
		parse_number(text, file->offset, sample);
		break;
	case IO_STAT:
		parse_io_stat(text, sample);
		break;
	case BLKIO_BYTES:
		parse_blkio(text, AT(io_read_bytes), AT(io_write_bytes), sample);
		break;
	case BLKIO_OPS:
		parse_blkio(text, AT(io_read_ops), AT(io_write_ops), sample);
		break;
	case PSI:
		usage_parse_psi(text, (struct psi *)((char *)sample + file->offset));
		break;
	}
}

void usage_parse_file(const char *name, const char *text, struct usage_sample *sample)
{
	for (size_t i = 0; i < ARRAY_SIZE(unified_files); i++)
		if (strcmp(unified_files[i].name, name) == 0)
			parse(&unified_files[i], text, sample);
}

struct usage_files {
	const struct file *files;
	size_t file_count;
	uint64_t read_at_ns[PACES];
	size_t dir_count;
	int dir_fds[DIRS_MAX];
	/* Opened by the first usage_files_read(), so that a launch does not wait for it and what ends at once
	 * does not pay for it. Until then fds is that thread's alone. */
	bool is_open;
	int fds[FILES_MAX]; /* of the files that are read often; -1: opened each time, or not there */
	int8_t dir_of[FILES_MAX]; /* -1: the host has no such hierarchy */
};

static int8_t find_dir(char *const *names, size_t count, const char *hierarchy)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], hierarchy) == 0)
			return (int8_t)i;
	return -1;
}

static int open_file(const struct usage_files *files, size_t index)
{
	return openat(files->dir_fds[files->dir_of[index]], files->files[index].name,
		      O_RDONLY | O_CLOEXEC);
}

static void open_files(struct usage_files *files)
{
	for (size_t i = 0; i < files->file_count; i++)
		if (files->dir_of[i] >= 0 && files->files[i].pace < EVERY_TWO_SECONDS)
			files->fds[i] = open_file(files, i);
	__atomic_store_n(&files->is_open, true, __ATOMIC_RELEASE);
}

struct usage_files *usage_files_new(int *dir_fds, char *const *names, size_t count)
{
	struct usage_files *files = calloc(1, sizeof(*files));
	bool legacy = find_dir(names, count, "memory") >= 0 || find_dir(names, count, "cpu") >= 0;

	for (size_t i = 0; i < count; i++) {
		if (files && i < DIRS_MAX)
			files->dir_fds[files->dir_count++] = take_fd(&dir_fds[i]);
		else
			fd_close(&dir_fds[i]);
	}
	if (!files)
		return NULL;
	files->files = legacy ? legacy_files : unified_files;
	files->file_count = legacy ? ARRAY_SIZE(legacy_files) : ARRAY_SIZE(unified_files);
	for (size_t i = 0; i < files->file_count; i++) {
		files->fds[i] = -1;
		files->dir_of[i] = find_dir(names, files->dir_count, files->files[i].hierarchy);
	}
	return files;
}

void usage_files_free(struct usage_files *files)
{
	if (!files)
		return;
	for (size_t i = 0; i < files->file_count; i++)
		fd_close(&files->fds[i]);
	for (size_t i = 0; i < files->dir_count; i++)
		fd_close(&files->dir_fds[i]);
	free(files);
}

static void read_file(const struct usage_files *files, size_t index, struct usage_sample *sample)
{
	const struct file *file = &files->files[index];
	cleanup_fd int opened = -1;
	bool is_open = __atomic_load_n(&files->is_open, __ATOMIC_ACQUIRE);
	char text[FILE_BYTES];
	int fd = is_open ? files->fds[index] : -1;
	ssize_t n;

	if (files->dir_of[index] < 0)
		return;
	if (!is_open || file->pace == EVERY_TWO_SECONDS)
		fd = opened = open_file(files, index);
	if (fd < 0)
		return;
	n = pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return;
	text[n] = '\0';
	parse(file, text, sample);
}

void usage_files_read(struct usage_files *files, uint64_t boot_ns, struct usage_sample *sample)
{
	bool due[PACES];

	if (!files->is_open)
		open_files(files);
	for (size_t pace = 0; pace < PACES; pace++) {
		due[pace] = boot_ns - files->read_at_ns[pace] >= pace_ns[pace];
		if (due[pace])
			files->read_at_ns[pace] = boot_ns;
	}
	for (size_t i = 0; i < files->file_count; i++)
		if (due[files->files[i].pace])
			read_file(files, i, sample);
	sample->boot_ns = boot_ns;
	if (sample->memory_peak < sample->memory_current)
		sample->memory_peak = sample->memory_current;
}

void usage_files_read_memory(const struct usage_files *files, struct usage_sample *sample)
{
	for (size_t i = 0; i < files->file_count; i++) {
		const struct file *file = &files->files[i];

		if (file->offset == AT(memory_current) || file->keys == memory_stat_v1 ||
		    file->keys == memory_stat_v2)
			read_file(files, i, sample);
	}
}

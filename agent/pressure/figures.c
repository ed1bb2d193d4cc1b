#include "agent/pressure/figures.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/telemetry/usage_files.h"
#include "proto/cleanup.h"

#define NO_LIMIT_AT_LEAST (UINT64_MAX / 4) /* v1 says "no limit" with a number near the top */

static int read_at(int dir_fd, const char *path, char *text, size_t size)
{
	cleanup_fd int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (n <= 0)
		return -1;
	text[n] = '\0';
	return 0;
}

/* The number after @key at the start of a line; 0 where there is none. */
static uint64_t find(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0)
			return strtoull(line + length, NULL, 10);
	}
	return 0;
}

void figures_parse_meminfo(const char *text, struct pool *ret)
{
	ret->total_bytes = find(text, "MemTotal:") * 1024;
	ret->available_bytes = find(text, "MemAvailable:") * 1024;
}

void figures_parse_group(uint64_t usage, uint64_t limit, const char *stat, struct pool *ret)
{
	bool v1 = strstr(stat, "total_inactive_file ") != NULL;
	uint64_t inactive = find(stat, v1 ? "total_inactive_file " : "inactive_file ");
	uint64_t active = find(stat, v1 ? "total_active_file " : "active_file ");
	uint64_t spare = inactive + active / 2;
	uint64_t held;

	*ret = (struct pool){ 0 };
	if (limit == 0 || limit >= NO_LIMIT_AT_LEAST)
		return;
	held = usage > spare ? usage - spare : 0;
	ret->total_bytes = limit;
	ret->available_bytes = limit > held ? limit - held : 0;
}

/* v2's name of a file, or v1's. "max" is 0, as no limit is. */
static uint64_t read_number(int dir_fd, const char *v2, const char *v1)
{
	char text[64];

	if (read_at(dir_fd, v2, text, sizeof(text)) < 0 &&
	    read_at(dir_fd, v1, text, sizeof(text)) < 0)
		return 0;
	return strtoull(text, NULL, 10);
}

static void read_group(int group_fd, struct pool *ret)
{
	char stat[8192];

	if (group_fd < 0 || read_at(group_fd, "memory.stat", stat, sizeof(stat)) < 0)
		return;
	figures_parse_group(read_number(group_fd, "memory.current", "memory.usage_in_bytes"),
			    read_number(group_fd, "memory.max", "memory.limit_in_bytes"), stat,
			    ret);
}

static void read_psi(int fd, struct figures *ret)
{
	struct psi psi = { 0 };
	char text[512];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return;
	text[n] = '\0';
	usage_parse_psi(text, &psi);
	if (psi.some_avg10_permyriad > ret->some_avg10_permyriad)
		ret->some_avg10_permyriad = psi.some_avg10_permyriad;
	if (psi.full_avg10_permyriad > ret->full_avg10_permyriad)
		ret->full_avg10_permyriad = psi.full_avg10_permyriad;
}

void figures_read(int group_fd, const int *psi_fds, size_t n, struct figures *ret)
{
	char text[4096];

	*ret = (struct figures){ 0 };
	if (read_at(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) == 0)
		figures_parse_meminfo(text, &ret->host);
	read_group(group_fd, &ret->workloads);
	for (size_t i = 0; i < n; i++)
		read_psi(psi_fds[i], ret);
}

static uint64_t share(const struct pool *pool, uint64_t percent)
{
	return pool->total_bytes / 100 * percent;
}

static uint64_t missing(const struct pool *pool, uint64_t percent)
{
	uint64_t wanted = share(pool, percent);

	return wanted > pool->available_bytes ? wanted - pool->available_bytes : 0;
}

const struct pool *figures_tightest(const struct figures *figures)
{
	const struct pool *host = &figures->host, *workloads = &figures->workloads;

	if (workloads->total_bytes == 0)
		return host;
	if (host->total_bytes == 0)
		return workloads;
	return (double)workloads->available_bytes / (double)workloads->total_bytes <
			       (double)host->available_bytes / (double)host->total_bytes
		       ? workloads
		       : host;
}

bool figures_below(const struct figures *figures, uint64_t percent)
{
	return missing(&figures->host, percent) > 0 || missing(&figures->workloads, percent) > 0;
}

uint64_t figures_missing(const struct figures *figures, uint64_t percent)
{
	uint64_t host = missing(&figures->host, percent);
	uint64_t workloads = missing(&figures->workloads, percent);

	return host > workloads ? host : workloads;
}

#include "agent/telemetry/node_usage.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysinfo.h>

#define USER_HZ_NS 10000000u

static int read_text(const char *path, char *buffer, size_t size)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);

	if (n <= 0)
		return -1;
	buffer[n] = '\0';
	return 0;
}

/* "cpu  user nice system idle iowait irq softirq steal ...", guest time is part of user time. */
static void read_cpu(struct node_sample *sample)
{
	char text[512];
	char *at = text + 4;
	uint64_t ticks = 0;

	if (read_text("/proc/stat", text, sizeof(text)) < 0 || memcmp(text, "cpu ", 4) != 0)
		return;
	for (int column = 0; column < 8; column++) {
		uint64_t value = strtoull(at, &at, 10);

		if (column != 3 && column != 4)
			ticks += value;
	}
	sample->cpu_busy_ns = ticks * USER_HZ_NS;
}

static void read_kib(const char *text, const char *key, uint64_t *ret_bytes)
{
	const char *at = strstr(text, key);

	if (at)
		*ret_bytes = strtoull(at + strlen(key), NULL, 10) * 1024;
}

static void read_memory(struct node_sample *sample)
{
	char text[4096];

	if (read_text("/proc/meminfo", text, sizeof(text)) < 0)
		return;
	read_kib(text, "MemTotal:", &sample->memory_total);
	read_kib(text, "MemAvailable:", &sample->memory_available);
}

static void read_load(struct node_sample *sample)
{
	char text[128];
	const char *slash;

	if (read_text("/proc/loadavg", text, sizeof(text)) < 0)
		return;
	sample->load1 = strtod(text, NULL);
	slash = strchr(text, '/');
	if (slash)
		sample->processes = strtoull(slash + 1, NULL, 10);
}

static void read_psi(const char *path, struct psi *psi)
{
	char text[512];

	if (read_text(path, text, sizeof(text)) == 0)
		usage_parse_psi(text, psi);
}

void node_usage_read(uint64_t boot_ns, struct node_sample *sample)
{
	sample->boot_ns = boot_ns;
	read_cpu(sample);
	read_memory(sample);
	read_load(sample);
	read_psi("/proc/pressure/cpu", &sample->cpu_psi);
	read_psi("/proc/pressure/memory", &sample->memory_psi);
	read_psi("/proc/pressure/io", &sample->io_psi);
}

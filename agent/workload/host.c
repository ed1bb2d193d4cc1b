#include "agent/workload/host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define HELLO_ARENA_BYTES (1U << 20)

/* The first line of @path, without its newline; "" where it cannot be read. */
static void read_line(const char *path, char *text, size_t size)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

static uint64_t read_number(const char *path)
{
	char text[32];

	read_line(path, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static void copy_text(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from);
}

/* The kernel stops at the lower of both. */
static uint64_t find_pids(void)
{
	uint64_t pids = read_number("/proc/sys/kernel/pid_max");
	uint64_t threads = read_number("/proc/sys/kernel/threads-max");

	if (!pids)
		return threads;
	return threads && threads < pids ? threads : pids;
}

void host_init(struct host *host)
{
	struct utsname uts;
	struct sysinfo info;

	memset(host, 0, offsetof(struct host, arena));
	host->hello = NULL;
	arena_init(&host->arena, HELLO_ARENA_BYTES);
	if (uname(&uts) == 0) {
		copy_text(host->hostname, sizeof(host->hostname), uts.nodename);
		copy_text(host->kernel, sizeof(host->kernel), uts.release);
		copy_text(host->architecture, sizeof(host->architecture), uts.machine);
	}
	read_line("/proc/sys/kernel/random/boot_id", host->boot_id, sizeof(host->boot_id));
	read_line("/etc/machine-id", host->machine_id, sizeof(host->machine_id));
	if (sysinfo(&info) == 0)
		host->found.memory_bytes = (uint64_t)info.totalram * info.mem_unit;
	host->found.cpu_millis = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000;
	host->found.pids = find_pids();
}

void host_done(struct host *host)
{
	arena_done(&host->arena);
}

int host_take_hello(struct host *host, const Berth__Sandbox__V1__HelloResult *hello)
{
	size_t n = protobuf_c_message_get_packed_size(&hello->base);
	cleanup_free uint8_t *bytes = malloc(n ? n : 1);

	if (!bytes)
		return -ENOMEM;
	(void)protobuf_c_message_pack(&hello->base, bytes);
	host->hello = NULL;
	arena_reset(&host->arena);
	host->hello = berth__sandbox__v1__hello_result__unpack(&host->arena.allocator, n, bytes);
	return host->hello ? 0 : -ENOMEM;
}

const char *host_why_no_starts(const struct host *host)
{
	return host->hello ? host->hello->refuses_starts : "";
}

bool host_has(const struct host *host, const char *feature, const char **ret_sentence)
{
	for (size_t i = 0; host->hello && i < host->hello->n_features; i++) {
		const Berth__Sandbox__V1__HostFeature *f = host->hello->features[i];

		if (strcmp(f->name, feature) != 0)
			continue;
		if (ret_sentence)
			*ret_sentence = f->sentence;
		return f->supported;
	}
	return true;
}

bool host_offers(const struct host *host, const char *feature)
{
	for (size_t i = 0; host->hello && i < host->hello->n_features; i++)
		if (strcmp(host->hello->features[i]->name, feature) == 0)
			return host->hello->features[i]->supported;
	return false;
}

uint64_t host_default_memory(const struct host *host)
{
	const Berth__Sandbox__V1__Limits *limits = host->hello ? host->hello->default_limits : NULL;

	return limits && limits->_memory_max_bytes_case ? limits->memory_max_bytes : 0;
}

uint64_t host_default_pids(const struct host *host)
{
	const Berth__Sandbox__V1__Limits *limits = host->hello ? host->hello->default_limits : NULL;

	return limits && limits->_pids_max_case ? limits->pids_max : 0;
}

/* launch_direct [RUNS]: from launch_fork() to the workload's first byte, with all defaults. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/launch_bed.h"

struct step_sum {
	char name[24];
	uint64_t ns;
};

static struct step_sum sums[MONITOR_STEPS_MAX];

static void add_steps(const struct monitor_started *started)
{
	for (uint32_t i = 0; i < started->step_count; i++) {
		memcpy(sums[i].name, started->steps[i].name, sizeof(sums[i].name));
		sums[i].ns += started->steps[i].ns;
	}
}

int main(int argc, char **argv)
{
	size_t runs = argc > 1 ? (size_t)atol(argv[1]) : 200;
	uint64_t *ns = calloc(runs, sizeof(*ns));
	struct launch_mount mount = { .target = "/data", .map_ids = false };
	struct bed bed;

	if (!ns || !runs || !harness_possible())
		return 77;
	bed_begin(&bed);
	mount.source_fd = bed.volume_fd;
	for (size_t i = 0; i < runs; i++) {
		struct container container;
		uint64_t began_ns;

		container_init(&container, &bed.harness, bed_argv);
		container.spec.mounts = &mount;
		container.spec.mount_count = 1;
		began_ns = bed_now_ns();
		container_launch(&container, &bed.harness);
		bed_wait_byte(&bed);
		ns[i] = bed_now_ns() - began_ns;
		container_expect(&container, MONITOR_STARTED);
		add_steps(&container.started);
		container_finish(&container);
		container_done(&container, &bed.harness);
	}
	bed_report("launch_direct", ns, runs);
	for (size_t i = 0; i < MONITOR_STEPS_MAX && sums[i].name[0]; i++)
		(void)printf("  step %-12s %6llu us\n", sums[i].name,
			     (unsigned long long)(sums[i].ns / runs / 1000));
	bed_end(&bed);
	free(ns);
	return 0;
}

/* launch_direct [RUNS]: from launch_fork() to the workload's first byte, with all defaults. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/launch_bed.h"

struct step_times {
	char name[24];
	uint64_t sum_ns;
	uint64_t min_ns;
};

static struct step_times times[MONITOR_STEPS_MAX];

static void add_steps(const struct monitor_started *started)
{
	for (uint32_t i = 0; i < started->step_count; i++) {
		struct step_times *step = &times[i];

		if (!step->name[0] || started->steps[i].ns < step->min_ns)
			step->min_ns = started->steps[i].ns;
		memcpy(step->name, started->steps[i].name, sizeof(step->name));
		step->sum_ns += started->steps[i].ns;
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
	for (size_t i = 0; i < MONITOR_STEPS_MAX && times[i].name[0]; i++)
		(void)printf("  step %-12s min %6llu mean %6llu us\n", times[i].name,
			     (unsigned long long)times[i].min_ns / 1000,
			     (unsigned long long)(times[i].sum_ns / runs / 1000));
	bed_end(&bed);
	free(ns);
	return 0;
}

/* launch_image [RUNS]: the launch of launch_direct from a directory, from an image of 5 layers for reading, and from one
 * with a layer above that is written to; in turns, so that what else the machine does hits all of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/launch_bed.h"

#define LAYERS 5

static const char *const kinds[] = { "launch_directory", "launch_image", "launch_image_writable" };

static const char *hexes[LAYERS];

/* The root file system as the lowest layer, and four above it that each have a file of it anew and one more. */
static int make_store(const char *directory)
{
	static char names[LAYERS][65];
	char command[1024], path[128];

	(void)snprintf(
		command, sizeof(command),
		"cd '%s' && mkdir -p store/empty store/base/dev store/base/proc store/base/sys && chmod 700 store",
		directory);
	if (system(command) != 0)
		exit(1);
	for (int i = 0; i < LAYERS; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%064d", i);
		hexes[i] = names[i];
		(void)snprintf(
			command, sizeof(command),
			"cd '%s' && mkdir -p store/%s/tree/etc && echo %d > store/%s/tree/etc/layer && echo %d > store/%s/tree/etc/own%d",
			directory, names[i], i, names[i], i, names[i], i);
		if (system(command) != 0)
			exit(1);
	}
	(void)snprintf(command, sizeof(command), "cp -a '%s/rootfs/.' '%s/store/%s/tree/'",
		       directory, directory, names[0]);
	if (system(command) != 0)
		exit(1);
	(void)snprintf(path, sizeof(path), "%s/store", directory);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static uint64_t launch(struct bed *bed, const struct launch_mount *mount, int store_fd, size_t kind)
{
	struct container container;
	uint64_t began_ns, ns;

	container_init(&container, &bed->harness, bed_argv);
	container.spec.mounts = mount;
	container.spec.mount_count = 1;
	container.spec.store_fd = store_fd;
	if (kind > 0) {
		container.spec.root_fd = -1;
		container.spec.root_layers =
			(struct layer_root){ .hexes = hexes,
					     .count = LAYERS,
					     .writable_bytes = kind == 2 ? 1ULL << 30 : 0 };
	}
	began_ns = bed_now_ns();
	container_launch(&container, &bed->harness);
	bed_wait_byte(bed);
	ns = bed_now_ns() - began_ns;
	container_expect(&container, MONITOR_STARTED);
	container_finish(&container);
	container_done(&container, &bed->harness);
	return ns;
}

int main(int argc, char **argv)
{
	size_t runs = argc > 1 ? (size_t)atol(argv[1]) : 200;
	struct launch_mount mount = { .target = "/data", .map_ids = false };
	uint64_t *ns[3];
	struct bed bed;
	int store_fd;

	if (!runs || !harness_possible())
		return 77;
	bed_begin(&bed);
	mount.source_fd = bed.volume_fd;
	store_fd = make_store(bed.harness.directory);
	for (size_t kind = 0; kind < 3; kind++) {
		ns[kind] = calloc(runs, sizeof(**ns));
		if (!ns[kind] || store_fd < 0)
			return 1;
		(void)launch(&bed, &mount, store_fd,
			     kind); /* the template of the size, and caches */
	}
	for (size_t i = 0; i < runs; i++)
		for (size_t kind = 0; kind < 3; kind++)
			ns[kind][i] = launch(&bed, &mount, store_fd, kind);
	for (size_t kind = 0; kind < 3; kind++) {
		bed_report(kinds[kind], ns[kind], runs);
		free(ns[kind]);
	}
	(void)close(store_fd);
	bed_end(&bed);
	return 0;
}

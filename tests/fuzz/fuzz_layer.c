/* An archive that somebody made, unpacked into a directory: whatever it says, nothing but that directory changes,
 * what is there can be walked, and what was walked compares as intact. The first byte chooses the compression. */
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/layer_store.h"
#include "sandbox/unpack/manifest.h"
#include "sandbox/unpack/stream.h"
#include "sandbox/unpack/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int above_fd = -1;
static char above[] = "/tmp/fuzz_layer.XXXXXX";

static void remove_all(void)
{
	(void)layer_store_remove_tree(AT_FDCWD, above);
}

static void begin(void)
{
	struct err err = { 0 };

	if (stream_prepare(&err) < 0 || !mkdtemp(above))
		__builtin_trap();
	above_fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (above_fd < 0 || atexit(remove_all) != 0)
		__builtin_trap();
}

static void expect_alone(void)
{
	struct stat st;

	/* "tree" and what is above it: nothing else was linked here */
	if (fstat(above_fd, &st) < 0 || st.st_nlink > 3)
		__builtin_trap();
}

static void walk_twice(int tree_fd)
{
	char hex[DIGEST_HEX_MAX];
	struct err err = { 0 };
	bool damaged = true;
	int fd = memfd_create("manifest", MFD_CLOEXEC);
	int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (manifest_write(tree_fd, fd, hex, &err) < 0 || lseek(again, 0, SEEK_SET) < 0 ||
	    manifest_compare(tree_fd, again, hex, &damaged, &err) < 0 || damaged)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tree tree;
	struct unpack_order order = { .max_bytes = 1 << 20, .max_entries = 1000 };
	cleanup_fd int blob_fd = memfd_create("blob", MFD_CLOEXEC);
	cleanup_fd int tree_fd = -1;
	struct err err = { 0 };

	if (above_fd < 0)
		begin();
	if (size == 0 || write(blob_fd, data + 1, size - 1) != (ssize_t)size - 1)
		return 0;
	order.compression = data[0] % UNPACK_COMPRESSION_COUNT;
	order.blob_bytes = size - 1;
	if (mkdirat(above_fd, "tree", 0755) < 0)
		__builtin_trap();
	tree_fd = openat(above_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree_open(fcntl(tree_fd, F_DUPFD_CLOEXEC, 0), memfd_create("times", MFD_CLOEXEC),
		      order.max_bytes, order.max_entries, &tree, &err) < 0)
		__builtin_trap();
	if (stream_unpack(blob_fd, &order, &tree, &err) == 0)
		__builtin_trap(); /* its digest is none */
	if (err.kind == ERR_NONE || !err.text[0] || tree.bytes > order.max_bytes)
		__builtin_trap();
	(void)tree_finish(&tree, &err);
	tree_done(&tree);
	walk_twice(tree_fd);
	expect_alone();
	if (layer_store_remove_tree(above_fd, "tree") < 0)
		__builtin_trap();
	return 0;
}

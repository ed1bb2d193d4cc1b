/*
 * berth-unpack: unpacks one layer of an image, or compares one with its manifest. Started by berth-sandboxd
 * alone, which has said what to do before: sandbox/unpack/wire.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/unpack/below.h"
#include "sandbox/unpack/confine.h"
#include "sandbox/unpack/manifest.h"
#include "sandbox/unpack/stream.h"
#include "sandbox/unpack/tree.h"
#include "sandbox/unpack/wire.h"

#define TIMES "times"

static int open_here(const char *name, uint64_t flags)
{
	return below_open(UNPACK_DIRECTORY_FD, name, flags, flags & O_CREAT ? 0600 : 0);
}

static int host_failed(const char *what, struct err *err)
{
	return err_set(err, errno == ENOSPC || errno == EDQUOT ? ERR_EXHAUSTED : ERR_INTERNAL,
		       errno, "cannot %s: %m", what);
}

static int write_manifest(struct unpack_answer *answer)
{
	cleanup_fd int root_fd = open_here(UNPACK_TREE, O_RDONLY | O_DIRECTORY);
	int out_fd = open_here(UNPACK_MANIFEST, O_WRONLY | O_CREAT | O_EXCL);

	if (root_fd < 0 || out_fd < 0) {
		fd_close(&out_fd);
		return host_failed("make the manifest", &answer->err);
	}
	return manifest_write(root_fd, out_fd, answer->manifest, &answer->err);
}

static int open_tree_of(const struct unpack_order *order, struct tree *ret_tree, struct err *err)
{
	int root_fd, times_fd;

	if (mkdirat(UNPACK_DIRECTORY_FD, UNPACK_TREE, 0755) < 0)
		return host_failed("make the layer's root", err);
	root_fd = open_here(UNPACK_TREE, O_RDONLY | O_DIRECTORY);
	times_fd = open_here(TIMES, O_RDWR | O_CREAT | O_EXCL);
	if (root_fd < 0 || times_fd < 0) {
		fd_close(&root_fd);
		fd_close(&times_fd);
		return host_failed("open the layer's root", err);
	}
	return tree_open(root_fd, times_fd, order->max_bytes, order->max_entries, ret_tree, err);
}

/* On the disk before the answer: berth-sandboxd renames it then, and it counts. */
static int unpack(const struct unpack_order *order, struct unpack_answer *answer)
{
	static struct tree tree;
	int r = open_tree_of(order, &tree, &answer->err);

	if (r < 0)
		return r;
	r = stream_unpack(UNPACK_BLOB_FD, order, &tree, &answer->err);
	if (r == 0)
		r = tree_finish(&tree, &answer->err);
	answer->bytes = tree.bytes;
	answer->entries = tree.entries;
	answer->cut = tree.cut;
	tree_done(&tree);
	if (r < 0)
		return r;
	if (unlinkat(UNPACK_DIRECTORY_FD, TIMES, 0) < 0)
		return host_failed("remove a file of our own", &answer->err);
	r = write_manifest(answer);
	if (r == 0 && syncfs(UNPACK_DIRECTORY_FD) < 0)
		r = host_failed("bring the layer to the disk", &answer->err);
	return r;
}

static int verify(const struct unpack_order *order, struct unpack_answer *answer)
{
	cleanup_fd int root_fd = open_here(UNPACK_TREE, O_RDONLY | O_DIRECTORY);
	int in_fd = open_here(UNPACK_MANIFEST, O_RDONLY);

	if (root_fd < 0 || in_fd < 0) {
		answer->damaged = errno == ENOENT || errno == ELOOP || errno == ENOTDIR;
		fd_close(&in_fd);
		(void)host_failed("open its files and their manifest", &answer->err);
		return answer->damaged ? 0 : -EIO;
	}
	return manifest_compare(root_fd, in_fd, order->digest, &answer->damaged, &answer->err);
}

static int prepare(struct unpack_order *order, struct err *err)
{
	/* The daemon's helper, our parent, ends with the daemon, and we with it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot be bound to the daemon: %m");
	if (recv(UNPACK_SOCKET_FD, order, sizeof(*order), 0) != sizeof(*order) ||
	    order->compression >= UNPACK_COMPRESSION_COUNT ||
	    order->digest[UNPACK_HEX_MAX - 1] != '\0')
		return err_set(err, ERR_INTERNAL, EPROTO, "no order came");
	return stream_prepare(err);
}

int main(void)
{
	static struct unpack_order order;
	static struct unpack_answer answer;

	(void)umask(0);
	answer.r = prepare(&order, &answer.err);
	if (answer.r == 0)
		answer.r = confine_unpacker(UNPACK_DIRECTORY_FD, &answer.err);
	if (answer.r == 0)
		answer.r = order.task == UNPACK_VERIFY ? verify(&order, &answer)
						       : unpack(&order, &answer);
	(void)!send(UNPACK_SOCKET_FD, &answer, sizeof(answer), MSG_NOSIGNAL);
	_exit(answer.r < 0);
}

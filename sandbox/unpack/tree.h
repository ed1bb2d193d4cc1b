/*
 * A layer's files, as they are written: each by descriptors that were opened below the layer's root without
 * following any link. Whatever an archive says, nothing outside of the root is named.
 *
 * What is made is in the form of a layer of overlayfs with "userxattr": a removed name is a character device
 * 0:0, which needs no privilege, and a directory that hides those below it has user.overlay.opaque.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "proto/err.h"
#include "sandbox/unpack/entry_name.h"

#define TREE_OPAQUE "user.overlay.opaque"

struct tree_entry {
	const char *name;
	mode_t mode;          /* type and permissions */
	const char *hardlink; /* the name of another entry; NULL */
	const char *symlink;
	int64_t uid;
	int64_t gid;
	struct timespec mtime;
	uint64_t size; /* of a regular file */
};

struct tree {
	int root_fd;
	uint64_t max_bytes;
	uint64_t max_entries;
	uint64_t bytes; /* as the files' sizes say */
	uint64_t entries;
	bool cut;       /* the root hides all layers below */
	size_t dropped; /* devices, sockets, pipes; attributes that are not kept */
	/* the last directory that something was put in */
	int parent_fd;
	char parent[ENTRY_PATH_MAX + 1];
	FILE *times; /* of directories: set at the end, since what is put in changes them */
};

/* @root_fd and @times_fd, of an empty directory and an empty file, become the tree's. */
int tree_open(int root_fd, int times_fd, uint64_t max_bytes, uint64_t max_entries,
	      struct tree *ret_tree, struct err *err);

/*
 * Put in what @entry says; for a regular file *ret_fd is the file, without its content, to be ended with
 * tree_end_file(), else -1.
 *   ERR_INVALID    it is none that may be in a layer: sandbox/unpack/entry_name.h, a link on the way, a hard
 *                  link to nothing, something in the place of a directory that is not empty
 *   ERR_EXHAUSTED  one of the limits is passed, or the disk is full
 */
int tree_put(struct tree *tree, const struct tree_entry *entry, int *ret_fd, struct err *err);

/* An extended attribute of the file or directory @fd: those that are not kept are left out. */
int tree_put_attribute(struct tree *tree, int fd, const char *name, const void *value, size_t size,
		       struct err *err);

/* Owner, mode and time of the file @fd, and its size, where the archive ended early. */
int tree_end_file(const struct tree_entry *entry, int fd, struct err *err);

/* The directory that tree_put() has just put, to give it attributes; -errno. */
int tree_open_dir(struct tree *tree, const char *name);

/* All is in: the directories' times. */
int tree_finish(struct tree *tree, struct err *err);
void tree_done(struct tree *tree);

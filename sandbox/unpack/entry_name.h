/*
 * What the name of an archive's entry means: where in the layer it belongs, or which of the marks of image
 * layers it is (https://github.com/opencontainers/image-spec, layer.md). The name is any bytes that
 * somebody wrote.
 */
#pragma once

#include <limits.h>

#include "proto/err.h"

#define ENTRY_PATH_MAX  4095
#define ENTRY_DEPTH_MAX 256

enum entry_kind {
	ENTRY_ROOT,     /* the layer's root itself */
	ENTRY_NAMED,    /* @last in @parent */
	ENTRY_WHITEOUT, /* @last in @parent is not to be seen in the layers below */
	ENTRY_OPAQUE,   /* nothing in @parent of the layers below is to be seen */
	ENTRY_IGNORED,  /* bookkeeping of a storage driver */
};

struct entry_name {
	enum entry_kind kind;
	char parent[ENTRY_PATH_MAX + 1]; /* "a/b", "" for the root; no "." and ".." in it */
	char last[NAME_MAX + 1];
};

/* ERR_INVALID: it leads out of the layer, is absolute or empty, too long or too deep, or a mark where none
 * can be. */
int entry_name_parse(const char *text, struct entry_name *ret_name, struct err *err);

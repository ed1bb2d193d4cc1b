/*
 * One job on a layer, in a child of its own: it may take as long as it takes.
 */
#pragma once

#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/layer_store.h"
#include "sandbox/namespace_pool.h"
#include "sandbox/taskgroup.h"
#include "sandbox/unpack/wire.h"

struct layer_work {
	int store_fd;
	int program_fd;
	int blob_fd;
	const struct namespace_set *namespaces; /* of its own */
	const struct taskgroup *group;          /* of the unpacker, with its limits */
	struct unpack_order order;
	char name[LAYER_NAME_MAX]; /* the directory in the store */
	char hex[UNPACK_HEX_MAX];  /* of the layer */
};

/* What the child does; *ret_answer says how it went. */
void layer_work_unpack(const struct layer_work *work, struct unpack_answer *ret_answer);
void layer_work_verify(const struct layer_work *work, struct unpack_answer *ret_answer);

/* Layers of images: unpacking, listing, removing, verifying. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/failpoint.h"
#include "proto/names.h"
#include "proto/packet.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/layer_jobs.h"
#include "sandbox/sandboxd.h"

#define LIST_MAX 1000 /* of one answer */

static int take_diff_id(const char *diff_id, const char **ret_hex, struct err *err)
{
	int r = names_check_digest(diff_id, err);

	if (r < 0)
		return err_prefix(err, r, "diff_id");
	*ret_hex = diff_id + strlen("sha256:");
	return 0;
}

static int open_store(struct call *call, bool make, struct err *err)
{
	return layer_store_open(&call->host->layers, call->host->policy.layer_directory, make, err);
}

/* Of the layer @diff_id, which must be here. */
static int find_layer(struct call *call, const char *diff_id, const struct layer **ret_layer,
		      struct err *err)
{
	const char *hex = "";
	int r = take_diff_id(diff_id, &hex, err);

	if (r == 0)
		r = open_store(call, false, err);
	if (r < 0)
		return r;
	*ret_layer = layer_store_find(&call->host->layers, hex);
	return *ret_layer ? 0
			  : err_set(err, ERR_NOT_FOUND, ENOENT, "layer %s is not on this host",
				    diff_id);
}

static uint64_t limit(uint64_t wish, uint64_t most)
{
	return wish && wish < most ? wish : most;
}

/* A file that ends: what else could be read from might never. */
static int check_blob(int fd, uint64_t bytes, struct err *err)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (flags & O_PATH) ||
	    (flags & O_ACCMODE) != O_RDONLY)
		return err_set(err, ERR_INVALID, EINVAL,
			       "the blob is no regular file that is open for reading alone");
	if ((uint64_t)st.st_size != bytes)
		return err_set(err, ERR_INVALID, EINVAL,
			       "the blob has %lld bytes, and blob_bytes is %llu",
			       (long long)st.st_size, (unsigned long long)bytes);
	return 0;
}

static int answer_existed(struct call *call, const struct layer *layer)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__UnpackLayerResult result =
		BERTH__SANDBOX__V1__UNPACK_LAYER_RESULT__INIT;

	result.bytes = layer->bytes;
	result.entries = layer->entries;
	result.existed = true;
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_UNPACK_LAYER;
	reply.unpack_layer = &result;
	agent_link_reply(call->host->link, call->asker, &reply, NULL, 0);
	return 1;
}

/*
 * Safe: of the descriptor nothing is used but bytes, and those only by berth-unpack, which has no power over
 * the host. Where the layer goes is chosen here, of a checked name, and what it is called is what its bytes
 * are: no other layer can be put in its place. Limits are the policy's where the asker's are none or higher.
 * Few are done at a time, and few wait.
 */
int call_unpack_layer(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__UnpackLayer *wish = call->request->unpack_layer;
	const struct policy *policy = &call->host->policy;
	struct unpack_order order = {
		.task = UNPACK_LAYER,
		.compression = wish->compression,
		.blob_bytes = wish->blob_bytes,
		.max_bytes = limit(wish->max_bytes, policy->max_layer_bytes),
		.max_entries = limit(wish->max_entries, policy->max_layer_entries),
	};
	cleanup_fd int blob_fd = packet_take_fd(call->packet, 0);
	const struct layer *layer;
	const char *hex = "";
	int r = take_diff_id(wish->diff_id, &hex, err);

	if (r < 0)
		return r;
	if (wish->compression >= UNPACK_COMPRESSION_COUNT)
		return err_set(err, ERR_INVALID, EINVAL,
			       "compression: %u is neither 0 (none), 1 (gzip) nor 2 (zstd)",
			       wish->compression);
	r = check_blob(blob_fd, wish->blob_bytes, err);
	if (r == 0)
		r = open_store(call, true, err);
	if (r < 0)
		return r;
	layer = layer_store_find(&call->host->layers, hex);
	if (layer)
		return answer_existed(call, layer);
	(void)snprintf(order.digest, sizeof(order.digest), "%s", hex);
	r = layer_jobs_unpack(call->host->layer_jobs, &order, &blob_fd, call->asker, err);
	return r < 0 ? r : 1;
}

static int describe(struct call *call, const struct layer *layer,
		    Berth__Sandbox__V1__ListLayersResult *result)
{
	Berth__Sandbox__V1__KnownLayer *known =
		arena_message(call->arena, &berth__sandbox__v1__known_layer__descriptor);

	if (!known)
		return -ENOMEM;
	known->diff_id = arena_printf(call->arena, "sha256:%s", layer->hex);
	known->bytes = layer->bytes;
	known->entries = layer->entries;
	known->in_use = layer_store_is_used(&call->host->registry, layer->hex);
	if (!known->diff_id)
		return -ENOMEM;
	return arena_append(call->arena, &result->layers, &result->n_layers, known);
}

/* Safe: tells what there is, in answers of bounded size. */
int call_list_layers(struct call *call, struct err *err)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__ListLayersResult result = BERTH__SANDBOX__V1__LIST_LAYERS_RESULT__INIT;
	const struct layer_store *store = &call->host->layers;
	const char *after = call->request->list_layers->after;
	const char *hex = "";
	int r = after[0] ? take_diff_id(after, &hex, err) : 0;

	if (r == 0)
		r = open_store(call, false, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < store->n && !result.more; i++) {
		if (strcmp(store->list[i].hex, hex) <= 0)
			continue;
		if (result.n_layers == LIST_MAX)
			result.more = true;
		else if (describe(call, &store->list[i], &result) < 0)
			return err_oom(err);
	}
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_LIST_LAYERS;
	reply.list_layers = &result;
	agent_link_reply(call->host->link, call->asker, &reply, NULL, 0);
	return 1;
}

/* Safe: only a layer of the store, by a checked name, and none that a container runs from. */
int call_remove_layer(struct call *call, struct err *err)
{
	const char *diff_id = call->request->remove_layer->diff_id;
	struct layer_store *store = &call->host->layers;
	const struct layer *layer;
	char hex[UNPACK_HEX_MAX], name[LAYER_NAME_MAX];
	int r = find_layer(call, diff_id, &layer, err);

	if (r < 0)
		return r;
	if (layer_store_is_used(&call->host->registry, layer->hex))
		return err_set(err, ERR_PRECONDITION, EBUSY,
			       "layer %s is in use by a container that has not ended", diff_id);
	if (layer_jobs_has(call->host->layer_jobs, layer->hex))
		return err_set(err, ERR_PRECONDITION, EBUSY, "layer %s is being verified", diff_id);
	memcpy(hex, layer->hex, sizeof(hex));
	layer_store_fresh_name("old", hex, name);
	if (renameat(store->fd, hex, store->fd, name) < 0 && errno != ENOENT)
		return err_set(err, ERR_INTERNAL, errno, "cannot take layer %s away: %m", diff_id);
	FAILPOINT("sandboxd.layer.renamed-away");
	layer_store_forget(store, hex);
	r = layer_jobs_remove(call->host->layer_jobs, name, call->asker, err);
	return r < 0 ? r : 1;
}

/* Safe: reads, in a child without power over the host, and tells one sentence, in which names are quoted. */
int call_verify_layer(struct call *call, struct err *err)
{
	const struct layer *layer;
	int r = find_layer(call, call->request->verify_layer->diff_id, &layer, err);

	if (r == 0)
		r = layer_jobs_verify(call->host->layer_jobs, layer, call->asker, err);
	return r < 0 ? r : 1;
}

/* Layers of images: unpacking, listing, removing, verifying. */
#include <errno.h>

#include "proto/names.h"
#include "sandbox/call.h"
#include "sandbox/sandboxd.h"

static int unsupported(struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
		       "this release of berth-sandboxd has no store of layers");
}

static int check_diff_id(const char *diff_id, struct err *err)
{
	int r = names_check_digest(diff_id, err);

	return r < 0 ? err_prefix(err, r, "diff_id") : 0;
}

/* Safe: nothing is done. The descriptor is closed with the packet. */
int call_unpack_layer(struct call *call, struct err *err)
{
	int r = check_diff_id(call->request->unpack_layer->diff_id, err);

	return r < 0 ? r : unsupported(err);
}

/* Safe: nothing is done. */
int call_list_layers(struct call *call, struct err *err)
{
	return unsupported(err);
}

/* Safe: nothing is done. */
int call_remove_layer(struct call *call, struct err *err)
{
	int r = check_diff_id(call->request->remove_layer->diff_id, err);

	return r < 0 ? r : unsupported(err);
}

/* Safe: nothing is done. */
int call_verify_layer(struct call *call, struct err *err)
{
	int r = check_diff_id(call->request->verify_layer->diff_id, err);

	return r < 0 ? r : unsupported(err);
}

#include "agent/image/media.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "proto/cleanup.h"

#define OCI    "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

static const struct {
	const char *name;
	enum media media;
} types[] = {
	{ OCI "index.v1+json", MEDIA_INDEX },
	{ DOCKER "distribution.manifest.list.v2+json", MEDIA_INDEX },
	{ OCI "manifest.v1+json", MEDIA_MANIFEST },
	{ DOCKER "distribution.manifest.v2+json", MEDIA_MANIFEST },
	{ DOCKER "distribution.manifest.v1+json", MEDIA_MANIFEST_OLD },
	{ DOCKER "distribution.manifest.v1+prettyjws", MEDIA_MANIFEST_OLD },
	{ OCI "config.v1+json", MEDIA_CONFIG },
	{ DOCKER "container.image.v1+json", MEDIA_CONFIG },
	{ OCI "layer.v1.tar", MEDIA_LAYER_TAR },
	{ OCI "layer.v1.tar+gzip", MEDIA_LAYER_GZIP },
	{ OCI "layer.v1.tar+zstd", MEDIA_LAYER_ZSTD },
	{ DOCKER "image.rootfs.diff.tar", MEDIA_LAYER_TAR },
	{ DOCKER "image.rootfs.diff.tar.gzip", MEDIA_LAYER_GZIP },
	{ DOCKER "image.rootfs.diff.tar.zstd", MEDIA_LAYER_ZSTD },
	{ OCI "layer.nondistributable.v1.tar", MEDIA_LAYER_FOREIGN },
	{ OCI "layer.nondistributable.v1.tar+gzip", MEDIA_LAYER_FOREIGN },
	{ OCI "layer.nondistributable.v1.tar+zstd", MEDIA_LAYER_FOREIGN },
	{ DOCKER "image.rootfs.foreign.diff.tar.gzip", MEDIA_LAYER_FOREIGN },
};

/* Schema 1 is not accepted, so that a registry that has both gives the other. */
const char media_accept[] = OCI "index.v1+json, " OCI "manifest.v1+json, " DOCKER
				"distribution.manifest.list.v2+json, " DOCKER
				"distribution.manifest.v2+json";

enum media media_of(const char *text)
{
	size_t length = text ? strcspn(text, "; \t\r\n") : 0;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strlen(types[i].name) == length &&
		    strncasecmp(types[i].name, text, length) == 0)
			return types[i].media;
	return MEDIA_UNKNOWN;
}

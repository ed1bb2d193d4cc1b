/* An image store in a directory of its own, and small images in it. */
#pragma once

#include "agent/image/catalogue.h"

struct image_desk {
	char directory[64];
	struct content *content;
	struct catalogue *catalogue;
};

int image_desk_open(void **state);
int image_desk_close(void **state);
/* End both and begin again with what is on the disk. */
void image_desk_reopen(struct image_desk *desk);
struct descriptor image_desk_put(struct image_desk *desk, const char *bytes);
/* An image of one layer of these bytes; not in the catalogue yet. */
struct image image_desk_image(struct image_desk *desk, const char *name, const char *layer);

/* `image pull`: with the progress on a terminal, or a line for each step elsewhere. */
#pragma once

#include "agent/cli/cli.h"

struct image_pull_options {
	const char *user;    /* NULL: the host's own credentials */
	bool password_stdin; /* its one line is the password */
};

int image_pull(struct cli *cli, const char *reference, const struct image_pull_options *options);
/* One image's line of a table, or its name, or JSON. */
int image_print(const struct cli *cli, const Berth__V1__Image *image);

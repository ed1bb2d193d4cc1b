/*
 * What an image was built for, in the words that images use: "linux/amd64", "linux/arm64/v8".
 */
#pragma once

#include <stdbool.h>

struct platform {
	const char *os;
	const char *architecture;
	const char *variant; /* "" or NULL: none */
};

/* This host's. */
struct platform platform_of_host(void);

/*
 * How well an image for @offered runs where @host is: 0 not at all, else the more the better. Of one
 * architecture an image of no variant, or of the host's, is taken; another variant is not.
 */
int platform_fit(const struct platform *host, const struct platform *offered);

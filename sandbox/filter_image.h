/*
 * A compiled filter as bytes in a memfd: this header, then the instructions, then the denial rules;
 * in the host's byte order, read by programs of the same version only.
 */
#pragma once

#include <stdint.h>

#define FILTER_IMAGE_MAGIC   0x54464254u /* "TBFT" */
#define FILTER_IMAGE_VERSION 1u

struct filter_image {
	uint32_t magic;
	uint32_t version;
	uint32_t instruction_count;
	uint32_t denial_count;
	uint32_t default_errnum;
	uint32_t notifies;
	uint32_t unknown_names;
	char note[200];
};

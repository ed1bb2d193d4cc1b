/*
 * The host's ids that workloads are mapped to, handed out in ranges of 65,536, each to one workload at
 * a time. A range that comes back is used again as late as possible, so that a file or a process
 * which one workload left behind somewhere does not soon belong to another.
 */
#pragma once

#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define IDRANGE_IDS 65536U

struct idranges;

/* All of [@first, @first + @count), both multiples of 65536, are free. NULL without memory. */
struct idranges *idranges_new(uint32_t first, uint32_t count);
void idranges_free(struct idranges *ranges); /* accepts NULL */
DEFINE_CLEANUP(struct idranges *, idranges_free)

/* Returns 0 and the first id of a range that nobody has, or ERR_EXHAUSTED. */
int idranges_take(struct idranges *ranges, uint32_t *ret_first, struct err *err);

/* Take the range that starts at @first, which a workload from before has. ERR_EXISTS where it is
 * taken, ERR_INVALID where it is none of these (the policy was changed meanwhile). */
int idranges_take_this(struct idranges *ranges, uint32_t first, struct err *err);

/* What is none of these ranges, or is free already, is ignored. */
void idranges_give_back(struct idranges *ranges, uint32_t first);

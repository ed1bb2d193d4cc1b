/*
 * The one form of a spec that the engine keeps and compares: maps sorted by key, defaults filled in,
 * signals by their names. Two specs mean the same when their canonical bytes are equal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/v1/types.pb-c.h"
#include "proto/err.h"

struct spec;

#define SPEC_BYTES_MAX           (256U * 1024) /* encoded */
#define STOP_GRACE_DEFAULT_MS    10000
#define TMPFS_DEFAULT_BYTES      (64ULL << 20)
#define WRITABLE_DEFAULT_BYTES   (1ULL << 30)
#define WRITABLE_BYTES_PER_INODE 16384
#define WRITABLE_MIN_INODES      64
#define LOG_FILE_DEFAULT_BYTES   (10ULL << 20)
#define LOG_FILES_DEFAULT        5
#define PROBE_PERIOD_DEFAULT_MS  10000
#define PROBE_TIMEOUT_DEFAULT_MS 1000
#define PROBE_FAILURES_DEFAULT   3
#define BACKOFF_DEFAULT_MS       1000
#define BACKOFF_FACTOR_PERMILLE  2000
#define BACKOFF_CAP_DEFAULT_MS   300000
#define BACKOFF_RESET_MS         600000

/* A canonical copy of @message, which has been validated. NULL without memory, with @err. */
struct spec *spec_new(const Berth__V1__WorkloadSpec *message, struct err *err);
/* Whoever has a reference frees it; NULL is fine. */
struct spec *spec_ref(struct spec *spec);
void spec_free(struct spec *spec);

/* The canonical bytes, for the caller to free; NULL without memory. */
uint8_t *spec_pack(const Berth__V1__WorkloadSpec *message, size_t *ret_bytes);
/* 1 when both are the same, 0 when not, -ENOMEM. Both must be canonical. */
int spec_equal(const struct spec *a, const struct spec *b);

/*
 * Numbers as people write them: decimal, sizes, shares of a processor, durations; and back.
 *
 * The parsers are strict: no sign, no space, no empty text, no overflow, no guess. They return 0, or
 * -EINVAL with @err: ERR_INVALID and a sentence that shows the text and says what is allowed. The
 * result is written only on success.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

/* Decimal digits only, from @min to @max. */
int quantity_parse_decimal(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value,
			   struct err *err);

/* Bytes: "4096", "64Mi", "1G", "1.5Gi". Ki Mi Gi Ti Pi are powers of 1024; k (or K) M G T P are powers
 * of 1000. The result must be whole. */
int quantity_parse_bytes(const char *text, uint64_t *ret_bytes, struct err *err);

/* Processors in thousandths: "2", "0.5", "500m". The result must be whole. */
int quantity_parse_cpu_millis(const char *text, uint64_t *ret_millis, struct err *err);

/* Milliseconds: "10s", "1m30s", "250ms", "1.5h", "2d"; units d h m s ms, the larger first, each once;
 * "0" needs no unit. The result must be whole. */
int quantity_parse_duration_ms(const char *text, uint64_t *ret_ms, struct err *err);

/* The shortest text that the parser of the same name reads back as the same number: "64Mi", "1m30s",
 * "500m". They write into @buffer and return it. */
#define QUANTITY_TEXT_MAX 48
const char *quantity_format_bytes(uint64_t bytes, char buffer[static QUANTITY_TEXT_MAX]);
const char *quantity_format_cpu_millis(uint64_t millis, char buffer[static QUANTITY_TEXT_MAX]);
const char *quantity_format_duration_ms(uint64_t ms, char buffer[static QUANTITY_TEXT_MAX]);

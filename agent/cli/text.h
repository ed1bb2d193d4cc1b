/*
 * Text for people: what comes from a workload or a peer is escaped before a terminal sees it; sizes, times
 * and states in the form that tables use.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "berth/v1/types.pb-c.h"

#define TEXT_ESCAPED_MAX 2048
#define TEXT_SHORT_MAX   32

/* @length bytes with control characters, and what is not UTF-8, as \xNN, and invisible characters that
 * change direction as \u{202e}; cut to the buffer. Returns @buffer. */
const char *text_escape(const char *bytes, size_t length, char buffer[static TEXT_ESCAPED_MAX]);
/* The same to @file, whole; tabs stay. @raw: as they are. */
void text_write(FILE *file, const void *bytes, size_t length, bool raw);

/* "64.0 MiB", "12 B" */
const char *text_bytes(uint64_t bytes, char buffer[static TEXT_SHORT_MAX]);
/* "3s", "5m", "2h13m", "4d" */
const char *text_age(uint64_t ns, char buffer[static TEXT_SHORT_MAX]);
/* Since @time_unix_ns until now, as an age. */
const char *text_ago(uint64_t time_unix_ns, char buffer[static TEXT_SHORT_MAX]);
/* "2026-01-02 03:04:05.678", local time */
const char *text_time(uint64_t time_unix_ns, char buffer[static TEXT_SHORT_MAX]);
/* "RUNNING" */
const char *text_state(int state);
const char *text_reason(int reason);
const char *text_band(int band);
/* ", frozen," or ", squeezed,", by a shortage of memory; or nothing. */
const char *text_pressure(int step);

/* Columns as wide as their widest cell. Cells are escaped. */
struct table;
struct table *table_new(const char *const *heads); /* NULL-terminated; NULL without memory */
/* One cell after the other, row by row; NULL is fine for @table. */
void table_add(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Print and free; without @file only free. */
void table_end(struct table *table, FILE *file);

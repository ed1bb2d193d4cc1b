/*
 * What a monitor leaves to its successor besides descriptors: memory that both map, in which everything is that
 * was taken and not yet done with. Output that was read and not written, a denied call that was received and not
 * answered: with it a monitor may die at any instruction and nothing is lost or done twice.
 *
 * The books are kept twice, and one store says which of the two holds; the bytes that they speak of are never
 * overwritten before the books have moved on.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/denial.h"
#include "sandbox/monitor/log.h"
#include "sandbox/monitor/streams.h"

#define ESTATE_MAGIC   0x54535442u /* "BTST" */
#define ESTATE_VERSION 1u          /* of this layout: another one is not taken over */
#define ESTATE_STREAMS 3           /* stdout, stderr, terminal */
#define ESTATE_NAME    "berth-estate"

struct estate_books {
	struct log_books log;
	struct stream_books streams[ESTATE_STREAMS];
};

struct estate {
	uint32_t magic;
	uint32_t version;
	uint32_t current; /* which of the books hold */
	uint32_t reserved;
	uint64_t mark; /* struct stream's */
	struct estate_books books[2];
	struct denial_room denial;
	struct log_memory log;
	char lines[ESTATE_STREAMS][STREAM_BYTES];
};

/* A new one, in memory of its own: a descriptor, or a negative errno. */
int estate_make(void);

/* Map it; with @fd -1, or one that is of no use, memory of this process alone, which is never freed. Untouched
 * pages cost nothing. */
struct estate *estate_map(int fd);

/* Whether somebody left books in it. */
bool estate_is_inherited(const struct estate *estate);

/* Keep @books; from here on they are what a successor finds. */
void estate_keep(struct estate *estate, const struct estate_books *books);

/* The books that hold. */
const struct estate_books *estate_books(const struct estate *estate);

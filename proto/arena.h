/*
 * Memory with a budget and one free for all: what a request or a reply is built in.
 *
 * A message from a peer can ask for many times its own size in memory, so it is only ever unpacked
 * through an arena: past @limit_bytes every allocation fails cleanly, and nothing leaks. The first
 * bytes come from the arena itself, so that small messages cost no malloc at all.
 *
 *	cleanup_arena struct arena arena;
 *
 *	arena_init(&arena, ARENA_MESSAGE_BYTES);
 *	request = wire_unpack(&berth__v1__foo__descriptor, bytes, length, &arena, &err);
 *
 * With cleanup_arena, arena_init() comes before the first return. An arena points into itself: it must
 * not be copied or moved. Not for use by several threads.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdarg.h>
#include <stddef.h>

#include "proto/cleanup.h"

#define ARENA_MESSAGE_BYTES (16U << 20) /* what one message from a peer may take, unpacked */
#define ARENA_FIRST_BYTES   1024

struct arena_chunk;

struct arena {
	ProtobufCAllocator
		allocator;  /* the face for protobuf-c: &arena->allocator; free() is empty */
	size_t limit_bytes; /* of what may be taken from malloc */
	size_t held_bytes;  /* taken from malloc so far, the chunks' heads included */
	size_t chunk_bytes; /* how large the next chunk will be */
	struct arena_chunk *chunks;
	unsigned char *next; /* the free part of the newest chunk */
	unsigned char *end;
	_Alignas(max_align_t) unsigned char first[ARENA_FIRST_BYTES];
};

/* An empty arena that never holds more than @limit_bytes beyond its own size. */
void arena_init(struct arena *arena, size_t limit_bytes);

/* Free all that was allocated, and start again with the same budget. */
void arena_reset(struct arena *arena);

/* Free all that was allocated. Only arena_init() may follow. */
void arena_done(struct arena *arena);

#define cleanup_arena cleanup(arena_done)

/*
 * Memory that lives until arena_reset() or arena_done(), aligned for any type; all of these return
 * NULL when the budget or the host's memory is used up. A size of 0 gives a pointer that is not NULL.
 * Of them only arena_calloc() and arena_message() give memory with known contents.
 */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((alloc_size(2)));
void *arena_calloc(struct arena *arena, size_t count, size_t size)
	__attribute__((alloc_size(2, 3)));
void *arena_memdup(struct arena *arena, const void *bytes, size_t size);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_strndup(struct arena *arena, const char *text, size_t length); /* ends at a NUL */
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* A new message with its defaults set: Foo *foo = arena_message(&arena, &foo__descriptor). */
void *arena_message(struct arena *arena, const ProtobufCMessageDescriptor *descriptor);

/*
 * Append @item to the growing array of pointers *@array_ptr (a "Foo **foos" member; NULL at first) of
 * *@n items, as a reply's repeated field is built: arena_append(&arena, &reply->foos, &reply->n_foos,
 * foo). Returns 0, or -ENOMEM with nothing changed; a NULL @item is -ENOMEM too, so that the result of
 * arena_message() or arena_strdup() can be handed in unlooked at.
 */
int arena_append(struct arena *arena, void *array_ptr, size_t *n, void *item);

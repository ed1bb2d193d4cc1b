#include "proto/arena.h"

#include <stdbool.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * A list of chunks, the newest first; small pieces are cut from the newest one's free end. Chunks double
 * in size, so that a message of n bytes costs log n mallocs; a piece that would waste most of a new chunk
 * gets one of its own, behind the newest, whose free end stays in use.
 */

#define ALIGNMENT _Alignof(max_align_t)
#define CHUNK_BYTES_MIN \
	((size_t)1024) /* a workload keeps two arenas, each of little more than its own */
#define CHUNK_BYTES_MAX ((size_t)256 << 10)

struct arena_chunk {
	struct arena_chunk *next;
	_Alignas(max_align_t) unsigned char bytes[];
};

static void *allocator_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void allocator_free(void *data, void *pointer)
{
	/* all at once, in arena_done() */
}

static void start(struct arena *arena)
{
	arena->held_bytes = 0;
	arena->chunk_bytes = CHUNK_BYTES_MIN;
	arena->chunks = NULL;
	arena->next = arena->first;
	arena->end = arena->first + sizeof(arena->first);
}

void arena_init(struct arena *arena, size_t limit_bytes)
{
	arena->allocator = (ProtobufCAllocator){
		.alloc = allocator_alloc,
		.free = allocator_free,
		.allocator_data = arena,
	};
	arena->limit_bytes = limit_bytes;
	start(arena);
}

void arena_reset(struct arena *arena)
{
	while (arena->chunks) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free(chunk);
	}
	start(arena);
}

void arena_done(struct arena *arena)
{
	arena_reset(arena);
}

/* A chunk with room for @size bytes, counted against the budget. */
static struct arena_chunk *chunk_new(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk;
	size_t total;

	if (__builtin_add_overflow(size, sizeof(*chunk), &total))
		return NULL;
	if (total > arena->limit_bytes - arena->held_bytes)
		return NULL;
	chunk = malloc(total);
	if (chunk)
		arena->held_bytes += total;
	return chunk;
}

static void *alloc_own_chunk(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = chunk_new(arena, size);

	if (!chunk)
		return NULL;
	if (arena->chunks) {
		chunk->next = arena->chunks->next;
		arena->chunks->next = chunk;
	} else {
		chunk->next = NULL;
		arena->chunks = chunk;
	}
	return chunk->bytes;
}

static bool grow(struct arena *arena, size_t size)
{
	size_t room = arena->limit_bytes - arena->held_bytes;
	size_t bytes = arena->chunk_bytes;
	struct arena_chunk *chunk;

	/* Near the limit the last chunk takes what is left, so that the whole budget can be used. */
	if (room < bytes + sizeof(*chunk))
		bytes = room > sizeof(*chunk) ? (room - sizeof(*chunk)) & ~(ALIGNMENT - 1) : 0;
	if (bytes < size)
		return false;
	chunk = chunk_new(arena, bytes);
	if (!chunk)
		return false;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	arena->next = chunk->bytes;
	arena->end = chunk->bytes + bytes;
	if (arena->chunk_bytes < CHUNK_BYTES_MAX)
		arena->chunk_bytes *= 2;
	return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	size_t bytes;
	void *pointer;

	if (__builtin_add_overflow(size ? size : 1, ALIGNMENT - 1, &bytes))
		return NULL;
	bytes &= ~(ALIGNMENT - 1);
	if (bytes > (size_t)(arena->end - arena->next)) {
		if (bytes > arena->chunk_bytes / 4)
			return alloc_own_chunk(arena, bytes);
		if (!grow(arena, bytes))
			return NULL;
	}
	pointer = arena->next;
	arena->next += bytes;
	return pointer;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;
	void *pointer;

	if (__builtin_mul_overflow(count, size, &bytes))
		return NULL;
	pointer = arena_alloc(arena, bytes);
	return pointer ? memset(pointer, 0, bytes) : NULL;
}

void *arena_memdup(struct arena *arena, const void *bytes, size_t size)
{
	void *copy = arena_alloc(arena, size);

	if (copy && size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
	size_t n = strnlen(text, length);
	char *copy = arena_alloc(arena, n + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_memdup(arena, text, strlen(text) + 1);
}

char *arena_vprintf(struct arena *arena, const char *fmt, va_list ap)
{
	va_list again;
	char *text;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	text = n < 0 ? NULL : arena_alloc(arena, (size_t)n + 1);
	if (text)
		(void)vsnprintf(text, (size_t)n + 1, fmt, again);
	va_end(again);
	return text;
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = arena_vprintf(arena, fmt, ap);
	va_end(ap);
	return text;
}

void *arena_message(struct arena *arena, const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);

	if (message)
		protobuf_c_message_init(descriptor, message);
	return message;
}

int arena_append(struct arena *arena, void *array_ptr, size_t *n, void *item)
{
	void **array;

	if (!item)
		return -ENOMEM;
	memcpy(&array, array_ptr, sizeof(array)); /* a Foo **: not a void ** to the compiler */
	/* Full at every power of two: then twice the room. The old array stays behind in the arena;
	 * all of them together are no larger than the last. */
	if ((*n & (*n - 1)) == 0) {
		size_t bytes;
		void **larger;

		if (__builtin_mul_overflow(*n ? *n * 2 : 1, sizeof(*array), &bytes))
			return -ENOMEM;
		larger = arena_alloc(arena, bytes);
		if (!larger)
			return -ENOMEM;
		if (*n > 0)
			memcpy(larger, array, *n * sizeof(*array));
		array = larger;
		memcpy(array_ptr, &array, sizeof(array));
	}
	array[(*n)++] = item;
	return 0;
}

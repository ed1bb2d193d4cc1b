#include "sandbox/unpack/entry_name.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/names.h"

#define MARK        ".wh."
#define MARK_OPAQUE ".wh..wh..opq"
#define MARK_OWN    ".wh..wh."

static int refuse(struct err *err, const char *text, const char *why)
{
	char quoted[NAME_QUOTED_MAX];

	return err_set(err, ERR_INVALID, EINVAL, "entry %s: %s", names_quote(text, quoted), why);
}

static bool is_mark(const char *component)
{
	return strncmp(component, MARK, strlen(MARK)) == 0;
}

static int append(struct entry_name *name, size_t *length, unsigned int *depth, const char *text,
		  struct err *err)
{
	size_t size = strlen(name->last);

	if (is_mark(name->last))
		return refuse(err, text, "a mark of a removed file is no directory");
	if (++*depth > ENTRY_DEPTH_MAX)
		return refuse(err, text, "it is too deep");
	if (*length + 1 + size > ENTRY_PATH_MAX)
		return refuse(err, text, "it is too long");
	if (*length)
		name->parent[(*length)++] = '/';
	memcpy(name->parent + *length, name->last, size + 1);
	*length += size;
	return 0;
}

/* What the last component says. */
static int classify(struct entry_name *name, const char *text, struct err *err)
{
	const char *removed = name->last + strlen(MARK);

	name->kind = ENTRY_NAMED;
	if (!is_mark(name->last))
		return 0;
	if (strcmp(name->last, MARK_OPAQUE) == 0) {
		name->kind = ENTRY_OPAQUE;
		return 0;
	}
	if (strncmp(name->last, MARK_OWN, strlen(MARK_OWN)) == 0) {
		name->kind = ENTRY_IGNORED;
		return 0;
	}
	if (!*removed || strcmp(removed, ".") == 0 || strcmp(removed, "..") == 0)
		return refuse(err, text, "it marks nothing as removed");
	name->kind = ENTRY_WHITEOUT;
	memmove(name->last, removed, strlen(removed) + 1);
	return 0;
}

int entry_name_parse(const char *text, struct entry_name *ret_name, struct err *err)
{
	unsigned int depth = 0;
	size_t length = 0;
	int r;

	ret_name->kind = ENTRY_ROOT;
	ret_name->parent[0] = ret_name->last[0] = '\0';
	if (!text || !*text)
		return refuse(err, "", "it has no name");
	if (*text == '/')
		return refuse(err, text, "it is absolute");
	for (const char *at = text; *at;) {
		size_t size = strcspn(at, "/");
		const char *component = at;

		at += size + (at[size] == '/');
		if (size == 0 || (size == 1 && component[0] == '.'))
			continue;
		if (size == 2 && memcmp(component, "..", 2) == 0)
			return refuse(err, text, "it leads upwards");
		if (size > NAME_MAX)
			return refuse(err, text, "a part of it is too long");
		if (ret_name->last[0]) {
			r = append(ret_name, &length, &depth, text, err);
			if (r < 0)
				return r;
		}
		memcpy(ret_name->last, component, size);
		ret_name->last[size] = '\0';
	}
	return ret_name->last[0] ? classify(ret_name, text, err) : 0;
}

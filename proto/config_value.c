#include "proto/config_value.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "proto/names.h"
#include "proto/quantity.h"

static void *member(const struct config_key *key, void *settings)
{
	return (char *)settings + key->offset;
}

static const void *const_member(const struct config_key *key, const void *settings)
{
	return (const char *)settings + key->offset;
}

static uint64_t max_of(const struct config_key *key)
{
	return key->max ? key->max : UINT64_MAX;
}

static const char *format_number(const struct config_key *key, uint64_t value,
				 char buffer[static QUANTITY_TEXT_MAX])
{
	switch (key->type) {
	case CONFIG_DURATION_MS:
		return quantity_format_duration_ms(value, buffer);
	case CONFIG_BYTES:
		return quantity_format_bytes(value, buffer);
	case CONFIG_CPU_MILLIS:
		return quantity_format_cpu_millis(value, buffer);
	default:
		(void)snprintf(buffer, QUANTITY_TEXT_MAX, "%" PRIu64, value);
		return buffer;
	}
}

/* "a size", "a size of at least 4Ki", "a size from 4Ki to 1Gi" */
static void describe_number(const struct config_key *key, const char *what, char *text, size_t size)
{
	char low[QUANTITY_TEXT_MAX], high[QUANTITY_TEXT_MAX];

	if (key->max)
		(void)snprintf(text, size, "%s from %s to %s", what,
			       format_number(key, key->min, low),
			       format_number(key, key->max, high));
	else if (key->min)
		(void)snprintf(text, size, "%s of at least %s", what,
			       format_number(key, key->min, low));
	else
		(void)snprintf(text, size, "%s", what);
}

static void describe_choices(const struct config_key *key, char *text, size_t size)
{
	size_t used = (size_t)snprintf(text, size, "one of:");

	for (const struct config_choice *choice = key->choices; choice->name; choice++) {
		if (used >= size)
			return;
		used += (size_t)snprintf(text + used, size - used, "%s %s",
					 choice == key->choices ? "" : ",", choice->name);
	}
}

void config_value_describe(const struct config_key *key, char *text, size_t size)
{
	switch (key->type) {
	case CONFIG_BOOL:
		(void)snprintf(text, size, "yes or no");
		return;
	case CONFIG_DURATION_MS:
		describe_number(key, "a duration, as in 1m30s or 250ms,", text, size);
		break;
	case CONFIG_BYTES:
		describe_number(key, "a size, as in 64Mi,", text, size);
		break;
	case CONFIG_CPU_MILLIS:
		describe_number(key, "a share of processors, as in 1.5 or 500m,", text, size);
		break;
	case CONFIG_UINT:
		describe_number(key, "a whole number", text, size);
		return;
	case CONFIG_STRING:
		(void)snprintf(text, size, "text");
		return;
	case CONFIG_PATH:
		(void)snprintf(text, size, "an absolute path");
		return;
	case CONFIG_LIST:
		(void)snprintf(text, size,
			       "words separated by spaces (in double quotes if they hold spaces)");
		return;
	case CONFIG_ENUM:
		describe_choices(key, text, size);
		return;
	}
	/* A unit's example ends with a comma for the range that may follow. */
	if (size > 0 && text[0] && text[strlen(text) - 1] == ',')
		text[strlen(text) - 1] = '\0';
}

static int not_allowed(const struct config_key *key, const char *value, struct err *err)
{
	char allowed[256], quoted[NAME_QUOTED_MAX];

	config_value_describe(key, allowed, sizeof(allowed));
	return err_set(err, ERR_INVALID, EINVAL, "%s is not allowed; it must be %s",
		       names_quote(value, quoted), allowed);
}

static int set_bool(const struct config_key *key, const char *text, bool *at, struct err *err)
{
	static const char *const words[][2] = {
		{ "no", "yes" }, { "false", "true" }, { "off", "on" }, { "0", "1" }
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		for (int value = 0; value < 2; value++) {
			if (strcasecmp(text, words[i][value]) == 0) {
				*at = value;
				return 0;
			}
		}
	}
	return not_allowed(key, text, err);
}

static int set_number(const struct config_key *key, const char *text, uint64_t *at, struct err *err)
{
	uint64_t value = 0;
	int r;

	switch (key->type) {
	case CONFIG_DURATION_MS:
		r = quantity_parse_duration_ms(text, &value, err);
		break;
	case CONFIG_BYTES:
		r = quantity_parse_bytes(text, &value, err);
		break;
	case CONFIG_CPU_MILLIS:
		r = quantity_parse_cpu_millis(text, &value, err);
		break;
	default:
		r = quantity_parse_decimal(text, 0, UINT64_MAX, &value, NULL);
	}
	if (r < 0 || value < key->min || value > max_of(key))
		return not_allowed(key, text, err);
	*at = value;
	return 0;
}

static int set_enum(const struct config_key *key, const char *text, int *at, struct err *err)
{
	for (const struct config_choice *choice = key->choices; choice->name; choice++) {
		if (strcmp(text, choice->name) == 0) {
			*at = choice->value;
			return 0;
		}
	}
	return not_allowed(key, text, err);
}

/* One string, or one item of a list. "" is always allowed and means: none. */
static int check_text(const struct config_key *key, const char *text, struct err *err)
{
	int r;

	if (!*text)
		return 0;
	r = key->type == CONFIG_PATH ? names_check_path(text, err)
				     : names_check_line(text, NAME_PATH_MAX, err);
	if (r == 0 && key->check)
		r = key->check(text, err);
	return r;
}

static int set_string(const struct config_key *key, const char *text, char **at, struct err *err)
{
	int r = check_text(key, text, err);
	char *copy;

	if (r < 0)
		return r;
	copy = strdup(text);
	if (!copy)
		return err_oom(err);
	free(*at);
	*at = copy;
	return 0;
}

static void list_clear(struct config_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){ .items = NULL };
}

static int list_push(struct config_list *list, const char *item, size_t length, struct err *err)
{
	char **items = reallocarray(list->items, list->n + 2, sizeof(*items));

	if (!items)
		return err_oom(err);
	list->items = items;
	items[list->n] = strndup(item, length);
	if (!items[list->n])
		return err_oom(err);
	items[++list->n] = NULL;
	return 0;
}

/* The item at *@text, which then is behind it: its start and length. False for quotes that do not match
 * or stand within a word. */
static bool next_item(const char **text, const char **ret_item, size_t *ret_length)
{
	const char *start = *text;
	size_t length;

	if (*start == '"') {
		length = strcspn(++start, "\"");
		if (!start[length] || (start[length + 1] && !strchr(" \t", start[length + 1])))
			return false;
		*text = start + length + 1;
	} else {
		length = strcspn(start, " \t");
		if (memchr(start, '"', length))
			return false;
		*text = start + length;
	}
	*ret_item = start;
	*ret_length = length;
	return true;
}

static int list_parse(const struct config_key *key, const char *text, struct config_list *list,
		      struct err *err)
{
	for (text += strspn(text, " \t"); *text; text += strspn(text, " \t")) {
		const char *item;
		size_t length;
		int r;

		if (!next_item(&text, &item, &length))
			return not_allowed(key, text, err);
		r = list_push(list, item, length, err);
		if (r == 0)
			r = check_text(key, list->items[list->n - 1], err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Append what @text says to @at, or nothing of it. */
static int append_list(const struct config_key *key, const char *text, struct config_list *at,
		       struct err *err)
{
	cleanup(list_clear) struct config_list added = { .items = NULL };
	char **items;
	int r;

	r = list_parse(key, text, &added, err);
	if (r < 0)
		return r;
	if (added.n > max_of(key) || at->n > max_of(key) - added.n)
		return err_set(err, ERR_INVALID, EINVAL, "at most %" PRIu64 " items are allowed",
			       key->max);
	if (added.n == 0)
		return 0;
	items = reallocarray(at->items, at->n + added.n + 1, sizeof(*items));
	if (!items)
		return err_oom(err);
	memcpy(items + at->n, added.items, (added.n + 1) * sizeof(*items));
	at->items = items;
	at->n += added.n;
	added.n = 0; /* the strings are @at's now */
	return 0;
}

int config_value_set(const struct config_key *key, const char *text, void *settings,
		     struct err *err)
{
	void *at = member(key, settings);

	switch (key->type) {
	case CONFIG_BOOL:
		return set_bool(key, text, at, err);
	case CONFIG_DURATION_MS:
	case CONFIG_BYTES:
	case CONFIG_CPU_MILLIS:
	case CONFIG_UINT:
		return set_number(key, text, at, err);
	case CONFIG_STRING:
	case CONFIG_PATH:
		return set_string(key, text, at, err);
	case CONFIG_LIST:
		return append_list(key, text, at, err);
	case CONFIG_ENUM:
		return set_enum(key, text, at, err);
	}
	return err_set(err, ERR_INTERNAL, EINVAL, "key %s has no type", key->name);
}

static size_t member_size(const struct config_key *key)
{
	switch (key->type) {
	case CONFIG_BOOL:
		return sizeof(bool);
	case CONFIG_STRING:
	case CONFIG_PATH:
		return sizeof(char *);
	case CONFIG_LIST:
		return sizeof(struct config_list);
	case CONFIG_ENUM:
		return sizeof(int);
	default:
		return sizeof(uint64_t);
	}
}

void config_value_clear(const struct config_key *key, void *settings)
{
	void *at = member(key, settings);

	if (key->type == CONFIG_STRING || key->type == CONFIG_PATH)
		free(*(char **)at);
	else if (key->type == CONFIG_LIST)
		list_clear(at);
	memset(at, 0, member_size(key));
}

void config_value_move(const struct config_key *key, void *from, void *to)
{
	config_value_clear(key, to);
	memcpy(member(key, to), member(key, from), member_size(key));
	memset(member(key, from), 0, member_size(key));
}

static void print_list(const struct config_list *list, FILE *file)
{
	for (size_t i = 0; i < list->n; i++) {
		const char *item = list->items[i];
		bool is_quoted = !*item || strpbrk(item, " \t");

		fprintf(file, is_quoted ? "%s\"%s\"" : "%s%s", i ? " " : "", item);
	}
}

static void print_enum(const struct config_key *key, int value, FILE *file)
{
	for (const struct config_choice *choice = key->choices; choice->name; choice++) {
		if (choice->value == value) {
			fputs(choice->name, file);
			return;
		}
	}
}

void config_value_print(const struct config_key *key, const void *settings, FILE *file)
{
	const void *at = const_member(key, settings);
	char buffer[QUANTITY_TEXT_MAX];
	const char *text;

	switch (key->type) {
	case CONFIG_BOOL:
		fputs(*(const bool *)at ? "yes" : "no", file);
		return;
	case CONFIG_STRING:
	case CONFIG_PATH:
		text = *(char *const *)at;
		fputs(text ? text : "", file);
		return;
	case CONFIG_LIST:
		print_list(at, file);
		return;
	case CONFIG_ENUM:
		print_enum(key, *(const int *)at, file);
		return;
	default:
		fputs(format_number(key, *(const uint64_t *)at, buffer), file);
	}
}

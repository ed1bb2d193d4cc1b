#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/config.h"
#include "proto/config_value.h"

#define COLUMNS 98

/* @text as comment lines, broken between words. */
static void print_comment(const char *text, FILE *file)
{
	size_t column = 0;

	while (*text) {
		size_t length = strcspn(text, " \n");

		if (column == 0 || column + 1 + length > COLUMNS) {
			fputs(column ? "\n#" : "#", file);
			column = 1;
		}
		fprintf(file, " %.*s", (int)length, text);
		column += 1 + length;
		text += length;
		if (*text == '\n') {
			fputc('\n', file);
			column = 0;
		}
		if (*text)
			text++;
	}
	if (column > 0)
		fputc('\n', file);
}

static void print_section(const struct config_table *table, size_t i, FILE *file)
{
	if (i == 0 || strcmp(table->keys[i].section, table->keys[i - 1].section) != 0)
		fprintf(file, "\n[%s]\n", table->keys[i].section);
}

static int ended(FILE *file)
{
	return fflush(file) == 0 && !ferror(file) ? 0 : -EIO;
}

int config_print_defaults(const struct config_table *table, FILE *file)
{
	print_comment(table->title, file);
	for (size_t i = 0; i < table->n_keys; i++) {
		const struct config_key *key = &table->keys[i];
		const char *fallback = key->fallback ? key->fallback : "";
		char allowed[256], line[512];

		print_section(table, i, file);
		if (i > 0 && strcmp(key->section, table->keys[i - 1].section) == 0)
			fputc('\n', file);
		config_value_describe(key, allowed, sizeof(allowed));
		print_comment(key->help, file);
		(void)snprintf(line, sizeof(line), "Allowed: %s. Default: %s.", allowed,
			       *fallback ? fallback : "none");
		print_comment(line, file);
		fprintf(file, "#%s=%s\n", key->name, fallback);
	}
	return ended(file);
}

int config_print_settings(const struct config_table *table, const void *settings, FILE *file)
{
	for (size_t i = 0; i < table->n_keys; i++) {
		print_section(table, i, file);
		fprintf(file, "%s=", table->keys[i].name);
		config_value_print(&table->keys[i], settings, file);
		fputc('\n', file);
	}
	return ended(file);
}

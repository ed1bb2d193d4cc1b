#include "proto/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/config_value.h"
#include "proto/names.h"
#include "proto/nearest.h"
#include "proto/utf8.h"

/*
 * Everything is read into fresh settings, which take the place of the caller's only when all of it was
 * right.
 */

/* Where in which file. */
struct line {
	const char *file;
	unsigned number;
	const char *section; /* as the table has it; NULL before the first */
};

/* Where a key was last assigned. */
struct origin {
	char *file; /* NULL: nowhere, it has its default */
	unsigned number;
};

struct loader {
	const struct config_table *table;
	void *fresh;
	struct origin *origins; /* for each key */
	struct err *err;
};

static void loader_done(struct loader *loader)
{
	if (loader->fresh)
		config_free(loader->table, loader->fresh);
	free(loader->fresh);
	for (size_t i = 0; loader->origins && i < loader->table->n_keys; i++)
		free(loader->origins[i].file);
	free(loader->origins);
}

static int loader_init(struct loader *loader)
{
	const struct config_table *table = loader->table;

	loader->fresh = calloc(1, table->settings_size);
	loader->origins = calloc(table->n_keys, sizeof(*loader->origins));
	if (!loader->fresh || !loader->origins)
		return err_oom(loader->err);
	for (size_t i = 0; i < table->n_keys; i++) {
		const struct config_key *key = &table->keys[i];
		int r = config_value_set(key, key->fallback ? key->fallback : "", loader->fresh,
					 loader->err);

		if (r < 0) /* the program is wrong, not a file */
			return err_prefix(loader->err, r, "default of %s in [%s]", key->name,
					  key->section);
	}
	return 0;
}

/* The values together, when each is right by itself; @file is the main one. */
static int check_together(struct loader *loader, const char *file)
{
	const struct config_table *table = loader->table;
	size_t members[2] = { 0 };
	int r = table->check ? table->check(loader->fresh, members, loader->err) : 0;

	if (r >= 0)
		return 0;
	for (size_t m = 0; m < ARRAY_SIZE(members); m++)
		for (size_t i = 0; i < table->n_keys; i++)
			if (table->keys[i].offset == members[m] && loader->origins[i].file)
				return err_prefix(loader->err, r, "%s:%u: %s",
						  loader->origins[i].file,
						  loader->origins[i].number, table->keys[i].name);
	return err_prefix(loader->err, r, "%s", file);
}

static void loader_commit(struct loader *loader, void *settings)
{
	for (size_t i = 0; i < loader->table->n_keys; i++)
		config_value_move(&loader->table->keys[i], loader->fresh, settings);
}

static int wrong(const struct loader *loader, const struct line *line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int wrong(const struct loader *loader, const struct line *line, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(loader->err, ERR_INVALID, EINVAL, fmt, ap);
	va_end(ap);
	return err_prefix(loader->err, r, "%s:%u", line->file, line->number);
}

static int unknown_section(const struct loader *loader, const struct line *line, const char *name)
{
	char quoted[NAME_QUOTED_MAX], allowed[200] = "";
	const char *last = "";
	size_t used = 0;

	for (size_t i = 0; i < loader->table->n_keys && used < sizeof(allowed); i++) {
		const char *section = loader->table->keys[i].section;

		if (strcmp(section, last) != 0)
			used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s[%s]",
						 used ? ", " : "", section);
		last = section;
	}
	return wrong(loader, line, "unknown section %s; allowed are %s", names_quote(name, quoted),
		     allowed);
}

static int unknown_key(const struct loader *loader, const struct line *line, const char *name)
{
	char quoted[NAME_QUOTED_MAX], allowed[200] = "";
	struct nearest nearest = { .word = name };
	size_t used = 0;

	names_quote(name, quoted);
	for (size_t i = 0; i < loader->table->n_keys; i++) {
		const struct config_key *key = &loader->table->keys[i];

		if (strcmp(key->name, name) == 0)
			return wrong(loader, line, "key %s belongs into section [%s]", quoted,
				     key->section);
		if (strcmp(key->section, line->section) != 0)
			continue;
		nearest_offer(&nearest, key->name);
		if (used < sizeof(allowed))
			used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s",
						 used ? ", " : "", key->name);
	}
	if (nearest.best)
		return wrong(loader, line, "unknown key %s in [%s]; did you mean %s?", quoted,
			     line->section, nearest.best);
	return wrong(loader, line, "unknown key %s in [%s]; allowed are %s", quoted, line->section,
		     allowed);
}

static int enter_section(struct loader *loader, struct line *line, char *text)
{
	size_t length = strlen(text);

	if (text[length - 1] != ']')
		return wrong(loader, line, "a section is written as [Name]");
	text[length - 1] = '\0';
	for (size_t i = 0; i < loader->table->n_keys; i++) {
		if (strcmp(loader->table->keys[i].section, text + 1) == 0) {
			line->section = loader->table->keys[i].section;
			return 0;
		}
	}
	if (loader->table->ignore_unknown) {
		line->section = "";
		return 0;
	}
	return unknown_section(loader, line, text + 1);
}

static int assign(struct loader *loader, const struct line *line, size_t index, const char *value)
{
	const struct config_key *key = &loader->table->keys[index];
	struct origin *origin = &loader->origins[index];
	int r;

	/* What the files say about a list takes the place of its default as a whole; and an empty
	 * assignment empties it, where other types get their default back. */
	if (key->type == CONFIG_LIST && (!*value || !origin->file))
		config_value_clear(key, loader->fresh);
	else if (!*value)
		value = key->fallback ? key->fallback : "";
	free(origin->file);
	*origin = (struct origin){ .file = strdup(line->file), .number = line->number };
	if (!origin->file)
		return err_oom(loader->err);
	r = config_value_set(key, value, loader->fresh, loader->err);
	if (r < 0)
		return err_prefix(loader->err, r, "%s:%u: %s", line->file, line->number, key->name);
	return 0;
}

/* @text without the space around it; it is cut in place. */
static char *strip(char *text)
{
	size_t length;

	text += strspn(text, " \t\r");
	length = strlen(text);
	while (length > 0 && strchr(" \t\r", text[length - 1]))
		length--;
	text[length] = '\0';
	return text;
}

static int read_assignment(struct loader *loader, const struct line *line, char *text)
{
	char *equals = strchr(text, '=');
	char *name, *value;

	if (!equals)
		return wrong(loader, line,
			     "neither [Section] nor Key=value nor a comment (# or ;)");
	*equals = '\0';
	name = strip(text);
	value = strip(equals + 1);
	if (!line->section)
		return wrong(loader, line, "a key before the first [Section]");
	for (size_t i = 0; i < loader->table->n_keys; i++) {
		const struct config_key *key = &loader->table->keys[i];

		if (strcmp(key->section, line->section) == 0 && strcmp(key->name, name) == 0)
			return assign(loader, line, i, value);
	}
	return loader->table->ignore_unknown ? 0 : unknown_key(loader, line, name);
}

static int read_line(struct loader *loader, struct line *line, char *text)
{
	text = strip(text);
	if (!*text || *text == '#' || *text == ';')
		return 0;
	if (*text == '[')
		return enter_section(loader, line, text);
	return read_assignment(loader, line, text);
}

/* @text, of @length bytes and a NUL after them, is taken apart in place. */
static int read_text(struct loader *loader, const char *file, char *text, size_t length)
{
	struct line line = { .file = file };

	if (memchr(text, '\0', length) || !utf8_valid(text, length))
		return err_set(loader->err, ERR_INVALID, EINVAL, "%s: not a text in UTF-8", file);
	while (text) {
		char *next = strchr(text, '\n');
		int r;

		if (next)
			*next++ = '\0';
		line.number++;
		r = read_line(loader, &line, text);
		if (r < 0)
			return r;
		text = next;
	}
	return 0;
}

/* Whether nobody but root and ourselves could have written what @fd is. */
static int check_owner(const struct loader *loader, const char *path, int fd, struct stat *ret_stat)
{
	if (fstat(fd, ret_stat) < 0)
		return err_set(loader->err, ERR_INTERNAL, errno, "cannot stat %s: %m", path);
	if (ret_stat->st_uid != 0 && ret_stat->st_uid != geteuid())
		return err_set(
			loader->err, ERR_DENIED, EPERM,
			"will not read %s: it belongs to user %u; it must be root's or user %u's",
			path, ret_stat->st_uid, geteuid());
	if (ret_stat->st_mode & S_IWOTH ||
	    (ret_stat->st_mode & S_IWGRP && ret_stat->st_gid != 0 && ret_stat->st_gid != getegid()))
		return err_set(loader->err, ERR_DENIED, EPERM,
			       "will not read %s: others may write to it (try chmod go-w)", path);
	return 0;
}

/* All of @fd, with a NUL after it. */
static int read_all(const struct loader *loader, const char *path, int fd, char **ret_text,
		    size_t *ret_length)
{
	cleanup_free char *text = malloc(CONFIG_FILE_BYTES_MAX + 2);
	size_t used = 0;

	if (!text)
		return err_oom(loader->err);
	while (used <= CONFIG_FILE_BYTES_MAX) {
		ssize_t n = read(fd, text + used, CONFIG_FILE_BYTES_MAX + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(loader->err, ERR_INTERNAL, errno, "cannot read %s: %m",
				       path);
		if (n == 0)
			break;
		used += (size_t)n;
	}
	if (used > CONFIG_FILE_BYTES_MAX)
		return err_set(loader->err, ERR_INVALID, EFBIG,
			       "%s is larger than a configuration may be (1 MiB)", path);
	text[used] = '\0';
	*ret_text = take_ptr(&text);
	*ret_length = used;
	return 0;
}

/* Read the file @name in @dir_fd; @path is what messages call it. */
static int read_file(struct loader *loader, int dir_fd, const char *name, const char *path)
{
	/* Not blocking, so that a FIFO is refused and not waited for. */
	cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	cleanup_free char *text = NULL;
	size_t length = 0;
	struct stat stat;
	int r;

	if (fd < 0)
		return err_set(loader->err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, errno,
			       "cannot open %s: %m", path);
	r = check_owner(loader, path, fd, &stat);
	if (r < 0)
		return r;
	if (!S_ISREG(stat.st_mode))
		return err_set(loader->err, ERR_DENIED, EINVAL,
			       "will not read %s: it is not a regular file", path);
	r = read_all(loader, path, fd, &text, &length);
	if (r < 0)
		return r;
	return read_text(loader, path, text, length);
}

static int is_drop_in(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return entry->d_name[0] != '.' && length > 5 &&
	       strcmp(entry->d_name + length - 5, ".conf") == 0;
}

/* By bytes: what a locale thinks of letters is nothing that a configuration should depend on. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

struct names {
	struct dirent **entries;
	int n;
};

static void names_done(struct names *names)
{
	for (int i = 0; i < names->n; i++)
		free(names->entries[i]);
	free(names->entries);
}

static int read_drop_ins(struct loader *loader, const char *dir_path)
{
	cleanup_fd int dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup(names_done) struct names names = { .entries = NULL };
	struct stat stat;
	int r;

	if (dir_fd < 0 && errno == ENOENT)
		return 0;
	if (dir_fd < 0)
		return err_set(loader->err, ERR_INTERNAL, errno, "cannot open %s: %m", dir_path);
	r = check_owner(loader, dir_path, dir_fd, &stat);
	if (r < 0)
		return r;
	r = scandirat(dir_fd, ".", &names.entries, is_drop_in, compare_names);
	if (r < 0)
		return err_set(loader->err, ERR_INTERNAL, errno, "cannot list %s: %m", dir_path);
	names.n = r;
	for (int i = 0; i < names.n; i++) {
		char path[PATH_MAX + NAME_MAX + 2];

		(void)snprintf(path, sizeof(path), "%s/%s", dir_path, names.entries[i]->d_name);
		r = read_file(loader, dir_fd, names.entries[i]->d_name, path);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_files(struct loader *loader, const char *path, enum config_presence presence)
{
	char dir_path[PATH_MAX];
	int r;

	if ((size_t)snprintf(dir_path, sizeof(dir_path), "%s.d", path) >= sizeof(dir_path))
		return err_set(loader->err, ERR_INVALID, ENAMETOOLONG,
			       "the configuration's path is too long");
	r = read_file(loader, AT_FDCWD, path, path);
	if (r == -ENOENT && presence == CONFIG_MAY_BE_MISSING) {
		if (loader->err)
			*loader->err = (struct err){ .kind = ERR_NONE };
		r = 0;
	}
	if (r < 0)
		return r;
	return read_drop_ins(loader, dir_path);
}

int config_load(const struct config_table *table, const char *path, enum config_presence presence,
		void *settings, struct err *err)
{
	cleanup(loader_done) struct loader loader = { .table = table, .err = err };
	int r;

	r = loader_init(&loader);
	if (r == 0)
		r = read_files(&loader, path, presence);
	if (r == 0)
		r = check_together(&loader, path);
	if (r < 0)
		return r;
	loader_commit(&loader, settings);
	return 0;
}

int config_load_text(const struct config_table *table, const char *name, const char *text,
		     size_t length, void *settings, struct err *err)
{
	cleanup(loader_done) struct loader loader = { .table = table, .err = err };
	cleanup_free char *copy = malloc(length + 1);
	int r;

	if (!copy)
		return err_oom(err);
	if (length > 0)
		memcpy(copy, text, length);
	copy[length] = '\0';
	r = loader_init(&loader);
	if (r == 0)
		r = read_text(&loader, name, copy, length);
	if (r == 0)
		r = check_together(&loader, name);
	if (r < 0)
		return r;
	loader_commit(&loader, settings);
	return 0;
}

void config_free(const struct config_table *table, void *settings)
{
	for (size_t i = 0; i < table->n_keys; i++)
		config_value_clear(&table->keys[i], settings);
}

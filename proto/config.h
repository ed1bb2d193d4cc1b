/*
 * Configuration files in the manner of systemd: a main file, and drop-ins beside it.
 *
 *	# comments start with # or ;
 *	[Section]
 *	Key=value
 *
 * Read are <path> and then <path>.d/ *.conf in the order of their names; a later assignment replaces an
 * earlier one, those of a list append to it (the first one takes the place of the list's default). An
 * empty assignment brings the default back; that of a list empties it. There is no continuation of lines and no quoting, but in lists, where "an item" may
 * hold spaces. A wrong section, key or value is an error that names the file, the line and what is
 * allowed, and changes nothing.
 *
 * What a program can be told is one const table, from which also its documented default file is printed,
 * so that the two cannot drift apart:
 *
 *	struct settings {
 *		bool telnet;
 *		uint64_t idle_ms;
 *		char *socket;
 *		struct config_list peers;
 *		int log_level;
 *	};
 *
 *	static const struct config_choice log_levels[] = { { "info", LOG_INFO }, { "debug", LOG_DEBUG }, { 0 } };
 *
 *	static const struct config_key keys[] = {
 *		{ "Server", "Telnet", CONFIG_BOOL, offsetof(struct settings, telnet), "no",
 *		  "Whether to speak telnet as well." },
 *		{ "Server", "IdleTimeout", CONFIG_DURATION_MS, offsetof(struct settings, idle_ms), "30s",
 *		  "Connections without a call for so long are closed.", .min = 1000, .max = 3600000 },
 *		{ "Server", "Socket", CONFIG_PATH, offsetof(struct settings, socket), "/run/x.sock",
 *		  "Where to listen." },
 *		{ "Server", "Peers", CONFIG_LIST, offsetof(struct settings, peers), "",
 *		  "Certificate names that may connect.", .check = check_peer },
 *		{ "Log", "Level", CONFIG_ENUM, offsetof(struct settings, log_level), "info",
 *		  "How much to say.", .choices = log_levels },
 *	};
 *
 *	const struct config_table server_config = CONFIG_TABLE("What berthd reads.", struct settings, keys);
 *
 *	struct settings settings = { 0 };
 *
 *	r = config_load(&server_config, "/etc/x/x.conf", CONFIG_MAY_BE_MISSING, &settings, &err);
 *	...
 *	config_free(&server_config, &settings);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define CONFIG_FILE_BYTES_MAX (1U << 20)

enum config_type {
	CONFIG_BOOL,        /* bool: yes/no, true/false, on/off, 1/0 */
	CONFIG_DURATION_MS, /* uint64_t, milliseconds: proto/quantity.h */
	CONFIG_BYTES,       /* uint64_t */
	CONFIG_CPU_MILLIS,  /* uint64_t, thousandths of a processor */
	CONFIG_UINT,        /* uint64_t, decimal */
	CONFIG_STRING,      /* char *, one line of UTF-8; never NULL, "" when unset */
	CONFIG_PATH,        /* char *, an absolute clean path or ""; never NULL */
	CONFIG_LIST,        /* struct config_list */
	CONFIG_ENUM,        /* int, one of @choices */
};

struct config_list {
	char **items; /* @n strings and a NULL after them; itself NULL when the list is empty */
	size_t n;
};

struct config_choice {
	const char *name;
	int value;
};

struct config_key {
	const char *section;
	const char *name;
	enum config_type type;
	size_t offset;        /* of the member in the settings */
	const char *fallback; /* the default, as it would be written in a file; NULL is "" */
	const char *help;     /* what it is for; sentences, wrapped when printed */
	uint64_t min;         /* of the numeric types, in their unit */
	uint64_t max;         /* 0 means no upper limit; of a list: the most items */
	const struct config_choice *choices; /* ends with a NULL name */
	/* A further check of a text, or of each item of a list: 0, or negative with @err saying what is
	 * allowed. "" is not shown to it. */
	int (*check)(const char *value, struct err *err);
};

struct config_table {
	const char *title; /* the comment at the top of the default file */
	const struct config_key *keys;
	size_t n_keys;
	size_t settings_size;
	bool ignore_unknown; /* keys and sections: a program's own file, of whichever release */
	/* What no key alone can tell: 0, or negative with @err saying what does not go together, and of
	 * which two members (their offsets). The line of the first of them that a file sets is then named. */
	int (*check)(const void *settings, size_t ret_members[static 2], struct err *err);
};

#define CONFIG_TABLE(title_, type_, keys_)                                       \
	{                                                                        \
		.title = (title_), .keys = (keys_), .n_keys = ARRAY_SIZE(keys_), \
		.settings_size = sizeof(type_)                                   \
	}

#define CONFIG_TABLE_CHECKED(title_, type_, keys_, check_)                       \
	{                                                                        \
		.title = (title_), .keys = (keys_), .n_keys = ARRAY_SIZE(keys_), \
		.settings_size = sizeof(type_), .check = (check_)                \
	}

#define CONFIG_TABLE_OF_RELEASES(title_, type_, keys_)                           \
	{                                                                        \
		.title = (title_), .keys = (keys_), .n_keys = ARRAY_SIZE(keys_), \
		.settings_size = sizeof(type_), .ignore_unknown = true           \
	}

enum config_presence {
	CONFIG_MUST_EXIST,     /* the operator named the file */
	CONFIG_MAY_BE_MISSING, /* the standard place: without a file the defaults hold */
};

/*
 * Fill @settings (zeroed, or filled by an earlier call, whose strings and lists are then freed) from the
 * defaults, the file @path and its drop-ins. Members that the table does not name are left alone.
 *
 * Files and the drop-in directory must belong to root or to this process's user, and be writable by
 * nobody else (but root's group and the process's own); files must be regular and of at most
 * CONFIG_FILE_BYTES_MAX.
 *
 * Returns 0, or a negative errno with @err; @settings is then unchanged:
 *   ERR_INVALID    "/etc/x/x.conf:12: ..." : section, key or value, or a file that is no text
 *   ERR_DENIED     a file or directory that somebody else could have written
 *   ERR_NOT_FOUND  @path is not there and CONFIG_MUST_EXIST
 *   ERR_INTERNAL   the host failed to read it
 */
int config_load(const struct config_table *table, const char *path, enum config_presence presence,
		void *settings, struct err *err);

/* The same from @text alone, of @length bytes; @name stands for the file in messages. */
int config_load_text(const struct config_table *table, const char *name, const char *text,
		     size_t length, void *settings, struct err *err);

/* Free the strings and lists in @settings and zero all members that the table names. */
void config_free(const struct config_table *table, void *settings);

/*
 * Print the default file: every key with its help, what is allowed and its default, commented out, so
 * that the file read back changes nothing. Returns 0, or -EIO when writing to @file failed.
 */
int config_print_defaults(const struct config_table *table, FILE *file);

/* Print the keys and values of @settings, not commented: what a daemon runs with, and a file that loads
 * as the same settings. */
int config_print_settings(const struct config_table *table, const void *settings, FILE *file);

/*
 * One key's value: from text into the settings, back into text, and in words. Only for config*.c.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "proto/config.h"
#include "proto/err.h"

/* Make the member of @settings what @text says; of a list, append what it says. Strings that the member
 * held are freed. Returns 0, or a negative errno with @err (what is allowed), and nothing is changed. */
int config_value_set(const struct config_key *key, const char *text, void *settings,
		     struct err *err);

/* Free what the member holds and zero it. */
void config_value_clear(const struct config_key *key, void *settings);

/* Make the member of @to that of @from, which is zeroed; what @to held is freed. */
void config_value_move(const struct config_key *key, void *from, void *to);

/* The member as it would be written in a file. */
void config_value_print(const struct config_key *key, const void *settings, FILE *file);

/* "a duration from 1s to 1h", "yes or no", "one of: info, debug". */
void config_value_describe(const struct config_key *key, char *text, size_t size);

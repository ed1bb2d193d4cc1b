/*
 * Which file a command means, and why it cannot be executed: found out inside the container's root, with
 * the identity that is to run it, before the filter is loaded.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"

#define PROGRAM_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * Write the file that @name means to @ret_path: itself where it holds a '/', otherwise the first
 * executable of that name in PATH of @env. Then look at the file: an ELF of this machine whose
 * interpreter exists, or a script whose interpreter exists.
 *
 *   ERR_START  the sentence says which of these is not so
 */
int program_find(const char *name, const char *const *env, char *ret_path, size_t path_size,
		 struct err *err);

/* The sentence for an execve(2) of @path that failed with @errnum after all. */
int program_exec_failed(const char *path, int errnum, struct err *err);

/* The value of the variable @name in @env, or NULL. */
const char *program_env(const char *const *env, const char *name);

/*
 * SQLite reads its journal up to the first frame that is not whole, and takes what follows for the rest of a
 * write that a crash cut short. A crash leaves at most one such write: the next begins when it is on disk.
 */
#pragma once

#include <stdbool.h>

/* Whether the journal @path has whole commits behind a frame that is not: then it was damaged, and what
 * was on disk would be passed over in silence. False where it cannot be read. */
bool journal_is_damaged(const char *path);

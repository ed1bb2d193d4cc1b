/*
 * Room on the disk that nobody else can have: given up when the disk is full, so that ends, stops and
 * deletions are still written while launches are refused.
 */
#pragma once

#include <stdbool.h>

/* Take it, where it is not there yet. Returns 0, or a negative errno: the disk has no room for it. */
int reserve_take(const char *directory);
/* Whether no file can be made there for want of room or of inodes: SQLite does not tell. */
bool reserve_disk_is_full(const char *directory);
/* Returns whether there was one. */
bool reserve_give_up(const char *directory);

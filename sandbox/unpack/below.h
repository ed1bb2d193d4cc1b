/* The only way by which anything is opened once berth-unpack is confined: below a descriptor, no link followed. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* openat2(2); O_CLOEXEC and O_NOFOLLOW are added. -1 and errno: ELOOP, EXDEV where a link or ".." is on the way. */
int below_open(int fd, const char *path, uint64_t flags, mode_t mode);

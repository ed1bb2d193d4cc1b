/*
 * System calls of the native ABI by number and by name: all that Linux 6.19 has, since libraries
 * and kernel headers of a stable distribution lag years behind the kernels that workloads see.
 *
 * Source: the kernel's arch/x86/entry/syscalls/syscall_64.tbl.
 */
#pragma once

/* The highest number that the table knows. Beyond is for kernels to come. */
#define SYSCALL_NUMBER_NEWEST 470

/* "openat" for 257; NULL for a number that is not in use. */
const char *syscall_name(long number);

/* 257 for "openat"; -1 for a name that is none. */
int syscall_number(const char *name);

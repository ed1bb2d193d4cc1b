/*
 * Programs that begin with their own first instruction: no C library start-up before it, no dynamic loader.
 * Only syscall(3) may be used here, and nothing of it fails.
 */
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
/* The kernel enters with the stack aligned as for a jump, not as for a call. */
#define ENTRY __attribute__((noreturn, force_align_arg_pointer)) void _start(void)
#else
#define ENTRY __attribute__((noreturn)) void _start(void)
#endif

ENTRY;

/*
 * systemd's descriptor store (FileDescriptorStoreMax= of the unit): it keeps what it is given over a crash,
 * a restart and an upgrade of this daemon, and passes it to the next one. Where systemd does not run the
 * daemon, there is none: putting is then nothing, and so is taking.
 *
 * Entries are descriptors under a name, of which there may be many; of one file there is only ever one. A name
 * has no colon and at most 255 characters.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define DESCRIPTOR_STORE_PREFIX   "keep."
#define DESCRIPTOR_STORE_NAME_MAX 256
#define DESCRIPTOR_STORE_FDS_MAX  16 /* of one name */

/* First of all at start: take over what was passed. What is no entry of ours (a listening socket) stays, and
 * descriptor_store_socket() tells of it. */
void descriptor_store_begin(void);

/* The descriptors passed that are not from the store: their number, and the first of them; -1. */
size_t descriptor_store_sockets(int *ret_first_fd);

/* The descriptors kept under @name, which become the caller's; systemd still keeps them, too. Returns how
 * many there were. */
size_t descriptor_store_take(const char *name, int fds[static DESCRIPTOR_STORE_FDS_MAX]);

/* What nobody took is of nothing that is here: close it, and have systemd forget it. Returns how many. */
size_t descriptor_store_discard(void);

/* Have systemd keep copies of @fds. Best effort: a failure is told in the log. */
void descriptor_store_put(const char *name, const int *fds, size_t n);

/* Have it forget all of that name. */
void descriptor_store_remove(const char *name);

/*
 * The fences of berth-unpack, around libarchive and an archive that somebody made. It is started in a user
 * namespace of its own, where it is root, and a network namespace of its own, without any descriptor but
 * those of sandbox/unpack/wire.h; here it gives up what is left.
 */
#pragma once

#include "proto/err.h"

/*
 * Capabilities down to what owners and modes of files need; no new privileges; files by Landlock below
 * @directory_fd alone; a list of system calls in which there is none that opens by anything but a descriptor;
 * limits of memory and descriptors. ERR_UNSUPPORTED where the kernel lacks one of them.
 */
int confine_unpacker(int directory_fd, struct err *err);

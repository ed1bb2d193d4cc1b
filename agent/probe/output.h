/*
 * The end of what a probe's program writes: read as it comes, so that the program is never held up, and
 * forgotten but for the last of it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define PROBE_OUTPUT_MAX 1024

struct probe_output;

/* Read from @fds, of which there are at most two, non-blocking, and which are taken. NULL without memory: then
 * they are closed. @event may be NULL: then nothing is read until the end. */
struct probe_output *probe_output_new(sd_event *event, int *fds, size_t n_fds);

/* Take what is left, and free. Returns how many bytes the end in @ret has. @output NULL: none. */
size_t probe_output_end(struct probe_output *output, uint8_t ret[static PROBE_OUTPUT_MAX]);

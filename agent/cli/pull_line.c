#include "agent/cli/pull_line.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/cli/text.h"

static const char *phase_text(Berth__V1__PullPhase phase)
{
	switch (phase) {
	case BERTH__V1__PULL_PHASE__PULL_PHASE_RESOLVING:
		return "resolving the name";
	case BERTH__V1__PULL_PHASE__PULL_PHASE_LAYERS:
		return "fetching layers";
	case BERTH__V1__PULL_PHASE__PULL_PHASE_STORING:
		return "storing";
	case BERTH__V1__PULL_PHASE__PULL_PHASE_UNPACKING:
		return "unpacking layers";
	default:
		return "pulling";
	}
}

void pull_line_begin(struct pull_line *line)
{
	*line = (struct pull_line){ .live = isatty(STDERR_FILENO) };
}

void pull_line_print(struct pull_line *line, const Berth__V1__ContainerImage *image,
		     uint64_t bytes_per_second)
{
	char done[TEXT_SHORT_MAX], all[TEXT_SHORT_MAX], rate[TEXT_SHORT_MAX];
	bool is_step = image->phase != line->phase || image->layers_done != line->layers_done;

	line->phase = image->phase;
	line->layers_done = image->layers_done;
	if (!line->live && !is_step)
		return;
	(void)fprintf(stderr, "%s%s", line->live ? "\r\033[K" : "", phase_text(image->phase));
	if (image->layers > 0)
		(void)fprintf(stderr, ": %u of %u layers", image->layers_done, image->layers);
	if (image->bytes > 0)
		(void)fprintf(stderr, ", %s of %s", text_bytes(image->bytes_done, done),
			      text_bytes(image->bytes, all));
	if (bytes_per_second > 0)
		(void)fprintf(stderr, ", %s/s", text_bytes(bytes_per_second, rate));
	(void)fprintf(stderr, "%s", line->live ? "" : "\n");
	(void)fflush(stderr);
	line->printed = true;
}

void pull_line_end(struct pull_line *line)
{
	if (line->live && line->printed)
		(void)fprintf(stderr, "\r\033[K");
	line->printed = false;
}

#include "sandbox/departures.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>

struct departure {
	LIST_ENTRY(departure) link;
	struct departures *all;
	sd_event_source *source; /* has the pidfd */
};

struct departures {
	sd_event *event;
	LIST_HEAD(, departure) list;
	size_t n;
};

int departures_new(sd_event *event, struct departures **ret_departures, struct err *err)
{
	struct departures *departures = calloc(1, sizeof(*departures));

	if (!departures)
		return err_oom(err);
	departures->event = event;
	LIST_INIT(&departures->list);
	*ret_departures = departures;
	return 0;
}

static void departure_free(struct departure *departure)
{
	LIST_REMOVE(departure, link);
	departure->all->n--;
	sd_event_source_disable_unref(departure->source);
	free(departure);
}

void departures_free(struct departures *departures)
{
	if (!departures)
		return;
	while (!LIST_EMPTY(&departures->list))
		departure_free(LIST_FIRST(&departures->list));
	free(departures);
}

static int on_end(sd_event_source *source, int pidfd, uint32_t revents, void *userdata)
{
	departure_free(userdata);
	return 0;
}

void departures_expect(struct departures *departures, int pidfd)
{
	struct departure *departure = departures && pidfd >= 0 ? calloc(1, sizeof(*departure))
							       : NULL;

	if (!departure || sd_event_add_io(departures->event, &departure->source, pidfd, EPOLLIN,
					  on_end, departure) < 0) {
		free(departure);
		fd_close(&pidfd);
		return;
	}
	(void)sd_event_source_set_io_fd_own(departure->source, true);
	departure->all = departures;
	LIST_INSERT_HEAD(&departures->list, departure, link);
	departures->n++;
}

size_t departures_count(const struct departures *departures)
{
	return departures ? departures->n : 0;
}

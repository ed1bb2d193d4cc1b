#include "sandbox/leftovers.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "proto/failpoint.h"
#include "proto/log.h"

#define FIRST_WAIT_USEC (5ULL * 1000)
#define LAST_WAIT_USEC  (5000ULL * 1000)
#define TRIES_TO_TELL   12 /* about ten seconds: by then it is news */

struct leftover {
	LIST_ENTRY(leftover) link;
	struct leftovers *all;
	struct taskgroup *group;
	uint32_t id_first;
	unsigned int tries;
	uint64_t wait_usec;
	sd_event_source *timer;
};

struct leftovers {
	sd_event *event;
	struct idranges *ranges;
	LIST_HEAD(, leftover) list;
	size_t n;
};

int leftovers_new(sd_event *event, struct idranges *ranges, struct leftovers **ret_leftovers,
		  struct err *err)
{
	struct leftovers *leftovers = calloc(1, sizeof(*leftovers));

	if (!leftovers)
		return err_oom(err);
	leftovers->event = event;
	leftovers->ranges = ranges;
	LIST_INIT(&leftovers->list);
	*ret_leftovers = leftovers;
	return 0;
}

static void leftover_free(struct leftover *leftover)
{
	LIST_REMOVE(leftover, link);
	leftover->all->n--;
	sd_event_source_disable_unref(leftover->timer);
	taskgroup_free(leftover->group);
	free(leftover);
}

void leftovers_free(struct leftovers *leftovers)
{
	if (!leftovers)
		return;
	while (!LIST_EMPTY(&leftovers->list))
		leftover_free(LIST_FIRST(&leftovers->list));
	free(leftovers);
}

/* Returns 0 when the group is gone. */
static int try_once(struct taskgroup *group, struct err *err)
{
	bool populated = false;
	int r = taskgroup_remove(group, err);

	if (r < 0 && taskgroup_is_populated(group, &populated) == 0 && populated)
		(void)taskgroup_kill(group, NULL); /* the removal's failure is the news */
	return r;
}

static bool retry(struct leftover *leftover)
{
	struct err err = { 0 };

	FAILPOINT("sandboxd.remove.again");
	if (try_once(leftover->group, &err) == 0) {
		if (leftover->id_first)
			idranges_give_back(leftover->all->ranges, leftover->id_first);
		leftover_free(leftover);
		return true;
	}
	if (++leftover->tries == TRIES_TO_TELL)
		log_event(LOG_WARNING, NULL, "%s; tried again until it succeeds", err.text);
	return false;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct leftover *leftover = userdata;

	if (retry(leftover))
		return 0;
	leftover->wait_usec *= 2;
	if (leftover->wait_usec > LAST_WAIT_USEC)
		leftover->wait_usec = LAST_WAIT_USEC;
	(void)sd_event_source_set_time_relative(source, leftover->wait_usec);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static int keep(struct leftovers *leftovers, struct taskgroup *group, uint32_t id_first)
{
	struct leftover *leftover = calloc(1, sizeof(*leftover));

	if (!leftover)
		return -ENOMEM;
	leftover->all = leftovers;
	leftover->group = group;
	leftover->id_first = id_first;
	leftover->wait_usec = FIRST_WAIT_USEC;
	LIST_INSERT_HEAD(&leftovers->list, leftover, link);
	leftovers->n++;
	return sd_event_add_time_relative(leftovers->event, &leftover->timer, CLOCK_BOOTTIME,
					  FIRST_WAIT_USEC, 0, on_timer, leftover);
}

int leftovers_remove(struct leftovers *leftovers, struct taskgroup *group, uint32_t id_first,
		     struct err *err)
{
	int r = try_once(group, err);

	if (r < 0) {
		r = keep(leftovers, group, id_first);
		if (r < 0)
			log_event(LOG_ERR, NULL, "out of memory: cgroup %s is left behind",
				  taskgroup_name(group));
		return 1;
	}
	taskgroup_free(group);
	if (id_first)
		idranges_give_back(leftovers->ranges, id_first);
	return 0;
}

size_t leftovers_count(const struct leftovers *leftovers)
{
	return leftovers->n;
}

size_t leftovers_retry(struct leftovers *leftovers)
{
	struct leftover *leftover = LIST_FIRST(&leftovers->list);

	while (leftover) {
		struct leftover *next = LIST_NEXT(leftover, link);

		(void)retry(leftover);
		leftover = next;
	}
	return leftovers->n;
}

/*
 * The thread that has the images: it waits for disks and registries, so that the loop does not.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "agent/image/images_private.h"
#include "proto/log.h"

static struct job *take_job(struct images *images, bool *ret_ending)
{
	struct job *job;

	(void)pthread_mutex_lock(&images->lock);
	job = STAILQ_FIRST(&images->queued);
	if (job)
		STAILQ_REMOVE_HEAD(&images->queued, link);
	*ret_ending = images->ending;
	(void)pthread_mutex_unlock(&images->lock);
	return job;
}

static int on_queued(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct images *images = userdata;
	struct job *job;
	uint64_t count;
	bool ending;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	while ((job = take_job(images, &ending)))
		job->work(images, job);
	return ending ? sd_event_exit(images->keeper.event, 0) : 0;
}

static int open_all(struct images *images, struct err *err)
{
	struct keeper *keeper = &images->keeper;
	const struct transfers_config config = { .proxy = images->proxy,
						 .no_proxy = images->no_proxy,
						 .stall_ms = images->stall_ms };
	int r = content_open(images->directory, images->keep_free_bytes, &keeper->content, err);

	if (r == 0)
		r = catalogue_open(images->directory, keeper->content, &keeper->catalogue, err);
	if (r == 0)
		r = transfers_new(keeper->event, &config, &keeper->transfers, err);
	return r;
}

static void begin(struct images *images)
{
	struct keeper *keeper = &images->keeper;
	int r = open_all(images, &keeper->why);

	keeper->rules = (struct registry_rules){ .plain_http = &images->plain_http,
						 .mirrors = &images->mirrors,
						 .authorities = &images->authorities };
	keeper->yard = (struct pull_yard){ .event = keeper->event,
					   .transfers = keeper->transfers,
					   .rules = &keeper->rules,
					   .content = keeper->content,
					   .catalogue = keeper->catalogue,
					   .layers_max = (unsigned int)images->parallel_layers };
	if (r == 0)
		return;
	(void)err_prefix(&keeper->why, r, "images are not available");
	log_failure(LOG_ERR, NULL, &keeper->why);
}

void *keeper_run(void *userdata)
{
	struct images *images = userdata;
	struct keeper *keeper = &images->keeper;
	int r = sd_event_new(&keeper->event);

	if (r >= 0)
		r = sd_event_add_io(keeper->event, &keeper->queue, images->queued_fd, EPOLLIN,
				    on_queued, images);
	if (r >= 0) {
		begin(images);
		r = sd_event_loop(keeper->event);
	}
	if (r < 0)
		log_event(LOG_ERR, NULL, "the thread for images ended: %s", strerror(-r));
	keeper_questions_end(images);
	transfers_free(keeper->transfers);
	catalogue_free(keeper->catalogue);
	content_free(keeper->content);
	sd_event_source_disable_unref(keeper->queue);
	sd_event_unref(keeper->event);
	return NULL;
}

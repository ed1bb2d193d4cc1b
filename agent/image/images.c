#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "agent/image/images_private.h"
#include "proto/names.h"

#define ANSWER_BYTES (16U << 20)

static void wake(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0) {
		/* its counter is full: who waits is woken all the same */
	}
}

void images_tell(struct images *images)
{
	if (!images->told)
		wake(images->answered_fd);
	images->told = true;
}

void images_answer(struct images *images, struct job *job)
{
	(void)pthread_mutex_lock(&images->lock);
	STAILQ_INSERT_TAIL(&images->answered, job, link);
	images_tell(images);
	(void)pthread_mutex_unlock(&images->lock);
}

static void queue(struct images *images, struct job *job)
{
	(void)pthread_mutex_lock(&images->lock);
	STAILQ_INSERT_TAIL(&images->queued, job, link);
	(void)pthread_mutex_unlock(&images->lock);
	wake(images->queued_fd);
}

/* ---- Answers, on the loop ---- */

static void take_answers(struct images *images)
{
	struct job_list answered = STAILQ_HEAD_INITIALIZER(answered);
	struct job *job;

	(void)pthread_mutex_lock(&images->lock);
	STAILQ_CONCAT(&answered, &images->answered);
	images->told = false;
	(void)pthread_mutex_unlock(&images->lock);
	while ((job = STAILQ_FIRST(&answered))) {
		STAILQ_REMOVE_HEAD(&answered, link);
		job->done(job);
	}
}

static void tell_changes(struct images *images)
{
	struct images_pull *pull, *next;

	for (pull = LIST_FIRST(&images->pulls); pull; pull = next) {
		bool has_changed;

		next = LIST_NEXT(pull,
				 link); /* `changed` may end its own pull: that frees nothing yet */
		(void)pthread_mutex_lock(&images->lock);
		has_changed = pull->has_changed;
		pull->has_changed = false;
		(void)pthread_mutex_unlock(&images->lock);
		if (has_changed && pull->changed)
			pull->changed(pull->user);
	}
}

static int on_answered(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	take_answers(userdata);
	tell_changes(userdata);
	return 0;
}

/* ---- Life ---- */

static int copy_list(const struct config_list *from, struct config_list *to)
{
	to->items = calloc(from->n + 1, sizeof(char *));
	if (!to->items)
		return -ENOMEM;
	for (; to->n < from->n; to->n++) {
		to->items[to->n] = strdup(from->items[to->n]);
		if (!to->items[to->n])
			return -ENOMEM;
	}
	return 0;
}

static void free_list(struct config_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
}

static int copy_config(const struct images_config *config, struct images *images)
{
	images->directory = strdup(config->directory);
	images->proxy = strdup(config->proxy);
	images->no_proxy = strdup(config->no_proxy);
	images->credentials_path = strdup(config->credentials_path);
	images->keep_free_bytes = config->keep_free_bytes;
	images->parallel_layers = config->parallel_layers;
	images->stall_ms = config->stall_ms;
	images->collect_above = config->collect_above;
	images->collect_below = config->collect_below;
	images->unused_ms = config->unused_ms;
	if (!images->directory || !images->proxy || !images->no_proxy || !images->credentials_path)
		return -ENOMEM;
	if (copy_list(config->registries, &images->registries) < 0 ||
	    copy_list(config->require_digests, &images->require_digests) < 0 ||
	    copy_list(config->plain_http, &images->plain_http) < 0 ||
	    copy_list(config->mirrors, &images->mirrors) < 0 ||
	    copy_list(config->authorities, &images->authorities) < 0 ||
	    copy_list(config->pinned, &images->pinned) < 0)
		return -ENOMEM;
	return 0;
}

/* Signals are the loop's. */
static int start_thread(struct images *images)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&images->thread, NULL, keeper_run, images);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	images->running = r == 0;
	return -r;
}

int images_new(sd_event *event, const struct images_config *config, struct images **ret_images,
	       struct err *err)
{
	struct images *images = calloc(1, sizeof(*images));
	int r;

	if (!images)
		return err_oom(err);
	images->event = sd_event_ref(event);
	images->queued_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	images->answered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	STAILQ_INIT(&images->queued);
	STAILQ_INIT(&images->answered);
	(void)pthread_mutex_init(&images->lock, NULL);
	r = images->queued_fd < 0 || images->answered_fd < 0 ? -errno : copy_config(config, images);
	if (r == 0)
		r = sd_event_add_io(event, &images->answers, images->answered_fd, EPOLLIN,
				    on_answered, images);
	if (r >= 0)
		r = start_thread(images);
	if (r < 0) {
		images_free(images);
		return err_set(err, ERR_INTERNAL, -r, "cannot begin the thread for images: %m");
	}
	*ret_images = images;
	return 0;
}

void images_free(struct images *images)
{
	if (!images)
		return;
	if (images->running) {
		(void)pthread_mutex_lock(&images->lock);
		images->ending = true;
		(void)pthread_mutex_unlock(&images->lock);
		wake(images->queued_fd);
		(void)pthread_join(images->thread, NULL);
		take_answers(images);
	}
	sd_event_source_disable_unref(images->answers);
	sd_event_unref(images->event);
	fd_close(&images->queued_fd);
	fd_close(&images->answered_fd);
	(void)pthread_mutex_destroy(&images->lock);
	free(images->directory);
	free(images->proxy);
	free(images->no_proxy);
	free(images->credentials_path);
	free_list(&images->registries);
	free_list(&images->require_digests);
	free_list(&images->plain_http);
	free_list(&images->mirrors);
	free_list(&images->authorities);
	free_list(&images->pinned);
	free(images);
}

void images_set_removed(struct images *images, void (*removed)(void *user), void *user)
{
	images->removed = removed;
	images->removed_user = user;
}

/* ---- Questions ---- */

static void question_done(struct job *job)
{
	struct question *question = (struct question *)job;

	struct images *images = question->images;
	bool removed = question->err.kind == ERR_NONE &&
		       (question->verb == IMAGES_REMOVE || question->verb == IMAGES_COLLECT);

	question->answered(question->err.kind == ERR_NONE ? question->reply : NULL, &question->err,
			   question->user);
	if (removed && images->removed)
		images->removed(images->removed_user);
	arena_done(&question->arena);
	free(question);
}

int images_ask(struct images *images, enum images_verb verb, const ProtobufCMessage *request,
	       void (*answered)(const ProtobufCMessage *reply, const struct err *err, void *user),
	       void *user, struct err *err)
{
	struct question *question = calloc(1, sizeof(*question));

	if (!question)
		return err_oom(err);
	question->job = (struct job){ .work = keeper_question, .done = question_done };
	question->images = images;
	question->verb = verb;
	question->request = request;
	question->answered = answered;
	question->user = user;
	arena_init(&question->arena, ANSWER_BYTES);
	queue(images, &question->job);
	return 0;
}

/* ---- Pieces ---- */

static void opening_done(struct job *job)
{
	struct opening *opening = (struct opening *)job;

	opening->opened(opening->err.kind == ERR_NONE ? &opening->piece : NULL, &opening->err,
			opening->user);
	fd_close(&opening->piece.fd);
	free(opening);
}

int images_open(struct images *images, const char *digest,
		void (*opened)(struct images_piece *piece, const struct err *err, void *user),
		void *user, struct err *err)
{
	struct opening *opening = calloc(1, sizeof(*opening));

	if (!opening)
		return err_oom(err);
	opening->job = (struct job){ .work = keeper_open, .done = opening_done };
	(void)snprintf(opening->digest, sizeof(opening->digest), "%s", digest);
	opening->opened = opened;
	opening->user = user;
	opening->piece.fd = -1;
	queue(images, &opening->job);
	return 0;
}

static void census_done(struct job *job)
{
	struct census *census = (struct census *)job;

	census->answered(census->err.kind == ERR_NONE ? &census->needed : NULL, &census->err,
			 census->user);
	text_set_clear(&census->needed);
	free(census);
}

int images_needed_layers(struct images *images,
			 void (*answered)(struct text_set *needed, const struct err *err,
					  void *user),
			 void *user, struct err *err)
{
	struct census *census = calloc(1, sizeof(*census));

	if (!census)
		return err_oom(err);
	census->job = (struct job){ .work = keeper_census, .done = census_done };
	census->answered = answered;
	census->user = user;
	queue(images, &census->job);
	return 0;
}

static void trimming_done(struct job *job)
{
	struct trimming *trimming = (struct trimming *)job;

	trimming->trimmed(trimming->removed, trimming->again, trimming->user);
	text_set_clear(&trimming->in_use);
	free(trimming);
}

int images_trim(struct images *images, const struct text_set *in_use,
		void (*trimmed)(bool removed, bool again, void *user), void *user)
{
	struct trimming *trimming = calloc(1, sizeof(*trimming));

	if (!trimming)
		return -ENOMEM;
	trimming->job = (struct job){ .work = keeper_trim, .done = trimming_done };
	trimming->trimmed = trimmed;
	trimming->user = user;
	for (size_t i = 0; i < in_use->n; i++)
		text_set_add(&trimming->in_use, in_use->texts[i]);
	/* Not one that is in use may be missing. */
	if (in_use->incomplete || trimming->in_use.incomplete) {
		text_set_clear(&trimming->in_use);
		free(trimming);
		return -ENOMEM;
	}
	queue(images, &trimming->job);
	return 0;
}

/* ---- Pulls ---- */

static void pull_joined(struct job *job)
{
}

static void pull_left(struct job *job)
{
	struct images_pull *pull =
		(struct images_pull *)((char *)job - offsetof(struct images_pull, leave));

	LIST_REMOVE(pull, link);
	if (pull->is_callers)
		pull->images->n_callers_pulls--;
	credentials_done(&pull->credentials);
	free(pull);
}

static bool is_listed(const struct config_list *list, const char *host)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i], host) == 0 || strcmp(list->items[i], "*") == 0)
			return true;
	return false;
}

static int check_policy(const struct images *images, const struct reference *reference,
			struct err *err)
{
	if (images->registries.n > 0 && !is_listed(&images->registries, reference->host))
		return err_set(
			err, ERR_DENIED, EPERM,
			"this host may not pull from %s (Registries in [Images] of berthd.conf)",
			reference->host);
	if (!reference->has_digest && is_listed(&images->require_digests, reference->host))
		return err_set(
			err, ERR_DENIED, EPERM,
			"this host has images of %s only by a digest, as in app@sha256:... (RequireDigests in [Images] of berthd.conf)",
			reference->host);
	return 0;
}

int images_check(const struct images *images, const char *reference,
		 struct reference *ret_reference, struct err *err)
{
	int r = reference_parse(reference, ret_reference, err);

	return r < 0 ? r : check_policy(images, ret_reference, err);
}

static int read_request(const Berth__V1__PullImageRequest *request, struct images_pull *pull,
			struct err *err)
{
	const Berth__V1__ImageCredentials *credentials = request->credentials;
	int r = images_check(pull->images, request->reference, &pull->reference, err);

	if (r < 0)
		return err_prefix(err, r, "reference");
	if (credentials)
		r = credentials_set(credentials->user, credentials->password, &pull->credentials,
				    err);
	return err_prefix(err, r, "credentials");
}

int images_pull_begin(struct images *images, const Berth__V1__PullImageRequest *request,
		      bool is_callers, void (*changed)(void *user), void *user,
		      struct images_pull **ret_pull, struct err *err)
{
	struct images_pull *pull;
	int r;

	if (is_callers && images->n_callers_pulls >= IMAGES_PULLS_MAX)
		return err_set(err, ERR_EXHAUSTED, EBUSY,
			       "%u callers wait for images already; try again later",
			       IMAGES_PULLS_MAX);
	pull = calloc(1, sizeof(*pull));
	if (!pull)
		return err_oom(err);
	pull->images = images;
	pull->is_callers = is_callers;
	pull->join = (struct job){ .work = keeper_join, .done = pull_joined };
	pull->leave = (struct job){ .work = keeper_leave, .done = pull_left };
	pull->changed = changed;
	pull->user = user;
	pull->state.progress.phase = PULL_RESOLVING;
	r = read_request(request, pull, err);
	if (r < 0) {
		credentials_done(&pull->credentials);
		free(pull);
		return r;
	}
	LIST_INSERT_HEAD(&images->pulls, pull, link);
	if (is_callers)
		images->n_callers_pulls++;
	queue(images, &pull->join);
	*ret_pull = pull;
	return 0;
}

void images_pull_read(struct images_pull *pull, struct images_pull_state *ret_state)
{
	(void)pthread_mutex_lock(&pull->images->lock);
	*ret_state = pull->state;
	(void)pthread_mutex_unlock(&pull->images->lock);
}

void images_pull_end(struct images_pull *pull)
{
	if (!pull)
		return;
	pull->changed = NULL;
	queue(pull->images, &pull->leave);
}

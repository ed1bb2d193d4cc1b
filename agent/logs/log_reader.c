/*
 * One cursor a container. The next line is the oldest of the lines at the cursors; a container that has
 * none now holds nobody up, so order is exact for what is already written.
 */
#include "agent/logs/log_reader.h"

#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>

#include "agent/logs/log_cursor.h"

struct source {
	char *name;
	struct log_cursor *cursor; /* NULL: no directory yet */
	int dir_fd;                /* for the watch */
	uint64_t after;            /* the place to go on from; 0: none */
	uint64_t place;            /* of the last line that was taken */
	sd_event_source *watch;
};

struct log_reader {
	sd_event *event;
	char *path;
	struct log_reader_options options;
	log_reader_ready ready;
	void *userdata;
	sd_event_source *again; /* a pull stopped at its budget */
	size_t source_count;
	uint64_t to_skip; /* lines before the last `tail` of all containers together */
	bool finished;
	struct source sources[];
};

static int on_written(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
	struct log_reader *reader = userdata;

	reader->ready(reader->userdata);
	return 0;
}

static int on_again(sd_event_source *s, void *userdata)
{
	struct log_reader *reader = userdata;

	reader->ready(reader->userdata);
	return 0;
}

/* inotify on the directory tells of writes to its files and of new ones. */
static int watch_source(struct log_reader *reader, struct source *source, struct err *err)
{
	char path[64];
	int r;

	if (!reader->options.follow)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", source->dir_fd);
	r = sd_event_add_inotify(reader->event, &source->watch, path, IN_MODIFY | IN_CREATE,
				 on_written, reader);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch the log of container %s: %m",
			       source->name);
	return 0;
}

static int open_source(struct log_reader *reader, struct source *source, struct err *err)
{
	cleanup_fd int base_fd = open(reader->path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int dir_fd = -1;
	int r;

	if (base_fd >= 0)
		dir_fd = openat(base_fd, source->name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir_fd < 0 && errno == ENOENT)
		return 0;
	if (dir_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the log directory %s/%s: %m",
			       reader->path, source->name);
	source->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (source->dir_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the log of container %s: %m",
			       source->name);
	r = watch_source(reader, source, err);
	if (r < 0)
		return r;
	r = log_cursor_new(take_fd(&dir_fd), &source->cursor, err);
	if (r == 0 && source->after)
		log_cursor_seek_place(source->cursor, source->after);
	return r;
}

static int seek_tails(struct log_reader *reader, struct err *err)
{
	uint64_t total = 0;

	for (size_t i = 0; i < reader->source_count; i++) {
		uint64_t lines = 0;
		int r;

		if (!reader->sources[i].cursor || reader->sources[i].after)
			continue;
		r = log_cursor_seek_tail(reader->sources[i].cursor, reader->options.tail, &lines,
					 err);
		if (r < 0)
			return r;
		total += lines;
	}
	if (total > reader->options.tail)
		reader->to_skip = total - reader->options.tail;
	return 0;
}

static int open_sources(struct log_reader *reader, struct err *err)
{
	for (size_t i = 0; i < reader->source_count; i++) {
		int r = open_source(reader, &reader->sources[i], err);

		if (r < 0)
			return r;
	}
	return reader->options.has_tail ? seek_tails(reader, err) : 0;
}

static struct log_reader *reader_alloc(const char *path, const char *const *containers,
				       size_t count)
{
	struct log_reader *reader = calloc(1, sizeof(*reader) + count * sizeof(struct source));

	if (!reader)
		return NULL;
	reader->source_count = count;
	reader->path = strdup(path);
	for (size_t i = 0; i < count; i++) {
		reader->sources[i].dir_fd = -1;
		reader->sources[i].name = strdup(containers[i]);
		if (!reader->sources[i].name || !reader->path) {
			log_reader_free(reader);
			return NULL;
		}
	}
	return reader;
}

static void take_places(struct log_reader *reader, const struct log_reader_options *options)
{
	for (size_t i = 0; i < reader->source_count; i++)
		for (size_t j = 0; j < options->after_count; j++)
			if (strcmp(options->after[j].container, reader->sources[i].name) == 0)
				reader->sources[i].after = options->after[j].place;
}

int log_reader_new(sd_event *event, const char *path, const char *const *containers,
		   size_t container_count, const struct log_reader_options *options,
		   log_reader_ready ready, void *userdata, struct log_reader **ret, struct err *err)
{
	cleanup(log_reader_free_p) struct log_reader *reader = reader_alloc(path, containers,
									    container_count);
	int r;

	if (!reader)
		return err_oom(err);
	reader->event = sd_event_ref(event);
	reader->options = *options;
	take_places(reader, options);
	reader->ready = ready;
	reader->userdata = userdata;
	r = sd_event_add_defer(event, &reader->again, on_again, reader);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot read logs in %s: %m", path);
	(void)sd_event_source_set_enabled(reader->again, SD_EVENT_OFF);
	r = open_sources(reader, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&reader);
	return 0;
}

void log_reader_free(struct log_reader *reader)
{
	if (!reader)
		return;
	for (size_t i = 0; i < reader->source_count; i++) {
		struct source *source = &reader->sources[i];

		sd_event_source_disable_unref(source->watch);
		log_cursor_free(source->cursor);
		fd_close(&source->dir_fd);
		free(source->name);
	}
	sd_event_source_disable_unref(reader->again);
	sd_event_unref(reader->event);
	free(reader->path);
	free(reader);
}

void log_reader_refresh(struct log_reader *reader)
{
	for (size_t i = 0; i < reader->source_count; i++)
		if (!reader->sources[i].cursor)
			(void)open_source(reader, &reader->sources[i], NULL); /* next time, then */
	(void)sd_event_source_set_enabled(reader->again, SD_EVENT_ONESHOT);
}

void log_reader_finish(struct log_reader *reader)
{
	reader->finished = true;
	(void)sd_event_source_set_enabled(reader->again, SD_EVENT_ONESHOT);
}

/* The container with the oldest line. Returns 1, 0 where none has one, or a negative errno. */
static int oldest(struct log_reader *reader, struct log_line *ret_line, size_t *ret_index,
		  struct err *err)
{
	int found = 0;

	for (size_t i = 0; i < reader->source_count; i++) {
		struct log_line line;
		int r;

		if (!reader->sources[i].cursor)
			continue;
		r = log_cursor_peek(reader->sources[i].cursor, &line, err);
		if (r < 0)
			return r;
		if (r == 0 || (found && line.time_unix_ns >= ret_line->time_unix_ns))
			continue;
		*ret_line = line;
		*ret_index = i;
		found = 1;
	}
	return found;
}

int log_reader_next(struct log_reader *reader, struct log_line *ret_line, size_t *ret_container,
		    struct err *err)
{
	for (unsigned int budget = 4096; budget > 0; budget--) {
		int r = oldest(reader, ret_line, ret_container, err);

		if (r == -EAGAIN)
			break;
		if (r < 0)
			return r;
		if (r == 0)
			return reader->options.follow && !reader->finished ? 0 : -ENODATA;
		reader->sources[*ret_container].place =
			log_cursor_place(reader->sources[*ret_container].cursor);
		log_cursor_advance(reader->sources[*ret_container].cursor);
		if (reader->to_skip > 0) {
			reader->to_skip--;
			continue;
		}
		if (ret_line->time_unix_ns >= reader->options.since_unix_ns)
			return 1;
	}
	(void)sd_event_source_set_enabled(reader->again, SD_EVENT_ONESHOT);
	return 0;
}

uint64_t log_reader_place(const struct log_reader *reader, size_t container)
{
	return reader->sources[container].place;
}

uint32_t log_reader_take_missed(struct log_reader *reader)
{
	uint32_t missed = 0;

	for (size_t i = 0; i < reader->source_count; i++)
		if (reader->sources[i].cursor)
			missed += log_cursor_take_missed(reader->sources[i].cursor);
	return missed;
}

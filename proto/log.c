#include "proto/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "proto/cleanup.h"

#define FIELDS_MAX 9
#define FIELD_MAX  320

static struct {
	const char *program;
	int priority_max;
	bool to_journal;
} logger = { "berth", LOG_INFO, false };

/* systemd sets JOURNAL_STREAM to the device and inode of the stderr that it gave; a process whose
 * stderr was redirected since has the variable and another file. systemd.exec(5). */
static bool stderr_is_the_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long device;
	unsigned long inode;
	struct stat st;

	return stream && sscanf(stream, "%lu:%lu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *program, int priority_max)
{
	logger.program = program;
	logger.priority_max = priority_max;
	logger.to_journal = stderr_is_the_journal();
}

void log_set_priority_max(int priority_max)
{
	logger.priority_max = priority_max;
}

static const char *priority_name(int priority)
{
	static const char *const names[] = { "emergency", "alert",  "critical", "error",
					     "warning",   "notice", "info",     "debug" };

	return names[(unsigned int)priority < ARRAY_SIZE(names) ? priority : LOG_INFO];
}

static void make_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

struct fields {
	struct iovec iov[FIELDS_MAX];
	char text[FIELDS_MAX][FIELD_MAX];
	int n;
};

static void add_field(struct fields *fields, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void add_field(struct fields *fields, const char *fmt, ...)
{
	char *text = fields->text[fields->n];
	va_list ap;

	if (fields->n == FIELDS_MAX)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, FIELD_MAX, fmt, ap);
	va_end(ap);
	make_one_line(text);
	fields->iov[fields->n++] = (struct iovec){ text, strlen(text) };
}

static bool is_there(const char *text)
{
	return text && *text;
}

static int send_to_journal(int priority, const struct log_about *about, int errnum, char *message)
{
	struct fields fields = { .n = 0 };

	fields.iov[fields.n++] = (struct iovec){ message, strlen(message) };
	add_field(&fields, "PRIORITY=%d", priority);
	add_field(&fields, "SYSLOG_IDENTIFIER=%s", logger.program);
	if (is_there(about->workload))
		add_field(&fields, "BERTH_WORKLOAD=%s", about->workload);
	if (is_there(about->container))
		add_field(&fields, "BERTH_CONTAINER=%s", about->container);
	if (about->request)
		add_field(&fields, "BERTH_REQUEST=%" PRIu64, about->request);
	if (is_there(about->peer))
		add_field(&fields, "BERTH_PEER=%s", about->peer);
	if (errnum)
		add_field(&fields, "BERTH_ERRNO=%d", errnum);
	return sd_journal_sendv(fields.iov, fields.n);
}

static void append(char *line, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void append(char *line, size_t size, const char *fmt, ...)
{
	size_t length = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line + length, size - length, fmt, ap);
	va_end(ap);
}

/* In one write(2), so that the lines of several processes do not mix. */
static void write_line(int priority, const struct log_about *about, const char *sentence)
{
	char line[LOG_SENTENCE_MAX + 512] = "";
	const size_t size = sizeof(line) - 1; /* the newline's place */
	size_t length;

	append(line, size, "%s[%d]: %s:", logger.program, (int)getpid(), priority_name(priority));
	if (is_there(about->workload))
		append(line, size, " workload %s", about->workload);
	if (is_there(about->container))
		append(line, size, " container %s", about->container);
	if (about->request)
		append(line, size, " request %" PRIu64, about->request);
	if (is_there(about->peer))
		append(line, size, " peer %s", about->peer);
	append(line, size, "%s %s", line[strlen(line) - 1] == ':' ? "" : ":", sentence);
	make_one_line(line);
	length = strlen(line);
	line[length] = '\n';
	(void)!write(STDERR_FILENO, line, length + 1); /* nowhere to tell it */
}

static void log_message(int priority, const struct log_about *about, int errnum, char *message)
{
	static const struct log_about nothing;
	const char *sentence = message + strlen("MESSAGE=");

	if (!about)
		about = &nothing;
	make_one_line(message);
	if (logger.to_journal && send_to_journal(priority, about, errnum, message) == 0)
		return;
	write_line(priority, about, sentence);
}

void log_event(int priority, const struct log_about *about, const char *fmt, ...)
{
	char message[LOG_SENTENCE_MAX] = "MESSAGE=";
	int saved = errno;
	va_list ap;

	if (priority > logger.priority_max)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(message + strlen(message), sizeof(message) - strlen(message), fmt, ap);
	va_end(ap);
	log_message(priority, about, 0, message);
	errno = saved;
}

void log_failure(int priority, const struct log_about *about, const struct err *err)
{
	char message[LOG_SENTENCE_MAX];
	int saved = errno;

	if (priority > logger.priority_max)
		return;
	(void)snprintf(message, sizeof(message), "MESSAGE=%s (%s)", err->text,
		       err_kind_name(err->kind));
	log_message(priority, about, err->errnum, message);
	errno = saved;
}

#include "agent/probe/http_head.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char version[] = "HTTP/1.";
#define VERSION_BYTES (sizeof(version) - 1)

static int bad(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, EBADMSG, "%s", what);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110, 5.6.2 */
static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_control(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

/* "HTTP/1.1 200 OK"; the reason, and the space before it, may be missing. */
static int take_status(struct http_head *head, const char *line, size_t n, struct err *err)
{
	const char *status = line + VERSION_BYTES + 2;
	size_t reason;

	if (n < VERSION_BYTES + 5 || memcmp(line, version, VERSION_BYTES) != 0 ||
	    !is_digit(line[VERSION_BYTES]) || line[VERSION_BYTES + 1] != ' ' ||
	    !is_digit(status[0]) || !is_digit(status[1]) || !is_digit(status[2]) ||
	    (n > VERSION_BYTES + 5 && status[3] != ' '))
		return bad(err, "its status line is not HTTP/1.x's");
	head->status =
		(unsigned int)((status[0] - '0') * 100 + (status[1] - '0') * 10 + status[2] - '0');
	if (head->status < 100 || head->status > 599)
		return bad(err, "its status is not from 100 to 599");
	reason = n > VERSION_BYTES + 6 ? n - (VERSION_BYTES + 6) : 0;
	if (reason >= HTTP_REASON_MAX)
		reason = HTTP_REASON_MAX - 1;
	memcpy(head->reason, status + 4, reason);
	head->reason[reason] = '\0';
	return 0;
}

static int take_length(struct http_head *head, const char *value, size_t n, struct err *err)
{
	uint64_t length = 0;

	if (n == 0 || n > 18) /* no more than fits */
		return bad(err, "its Content-Length is not a length");
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(value[i]))
			return bad(err, "its Content-Length is not a length");
		length = length * 10 + (uint64_t)(value[i] - '0');
	}
	if (head->has_length && head->length != length)
		return bad(err, "it has two Content-Lengths");
	head->has_length = true;
	head->length = length;
	return 0;
}

static int take_header(struct http_head *head, const char *line, size_t n, struct err *err)
{
	static const char length[] = "content-length";
	size_t name = 0;
	size_t value;

	while (name < n && is_token(line[name]))
		name++;
	if (name == 0 || name == n || line[name] != ':')
		return bad(err, "one of its headers has no name");
	value = name + 1;
	while (value < n && (line[value] == ' ' || line[value] == '\t'))
		value++;
	while (n > value && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	if (name == sizeof(length) - 1 && strncasecmp(line, length, name) == 0)
		return take_length(head, line + value, n - value, err);
	return 0;
}

/* The end of the head, or of an interim one: then another one follows. */
static void finish(struct http_head *head)
{
	bool interim = head->status < 200 && head->status != 101;

	head->done = !interim;
	if (!interim)
		return;
	head->status = 0;
	head->has_length = false;
	head->n = 0;
	head->line = 0;
}

/* The line that begins at head->line is whole: without its end it is @n bytes long. */
static int take_line(struct http_head *head, size_t n, struct err *err)
{
	const char *line = head->bytes + head->line;

	for (size_t i = 0; i < n; i++)
		if (is_control(line[i]))
			return bad(err, "its head has control characters");
	if (!head->status)
		return take_status(head, line, n, err);
	if (n == 0) {
		finish(head);
		return 0;
	}
	return take_header(head, line, n, err);
}

static int end_line(struct http_head *head, struct err *err)
{
	size_t end = head->n - 1; /* the newline */
	size_t next = head->n;
	int r;

	if (end > head->line && head->bytes[end - 1] == '\r')
		end--;
	r = take_line(head, end - head->line, err);
	if (head->n) /* not after an interim head */
		head->line = next;
	return r;
}

ssize_t http_head_take(struct http_head *head, const char *bytes, size_t n, struct err *err)
{
	size_t i = 0;

	while (i < n && !head->done) {
		int r = 0;

		if (head->taken == HTTP_HEAD_MAX)
			return bad(err, "its head is larger than 8 KiB");
		head->taken++;
		head->bytes[head->n++] = bytes[i++];
		/* Whoever speaks something else mostly waits for us now. */
		if (!head->status && head->n <= VERSION_BYTES &&
		    head->bytes[head->n - 1] != version[head->n - 1])
			return bad(err, "it does not speak HTTP/1.x");
		if (head->bytes[head->n - 1] == '\n')
			r = end_line(head, err);
		if (r < 0)
			return r;
	}
	return (ssize_t)i;
}

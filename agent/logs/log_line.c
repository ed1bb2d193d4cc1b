#include "agent/logs/log_line.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* "2026-01-02T03:04:05.123456789Z stdout F " is always that long. */
#define STAMP_LENGTH 30
#define HEAD_LENGTH  (STAMP_LENGTH + sizeof(" stdout F ") - 1)

static int parse_digits(const char *text, size_t count, int *ret)
{
	int value = 0;

	for (size_t i = 0; i < count; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EBADMSG;
		value = value * 10 + (text[i] - '0');
	}
	*ret = value;
	return 0;
}

static int parse_stamp(const char *text, uint64_t *ret_ns)
{
	static const struct {
		unsigned int at, digits;
		char after;
	} parts[] = { { 0, 4, '-' },  { 5, 2, '-' },  { 8, 2, 'T' }, { 11, 2, ':' },
		      { 14, 2, ':' }, { 17, 2, '.' }, { 20, 9, 'Z' } };
	int value[sizeof(parts) / sizeof(parts[0])];
	struct tm tm = { 0 };
	time_t seconds;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parse_digits(text + parts[i].at, parts[i].digits, &value[i]) < 0 ||
		    text[parts[i].at + parts[i].digits] != parts[i].after)
			return -EBADMSG;
	tm.tm_year = value[0] - 1900;
	tm.tm_mon = value[1] - 1;
	tm.tm_mday = value[2];
	tm.tm_hour = value[3];
	tm.tm_min = value[4];
	tm.tm_sec = value[5];
	seconds = timegm(&tm);
	if (seconds < 0)
		return -EBADMSG;
	*ret_ns = (uint64_t)seconds * 1000000000u + (uint64_t)value[6];
	return 0;
}

int log_line_parse(const char *record, size_t length, struct log_line *ret)
{
	const char *stream = record + STAMP_LENGTH;
	struct log_line line = { 0 };

	if (length < HEAD_LENGTH || parse_stamp(record, &line.time_unix_ns) < 0)
		return -EBADMSG;
	if (memcmp(stream, " stderr ", 8) == 0)
		line.is_stderr = true;
	else if (memcmp(stream, " stdout ", 8) != 0)
		return -EBADMSG;
	if ((stream[8] != 'F' && stream[8] != 'P') || stream[9] != ' ')
		return -EBADMSG;
	line.partial = stream[8] == 'P';
	line.text = record + HEAD_LENGTH;
	line.length = length - HEAD_LENGTH;
	*ret = line;
	return 0;
}

#include "agent/cli/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/cleanup.h"

/* ---- Escaping ---- */

/* The length of the UTF-8 sequence at @bytes, and its code point; 0 where there is none. */
static size_t decode(const unsigned char *bytes, size_t length, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = bytes[0] < 0x80   ? 1
		   : bytes[0] < 0xc2 ? 0
		   : bytes[0] < 0xe0 ? 2
		   : bytes[0] < 0xf0 ? 3
		   : bytes[0] < 0xf5 ? 4
				     : 0;
	uint32_t code;

	if (n == 0 || n > length)
		return 0;
	code = n == 1 ? bytes[0] : bytes[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (bytes[i] & 0x3f);
	}
	if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret = code;
	return n;
}

/* C0, DEL and C1 steer terminals; the others turn the direction of text or hide in it. */
static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static bool is_deceptive(uint32_t code)
{
	return (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code == 0x061c;
}

/* The next piece of @bytes in printable form in @piece. Returns how many bytes it stands for. */
static size_t escape_one(const unsigned char *bytes, size_t length, bool keep_tab,
			 char piece[static 16])
{
	uint32_t code = 0;
	size_t n = decode(bytes, length, &code);

	if (n == 0 || (is_control(code) && !(keep_tab && code == '\t'))) {
		(void)snprintf(piece, 16, "\\x%02x", bytes[0]);
		return 1;
	}
	if (is_deceptive(code)) {
		(void)snprintf(piece, 16, "\\u{%x}", code);
		return n;
	}
	memcpy(piece, bytes, n);
	piece[n] = '\0';
	return n;
}

const char *text_escape(const char *bytes, size_t length, char buffer[static TEXT_ESCAPED_MAX])
{
	size_t at = 0, used = 0;

	while (at < length) {
		char piece[16];
		size_t n = escape_one((const unsigned char *)bytes + at, length - at, false, piece);
		size_t size = strlen(piece);

		if (used + size + 1 > TEXT_ESCAPED_MAX)
			break;
		memcpy(buffer + used, piece, size);
		used += size;
		at += n;
	}
	buffer[used] = '\0';
	return buffer;
}

void text_write(FILE *file, const void *bytes, size_t length, bool raw)
{
	const unsigned char *at = bytes;

	if (raw) {
		(void)fwrite(bytes, 1, length, file);
		return;
	}
	while (length > 0) {
		char piece[16];
		size_t n = escape_one(at, length, true, piece);

		(void)fputs(piece, file);
		at += n;
		length -= n;
	}
}

/* ---- Figures ---- */

const char *text_bytes(uint64_t bytes, char buffer[static TEXT_SHORT_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buffer, TEXT_SHORT_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", value,
		       units[unit]);
	return buffer;
}

const char *text_age(uint64_t ns, char buffer[static TEXT_SHORT_MAX])
{
	unsigned long s = (unsigned long)(ns / 1000000000u);

	if (s < 60)
		(void)snprintf(buffer, TEXT_SHORT_MAX, "%lus", s);
	else if (s < 3600)
		(void)snprintf(buffer, TEXT_SHORT_MAX, "%lum", s / 60);
	else if (s < 86400)
		(void)snprintf(buffer, TEXT_SHORT_MAX, "%luh%lum", s / 3600, s % 3600 / 60);
	else
		(void)snprintf(buffer, TEXT_SHORT_MAX, "%lud", s / 86400);
	return buffer;
}

const char *text_ago(uint64_t time_unix_ns, char buffer[static TEXT_SHORT_MAX])
{
	struct timespec now;
	uint64_t now_ns;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return text_age(now_ns > time_unix_ns ? now_ns - time_unix_ns : 0, buffer);
}

const char *text_time(uint64_t time_unix_ns, char buffer[static TEXT_SHORT_MAX])
{
	time_t seconds = (time_t)(time_unix_ns / 1000000000u);
	struct tm tm = { 0 };
	size_t n;

	(void)localtime_r(&seconds, &tm);
	n = strftime(buffer, TEXT_SHORT_MAX, "%Y-%m-%d %H:%M:%S", &tm);
	(void)snprintf(buffer + n, TEXT_SHORT_MAX - n, ".%03u",
		       (unsigned int)(time_unix_ns % 1000000000u / 1000000u));
	return buffer;
}

static const char *enum_text(const ProtobufCEnumDescriptor *descriptor, int value)
{
	const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(descriptor, value);

	return found ? found->name : "?";
}

const char *text_state(int state)
{
	return enum_text(&berth__v1__workload_state__descriptor, state);
}

const char *text_reason(int reason)
{
	return enum_text(&berth__v1__reason__descriptor, reason);
}

const char *text_pressure(int step)
{
	if (step == BERTH__V1__PRESSURE_STEP__PRESSURE_FROZEN)
		return ", frozen,";
	return step == BERTH__V1__PRESSURE_STEP__PRESSURE_SQUEEZED ? ", squeezed," : "";
}

const char *text_band(int band)
{
	return enum_text(&berth__v1__priority_band__descriptor, band);
}

/* ---- Tables ---- */

struct table {
	size_t columns;
	size_t cells, capacity;
	char **text;
};

static void append_cell(struct table *table, const char *text)
{
	char escaped[TEXT_ESCAPED_MAX];
	char *copy;

	if (table->cells == table->capacity) {
		size_t grown = table->capacity ? table->capacity * 2 : 64;
		char **larger = realloc(table->text, grown * sizeof(char *));

		if (!larger)
			return;
		table->text = larger;
		table->capacity = grown;
	}
	copy = strdup(text_escape(text, strlen(text), escaped));
	if (copy)
		table->text[table->cells++] = copy;
}

struct table *table_new(const char *const *heads)
{
	struct table *table = calloc(1, sizeof(*table));

	for (; table && heads[table->columns]; table->columns++)
		append_cell(table, heads[table->columns]);
	return table;
}

void table_add(struct table *table, const char *fmt, ...)
{
	char text[TEXT_ESCAPED_MAX];
	va_list ap;

	if (!table)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	append_cell(table, text[0] ? text : "-");
}

void table_end(struct table *table, FILE *file)
{
	size_t widths[32] = { 0 };

	if (!table)
		return;
	for (size_t i = 0; i < table->cells; i++) {
		size_t width = strlen(table->text[i]);

		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	for (size_t i = 0; i < table->cells; i++) {
		bool last = (i + 1) % table->columns == 0;

		if (file)
			(void)fprintf(file, "%-*s%s", last ? 0 : (int)widths[i % table->columns],
				      table->text[i], last ? "\n" : "  ");
		free(table->text[i]);
	}
	free(table->text);
	free(table);
	if (file)
		(void)fflush(file);
}

#include "proto/utf8.h"

#include <string.h>

static bool is_continuation(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

int32_t utf8_decode(const void *text, size_t length, size_t *ret_bytes)
{
	static const int32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 }; /* by number of bytes */
	const unsigned char *p = text;
	size_t bytes;
	int32_t code;

	if (length == 0)
		return -1;
	if (p[0] < 0x80) {
		*ret_bytes = 1;
		return p[0];
	}
	if (p[0] >= 0xc2 && p[0] < 0xe0) {
		bytes = 2;
		code = p[0] & 0x1f;
	} else if (p[0] >= 0xe0 && p[0] < 0xf0) {
		bytes = 3;
		code = p[0] & 0x0f;
	} else if (p[0] >= 0xf0 && p[0] < 0xf5) {
		bytes = 4;
		code = p[0] & 0x07;
	} else {
		return -1;
	}
	if (length < bytes)
		return -1;
	for (size_t i = 1; i < bytes; i++) {
		if (!is_continuation(p[i]))
			return -1;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (code < smallest[bytes] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return -1;
	*ret_bytes = bytes;
	return code;
}

bool utf8_valid(const void *text, size_t length)
{
	const unsigned char *p = text;
	size_t at = 0;

	while (at < length) {
		uint64_t eight;
		size_t bytes;

		if (length - at >= sizeof(eight)) { /* nearly all text is ASCII */
			memcpy(&eight, p + at, sizeof(eight));
			if ((eight & 0x8080808080808080) == 0) {
				at += sizeof(eight);
				continue;
			}
		}
		if (utf8_decode(p + at, length - at, &bytes) < 0)
			return false;
		at += bytes;
	}
	return true;
}

bool utf8_is_control(int32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c || code == 0x200e ||
	       code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069);
}

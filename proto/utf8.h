/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the @length bytes at @text are UTF-8. A NUL is a valid character here. */
bool utf8_valid(const void *text, size_t length);

/* The character that starts at @text, of at most @length bytes; its bytes go to *ret_bytes. Returns
 * the code point, or -1 where no valid character starts, @length 0 included. */
int32_t utf8_decode(const void *text, size_t length, size_t *ret_bytes);

/* Whether a terminal would do something other than print @code: C0, DEL, C1, line and paragraph
 * separators, and the marks that change the direction of text. */
bool utf8_is_control(int32_t code);

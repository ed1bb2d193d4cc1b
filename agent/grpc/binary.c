#include "agent/grpc/binary.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "proto/cleanup.h"

char *binary_encode(const uint8_t *bytes, size_t n, size_t *ret_length)
{
	unsigned char *text;
	int length;

	if (n > INT_MAX / 2)
		return NULL;
	text = malloc((n + 2) / 3 * 4 + 1);
	if (!text)
		return NULL;
	length = EVP_EncodeBlock(text, bytes, (int)n);
	while (length > 0 && text[length - 1] == '=')
		length--;
	text[length] = '\0';
	*ret_length = (size_t)length;
	return (char *)text;
}

int binary_decode(const char *text, size_t n, uint8_t **ret_bytes, size_t *ret_n)
{
	cleanup_free unsigned char *padded = NULL;
	cleanup_free uint8_t *bytes = NULL;
	size_t rounded;

	while (n && text[n - 1] == '=')
		n--;
	rounded = (n + 3) / 4 * 4;
	if (n % 4 == 1 || n > INT_MAX / 2)
		return -EBADMSG;
	padded = malloc(rounded + 1);
	bytes = malloc(rounded / 4 * 3 + 1);
	if (!padded || !bytes)
		return -ENOMEM;
	memcpy(padded, text, n);
	memset(padded + n, '=', rounded - n);
	/* EVP_DecodeBlock counts what the padding stands for as zero bytes, wherever it is, and skips
	 * white space. */
	if (memchr(text, ' ', n) || memchr(text, '=', n) ||
	    EVP_DecodeBlock(bytes, padded, (int)rounded) != (int)(rounded / 4 * 3))
		return -EBADMSG;
	*ret_n = n * 3 / 4;
	*ret_bytes = take_ptr(&bytes);
	return 0;
}

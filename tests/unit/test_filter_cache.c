#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/err.h"
#include "sandbox/filter.h"

/* A filter that can be told from others by its length. */
static int image_of_length(uint32_t instruction_count)
{
	struct filter filter = {
		.instruction_count = instruction_count,
		.instructions = calloc(instruction_count, sizeof(struct sock_filter)),
	};
	struct err err = { 0 };
	int image_fd = filter_serialize(&filter, &err);

	free(filter.instructions);
	assert_true(image_fd >= 0);
	return image_fd;
}

static void put(struct filter_cache *cache, const struct filter_request *request,
		uint32_t instruction_count)
{
	struct err err = { 0 };

	assert_int_equal(filter_cache_put(cache, request, image_of_length(instruction_count), &err),
			 0);
}

static void a_filter_is_found_by_every_byte_of_its_request(void **state)
{
	cleanup(filter_cache_free_p) struct filter_cache *cache = filter_cache_new(8);
	const struct filter_request plain = { .source = FILTER_DEFAULT, .listener = true };
	struct filter_request other = plain;
	char json[] = "{ }";
	struct filter_request oci = { .source = FILTER_OCI, .json = json, .json_length = 3 };
	int image_fd = -1;

	put(cache, &plain, 1);
	put(cache, &oci, 2);
	assert_int_equal(filter_cache_get(cache, &plain, &image_fd)->instruction_count, 1);
	assert_true(fcntl(image_fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(filter_cache_get(cache, &oci, NULL)->instruction_count, 2);

	other.listener = false;
	assert_null(filter_cache_get(cache, &other, NULL));
	other = plain;
	other.capabilities = 1;
	assert_null(filter_cache_get(cache, &other, NULL));
	json[1] = '\t'; /* the cache has its own copy */
	assert_null(filter_cache_get(cache, &oci, NULL));
	oci.json_length = 2;
	assert_null(filter_cache_get(cache, &oci, NULL));
}

static void the_one_unused_longest_goes_first(void **state)
{
	cleanup(filter_cache_free_p) struct filter_cache *cache = filter_cache_new(2);
	struct filter_request requests[3];

	for (unsigned int i = 0; i < 3; i++)
		requests[i] = (struct filter_request){ .source = FILTER_DEFAULT,
						       .capabilities = i };
	put(cache, &requests[0], 1);
	put(cache, &requests[1], 2);
	assert_non_null(filter_cache_get(cache, &requests[0], NULL));
	put(cache, &requests[2], 3);
	assert_non_null(filter_cache_get(cache, &requests[0], NULL));
	assert_null(filter_cache_get(cache, &requests[1], NULL));
	assert_non_null(filter_cache_get(cache, &requests[2], NULL));
}

static void the_same_request_again_replaces(void **state)
{
	cleanup(filter_cache_free_p) struct filter_cache *cache = filter_cache_new(1);
	const struct filter_request request = { .source = FILTER_DEFAULT };

	put(cache, &request, 1);
	put(cache, &request, 2);
	assert_int_equal(filter_cache_get(cache, &request, NULL)->instruction_count, 2);
}

static void what_is_no_image_is_refused_and_its_descriptor_closed(void **state)
{
	cleanup(filter_cache_free_p) struct filter_cache *cache = filter_cache_new(1);
	const struct filter_request request = { .source = FILTER_DEFAULT };
	int fd = memfd_create("empty", MFD_CLOEXEC);
	struct err err = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(filter_cache_put(cache, &request, fd, &err), -EBADMSG);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_null(filter_cache_get(cache, &request, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_filter_is_found_by_every_byte_of_its_request),
		cmocka_unit_test(the_one_unused_longest_goes_first),
		cmocka_unit_test(the_same_request_again_replaces),
		cmocka_unit_test(what_is_no_image_is_refused_and_its_descriptor_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

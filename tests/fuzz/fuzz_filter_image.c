/* A compiled filter's image as the monitor and the daemon read it, and the page's counters behind
 * it. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/err.h"
#include "proto/page.h"
#include "sandbox/filter.h"

static void check(const struct denial_table *table)
{
	struct container_page page = { 0 };

	for (int nr = 0; nr < 64; nr++) {
		struct seccomp_data call = { .nr = nr, .args = { (uint64_t)nr, 1, 2, 3, 4, 5 } };
		struct denial denial = { .nr = (uint32_t)nr };
		int errnum = denial_errnum(table, &call);

		if (errnum < 0 || errnum > 4095)
			__builtin_trap();
		denial.errnum = (uint32_t)errnum;
		(void)denial_count(&page, &denial);
	}
	if (page.denied_count > PAGE_DENIED_MAX || page.denied_total != 64)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_fd int fd = memfd_create("image", MFD_CLOEXEC);
	cleanup(filter_free_p) struct filter *filter = NULL;
	struct denial_table table;
	struct err err = { 0 };

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		return 0;
	if (denial_table_read(fd, &table) == 0)
		check(&table);
	if (filter_deserialize(fd, &filter, &err) == 0 &&
	    filter->instruction_count > FILTER_INSTRUCTIONS_MAX)
		__builtin_trap();
	return 0;
}

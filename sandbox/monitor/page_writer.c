#include "sandbox/monitor/page_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

struct container_page *page_writer_map(int page_fd)
{
	void *page;

	if (page_fd < 0)
		return NULL;
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	return page == MAP_FAILED ? NULL : page;
}

/* POSIX locks belong to the process, not to the open file, which all monitors inherited from the daemon. */
static void lock(int page_fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	while (fcntl(page_fd, F_SETLKW, &lock) < 0 && errno == EINTR)
		;
}

void page_writer_begin(struct container_page *page, int page_fd)
{
	lock(page_fd, F_WRLCK);
	if (page->sequence & 1) /* a writer died inside a change */
		page_write_end(page);
	page_write_begin(page);
}

void page_writer_end(struct container_page *page, int page_fd)
{
	page_write_end(page);
	lock(page_fd, F_UNLCK);
}

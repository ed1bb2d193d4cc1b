#include "proto/page.h"

#include <errno.h>
#include <string.h>

/* A write is some stores and at most one readlink old; the bound is for a writer that died in one. */
#define PAGE_READ_TRIES 10000

void page_write_begin(struct container_page *page)
{
	__atomic_store_n(&page->sequence, page->sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void page_write_end(struct container_page *page)
{
	__atomic_store_n(&page->sequence, page->sequence + 1, __ATOMIC_RELEASE);
}

static bool page_copy_once(const struct container_page *page, struct container_page *ret)
{
	uint32_t before = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);

	memcpy(ret, page, sizeof(*ret));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !(before & 1) && __atomic_load_n(&page->sequence, __ATOMIC_RELAXED) == before;
}

static int page_check(struct container_page *page, struct err *err)
{
	if (page->magic != PAGE_MAGIC || page->version != PAGE_VERSION)
		return err_set(err, ERR_INVALID, EPROTO,
			       "container page: magic %#x version %u, expected %#x version %u",
			       page->magic, page->version, PAGE_MAGIC, PAGE_VERSION);
	if (page->denied_count > PAGE_DENIED_MAX)
		page->denied_count = PAGE_DENIED_MAX;
	for (uint32_t i = 0; i < page->denied_count; i++)
		page->denied[i].program[PAGE_PROGRAM_MAX - 1] = '\0';
	return 0;
}

int page_read(const struct container_page *page, struct container_page *ret, struct err *err)
{
	bool whole = false;
	int r;

	for (int i = 0; i < PAGE_READ_TRIES && !whole; i++)
		whole = page_copy_once(page, ret);
	r = page_check(ret, err);
	if (r < 0)
		return r;
	if (!whole)
		return err_set(
			err, ERR_UNAVAILABLE, EBUSY,
			"container page: its monitor (pid %d) stopped in the middle of a write",
			page->monitor_pid);
	return 0;
}

#include "sandbox/page_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"

static int map(int fd, int protection, struct container_page **ret, struct err *err)
{
	struct stat st;
	void *page;

	if (fstat(fd, &st) < 0 || st.st_size < PAGE_BYTES)
		return err_set(err, ERR_INVALID, EPROTO, "container page: too short");
	page = mmap(NULL, PAGE_BYTES, protection, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return err_set(err, ERR_INTERNAL, errno, "cannot map a container page: %m");
	*ret = page;
	return 0;
}

int page_file_create(int run_fd, uint32_t attempt, struct err *err)
{
	cleanup_fd int fd = openat(run_fd, PAGE_FILE_NAME,
				   O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct container_page *page;
	int r;

	/* Room for it now: a tmpfs that is full would else be a SIGBUS at the first store. */
	if (fd < 0 || fallocate(fd, 0, 0, PAGE_BYTES) < 0)
		return err_set(err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
			       "cannot make a container page: %m");
	r = map(fd, PROT_READ | PROT_WRITE, &page, err);
	if (r < 0)
		return r;
	page->magic = PAGE_MAGIC;
	page->version = PAGE_VERSION;
	page->state = PAGE_STARTING;
	page->attempt = attempt;
	(void)munmap(page, PAGE_BYTES);
	return take_fd(&fd);
}

int page_file_open(int run_fd)
{
	int fd = openat(run_fd, PAGE_FILE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int page_file_open_writable(int run_fd)
{
	int fd = openat(run_fd, PAGE_FILE_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int page_file_read(int run_fd, struct container_page *ret, struct err *err)
{
	cleanup_fd int fd = page_file_open(run_fd);
	struct container_page *page;
	int r;

	if (fd < 0)
		return err_set(err, fd == -ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, -fd,
			       "cannot open a container page: %m");
	r = map(fd, PROT_READ, &page, err);
	if (r < 0)
		return r;
	r = page_read(page, ret, err);
	(void)munmap(page, PAGE_BYTES);
	return r;
}

int page_file_change(int run_fd, void (*func)(struct container_page *page, const void *data),
		     const void *data, struct err *err)
{
	cleanup_fd int fd = page_file_open_writable(run_fd);
	struct container_page *page;
	int r;

	if (fd < 0)
		return err_set(err, ERR_INTERNAL, -fd, "cannot open a container page: %m");
	r = map(fd, PROT_READ | PROT_WRITE, &page, err);
	if (r < 0)
		return r;
	page->sequence &= ~1U; /* its writer may have died inside a change */
	page_write_begin(page);
	func(page, data);
	page_write_end(page);
	(void)munmap(page, PAGE_BYTES);
	return 0;
}

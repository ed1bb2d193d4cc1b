#include "sandbox/monitor/estate.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif

static int make_memory(void)
{
	int fd = memfd_create(ESTATE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(ESTATE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

int estate_make(void)
{
	cleanup_fd int fd = make_memory();

	if (fd < 0 || ftruncate(fd, sizeof(struct estate)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return -errno;
	return take_fd(&fd);
}

/* So that what a workload writes is never taken for the mark. */
static uint64_t make_mark(void)
{
	uint64_t mark = 0;

	if (getrandom(&mark, sizeof(mark), GRND_NONBLOCK) != sizeof(mark))
		mark = (uint64_t)(uintptr_t)&mark * 0x9e3779b97f4a7c15u;
	return mark;
}

bool estate_is_inherited(const struct estate *estate)
{
	return estate->magic == ESTATE_MAGIC && estate->version == ESTATE_VERSION &&
	       estate->current < 2;
}

struct estate *estate_map(int fd)
{
	static struct estate own; /* one a process; untouched pages of it cost nothing */
	struct estate *estate = &own;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size == sizeof(*estate)) {
		estate = mmap(NULL, sizeof(*estate), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (estate == MAP_FAILED)
			estate = &own;
	}
	if (!estate_is_inherited(estate))
		estate->mark = make_mark();
	return estate;
}

const struct estate_books *estate_books(const struct estate *estate)
{
	return &estate->books[__atomic_load_n(&estate->current, __ATOMIC_ACQUIRE) & 1];
}

void estate_keep(struct estate *estate, const struct estate_books *books)
{
	uint32_t next = !estate->current;

	estate->books[next] = *books;
	__atomic_store_n(&estate->current, next, __ATOMIC_RELEASE);
	if (estate->magic == ESTATE_MAGIC)
		return;
	estate->version = ESTATE_VERSION;
	__atomic_store_n(&estate->magic, ESTATE_MAGIC, __ATOMIC_RELEASE);
}

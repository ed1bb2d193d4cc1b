/*
 * Each structure is described once, for both directions: a member that is a plain value goes with the structure
 * itself; what it points to and its descriptors follow, in the order of the description.
 */
#include "sandbox/launcher_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/cleanup.h"

#define KIND_HOST   1u
#define KIND_LAUNCH 2u
#define NO_TEXT     UINT32_MAX

struct spool {
	struct launcher_packet *packet;
	bool unpacking;
	size_t at;
	size_t fd_at;
	int r; /* of the first that failed */
};

static char *advance(struct spool *spool, size_t size)
{
	size_t end = spool->unpacking ? spool->packet->length : LAUNCHER_BYTES_MAX;
	char *here = spool->packet->bytes + spool->at;

	if (spool->r < 0)
		return NULL;
	if (size > end - spool->at) {
		spool->r = spool->unpacking ? -EBADMSG : -E2BIG;
		return NULL;
	}
	spool->at += size;
	return here;
}

static void spool_value(struct spool *spool, void *value, size_t size)
{
	char *here = advance(spool, size);

	if (!here)
		return;
	if (spool->unpacking)
		memcpy(value, here, size);
	else
		memcpy(here, value, size);
}

static void spool_text(struct spool *spool, const char **text)
{
	uint32_t size = *text && !spool->unpacking ? (uint32_t)strlen(*text) + 1 : NO_TEXT;
	char *here;

	spool_value(spool, &size, sizeof(size));
	if (size == NO_TEXT || spool->r < 0) {
		*text = NULL;
		return;
	}
	here = advance(spool, size);
	if (!here)
		return;
	if (!spool->unpacking)
		memcpy(here, *text, size);
	else if (size == 0 || here[size - 1] != '\0')
		spool->r = -EBADMSG;
	else
		*text = here;
}

static void spool_fd(struct spool *spool, int *fd)
{
	bool there = *fd >= 0;

	spool_value(spool, &there, sizeof(there));
	if (spool->r < 0 || !there) {
		*fd = -1;
	} else if (spool->fd_at >=
		   (spool->unpacking ? spool->packet->fd_count : LAUNCHER_FDS_MAX)) {
		spool->r = spool->unpacking ? -EBADMSG : -E2BIG;
	} else if (spool->unpacking) {
		*fd = spool->packet->fds[spool->fd_at++];
	} else {
		spool->packet->fds[spool->fd_at++] = *fd;
	}
}

/* The array's elements as values; what they point to is the caller's to describe. */
static void *spool_array(struct spool *spool, const void *array, size_t count, size_t size)
{
	void *elements = (void *)array;

	if (spool->r < 0 || count == 0)
		return NULL;
	if (spool->unpacking) {
		elements = count > LAUNCHER_BYTES_MAX / size ? NULL : calloc(count, size);
		if (!elements) {
			spool->r = -ENOMEM;
			return NULL;
		}
	}
	spool_value(spool, elements, count * size);
	return elements;
}

/* @list ends in NULL where @count is NULL. */
static void spool_texts(struct spool *spool, const char *const **list, const size_t *count)
{
	uint32_t n = 0;
	const char **texts;

	if (!spool->unpacking && count)
		n = (uint32_t)*count;
	while (!spool->unpacking && !count && *list && (*list)[n])
		n++;
	spool_value(spool, &n, sizeof(n));
	if (spool->unpacking)
		*list = NULL;
	if (spool->r < 0)
		return;
	if (!spool->unpacking) {
		for (uint32_t i = 0; i < n; i++) {
			const char *text = (*list)[i];

			spool_text(spool, &text);
		}
		return;
	}
	texts = n > LAUNCHER_BYTES_MAX ? NULL : calloc(n + 1, sizeof(*texts));
	if (!texts) {
		spool->r = -ENOMEM;
		return;
	}
	*list = texts;
	for (uint32_t i = 0; i < n; i++)
		spool_text(spool, &texts[i]);
}

static void spool_string(struct spool *spool, char **text)
{
	const char *string = *text;

	spool_text(spool, &string);
	*text = (char *)string;
}

static void spool_host(struct spool *spool, struct launcher_host *host)
{
	struct hierarchy *hierarchy = &host->hierarchy;

	spool_value(spool, host, sizeof(*host));
	if (spool->r < 0)
		return;
	spool_fd(spool, &host->monitors_fd);
	spool_string(spool, &hierarchy->base);
	spool_string(spool, &hierarchy->cpuset_cpus);
	spool_string(spool, &hierarchy->cpuset_mems);
	for (size_t i = 0; spool->r == 0 && i < hierarchy->mount_count; i++) {
		spool_string(spool, &hierarchy->mounts[i].path);
		spool_fd(spool, &hierarchy->mounts[i].base_fd);
	}
	for (size_t i = 0; spool->r == 0 && i < hierarchy->feature_count; i++)
		spool_text(spool, &hierarchy->features[i].name);
}

static void spool_mounts(struct spool *spool, struct launch_spec *spec)
{
	struct launch_mount *mounts;

	mounts = spool_array(spool, spec->mounts, spec->mount_count, sizeof(*mounts));
	/* Freed one by one, also where an array ends too soon. */
	for (size_t i = 0; spool->unpacking && mounts && i < spec->mount_count; i++)
		mounts[i].layers = NULL;
	for (size_t i = 0; spool->r == 0 && i < spec->mount_count; i++) {
		struct launch_mount mount = mounts[i];

		spool_fd(spool, &mount.source_fd);
		spool_texts(spool, &mount.layers, &mount.layer_count);
		spool_text(spool, &mount.target);
		spool_text(spool, &mount.sub_path);
		if (spool->unpacking)
			mounts[i] = mount;
	}
	if (spool->unpacking)
		spec->mounts = mounts;
}

/* They came from another address space. */
static void forget_pointers(struct launch_spec *spec)
{
	spec->limits = NULL;
	spec->mounts = NULL;
	spec->argv = spec->env = spec->groups = spec->root_layers.hexes = NULL;
	spec->rlimits = NULL;
	spec->hierarchy = NULL;
	spec->device_filters = NULL;
	spec->filter = NULL;
	spec->filter_request = (struct filter_request){ 0 };
	spec->compile = NULL;
	spec->monitors_fd = -1;
	spec->monitor_program_fd = -1;
}

void launcher_launch_done(struct launch_spec *spec)
{
	free((void *)spec->limits);
	for (size_t i = 0; spec->mounts && i < spec->mount_count; i++)
		free((void *)spec->mounts[i].layers);
	free((void *)spec->mounts);
	free((void *)spec->argv);
	free((void *)spec->env);
	free((void *)spec->groups);
	free((void *)spec->root_layers.hexes);
	free((void *)spec->rlimits);
	forget_pointers(spec);
}

static void spool_launch(struct spool *spool, struct launch_spec *spec)
{
	struct taskgroup_limits *limits;
	struct identity_limit *rlimits;

	spool_value(spool, spec, sizeof(*spec));
	if (spool->unpacking)
		forget_pointers(spec);
	if (spool->r < 0)
		return;
	spool_text(spool, &spec->workload);
	spool_text(spool, &spec->container);
	spool_fd(spool, &spec->namespaces.user_fd);
	spool_fd(spool, &spec->namespaces.net_fd);
	spool_fd(spool, &spec->namespaces.ipc_fd);
	spool_fd(spool, &spec->namespaces.uts_fd);
	spool_text(spool, &spec->group_path);
	limits = spool_array(spool, spec->limits, 1, sizeof(*limits));
	spool_fd(spool, &spec->root_fd);
	spool_fd(spool, &spec->store_fd);
	spool_texts(spool, &spec->root_layers.hexes, &spec->root_layers.count);
	spool_mounts(spool, spec);
	spool_texts(spool, &spec->argv, NULL);
	spool_texts(spool, &spec->env, NULL);
	spool_text(spool, &spec->working_dir);
	spool_text(spool, &spec->user);
	spool_texts(spool, &spec->groups, &spec->group_count);
	rlimits = spool_array(spool, spec->rlimits, spec->rlimit_count, sizeof(*rlimits));
	spool_fd(spool, &spec->filter_image_fd);
	spool_fd(spool, &spec->log.dir_fd);
	spool_fd(spool, &spec->page_fd);
	spool_fd(spool, &spec->run_dir_fd);
	if (!spool->unpacking)
		return;
	spec->limits = limits;
	spec->rlimits = rlimits;
}

static struct spool spool_begin(struct launcher_packet *packet, bool unpacking, uint32_t kind)
{
	struct spool spool = { .packet = packet, .unpacking = unpacking };
	uint32_t it = kind;

	spool_value(&spool, &it, sizeof(it));
	if (spool.r == 0 && it != kind)
		spool.r = -EBADMSG;
	return spool;
}

static int spool_end(struct spool *spool)
{
	struct launcher_packet *packet = spool->packet;

	if (spool->unpacking && spool->r == 0 &&
	    (spool->at != packet->length || spool->fd_at != packet->fd_count))
		spool->r = -EBADMSG;
	if (!spool->unpacking) {
		packet->length = spool->at;
		packet->fd_count = spool->fd_at;
	}
	return spool->r;
}

int launcher_pack_host(const struct launcher_host *host, struct launcher_packet *packet)
{
	struct spool spool = spool_begin(packet, false, KIND_HOST);
	struct launcher_host copy = *host;

	spool_host(&spool, &copy);
	return spool_end(&spool);
}

int launcher_unpack_host(struct launcher_packet *packet, struct launcher_host *ret_host)
{
	struct spool spool = spool_begin(packet, true, KIND_HOST);

	spool_host(&spool, ret_host);
	return spool_end(&spool);
}

int launcher_pack_launch(const struct launch_spec *spec, int control_fd,
			 struct launcher_packet *packet)
{
	struct spool spool = spool_begin(packet, false, KIND_LAUNCH);
	struct launch_spec copy = *spec;

	spool_fd(&spool, &control_fd);
	spool_launch(&spool, &copy);
	return spool_end(&spool);
}

int launcher_unpack_launch(struct launcher_packet *packet, struct launch_spec *ret_spec,
			   int *ret_control_fd)
{
	struct spool spool = spool_begin(packet, true, KIND_LAUNCH);

	spool_fd(&spool, ret_control_fd);
	spool_launch(&spool, ret_spec);
	return spool_end(&spool);
}

int launcher_send(int fd, const struct launcher_packet *packet)
{
	struct iovec part = { (void *)packet->bytes, packet->length };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(packet->fds))];
	} control = { 0 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct cmsghdr *header = &control.align;

	if (packet->fd_count) {
		size_t bytes = packet->fd_count * sizeof(packet->fds[0]);

		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(bytes);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(header), packet->fds, bytes);
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)packet->length ? 0 : -errno;
}

int launcher_receive(int fd, struct launcher_packet *packet)
{
	struct iovec part = { packet->bytes, sizeof(packet->bytes) };
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(packet->fds))];
	} control;
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header;
	ssize_t n;

	do {
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	packet->length = (size_t)n;
	packet->fd_count = 0;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		packet->fd_count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(packet->fds[0]);
		memcpy(packet->fds, CMSG_DATA(header), packet->fd_count * sizeof(packet->fds[0]));
	}
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		while (packet->fd_count > 0)
			(void)close(packet->fds[--packet->fd_count]);
		return -EMSGSIZE;
	}
	return 1;
}

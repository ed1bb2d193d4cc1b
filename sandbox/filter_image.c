#include "sandbox/filter_image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "proto/err.h"
#include "sandbox/filter.h"

int filter_serialize(const struct filter *filter, struct err *err)
{
	struct filter_image image = {
		.magic = FILTER_IMAGE_MAGIC,
		.version = FILTER_IMAGE_VERSION,
		.instruction_count = filter->instruction_count,
		.denial_count = filter->denials.count,
		.default_errnum = filter->denials.default_errnum,
		.notifies = filter->notifies,
		.unknown_names = filter->unknown_names,
	};
	const struct iovec parts[] = {
		{ &image, sizeof(image) },
		{ filter->instructions, filter->instruction_count * sizeof(struct sock_filter) },
		{ (void *)filter->denials.rules,
		  filter->denials.count * sizeof(struct denial_rule) },
	};
	size_t total = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
	cleanup_fd int image_fd = memfd_create("filter", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	memcpy(image.note, filter->note, sizeof(image.note));
	if (image_fd < 0 || writev(image_fd, parts, ARRAY_SIZE(parts)) != (ssize_t)total)
		return err_set(err, ERR_INTERNAL, errno, "cannot write compiled filter: %m");
	if (fcntl(image_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) <
	    0)
		return err_set(err, ERR_INTERNAL, errno, "cannot seal compiled filter: %m");
	return take_fd(&image_fd);
}

static int not_an_image(struct err *err)
{
	return err_set(err, ERR_INTERNAL, EBADMSG,
		       "compiled filter is no image of this version of berth-sandboxd");
}

static int read_instructions(int image_fd, const struct filter_image *image, struct filter *filter,
			     struct err *err)
{
	size_t bytes = image->instruction_count * sizeof(struct sock_filter);

	if (image->instruction_count == 0)
		return 0;
	filter->instructions = malloc(bytes);
	if (!filter->instructions)
		return err_oom(err);
	if (pread(image_fd, filter->instructions, bytes, sizeof(*image)) != (ssize_t)bytes)
		return not_an_image(err);
	filter->instruction_count = image->instruction_count;
	return 0;
}

int filter_deserialize(int image_fd, struct filter **ret_filter, struct err *err)
{
	cleanup(filter_free_p) struct filter *filter = calloc(1, sizeof(*filter));
	struct filter_image image;
	int r;

	if (!filter)
		return err_oom(err);
	if (pread(image_fd, &image, sizeof(image), 0) != sizeof(image) ||
	    denial_table_read(image_fd, &filter->denials) < 0 ||
	    image.note[sizeof(image.note) - 1] != '\0')
		return not_an_image(err);
	r = read_instructions(image_fd, &image, filter, err);
	if (r < 0)
		return r;
	filter->notifies = image.notifies;
	filter->unknown_names = image.unknown_names;
	memcpy(filter->note, image.note, sizeof(filter->note));
	*ret_filter = take_ptr(&filter);
	return 0;
}

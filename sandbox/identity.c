/*
 * From "name:group" to numbers, by the image's own files. They are read whole, up to a limit, and
 * looked through line by line: a line that is not passwd(5) or group(5) is as if it were not there,
 * for an image may hold anything and one bad line should not keep a workload from starting.
 */
#include "sandbox/identity.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/path.h"

#define USER_MAX 256 /* bytes of "name:group" */

/* A part of a file or of an argument; not NUL-terminated. */
struct slice {
	const char *start;
	size_t length;
};

int identity_parse_id(const char *text, size_t length, uint32_t *ret_id)
{
	uint32_t id = 0;

	if (length == 0 || (length > 1 && text[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		id = id * 10 + (uint32_t)(text[i] - '0');
		if (id > IDENTITY_ID_MAX)
			return -ERANGE;
	}
	*ret_id = id;
	return 0;
}

/* What a name is made of in passwd(5); anything else would also end up in messages. */
static bool is_name(struct slice text)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-$@+";

	if (text.length == 0 || text.length > 64 || text.start[0] == '-')
		return false;
	for (size_t i = 0; i < text.length; i++)
		if (!memchr(allowed, text.start[i], sizeof(allowed) - 1))
			return false;
	return true;
}

static bool is_number(struct slice text)
{
	return text.length > 0 && text.start[0] >= '0' && text.start[0] <= '9';
}

static bool slices_equal(struct slice a, struct slice b)
{
	return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

/* Cut what is before @separator off *rest. At the end *ret is all that is left, and *rest becomes
 * empty with a NULL start. Returns false when there was nothing any more. */
static bool cut(struct slice *rest, char separator, struct slice *ret)
{
	const char *end;

	if (!rest->start)
		return false;
	end = memchr(rest->start, separator, rest->length);
	*ret = *rest;
	if (!end) {
		*rest = (struct slice){ NULL, 0 };
		return true;
	}
	ret->length = (size_t)(end - rest->start);
	rest->start = end + 1;
	rest->length -= ret->length + 1;
	return true;
}

static int parse_slice(struct slice text, uint32_t *ret_id)
{
	return identity_parse_id(text.start, text.length, ret_id);
}

struct passwd_line {
	struct slice name;
	struct slice home;
	uint32_t uid;
	uint32_t gid;
};

/* name:password:uid:gid:comment:home:shell */
static bool parse_passwd_line(struct slice line, struct passwd_line *ret)
{
	struct slice fields[7];

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!cut(&line, ':', &fields[i]))
			return false;
	if (line.start || parse_slice(fields[2], &ret->uid) < 0 ||
	    parse_slice(fields[3], &ret->gid) < 0)
		return false;
	ret->name = fields[0];
	ret->home = fields[5];
	return true;
}

struct group_line {
	struct slice name;
	struct slice members;
	uint32_t gid;
};

/* name:password:gid:member,member */
static bool parse_group_line(struct slice line, struct group_line *ret)
{
	struct slice fields[4];

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (!cut(&line, ':', &fields[i]))
			return false;
	if (line.start || parse_slice(fields[2], &ret->gid) < 0)
		return false;
	ret->name = fields[0];
	ret->members = fields[3];
	return true;
}

static bool lists_member(struct slice members, struct slice user)
{
	struct slice member;

	while (cut(&members, ',', &member))
		if (slices_equal(member, user))
			return true;
	return false;
}

static bool find_user(struct slice file, struct slice name, const uint32_t *uid,
		      struct passwd_line *ret)
{
	struct slice line;

	while (cut(&file, '\n', &line)) {
		if (!parse_passwd_line(line, ret))
			continue;
		if (uid ? ret->uid == *uid : slices_equal(ret->name, name))
			return true;
	}
	return false;
}

static bool find_group(struct slice file, struct slice name, uint32_t *ret_gid)
{
	struct group_line group;
	struct slice line;

	while (cut(&file, '\n', &line)) {
		if (!parse_group_line(line, &group) || !slices_equal(group.name, name))
			continue;
		*ret_gid = group.gid;
		return true;
	}
	return false;
}

/* Ascending and each once, so that what the kernel gives back can be compared; without gid. */
static int add_group(struct identity *identity, gid_t gid)
{
	size_t at = 0;

	if (gid == identity->gid)
		return 0;
	while (at < identity->group_count && identity->groups[at] < gid)
		at++;
	if (at < identity->group_count && identity->groups[at] == gid)
		return 0;
	if (identity->group_count == IDENTITY_GROUPS_MAX)
		return -E2BIG;
	memmove(&identity->groups[at + 1], &identity->groups[at],
		(identity->group_count - at) * sizeof(identity->groups[0]));
	identity->groups[at] = gid;
	identity->group_count++;
	return 0;
}

/* The image's file; empty where it has none. */
struct image_file {
	char *data;
	struct slice text;
};

static void image_file_done(struct image_file *file)
{
	free(file->data);
}

static int read_image_file(int root_fd, const char *path, struct image_file *file, struct err *err)
{
	struct err reason = { 0 };
	size_t length = 0;
	int r = path_read_file(root_fd, path, IDENTITY_FILE_LIMIT, &file->data, &length, &reason);

	if (r < 0 && reason.kind != ERR_NOT_FOUND) {
		if (err)
			*err = reason;
		return r;
	}
	file->text = (struct slice){ file->data, length };
	return 0;
}

static int no_such(struct err *err, const char *kind, struct slice name)
{
	return err_set(err, ERR_START, ENOENT, "the image's /etc/%s has no \"%.*s\"", kind,
		       (int)name.length, name.start);
}

static int malformed(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, EINVAL,
		       "%s is neither a number from 0 to %d nor a plain name", what,
		       IDENTITY_ID_MAX);
}

/* A home ends up in the environment: absolute, short, without control bytes (CVE-2022-4318). */
static void take_home(struct identity *identity, struct slice home)
{
	if (home.length == 0 || home.length >= sizeof(identity->home) || home.start[0] != '/')
		return;
	for (size_t i = 0; i < home.length; i++)
		if ((unsigned char)home.start[i] < 0x20 || home.start[i] == 0x7f)
			return;
	memcpy(identity->home, home.start, home.length);
	identity->home[home.length] = '\0';
}

/* Sets uid, gid and home; *ret_name is the user's name where the image has one. */
static int resolve_user(struct slice file, struct slice user, struct identity *identity,
			struct slice *ret_name, struct err *err)
{
	bool number = is_number(user);
	struct passwd_line line;
	uint32_t uid = 0;

	if (number ? parse_slice(user, &uid) < 0 : !is_name(user))
		return malformed(err, "user");
	if (find_user(file, user, number ? &uid : NULL, &line)) {
		identity->uid = line.uid;
		identity->gid = line.gid;
		take_home(identity, line.home);
		*ret_name = line.name;
		return 0;
	}
	if (!number)
		return no_such(err, "passwd", user);
	identity->uid = uid;
	return 0;
}

static int resolve_group(struct slice file, struct slice group, uint32_t *ret_gid, struct err *err)
{
	if (is_number(group))
		return parse_slice(group, ret_gid) < 0 ? malformed(err, "group") : 0;
	if (!is_name(group))
		return malformed(err, "group");
	return find_group(file, group, ret_gid) ? 0 : no_such(err, "group", group);
}

/* The groups whose member lists have the user; those beyond the maximum are left out. */
static void add_memberships(struct slice file, struct slice user, struct identity *identity)
{
	struct group_line group;
	struct slice line;

	while (user.length > 0 && cut(&file, '\n', &line))
		if (parse_group_line(line, &group) && lists_member(group.members, user))
			(void)add_group(identity, group.gid);
}

static int add_requested(struct slice file, const char *const *groups, size_t group_count,
			 struct identity *identity, struct err *err)
{
	for (size_t i = 0; i < group_count; i++) {
		struct slice group = { groups[i], strlen(groups[i]) };
		uint32_t gid = 0;
		int r = resolve_group(file, group, &gid, err);

		if (r < 0)
			return r;
		if (add_group(identity, gid) < 0)
			return err_set(err, ERR_EXHAUSTED, E2BIG,
				       "more than %d supplementary groups", IDENTITY_GROUPS_MAX);
	}
	return 0;
}

/* "user" and "group" of @text; the group has a NULL start where there is no colon. */
static int split_user(const char *text, struct slice *user, struct slice *group, struct err *err)
{
	struct slice rest = { text, strlen(text) };

	if (rest.length > USER_MAX)
		return malformed(err, "user");
	if (rest.length == 0)
		rest = (struct slice){ "0:0", 3 };
	(void)cut(&rest, ':', user);
	*group = rest;
	return 0;
}

int identity_resolve(int root_fd, const char *user, const char *const *groups, size_t group_count,
		     struct identity *ret, struct err *err)
{
	cleanup(image_file_done) struct image_file passwd_file = { 0 };
	cleanup(image_file_done) struct image_file group_file = { 0 };
	struct identity identity = { 0 };
	struct slice user_part = { 0 };
	struct slice group_part = { 0 };
	struct slice name = { 0 };
	int r;

	r = split_user(user, &user_part, &group_part, err);
	if (r < 0)
		return r;
	r = read_image_file(root_fd, "/etc/passwd", &passwd_file, err);
	if (r < 0)
		return r;
	r = read_image_file(root_fd, "/etc/group", &group_file, err);
	if (r < 0)
		return r;
	r = resolve_user(passwd_file.text, user_part, &identity, &name, err);
	if (r < 0)
		return r;
	if (group_part.start) {
		r = resolve_group(group_file.text, group_part, &identity.gid, err);
		if (r < 0)
			return r;
	}
	r = add_requested(group_file.text, groups, group_count, &identity, err);
	if (r < 0)
		return r;
	if (!group_part.start)
		add_memberships(group_file.text, name, &identity);
	*ret = identity;
	return 0;
}

/*
 * The program, for a list of rules, is a chain of tests that ends in 1 (may) or 0 (EPERM):
 *
 *	type, access := low, high half of ctx->access_type; major := ctx->major; minor := ctx->minor
 *	for each rule: if type, major and minor match and access has no bit but the rule's: return 1
 *	return 0
 */
#include "sandbox/device_filter.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/taskgroup_internal.h"
#include "sandbox/group_file.h"

#define PROGRAMS_MAX      64
#define RULE_INSNS_MAX    7
#define PROGRAM_INSNS_MAX (DEVICE_RULES_MAX * RULE_INSNS_MAX + 8)

#define RWM (DEVICE_READ | DEVICE_WRITE | DEVICE_MKNOD)

const struct device_rule device_filter_default[] = {
	{ 'c', RWM, 1, 3 },            /* null */
	{ 'c', RWM, 1, 5 },            /* zero */
	{ 'c', RWM, 1, 7 },            /* full */
	{ 'c', RWM, 1, 8 },            /* random */
	{ 'c', RWM, 1, 9 },            /* urandom */
	{ 'c', RWM, 5, 0 },            /* tty */
	{ 'c', RWM, 5, 2 },            /* ptmx */
	{ 'c', RWM, 136, DEVICE_ANY }, /* pts/0 to 1048575 */
};
const size_t device_filter_default_count = ARRAY_SIZE(device_filter_default);

struct device_program {
	int fd; /* -1: free */
	uint64_t last_use;
	size_t count;
	struct device_rule rules[DEVICE_RULES_MAX];
};

struct device_filters {
	uint64_t clock;
	struct device_program programs[PROGRAMS_MAX];
};

int device_filters_new(struct device_filters **ret_filters, struct err *err)
{
	struct device_filters *filters = calloc(1, sizeof(*filters));

	if (!filters)
		return err_oom(err);
	for (size_t i = 0; i < PROGRAMS_MAX; i++)
		filters->programs[i].fd = -1;
	*ret_filters = filters;
	return 0;
}

void device_filters_free(struct device_filters *filters)
{
	if (!filters)
		return;
	for (size_t i = 0; i < PROGRAMS_MAX; i++)
		fd_close(&filters->programs[i].fd);
	free(filters);
}

/* Numbers as the kernel packs them in a dev_t: 12 and 20 bits. */
static int check_rules(const struct device_rule *rules, size_t count, struct err *err)
{
	if (count > DEVICE_RULES_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "more than %d device rules",
			       DEVICE_RULES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct device_rule *rule = &rules[i];

		if ((rule->type != 'c' && rule->type != 'b') || !rule->access ||
		    (rule->access & ~RWM) || rule->major > 4095 ||
		    (rule->minor != DEVICE_ANY && rule->minor > 1048575))
			return err_set(err, ERR_INVALID, EINVAL, "device rule %zu is not valid",
				       i + 1);
	}
	return 0;
}

struct program_text {
	size_t count;
	struct bpf_insn insns[PROGRAM_INSNS_MAX];
};

static void emit(struct program_text *text, uint8_t code, uint8_t dst, uint8_t src, int16_t offset,
		 int32_t immediate)
{
	text->insns[text->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst, .src_reg = src, .off = offset, .imm = immediate
	};
}

enum { TYPE = BPF_REG_2, ACCESS = BPF_REG_3, MAJOR = BPF_REG_4, MINOR = BPF_REG_5 };

static void emit_loads(struct program_text *text)
{
	const uint8_t load = BPF_LDX | BPF_MEM | BPF_W;

	emit(text, load, TYPE, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(text, BPF_ALU | BPF_MOV | BPF_X, ACCESS, TYPE, 0, 0);
	emit(text, BPF_ALU | BPF_AND | BPF_K, TYPE, 0, 0, 0xffff);
	emit(text, BPF_ALU | BPF_RSH | BPF_K, ACCESS, 0, 0, 16);
	emit(text, load, MAJOR, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(text, load, MINOR, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

static void emit_return(struct program_text *text, int32_t value)
{
	emit(text, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
	emit(text, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Each test jumps over the rest of its rule; the offsets are filled in once its end is known. */
static void emit_rule(struct program_text *text, const struct device_rule *rule)
{
	const uint8_t differs = BPF_JMP | BPF_JNE | BPF_K;
	size_t first = text->count;
	int32_t denied = ~rule->access & RWM;

	emit(text, differs, TYPE, 0, 0,
	     rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	emit(text, differs, MAJOR, 0, 0, (int32_t)rule->major);
	if (rule->minor != DEVICE_ANY)
		emit(text, differs, MINOR, 0, 0, (int32_t)rule->minor);
	if (denied)
		emit(text, BPF_JMP | BPF_JSET | BPF_K, ACCESS, 0, 0, denied);
	emit_return(text, 1);
	for (size_t i = first; i < text->count - 2; i++)
		text->insns[i].off = (int16_t)(text->count - i - 1);
}

static int load_program(const struct device_rule *rules, size_t count, struct err *err)
{
	struct program_text text = { 0 };
	union bpf_attr attr;
	long fd;

	emit_loads(&text);
	for (size_t i = 0; i < count; i++)
		emit_rule(&text, &rules[i]);
	emit_return(&text, 0);

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)text.insns;
	attr.insn_cnt = (uint32_t)text.count;
	attr.license = (uint64_t)(uintptr_t) "GPL";
	memcpy(attr.prog_name, "berth_devices", sizeof("berth_devices"));
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)); /* close-on-exec always */
	if (fd >= 0)
		return (int)fd;
	if (errno == ENOSYS || errno == EINVAL)
		return err_set(
			err, ERR_UNSUPPORTED, errno,
			"cannot limit devices: the kernel has no BPF device programs (CONFIG_CGROUP_BPF): %m");
	return err_set(err, ERR_INTERNAL, errno, "cannot load a device filter: %m");
}

static bool same_rules(const struct device_program *program, const struct device_rule *rules,
		       size_t count)
{
	if (program->fd < 0 || program->count != count)
		return false;
	for (size_t i = 0; i < count; i++) {
		const struct device_rule *a = &program->rules[i], *b = &rules[i];

		if (a->type != b->type || a->access != b->access || a->major != b->major ||
		    a->minor != b->minor)
			return false;
	}
	return true;
}

/* The program of the list, loaded if need be: its descriptor, which stays the cache's. */
static int get_program(struct device_filters *filters, const struct device_rule *rules,
		       size_t count, struct err *err)
{
	struct device_program *oldest = &filters->programs[0];
	int fd;

	for (size_t i = 0; i < PROGRAMS_MAX; i++) {
		struct device_program *program = &filters->programs[i];

		if (same_rules(program, rules, count)) {
			program->last_use = ++filters->clock;
			return program->fd;
		}
		if (program->last_use < oldest->last_use)
			oldest = program;
	}
	fd = load_program(rules, count, err);
	if (fd < 0)
		return fd;
	fd_close(&oldest->fd);
	oldest->fd = fd;
	oldest->last_use = ++filters->clock;
	oldest->count = count;
	if (count)
		memcpy(oldest->rules, rules, count * sizeof(*rules));
	return fd;
}

int device_filters_prepare(struct device_filters *filters, const struct hierarchy *hierarchy,
			   const struct device_rule *rules, size_t count, struct err *err)
{
	int r = check_rules(rules, count, err);

	if (r < 0 || hierarchy->unified < 0)
		return r;
	r = get_program(filters, rules, count, err);
	return r < 0 ? r : 0;
}

/* ALLOW_MULTI: a program of a group above, ours or systemd's, goes on to count. */
static int attach_program(int program_fd, const struct taskgroup *group, struct err *err)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)taskgroup_clone_fd(group);
	attr.attach_bpf_fd = (uint32_t)program_fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot attach the device filter to cgroup %s: %m",
			       taskgroup_name(group));
	return 0;
}

static int write_v1(const struct taskgroup *group, const char *file, const char *value,
		    struct err *err)
{
	int r = taskgroup_file_write(group, CONTROLLER_DEVICES, file, value);

	if (r == 0)
		return 0;
	return err_set(err, ERR_INTERNAL, -r, "cannot write \"%s\" to %s of cgroup %s: %m", value,
		       file, taskgroup_name(group));
}

/* "c 136:* rw" */
static void describe_v1(const struct device_rule *rule, char text[static 48])
{
	char minor[16] = "*";

	if (rule->minor != DEVICE_ANY)
		(void)snprintf(minor, sizeof(minor), "%u", rule->minor);
	(void)snprintf(text, 48, "%c %u:%s %s%s%s", rule->type, rule->major, minor,
		       rule->access & DEVICE_READ ? "r" : "",
		       rule->access & DEVICE_WRITE ? "w" : "",
		       rule->access & DEVICE_MKNOD ? "m" : "");
}

static int apply_v1(const struct taskgroup *group, const struct device_rule *rules, size_t count,
		    struct err *err)
{
	int r;

	if (group->hierarchy->where[CONTROLLER_DEVICES] < 0)
		return err_set(
			err, ERR_UNSUPPORTED, EOPNOTSUPP,
			"cannot limit devices of cgroup %s: neither cgroup2 nor the devices controller is there",
			taskgroup_name(group));
	r = write_v1(group, "devices.deny", "a", err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		char text[48];

		describe_v1(&rules[i], text);
		r = write_v1(group, "devices.allow", text, err);
	}
	return r;
}

int device_filters_apply(struct device_filters *filters, const struct hierarchy *hierarchy,
			 const struct taskgroup *group, const struct device_rule *rules,
			 size_t count, struct err *err)
{
	int r = check_rules(rules, count, err), fd;

	if (r < 0)
		return r;
	if (hierarchy->unified < 0)
		return apply_v1(group, rules, count, err);
	fd = get_program(filters, rules, count, err);
	return fd < 0 ? fd : attach_program(fd, group, err);
}

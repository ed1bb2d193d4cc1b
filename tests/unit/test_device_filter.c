/*
 * What the program decides, by running its instructions here; that equal lists share one; and the
 * lines that v1 gets. tests/system/cgroup opens real devices under it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/device_filter.h"
#include "sandbox/taskgroup_internal.h"

#define RWM (DEVICE_READ | DEVICE_WRITE | DEVICE_MKNOD)

static struct bpf_insn program[1024];
static size_t program_length;
static int loads, attaches, load_errno;
static union bpf_attr attach_attr;
static char v1_lines[4096];

long __wrap_syscall(long number, ...)
{
	const union bpf_attr *attr;
	va_list ap;
	int command;

	va_start(ap, number);
	command = va_arg(ap, int);
	attr = va_arg(ap, const union bpf_attr *);
	va_end(ap);
	assert_int_equal(number, SYS_bpf);
	if (command == BPF_PROG_ATTACH) {
		attaches++;
		attach_attr = *attr;
		return 0;
	}
	assert_int_equal(command, BPF_PROG_LOAD);
	if (load_errno) {
		errno = load_errno;
		return -1;
	}
	assert_int_equal(attr->prog_type, BPF_PROG_TYPE_CGROUP_DEVICE);
	assert_in_range(attr->insn_cnt, 1, ARRAY_SIZE(program));
	program_length = attr->insn_cnt;
	memcpy(program, (const void *)(uintptr_t)attr->insns, program_length * sizeof(*program));
	loads++;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int __wrap_group_file_write(int dir_fd, const char *file, const char *value)
{
	size_t used = strlen(v1_lines);

	(void)snprintf(v1_lines + used, sizeof(v1_lines) - used, "%s=%s;", file, value);
	return 0;
}

static bool jumps(uint8_t operation, uint64_t value, int32_t immediate)
{
	switch (operation) {
	case BPF_JNE:
		return value != (uint64_t)(int64_t)immediate;
	case BPF_JSET:
		return value & (uint64_t)(int64_t)immediate;
	}
	fail_msg("jump %#x", operation);
	return false;
}

static void calculate(uint64_t *registers, const struct bpf_insn *insn)
{
	uint64_t operand = BPF_SRC(insn->code) == BPF_X ? registers[insn->src_reg]
							: (uint64_t)(int64_t)insn->imm;
	uint64_t *result = &registers[insn->dst_reg];

	switch (BPF_OP(insn->code)) {
	case BPF_MOV:
		*result = operand;
		break;
	case BPF_AND:
		*result &= operand;
		break;
	case BPF_RSH:
		*result = (uint32_t)*result >> operand;
		break;
	default:
		fail_msg("operation %#x", insn->code);
	}
	if (BPF_CLASS(insn->code) == BPF_ALU)
		*result = (uint32_t)*result;
}

/* The kernel's part: run what was loaded last. */
static bool allows(char type, uint8_t access, uint32_t major, uint32_t minor)
{
	const struct bpf_cgroup_dev_ctx context = {
		.access_type = (uint32_t)access << 16 |
			       (type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR),
		.major = major,
		.minor = minor,
	};
	uint64_t registers[MAX_BPF_REG] = { 0 };

	for (size_t at = 0; at < program_length; at++) {
		const struct bpf_insn *insn = &program[at];

		switch (BPF_CLASS(insn->code)) {
		case BPF_LDX: {
			uint32_t word;

			assert_int_equal(insn->src_reg, BPF_REG_1);
			assert_true(insn->off >= 0 && (size_t)insn->off + 4 <= sizeof(context));
			memcpy(&word, (const char *)&context + insn->off, sizeof(word));
			registers[insn->dst_reg] = word;
			break;
		}
		case BPF_ALU:
		case BPF_ALU64:
			calculate(registers, insn);
			break;
		case BPF_JMP:
			if (BPF_OP(insn->code) == BPF_EXIT)
				return registers[BPF_REG_0] != 0;
			if (jumps(BPF_OP(insn->code), registers[insn->dst_reg], insn->imm))
				at += (size_t)insn->off;
			break;
		default:
			fail_msg("instruction %#x", insn->code);
		}
	}
	fail_msg("the program has no end");
	return false;
}

static struct hierarchy unified, legacy;
static struct taskgroup group;

static int reset(void **state)
{
	loads = attaches = load_errno = 0;
	v1_lines[0] = '\0';
	unified = (struct hierarchy){ .layout = HIERARCHY_UNIFIED, .mount_count = 1 };
	legacy = (struct hierarchy){ .layout = HIERARCHY_LEGACY, .mount_count = 1, .unified = -1 };
	group = (struct taskgroup){ .hierarchy = &unified, .dir_fds = { 5 }, .path = "w/t-42" };
	return device_filters_new((struct device_filters **)state, NULL);
}

static int end(void **state)
{
	device_filters_free(*state);
	return 0;
}

static void load(void **state, const struct device_rule *rules, size_t count)
{
	struct err err = { 0 };

	if (device_filters_prepare(*state, &unified, rules, count, &err) < 0)
		fail_msg("%s", err.text);
}

static void the_default_list_allows_what_every_program_needs(void **state)
{
	load(state, device_filter_default, device_filter_default_count);
	assert_true(allows('c', RWM, 1, 3));
	assert_true(allows('c', DEVICE_READ, 1, 9));
	assert_true(allows('c', DEVICE_READ | DEVICE_WRITE, 5, 2));
	assert_true(allows('c', DEVICE_READ | DEVICE_WRITE, 136, 0));
	assert_true(allows('c', DEVICE_READ | DEVICE_WRITE, 136, 1048575));
}

static void the_default_list_refuses_all_else(void **state)
{
	load(state, device_filter_default, device_filter_default_count);
	assert_false(allows('b', DEVICE_READ, 1, 3));  /* a ram disk has null's numbers */
	assert_false(allows('c', DEVICE_READ, 1, 1));  /* mem */
	assert_false(allows('c', DEVICE_READ, 1, 11)); /* kmsg */
	assert_false(allows('c', DEVICE_READ, 5, 1));  /* console */
	assert_false(allows('c', DEVICE_READ, 4, 1));
	assert_false(allows('b', DEVICE_READ, 8, 0));
	assert_false(allows('c', DEVICE_READ, 10, 200));
	assert_false(allows('c', DEVICE_READ, 137, 0));
	assert_false(allows('c', DEVICE_READ, 1 << 12 | 1, 3));
}

static void an_access_beyond_the_rules_is_refused(void **state)
{
	static const struct device_rule rules[] = {
		{ 'b', DEVICE_READ, 8, 1 },
		{ 'b', DEVICE_WRITE, 8, 2 },
		{ 'c', RWM, 10, DEVICE_ANY },
		{ 'b', DEVICE_READ | DEVICE_WRITE, 8, 1 }, /* a later rule may allow more */
	};

	load(state, rules, ARRAY_SIZE(rules));
	assert_true(allows('b', DEVICE_READ, 8, 1));
	assert_true(allows('b', DEVICE_READ | DEVICE_WRITE, 8, 1));
	assert_false(allows('b', DEVICE_MKNOD, 8, 1));
	assert_true(allows('b', DEVICE_WRITE, 8, 2));
	assert_false(allows('b', DEVICE_READ, 8, 2));
	assert_false(allows('b', DEVICE_READ | DEVICE_WRITE, 8, 2));
	assert_true(allows('c', DEVICE_MKNOD, 10, 77));
}

static void an_empty_list_allows_nothing(void **state)
{
	load(state, NULL, 0);
	assert_false(allows('c', DEVICE_READ, 1, 3));
}

static void the_longest_list_has_an_end(void **state)
{
	struct device_rule rules[DEVICE_RULES_MAX + 1];
	struct err err = { 0 };

	for (uint32_t i = 0; i < ARRAY_SIZE(rules); i++)
		rules[i] = (struct device_rule){ 'c', DEVICE_READ, i, i };
	load(state, rules, DEVICE_RULES_MAX);
	assert_true(allows('c', DEVICE_READ, DEVICE_RULES_MAX - 1, DEVICE_RULES_MAX - 1));
	assert_false(allows('c', DEVICE_READ, DEVICE_RULES_MAX, DEVICE_RULES_MAX));
	assert_int_equal(device_filters_prepare(*state, &unified, rules, ARRAY_SIZE(rules), &err),
			 -E2BIG);
	assert_int_equal(err.kind, ERR_INVALID);
}

static void a_rule_that_is_none_is_refused(void **state)
{
	static const struct device_rule bad[] = {
		{ 'a', RWM, 1, 3 },
		{ 'c', 0, 1, 3 },
		{ 'c', 8, 1, 3 },
		{ 'c', RWM, 4096, 3 },
		{ 'c', RWM, DEVICE_ANY, 3 },
		{ 'c', RWM, 1, 1 << 20 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = { 0 };

		assert_int_equal(device_filters_prepare(*state, &unified, &bad[i], 1, &err),
				 -EINVAL);
		assert_int_equal(err.kind, ERR_INVALID);
	}
	assert_int_equal(loads, 0);
}

static void equal_lists_share_a_program_and_the_oldest_goes(void **state)
{
	struct device_rule rule = { 'c', DEVICE_READ, 0, 0 };

	for (int round = 0; round < 2; round++) {
		for (rule.major = 0; rule.major < 64; rule.major++)
			load(state, &rule, 1);
	}
	assert_int_equal(loads, 64);
	rule.major = 100; /* in the place of 0 */
	load(state, &rule, 1);
	assert_int_equal(loads, 65);
	rule.major = 1;
	load(state, &rule, 1);
	assert_int_equal(loads, 65);
	rule.major = 0;
	load(state, &rule, 1);
	assert_int_equal(loads, 66);
}

static void a_program_is_added_to_those_of_the_groups_above(void **state)
{
	struct err err = { 0 };

	for (int i = 0; i < 2; i++)
		assert_int_equal(device_filters_apply(*state, &unified, &group,
						      device_filter_default,
						      device_filter_default_count, &err),
				 0);
	assert_int_equal(loads, 1);
	assert_int_equal(attaches, 2);
	assert_int_equal(attach_attr.target_fd, 5);
	assert_int_equal(attach_attr.attach_type, BPF_CGROUP_DEVICE);
	assert_int_equal(attach_attr.attach_flags, BPF_F_ALLOW_MULTI);
}

static void a_kernel_without_such_programs_is_named(void **state)
{
	struct err err = { 0 };

	load_errno = EINVAL;
	assert_int_equal(device_filters_prepare(*state, &unified, device_filter_default,
						device_filter_default_count, &err),
			 -EINVAL);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "CONFIG_CGROUP_BPF"));
	load_errno = EPERM;
	assert_int_equal(device_filters_apply(*state, &unified, &group, device_filter_default,
					      device_filter_default_count, &err),
			 -EPERM);
	assert_int_equal(err.kind, ERR_INTERNAL);
	assert_int_equal(attaches, 0);
}

static void legacy_gets_lines_after_everything_was_denied(void **state)
{
	static const struct device_rule rules[] = { { 'c', DEVICE_READ | DEVICE_WRITE, 1, 3 },
						    { 'b', RWM, 8, DEVICE_ANY } };
	struct err err = { 0 };

	group.hierarchy = &legacy;
	assert_int_equal(device_filters_apply(*state, &legacy, &group, rules, 2, &err), 0);
	assert_string_equal(v1_lines,
			    "devices.deny=a;devices.allow=c 1:3 rw;devices.allow=b 8:* rwm;");
	assert_int_equal(loads, 0);
	legacy.where[CONTROLLER_DEVICES] = -1;
	assert_int_equal(device_filters_apply(*state, &legacy, &group, rules, 2, &err),
			 -EOPNOTSUPP);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_default_list_allows_what_every_program_needs),
		TEST(the_default_list_refuses_all_else),
		TEST(an_access_beyond_the_rules_is_refused),
		TEST(an_empty_list_allows_nothing),
		TEST(the_longest_list_has_an_end),
		TEST(a_rule_that_is_none_is_refused),
		TEST(equal_lists_share_a_program_and_the_oldest_goes),
		TEST(a_program_is_added_to_those_of_the_groups_above),
		TEST(a_kernel_without_such_programs_is_named),
		TEST(legacy_gets_lines_after_everything_was_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

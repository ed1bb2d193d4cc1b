/*
 * A second opinion on a compiled program: run it, here, for calls on both sides of every comparison
 * of the profile, and see that it says what the profile says.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>

#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

/* Beyond the newest number, so that the default and the foreign ABIs are looked at too. */
#define CHECKED_NUMBERS (SYSCALL_NUMBER_NEWEST + 64)

uint32_t filter_run(const struct sock_filter *instructions, size_t count,
		    const struct seccomp_data *call)
{
	uint32_t accumulator = 0;

	for (size_t at = 0; at < count; at++) {
		const struct sock_filter *in = &instructions[at];
		bool taken;

		switch (in->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (in->k > sizeof(*call) - sizeof(accumulator) || in->k % 4)
				return SECCOMP_RET_KILL_PROCESS;
			memcpy(&accumulator, (const char *)call + in->k, sizeof(accumulator));
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			accumulator &= in->k;
			continue;
		case BPF_RET | BPF_K:
			return in->k;
		case BPF_JMP | BPF_JA:
			at += in->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			taken = accumulator == in->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			taken = accumulator >= in->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			taken = accumulator > in->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			taken = accumulator & in->k;
			break;
		default:
			return SECCOMP_RET_KILL_PROCESS;
		}
		at += taken ? in->jt : in->jf;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

/* libseccomp's actions are the kernel's return values. */
static uint32_t expected_return(const struct filter_rule *rule)
{
	switch (rule->verdict) {
	case FILTER_ALLOW:
		return SECCOMP_RET_ALLOW;
	case FILTER_LOG:
		return SECCOMP_RET_LOG;
	case FILTER_NOTIFY:
		return SECCOMP_RET_USER_NOTIF;
	case FILTER_ERRNO:
		return SECCOMP_RET_ERRNO | rule->errnum;
	case FILTER_TRAP:
		return SECCOMP_RET_TRAP;
	case FILTER_KILL_THREAD:
		return SECCOMP_RET_KILL_THREAD;
	case FILTER_KILL:
		break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

static int check_call(const struct filter *filter, const struct filter_profile *profile,
		      const struct seccomp_data *call, struct err *err)
{
	struct filter_rule rule = filter_profile_judge(profile, call);
	uint32_t want = expected_return(&rule);
	uint32_t have = filter_run(filter->instructions, filter->instruction_count, call);
	const char *name = syscall_name(call->nr);

	if (want == have)
		return 0;
	return err_set(
		err, ERR_UNSUPPORTED, EPROTO,
		"seccomp filter compiled by this libseccomp is not the profile: %s(%#llx, %#llx, %#llx) gives %#x instead of %#x",
		name ? name : "unknown call", (unsigned long long)call->args[0],
		(unsigned long long)call->args[1], (unsigned long long)call->args[2], have, want);
}

/* Values around the one that @cmp compares with, also with the other half of the register set. */
static int check_around(const struct filter *filter, const struct filter_profile *profile,
			struct seccomp_data *call, const struct scmp_arg_cmp *cmp, struct err *err)
{
	static const uint64_t high[] = { 0, UINT64_C(1) << 32, UINT64_C(0xffffffff) << 32 };
	uint64_t value = cmp->op == SCMP_CMP_MASKED_EQ ? cmp->datum_b : cmp->datum_a;
	uint64_t mask = cmp->op == SCMP_CMP_MASKED_EQ ? cmp->datum_a : 1;
	uint64_t before = call->args[cmp->arg];

	for (size_t i = 0; i < ARRAY_SIZE(high); i++) {
		const uint64_t near[] = {
			value, value + 1, value - 1, value | mask, value ^ (mask & -mask), ~value
		};

		for (size_t j = 0; j < ARRAY_SIZE(near); j++) {
			int r;

			call->args[cmp->arg] = near[j] | high[i];
			r = check_call(filter, profile, call, err);
			if (r < 0)
				return r;
		}
	}
	call->args[cmp->arg] = before;
	return 0;
}

/* Each comparison of @rule by itself, while the others of it hold. */
static int check_rule(const struct filter *filter, const struct filter_profile *profile,
		      const struct filter_rule *rule, struct err *err)
{
	struct seccomp_data call = { .nr = (int)rule->nr, .arch = AUDIT_ARCH_X86_64 };
	int r;

	for (unsigned int i = 0; i < rule->arg_count; i++)
		call.args[rule->args[i].arg] = rule->args[i].op == SCMP_CMP_MASKED_EQ
						       ? rule->args[i].datum_b
						       : rule->args[i].datum_a;
	for (unsigned int i = 0; i < rule->arg_count; i++) {
		r = check_around(filter, profile, &call, &rule->args[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_foreign(const struct filter *filter, struct seccomp_data call, struct err *err)
{
	if (filter_run(filter->instructions, filter->instruction_count, &call) ==
	    SECCOMP_RET_KILL_PROCESS)
		return 0;
	return err_set(err, ERR_UNSUPPORTED, EPROTO,
		       "seccomp filter compiled by this libseccomp lets call %d of ABI %#x pass",
		       call.nr, call.arch);
}

int filter_check(const struct filter *filter, const struct filter_profile *profile, struct err *err)
{
	int r = 0;

	for (int nr = 0; r >= 0 && nr < CHECKED_NUMBERS; nr++) {
		struct seccomp_data call = { .nr = nr, .arch = AUDIT_ARCH_X86_64 };

		r = check_call(filter, profile, &call, err);
		if (r < 0)
			break;
		call.arch = AUDIT_ARCH_I386;
		r = check_foreign(filter, call, err);
		if (r < 0)
			break;
		call.arch = AUDIT_ARCH_X86_64;
		call.nr |= 0x40000000; /* x32 */
		r = check_foreign(filter, call, err);
	}
	for (size_t i = 0; r >= 0 && i < profile->count; i++)
		r = check_rule(filter, profile, &profile->rules[i], err);
	return r;
}

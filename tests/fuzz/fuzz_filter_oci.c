/*
 * JSON profiles as a caller may send them. The first byte picks capabilities and listener. What
 * compiles must be a program that ends, kills foreign ABIs, allows execve, and says of every call
 * what libseccomp says that is given all the rules.
 */
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

static uint32_t run(const struct filter *filter, int nr, uint32_t arch)
{
	const struct seccomp_data call = { .nr = nr, .arch = arch };

	return filter_run(filter->instructions, filter->instruction_count, &call);
}

static void check(const struct filter *filter, bool listener)
{
	uint32_t verdict = run(filter, __NR_execve, AUDIT_ARCH_X86_64);

	if (verdict != SECCOMP_RET_ALLOW && verdict != SECCOMP_RET_LOG)
		__builtin_trap();
	if (run(filter, __NR_read, AUDIT_ARCH_I386) != SECCOMP_RET_KILL_PROCESS)
		__builtin_trap();
	if (!listener && filter->notifies)
		__builtin_trap();
	for (int nr = 0; nr < 512; nr++)
		if (run(filter, nr, AUDIT_ARCH_X86_64) == SECCOMP_RET_USER_NOTIF &&
		    !filter->notifies)
			__builtin_trap();
}

/* The profile as one program of libseccomp's. Returns the count of instructions, or 0. */
static size_t compile_reference(const struct filter_profile *profile, struct sock_filter *out,
				size_t room)
{
	scmp_filter_ctx context =
		seccomp_init(filter_action(profile->default_verdict, profile->default_errnum));
	cleanup_fd int fd = memfd_create("reference", MFD_CLOEXEC);
	ssize_t got = 0;

	if (!context || fd < 0)
		abort();
	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *rule = &profile->rules[i];

		/* One that says what the default says is refused, and changes nothing. */
		(void)seccomp_rule_add_array(context, filter_action(rule->verdict, rule->errnum),
					     (int)rule->nr, rule->arg_count, rule->args);
	}
	if (seccomp_export_bpf(context, fd) == 0)
		got = pread(fd, out, room * sizeof(*out), 0);
	seccomp_release(context);
	return got > 0 ? (size_t)got / sizeof(*out) : 0;
}

static void compare_rule(const struct filter *filter, const struct sock_filter *reference,
			 size_t count, const struct filter_rule *rule)
{
	struct seccomp_data call = { .nr = (int)rule->nr, .arch = AUDIT_ARCH_X86_64 };

	for (uint64_t change = 0; change < 4; change++) {
		for (unsigned int i = 0; i < rule->arg_count; i++)
			call.args[rule->args[i].arg] = (rule->args[i].op == SCMP_CMP_MASKED_EQ
								? rule->args[i].datum_b
								: rule->args[i].datum_a) +
						       change - 1;
		if (filter_run(filter->instructions, filter->instruction_count, &call) !=
		    filter_run(reference, count, &call))
			__builtin_trap();
	}
}

static void compare(const struct filter *filter, const struct filter_profile *profile)
{
	static struct sock_filter reference[1 << 16];
	size_t count = compile_reference(profile, reference, ARRAY_SIZE(reference));

	if (count == 0)
		return;
	for (uint32_t nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++)
		compare_rule(filter, reference, count, &(struct filter_rule){ .nr = nr });
	for (size_t i = 0; i < profile->count; i++)
		compare_rule(filter, reference, count, &profile->rules[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	cleanup(filter_free_p) struct filter *filter = NULL;
	struct filter_request request = { .source = FILTER_OCI };
	struct err err = { 0 };

	if (size == 0)
		return 0;
	request.json = (const char *)data + 1;
	request.json_length = size - 1;
	request.listener = data[0] & 1;
	request.capabilities = data[0] & 2 ? ~UINT64_C(0) : 0;
	if (filter_compile(&request, &filter, &err) == 0)
		check(filter, request.listener);
	else if (err.kind == ERR_NONE || err.text[0] == '\0' || filter)
		__builtin_trap();
	if (filter && request.listener && filter_oci_profile(&request, &profile, &err) == 0)
		compare(filter, profile);
	return 0;
}

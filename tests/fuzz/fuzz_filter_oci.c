/*
 * JSON profiles as a caller may send them. The first byte picks capabilities and listener. What compiles
 * must be a program that ends, kills foreign ABIs, and allows execve.
 */
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include "proto/err.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
	return 0;
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "filtered_child.h"
#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

static struct filtered_results *results;

static struct filter_request request_for(const char *json)
{
	return (struct filter_request){
		.source = FILTER_OCI,
		.json = json,
		.json_length = strlen(json),
		.listener = true,
	};
}

static struct filter *compile(const char *json)
{
	struct filter_request request = request_for(json);

	return compile_or_fail(&request);
}

static uint32_t run_args(const struct filter *filter, long nr, uint64_t a0, uint64_t a1,
			 uint64_t a2)
{
	const struct seccomp_data call = {
		.nr = (int)nr,
		.arch = AUDIT_ARCH_X86_64,
		.args = { a0, a1, a2 },
	};

	return filter_run(filter->instructions, filter->instruction_count, &call);
}

static int answer(const struct filter *filter, long nr)
{
	const struct seccomp_data call = { .nr = (int)nr, .arch = AUDIT_ARCH_X86_64 };

	return denial_errnum(&filter->denials, &call);
}

#define BASIC "\"execve\", \"exit_group\", \"exit\", \"write\", \"read\", \"close\", \"futex\""

static void an_allow_list_denies_the_rest_by_name(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"defaultErrnoRet\": 13,"
		" \"syscalls\": [{\"names\": [" BASIC "], \"action\": \"SCMP_ACT_ALLOW\"}]}");

	assert_true(filter->notifies);
	assert_int_equal(run_args(filter, __NR_write, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_mount, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_mount), EACCES);
	assert_int_equal(run_args(filter, SYSCALL_NUMBER_NEWEST + 1, 0, 0, 0),
			 SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(run_args(filter, __NR_getpid | 0x40000000, 0, 0, 0),
			 SECCOMP_RET_KILL_PROCESS);
}

static void a_default_of_enosys_stays_silent_and_explicit_errnos_are_counted(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"defaultErrnoRet\": 38,"
		" \"syscalls\": [{\"names\": [" BASIC "], \"action\": \"SCMP_ACT_ALLOW\"},"
		" {\"names\": [\"mount\", \"bpf\"], \"action\": \"SCMP_ACT_ERRNO\"},"
		" {\"names\": [\"kcmp\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 22}]}");

	assert_int_equal(run_args(filter, __NR_ptrace, 0, 0, 0), SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(run_args(filter, __NR_mount, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_mount), EPERM);
	assert_int_equal(run_args(filter, __NR_kcmp, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_kcmp), EINVAL);
}

static void a_deny_list_counts_what_it_denies(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": ["
		" {\"names\": [\"mkdir\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 30},"
		" {\"names\": [\"swapon\"], \"action\": \"SCMP_ACT_KILL_PROCESS\"},"
		" {\"name\": \"swapoff\", \"action\": \"SCMP_ACT_TRAP\"}]}");

	assert_int_equal(run_args(filter, __NR_mkdir, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_mkdir), EROFS);
	assert_int_equal(run_args(filter, __NR_swapon, 0, 0, 0), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(run_args(filter, __NR_swapoff, 0, 0, 0), SECCOMP_RET_TRAP);
	assert_int_equal(run_args(filter, SYSCALL_NUMBER_NEWEST + 1, 0, 0, 0), SECCOMP_RET_ALLOW);
}

static void arguments_are_compared_as_the_profile_says(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": ["
		" {\"names\": [" BASIC "], \"action\": \"SCMP_ACT_ALLOW\"},"
		" {\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"args\": [{\"index\": 0, \"value\": 40, \"op\": \"SCMP_CMP_NE\"}]},"
		" {\"names\": [\"clone\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": [{\"index\": 0,"
		"  \"value\": 2114060288, \"valueTwo\": 0, \"op\": \"SCMP_CMP_MASKED_EQ\"}]},"
		" {\"names\": [\"kill\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": ["
		"  {\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_GT\"},"
		"  {\"index\": 1, \"value\": 15, \"op\": \"SCMP_CMP_LE\"}]},"
		/* two conditions on one argument: either */
		" {\"names\": [\"personality\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\": ["
		"  {\"index\": 0, \"value\": 0, \"op\": \"SCMP_CMP_EQ\"},"
		"  {\"index\": 0, \"value\": 8, \"op\": \"SCMP_CMP_EQ\"}]}]}");

	assert_int_equal(run_args(filter, __NR_socket, AF_VSOCK, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(filter, __NR_socket, AF_ALG, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_clone, CLONE_NEWUSER, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(filter, __NR_clone, CLONE_VM | 17, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_kill, 2, 15, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_kill, 2, 16, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(filter, __NR_kill, 1, 15, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(filter, __NR_personality, 8, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_personality, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_personality, 9, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_kill), EPERM);
}

/* A monitor that cannot tell which of two rules was met must not guess. */
static void two_errnos_of_one_call_stay_the_kernels(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": ["
		" {\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 97,"
		"  \"args\": [{\"index\": 0, \"value\": 38, \"op\": \"SCMP_CMP_EQ\"}]},"
		" {\"names\": [\"socket\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 13,"
		"  \"args\": [{\"index\": 0, \"value\": 40, \"op\": \"SCMP_CMP_EQ\"}]},"
		" {\"names\": [\"prctl\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 22,"
		"  \"args\": [{\"index\": 0, \"value\": 8, \"op\": \"SCMP_CMP_MASKED_EQ\","
		"  \"valueTwo\": 8}]}]}");

	assert_int_equal(run_args(filter, __NR_socket, 38, 0, 0), SECCOMP_RET_ERRNO | EAFNOSUPPORT);
	assert_int_equal(run_args(filter, __NR_socket, 40, 0, 0), SECCOMP_RET_ERRNO | EACCES);
	assert_int_equal(run_args(filter, __NR_socket, 1, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_prctl, 9, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_prctl), EINVAL);
	assert_non_null(strstr(filter->note, "2 rules"));
}

static void a_calls_own_errno_beats_the_defaults_and_its_comparisons(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": ["
		" {\"names\": [" BASIC "], \"action\": \"SCMP_ACT_ALLOW\"},"
		" {\"names\": [\"clone3\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 38},"
		" {\"names\": [\"kcmp\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 22},"
		" {\"names\": [\"kcmp\"], \"action\": \"SCMP_ACT_ALLOW\", \"args\":"
		"  [{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}]}]}");

	assert_int_equal(run_args(filter, __NR_clone3, 0, 0, 0), SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(run_args(filter, __NR_kcmp, 1, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(answer(filter, __NR_kcmp), EINVAL);
	assert_int_equal(answer(filter, __NR_bpf), EPERM);
}

static void includes_and_excludes_follow_capabilities_architecture_and_kernel(void **state)
{
	const char *json =
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"archMap\": [{\"architecture\":"
		" \"SCMP_ARCH_X86_64\", \"subArchitectures\": [\"SCMP_ARCH_X86\"]}], \"syscalls\": ["
		" {\"names\": [" BASIC "], \"action\": \"SCMP_ACT_ALLOW\"},"
		" {\"names\": [\"chroot\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"includes\": {\"caps\": [\"CAP_SYS_CHROOT\"]}},"
		" {\"names\": [\"acct\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"includes\": {\"caps\": [\"CAP_SYS_CHROOT\", \"CAP_KILL\"]}},"
		" {\"names\": [\"vhangup\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"excludes\": {\"caps\": [\"CAP_SYS_CHROOT\"]}},"
		" {\"names\": [\"ptrace\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"includes\": {\"minKernel\": \"4.8\"}},"
		" {\"names\": [\"kcmp\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"includes\": {\"minKernel\": \"999.0\"}},"
		" {\"names\": [\"arch_prctl\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"includes\": {\"arches\": [\"amd64\", \"x32\"]}},"
		" {\"names\": [\"syslog\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"includes\": {\"arches\": [\"arm64\"]}},"
		" {\"names\": [\"swapon\"], \"action\": \"SCMP_ACT_ALLOW\","
		"  \"excludes\": {\"arches\": [\"amd64\"]}}]}";
	struct filter_request request = request_for(json);
	cleanup(filter_free_p) struct filter *plain = compile_or_fail(&request);
	cleanup(filter_free_p) struct filter *chrooting = NULL;

	request.capabilities = UINT64_C(1) << CAP_SYS_CHROOT;
	chrooting = compile_or_fail(&request);
	assert_int_equal(run_args(plain, __NR_chroot, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(chrooting, __NR_chroot, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(chrooting, __NR_acct, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(plain, __NR_vhangup, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(chrooting, __NR_vhangup, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(plain, __NR_ptrace, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(plain, __NR_kcmp, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(plain, __NR_arch_prctl, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(plain, __NR_syslog, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(plain, __NR_swapon, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
}

/* The table of errnos has room for a profile that names every call there is. */
static void every_call_may_have_its_errno(void **state)
{
	static char json[FILTER_JSON_MAX];
	char *end = json;
	cleanup(filter_free_p) struct filter *filter = NULL;

	end += sprintf(end,
		       "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"bpf\"");
	for (int nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++)
		if (syscall_name(nr) && nr != __NR_execve && nr != __NR_bpf)
			end += sprintf(end, ",\"%s\"", syscall_name(nr));
	end += sprintf(end, "],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":13,\"args\":"
			    "[{\"index\":1,\"value\":5,\"op\":\"SCMP_CMP_GT\"}]}]}");
	filter = compile(json);
	for (int nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++) {
		if (!syscall_name(nr) || nr == __NR_execve)
			continue;
		assert_int_equal(run_args(filter, nr, 0, 5, 0), SECCOMP_RET_ALLOW);
		assert_int_equal(run_args(filter, nr, 0, 6, 0), SECCOMP_RET_USER_NOTIF);
		assert_int_equal(answer(filter, nr), EACCES);
	}
}

static void unknown_names_are_ignored_and_counted(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\":"
		" [\"chown32\", \"socketcall\", \"mount\"], \"action\": \"SCMP_ACT_ERRNO\"}],"
		" \"architectures\": [\"SCMP_ARCH_X86_64\", \"SCMP_ARCH_X86\"]}");

	assert_int_equal(filter->unknown_names, 2);
	assert_int_equal(run_args(filter, __NR_mount, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_non_null(strstr(filter->note, "SCMP_ARCH_X86"));
}

static void what_cannot_be_honoured_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *json;
		const char *reason;
	} cases[] = {
		{ "", "malformed" },
		{ "[]", "no JSON object" },
		{ "{}", "action" },
		{ "{\"defaultAction\": \"SCMP_ACT_MAYBE\"}", "SCMP_ACT_MAYBE" },
		{ "{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}", "listener" },
		{ "{\"defaultAction\": \"SCMP_ACT_TRACE\"}", "tracer" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerPath\": \"/x\"}", "listener" },
		{ "{\"defaultAction\": \"SCMP_ACT_ERRNO\"}", "execve" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"execve\"],"
		  " \"action\": \"SCMP_ACT_KILL\"}]}",
		  "execve" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"execve\"],"
		  " \"action\": \"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 2, \"value\": 0,"
		  " \"op\": \"SCMP_CMP_EQ\"}]}]}",
		  "execve" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": {}}", "array" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [1]}", "object" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [],"
		  " \"action\": \"SCMP_ACT_KILL\"}]}",
		  "names" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mount\"],"
		  " \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 4096}]}",
		  "errno" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mount\"],"
		  " \"action\": \"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 6, \"value\": 0,"
		  " \"op\": \"SCMP_CMP_EQ\"}]}]}",
		  "index" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mount\"],"
		  " \"action\": \"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 0, \"value\": 0,"
		  " \"op\": \"EQ\\u001b[31m\"}]}]}",
		  "op is" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"defaultAction\": \"SCMP_ACT_KILL\"}",
		  "malformed" },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"mount\"],"
		  " \"action\": \"SCMP_ACT_ERRNO\", \"args\": [{\"index\": 0, \"op\": \"SCMP_CMP_EQ\","
		  " \"value\": 18446744073709551615}]}]}",
		  "2^63" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct filter_request request = request_for(cases[i].json);
		struct filter *filter = NULL;
		struct err err = { 0 };

		assert_true(filter_compile(&request, &filter, &err) < 0);
		assert_int_equal(err.kind, ERR_INVALID);
		if (!strstr(err.text, cases[i].reason))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].reason);
		assert_null(strchr(err.text, '\033'));
		assert_null(filter);
	}
}

static void documents_and_rules_have_limits(void **state)
{
	static char json[FILTER_JSON_MAX + 2];
	struct filter_request request = { .source = FILTER_OCI, .json = json, .listener = true };
	struct filter *filter = NULL;
	struct err err = { 0 };
	char *end = json;

	memset(json, ' ', sizeof(json));
	request.json_length = FILTER_JSON_MAX + 1;
	assert_true(filter_compile(&request, &filter, &err) < 0);
	assert_non_null(strstr(err.text, "65536"));

	end += sprintf(end,
		       "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"bpf\"");
	while (end - json < (ptrdiff_t)FILTER_JSON_MAX - 200)
		end += sprintf(end, ",\"bpf\"");
	end += sprintf(end, "],\"action\":\"SCMP_ACT_ERRNO\"}]}");
	request.json_length = (size_t)(end - json);
	assert_true(filter_compile(&request, &filter, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_non_null(strstr(err.text, "rules"));

	/* The parser's own nesting limit, not our stack. */
	memset(json, '[', FILTER_JSON_MAX);
	request.json_length = FILTER_JSON_MAX;
	assert_true(filter_compile(&request, &filter, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_null(filter);
}

static void probe_profile(struct filtered_results *shared)
{
	shared->errnums[0] = mkdir("/never-made", 0700) < 0 ? errno : 0;
	shared->errnums[1] = mount("a", "b", "c", 0, NULL) < 0 ? errno : 0;
	shared->errnums[2] = syscall(SYSCALL_NUMBER_NEWEST + 5) < 0 ? errno : 0;
	shared->errnums[3] = getppid() > 0 ? 0 : 1;
}

/* Besides what the probe needs, what a sanitizer does at exit. */
static void the_kernel_and_the_monitor_give_the_profiles_errnos(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile(
		"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"defaultErrnoRet\": 13,"
		" \"syscalls\": [{\"names\": [" BASIC
		", \"getppid\", \"sigaltstack\", \"mmap\", \"munmap\"],"
		" \"action\": \"SCMP_ACT_ALLOW\"}, {\"names\": [\"mkdir\"],"
		" \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 28}]}");

	assert_int_equal(run_filtered(filter, probe_profile, results), 0);
	assert_int_equal(results->errnums[0], ENOSPC);
	assert_int_equal(results->errnums[1], EACCES);
	assert_int_equal(results->errnums[2], ENOSYS);
	assert_int_equal(results->errnums[3], 0);
	assert_int_equal(results->denial_count, 2);
	assert_int_equal(results->denials[0].nr, __NR_mkdir);
	assert_int_equal(results->denials[1].nr, __NR_mount);
}

static int set_up(void **state)
{
	results = filtered_results_new();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allow_list_denies_the_rest_by_name),
		cmocka_unit_test(a_default_of_enosys_stays_silent_and_explicit_errnos_are_counted),
		cmocka_unit_test(a_deny_list_counts_what_it_denies),
		cmocka_unit_test(arguments_are_compared_as_the_profile_says),
		cmocka_unit_test(two_errnos_of_one_call_stay_the_kernels),
		cmocka_unit_test(a_calls_own_errno_beats_the_defaults_and_its_comparisons),
		cmocka_unit_test(includes_and_excludes_follow_capabilities_architecture_and_kernel),
		cmocka_unit_test(every_call_may_have_its_errno),
		cmocka_unit_test(unknown_names_are_ignored_and_counted),
		cmocka_unit_test(what_cannot_be_honoured_is_refused_with_the_reason),
		cmocka_unit_test(documents_and_rules_have_limits),
		cmocka_unit_test(the_kernel_and_the_monitor_give_the_profiles_errnos),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}

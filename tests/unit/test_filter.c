#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "filtered_child.h"
#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

#define NEWEST SYSCALL_NUMBER_NEWEST

static const struct filter_request default_request = { .source = FILTER_DEFAULT, .listener = true };

static struct filtered_results *results;

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

static void every_known_call_is_decided_by_exactly_one_group(void **state)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	int groups_of[NEWEST + 1] = { 0 };
	int allowed = 0;
	int denied = 0;
	struct err err = { 0 };

	assert_int_equal(filter_default_profile(0, &profile, &err), 0);
	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *rule = &profile->rules[i];

		assert_non_null(syscall_name(rule->nr));
		if (rule->arg_count > 0)
			groups_of[rule->nr] = 1;
		else
			groups_of[rule->nr]++;
		allowed += rule->arg_count == 0 && rule->verdict == FILTER_ALLOW;
		denied += rule->arg_count == 0 && rule->verdict == FILTER_NOTIFY;
	}
	for (int nr = 0; nr <= NEWEST; nr++)
		assert_true(groups_of[nr] <= 1);
	assert_in_range(allowed, 290, 320);
	assert_in_range(denied, 45, 55);
}

/* The optional calls need no rule, since ENOSYS is the default; so that none is forgotten by
 * accident, all that has no rule is listed here once more. */
static void what_has_no_rule_is_meant_to_have_none(void **state)
{
	static const char *const absent[] = {
		"clone3",
		"fsopen",
		"fsconfig",
		"fsmount",
		"fspick",
		"open_tree",
		"open_tree_attr",
		"move_mount",
		"mount_setattr",
		"modify_ldt",
		"cachestat",
		"file_setattr",
		"lsm_get_self_attr",
		"lsm_set_self_attr",
		"lsm_list_modules",
		"lookup_dcookie",
		"uselib",
		"ustat",
		"sysfs",
		"_sysctl",
		"create_module",
		"get_kernel_syms",
		"query_module",
		"nfsservctl",
		"getpmsg",
		"putpmsg",
		"afs_syscall",
		"tuxcall",
		"security",
		"set_thread_area",
		"get_thread_area",
		"epoll_ctl_old",
		"epoll_wait_old",
		"vserver",
	};
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	bool has_rule[NEWEST + 1] = { false };
	struct err err = { 0 };

	assert_int_equal(filter_default_profile(0, &profile, &err), 0);
	for (size_t i = 0; i < profile->count; i++)
		has_rule[profile->rules[i].nr] = true;
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		int nr = syscall_number(absent[i]);

		assert_true(nr >= 0);
		assert_false(has_rule[nr]);
		has_rule[nr] = true;
	}
	for (int nr = 0; nr <= NEWEST; nr++)
		if (syscall_name(nr) && !has_rule[nr])
			fail_msg("no decision about %s", syscall_name(nr));
}

static void the_program_is_small_and_says_what_the_profile_says(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);

	assert_in_range(filter->instruction_count, 100, 300);
	assert_true(filter->notifies);
	assert_int_equal(run_args(filter, __NR_read, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_mount, 0, 0, 0), SECCOMP_RET_USER_NOTIF);
	assert_int_equal(run_args(filter, __NR_clone3, 0, 0, 0), SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(run_args(filter, NEWEST + 1, 0, 0, 0), SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(run_args(filter, 337, 0, 0, 0), SECCOMP_RET_ERRNO | ENOSYS);
	assert_int_equal(run_args(filter, -1, 0, 0, 0), SECCOMP_RET_ALLOW);
	assert_int_equal(run_args(filter, __NR_getpid | 0x40000000, 0, 0, 0),
			 SECCOMP_RET_KILL_PROCESS);
}

/* The check is worth something only if it sees a program that is not the profile. */
static void the_check_finds_each_single_changed_verdict(void **state)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);
	unsigned int changed = 0;
	unsigned int missed = 0;
	struct err err = { 0 };

	assert_int_equal(filter_default_profile(0, &profile, &err), 0);
	assert_int_equal(filter_check(filter, profile, &err), 0);
	for (uint32_t i = 0; i < filter->instruction_count; i++) {
		struct sock_filter *in = &filter->instructions[i];
		struct sock_filter before = *in;

		if (in->code == (BPF_JMP | BPF_JEQ | BPF_K))
			in->k ^= 1;
		else if (in->code == (BPF_JMP | BPF_JGE | BPF_K))
			in->k++;
		else
			continue;
		changed++;
		missed += filter_check(filter, profile, &err) == 0;
		*in = before;
	}
	assert_true(changed > 100);
	/* Of the upper half of a register, masked with 0, every comparison says the same. */
	assert_in_range(missed, 0, changed / 10);
}

static void capabilities_open_their_calls_and_no_others(void **state)
{
	struct filter_request request = default_request;
	cleanup(filter_free_p) struct filter *plain = compile_or_fail(&request);
	cleanup(filter_free_p) struct filter *chrooting = NULL;
	cleanup(filter_free_p) struct filter *everything = NULL;

	request.capabilities = UINT64_C(1) << CAP_SYS_CHROOT;
	chrooting = compile_or_fail(&request);
	request.capabilities = ~UINT64_C(0);
	everything = compile_or_fail(&request);
	for (int nr = 0; nr <= NEWEST; nr++) {
		bool is_chroot = nr == __NR_chroot;

		assert_int_equal(run_args(plain, nr, 0, 0, 0) == run_args(chrooting, nr, 0, 0, 0),
				 !is_chroot);
		assert_int_equal(run_args(plain, nr, 0, 0, 0) == run_args(everything, nr, 0, 0, 0),
				 !is_chroot);
	}
	assert_int_equal(run_args(chrooting, __NR_chroot, 0, 0, 0), SECCOMP_RET_ALLOW);
}

static void without_a_listener_the_kernel_gives_the_same_errnos(void **state)
{
	struct filter_request request = { .source = FILTER_DEFAULT };
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&request);

	assert_false(filter->notifies);
	assert_int_equal(run_args(filter, __NR_mount, 0, 0, 0), SECCOMP_RET_ERRNO | EPERM);
	assert_int_equal(run_args(filter, __NR_socket, AF_ALG, 0, 0),
			 SECCOMP_RET_ERRNO | EAFNOSUPPORT);
	assert_int_equal(run_args(filter, __NR_socket, AF_NETLINK, 0, 6),
			 SECCOMP_RET_ERRNO | EPROTONOSUPPORT);
	assert_int_equal(run_args(filter, __NR_ioctl, 1, TIOCSTI, 0), SECCOMP_RET_ERRNO | EPERM);
	assert_int_equal(run_args(filter, __NR_unshare, CLONE_NEWUSER, 0, 0),
			 SECCOMP_RET_ERRNO | EPERM);
}

static void unconfined_is_no_filter_at_all(void **state)
{
	struct filter_request request = { .source = FILTER_UNCONFINED, .listener = true };
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&request);
	int listener_fd = 7;
	struct err err = { 0 };

	assert_int_equal(filter->instruction_count, 0);
	assert_int_equal(filter_load(filter, &listener_fd, &err), 0);
	assert_int_equal(listener_fd, -1);
	assert_int_equal(prctl(PR_GET_SECCOMP), 0);
}

static int errno_of(long r)
{
	return r < 0 ? errno : 0;
}

static void probe_families(struct filtered_results *shared)
{
	for (int family = 0; family <= 46; family++)
		shared->errnums[family] = errno_of(socket(family, SOCK_DGRAM, 0));
	for (int protocol = 0; protocol < 32; protocol++)
		shared->errnums[100 + protocol] = errno_of(socket(AF_NETLINK, SOCK_RAW, protocol));
	shared->errnums[200] = errno_of(syscall(__NR_socket, AF_ALG | 1L << 32, SOCK_SEQPACKET, 0));
	shared->errnums[201] = errno_of(syscall(__NR_socket, AF_UNIX | 1L << 32, SOCK_STREAM, 0));
	shared->errnums[202] = errno_of(
		syscall(__NR_socket, AF_NETLINK, SOCK_RAW, (1L << 32) | 12 /* NETFILTER */));
	for (int family = 0; family <= 46; family++) {
		int fds[2];

		shared->errnums[300 + family] = errno_of(socketpair(family, SOCK_STREAM, 0, fds));
	}
}

static void only_four_socket_families_and_one_netlink_protocol_open(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);

	assert_int_equal(run_filtered(filter, probe_families, results), 0);
	for (int family = 0; family <= 46; family++) {
		bool open = family == AF_UNIX || family == AF_INET || family == AF_INET6 ||
			    family == AF_NETLINK;

		assert_int_equal(results->errnums[family], open ? 0 : EAFNOSUPPORT);
		assert_int_equal(results->errnums[300 + family],
				 family == AF_UNIX ? 0 : EAFNOSUPPORT);
	}
	assert_int_equal(results->errnums[100], 0);
	for (int protocol = 1; protocol < 32; protocol++)
		assert_int_equal(results->errnums[100 + protocol], EPROTONOSUPPORT);
	assert_int_equal(results->errnums[200], EAFNOSUPPORT);
	assert_int_equal(results->errnums[201], 0);
	assert_int_equal(results->errnums[202], EPROTONOSUPPORT);
	assert_int_equal(results->denials[0].nr, __NR_socket);
}

static const struct filter *probed_filter;

/* With all-zero arguments; what is allowed is not called, and has -2. */
static void probe_all_denied(struct filtered_results *shared)
{
	for (int nr = 0; nr <= NEWEST + 8; nr++)
		shared->errnums[nr] = run_args(probed_filter, nr, 0, 0, 0) == SECCOMP_RET_ALLOW
					      ? -2
					      : errno_of(syscall(nr, 0, 0, 0, 0, 0, 0));
}

static void every_denied_and_unknown_call_answers_with_the_profiles_errno(void **state)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);
	size_t notified = 0;
	struct err err = { 0 };

	assert_int_equal(filter_default_profile(0, &profile, &err), 0);
	probed_filter = filter;
	assert_int_equal(run_filtered(filter, probe_all_denied, results), 0);
	for (int nr = 0; nr <= NEWEST + 8; nr++) {
		struct seccomp_data call = { .nr = nr, .arch = AUDIT_ARCH_X86_64 };
		struct filter_rule rule = filter_profile_judge(profile, &call);

		if (rule.verdict == FILTER_ALLOW) {
			assert_int_equal(results->errnums[nr], -2);
			continue;
		}
		assert_int_equal(results->errnums[nr], rule.errnum);
		notified += rule.verdict == FILTER_NOTIFY;
	}
	assert_int_equal(results->denial_count, notified);
	assert_true(notified > 45);
}

static void probe_namespaces(struct filtered_results *shared)
{
	static const unsigned long flags[] = { CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
					       CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
					       CLONE_NEWNET };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		shared->errnums[i] = errno_of(syscall(__NR_clone, flags[i] | SIGCHLD, 0, 0, 0, 0));
		shared->errnums[20 + i] = errno_of(unshare((int)flags[i]));
		shared->errnums[40 + i] =
			errno_of(syscall(__NR_clone, flags[i] | SIGCHLD | 1UL << 40, 0, 0, 0, 0));
	}
}

static void no_namespace_can_be_made(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);

	assert_int_equal(run_filtered(filter, probe_namespaces, results), 0);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(results->errnums[i], EPERM);
		assert_int_equal(results->errnums[20 + i], EPERM);
		assert_int_equal(results->errnums[40 + i], EPERM);
	}
}

static void *return_argument(void *argument)
{
	return argument;
}

static void probe_ordinary(struct filtered_results *shared)
{
	pthread_t thread;
	pid_t pid;
	int status = -1;

	shared->errnums[0] = pthread_create(&thread, NULL, return_argument, NULL);
	if (shared->errnums[0] == 0)
		(void)pthread_join(thread, NULL);
	pid = fork();
	if (pid == 0)
		_exit(42);
	shared->errnums[1] = waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1;
	shared->errnums[2] = errno_of(personality(0xffffffff));
	shared->errnums[3] = errno_of(personality(PER_LINUX));
	shared->errnums[4] = errno_of(personality(ADDR_NO_RANDOMIZE));
	shared->errnums[5] = errno_of(personality(READ_IMPLIES_EXEC));
	shared->errnums[6] = errno_of(ioctl(-1, TIOCSTI, ""));
	shared->errnums[7] = errno_of(syscall(__NR_ioctl, -1, TIOCSTI | 1UL << 32, ""));
	shared->errnums[8] = errno_of(ioctl(-1, TIOCLINUX, ""));
	shared->errnums[9] = errno_of(syscall(__NR_ioctl, -1, TIOCLINUX | 0xffUL << 32, ""));
	shared->errnums[10] = errno_of(ioctl(-1, TIOCGWINSZ, ""));
	shared->errnums[11] = errno_of(ioctl(-1, TIOCSTI - 1, ""));
	shared->errnums[12] = errno_of(ioctl(-1, TIOCSTI + 1, ""));
}

static void threads_and_children_work_and_terminal_input_cannot_be_forged(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);

	assert_int_equal(run_filtered(filter, probe_ordinary, results), 0);
	assert_int_equal(results->errnums[0], 0);
	assert_int_equal(results->errnums[1], 42);
	assert_int_equal(results->errnums[2], 0);
	assert_int_equal(results->errnums[3], 0);
	assert_int_equal(results->errnums[4], EPERM);
	assert_int_equal(results->errnums[5], EPERM);
	for (int i = 6; i <= 9; i++)
		assert_int_equal(results->errnums[i], EPERM);
	for (int i = 10; i <= 12; i++)
		assert_int_equal(results->errnums[i], EBADF);
}

static void probe_i386(struct filtered_results *shared)
{
	long r = 20; /* i386's getpid */

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory");
	shared->errnums[0] = 1;
}

static void probe_x32(struct filtered_results *shared)
{
	(void)syscall(__NR_getpid | 0x40000000);
	shared->errnums[0] = 1;
}

static void foreign_abis_kill_the_process(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);
	void (*const probes[])(struct filtered_results *) = { probe_i386, probe_x32 };

	for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
		int status = run_filtered(filter, probes[i], results);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
		assert_int_equal(results->errnums[0], 0);
	}
}

static void trace_me_and_stop(void)
{
	(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	(void)raise(SIGSTOP);
	_exit(syscall(__NR_getppid) == 4711 ? 0 : 1);
}

/* strace --inject does it: the number becomes -1 at entry, the result is set at exit. */
static void probe_skipped_call(struct filtered_results *shared)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		trace_me_and_stop();
	(void)waitpid(pid, &status, 0);
	for (;;) {
		long nr;

		(void)ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
			break;
		nr = ptrace(PTRACE_PEEKUSER, pid, 15 * 8 /* orig_rax */, NULL);
		if (nr == __NR_getppid)
			(void)ptrace(PTRACE_POKEUSER, pid, 15 * 8, -1L);
		else if (nr == -1)
			(void)ptrace(PTRACE_POKEUSER, pid, 10 * 8 /* rax */, 4711L);
	}
	shared->errnums[0] = status;
	shared->errnums[1] = 1;
}

static void a_tracer_inside_may_skip_a_call(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);

	assert_int_equal(run_filtered(filter, probe_skipped_call, results), 0);
	assert_int_equal(results->errnums[1], 1);
	assert_int_equal(results->errnums[0], 0);
}

static void an_image_survives_the_way_through_a_descriptor(void **state)
{
	cleanup(filter_free_p) struct filter *filter = compile_or_fail(&default_request);
	cleanup(filter_free_p) struct filter *again = NULL;
	struct err err = { 0 };
	cleanup_fd int image_fd = filter_serialize(filter, &err);

	assert_true(image_fd >= 0);
	assert_int_equal(filter_deserialize(image_fd, &again, &err), 0);
	assert_int_equal(again->instruction_count, filter->instruction_count);
	assert_memory_equal(again->instructions, filter->instructions,
			    filter->instruction_count * sizeof(struct sock_filter));
	assert_memory_equal(&again->denials, &filter->denials, sizeof(again->denials));
	assert_int_equal(again->notifies, filter->notifies);
	assert_int_equal(pwrite(image_fd, "x", 1, 0), -1);
	assert_int_equal(run_filtered(again, probe_namespaces, results), 0);
	assert_int_equal(results->errnums[0], EPERM);
}

static int set_up(void **state)
{
	results = filtered_results_new();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_known_call_is_decided_by_exactly_one_group),
		cmocka_unit_test(what_has_no_rule_is_meant_to_have_none),
		cmocka_unit_test(the_program_is_small_and_says_what_the_profile_says),
		cmocka_unit_test(the_check_finds_each_single_changed_verdict),
		cmocka_unit_test(capabilities_open_their_calls_and_no_others),
		cmocka_unit_test(without_a_listener_the_kernel_gives_the_same_errnos),
		cmocka_unit_test(unconfined_is_no_filter_at_all),
		cmocka_unit_test(only_four_socket_families_and_one_netlink_protocol_open),
		cmocka_unit_test(every_denied_and_unknown_call_answers_with_the_profiles_errno),
		cmocka_unit_test(no_namespace_can_be_made),
		cmocka_unit_test(threads_and_children_work_and_terminal_input_cannot_be_forged),
		cmocka_unit_test(foreign_abis_kill_the_process),
		cmocka_unit_test(a_tracer_inside_may_skip_a_call),
		cmocka_unit_test(an_image_survives_the_way_through_a_descriptor),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}

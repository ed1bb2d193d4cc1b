/*
 * From a profile to a program: a tree for what the number decides, then libseccomp's program for
 * what arguments decide, the whole looked at before anybody loads it.
 */
#include "sandbox/filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

/* libseccomp's codes are negative errnos that say which of its rules was broken; they end here. */
static int libseccomp_failed(struct err *err, int code, const char *doing)
{
	return err_set(err, ERR_UNSUPPORTED, -code, "cannot compile seccomp profile: %s: %m",
		       doing);
}

uint32_t filter_action(enum filter_verdict verdict, uint16_t errnum)
{
	switch (verdict) {
	case FILTER_ALLOW:
		return SCMP_ACT_ALLOW;
	case FILTER_LOG:
		return SCMP_ACT_LOG;
	case FILTER_NOTIFY:
		return SCMP_ACT_NOTIFY;
	case FILTER_ERRNO:
		return SCMP_ACT_ERRNO(errnum);
	case FILTER_TRAP:
		return SCMP_ACT_TRAP;
	case FILTER_KILL_THREAD:
		return SCMP_ACT_KILL_THREAD;
	case FILTER_KILL:
		break;
	}
	return SCMP_ACT_KILL_PROCESS;
}

static void release_context(scmp_filter_ctx *context)
{
	if (*context)
		seccomp_release(*context);
}

static int set_attributes(scmp_filter_ctx context, struct err *err)
{
	static const struct {
		enum scmp_filter_attr name;
		uint32_t value;
		const char *doing;
	} attributes[] = {
		/* A tree by number instead of a list: argument-checked calls cost 32 ns, not
		 * 139. */
		{ SCMP_FLTATR_CTL_OPTIMIZE, 2, "optimise" },
		/* i386's socketcall and x32's numbers would pass by rules made for x86-64. */
		{ SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS, "kill foreign ABIs" },
		/* The caller sets it, and reads it back with the rest of its credentials. */
		{ SCMP_FLTATR_CTL_NNP, 0, "leave no_new_privs" },
		{ SCMP_FLTATR_API_TSKIP, 1, "accept number -1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		int r = seccomp_attr_set(context, attributes[i].name, attributes[i].value);

		if (r < 0)
			return libseccomp_failed(err, r, attributes[i].doing);
	}
	return 0;
}

static int add_rules(scmp_filter_ctx context, const struct filter_profile *profile, struct err *err)
{
	int r;

	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *rule = &profile->rules[i];

		if (rule->arg_count == 0)
			continue; /* the tree's */
		r = seccomp_rule_add_array(context, filter_action(rule->verdict, rule->errnum),
					   (int)rule->nr, rule->arg_count, rule->args);
		if (r == -EEXIST)
			return err_set(err, ERR_INVALID, EEXIST,
				       "seccomp profile has two actions for one case of %s",
				       syscall_name(rule->nr));
		if (r == -ENOMEM)
			return err_oom(err);
		if (r < 0)
			return libseccomp_failed(err, r, syscall_name(rule->nr));
	}
	/* A tracer inside the workload skips a call by making its number -1; the kernel then
	 * returns what the tracer set. Made by a program itself, -1 is ENOSYS. */
	if (profile->default_verdict == FILTER_ALLOW)
		return 0;
	r = seccomp_rule_add(context, SCMP_ACT_ALLOW, -1, 0);
	return r < 0 ? libseccomp_failed(err, r, "allow skipped calls") : 0;
}

/* libseccomp's program, from a memfd, behind the tree. */
static int join_program(int program_fd, const struct filter_profile *profile, struct filter *filter,
			struct err *err)
{
	cleanup_free struct sock_filter *tree = NULL;
	size_t tree_count;
	size_t count;
	struct stat st;
	int r;

	r = filter_tree_build(profile, &tree, &tree_count, err);
	if (r < 0)
		return r;
	if (fstat(program_fd, &st) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot read compiled filter: %m");
	count = tree_count + (size_t)st.st_size / sizeof(struct sock_filter);
	if (count > FILTER_INSTRUCTIONS_MAX)
		return err_set(
			err, ERR_INVALID, E2BIG,
			"seccomp profile needs %zu instructions, the kernel takes %d: use fewer rules with arguments",
			count, FILTER_INSTRUCTIONS_MAX);
	filter->instructions = calloc(count, sizeof(struct sock_filter));
	if (!filter->instructions)
		return err_oom(err);
	memcpy(filter->instructions, tree, tree_count * sizeof(struct sock_filter));
	if (pread(program_fd, filter->instructions + tree_count, (size_t)st.st_size, 0) !=
	    st.st_size)
		return err_set(err, ERR_INTERNAL, EIO, "cannot read compiled filter: short read");
	filter->instruction_count = (uint32_t)count;
	return 0;
}

static int build_program(const struct filter_profile *profile, struct filter *filter,
			 struct err *err)
{
	cleanup(release_context) scmp_filter_ctx context =
		seccomp_init(filter_action(profile->default_verdict, profile->default_errnum));
	cleanup_fd int program_fd = -1;
	int r;

	if (!context)
		return err_oom(err);
	r = set_attributes(context, err);
	if (r < 0)
		return r;
	r = add_rules(context, profile, err);
	if (r < 0)
		return r;
	/* seccomp_export_bpf_mem() came with 2.6 only. */
	program_fd = memfd_create("seccomp", MFD_CLOEXEC);
	if (program_fd < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot compile seccomp profile: memfd: %m");
	r = seccomp_export_bpf(context, program_fd);
	if (r < 0)
		return libseccomp_failed(err, r, "export");
	return join_program(program_fd, profile, filter, err);
}

/* Whether the table answers all denials of this number already. */
static bool is_settled(const struct denial_table *table, uint32_t nr)
{
	for (uint32_t i = 0; i < table->count; i++)
		if (table->rules[i].nr == nr && table->rules[i].arg == DENIAL_ANY_ARGS)
			return true;
	return false;
}

static int add_denial(struct denial_table *table, const struct filter_profile *profile,
		      const struct filter_rule *rule, struct err *err)
{
	struct denial_rule denial = { rule->nr, rule->errnum, DENIAL_ANY_ARGS, 0 };

	/* In the built-in profile one int argument tells two errnos of a call apart; in others the
	 * number does, or the rule would be no notification. */
	if (profile->ordered && rule->arg_count > 0 && rule->args[0].op == SCMP_CMP_MASKED_EQ) {
		denial.arg = (uint16_t)rule->args[0].arg;
		denial.low = (uint32_t)rule->args[0].datum_b;
	}
	if (is_settled(table, rule->nr))
		return 0;
	if (table->count == DENIAL_RULES_MAX)
		return err_set(err, ERR_INVALID, E2BIG,
			       "seccomp profile gives more than %d calls an errno of their own",
			       DENIAL_RULES_MAX);
	table->rules[table->count++] = denial;
	return 0;
}

/* The errnos that the monitor answers, of the profile's rules in their order. */
static int build_denials(const struct filter_profile *profile, struct filter *filter,
			 struct err *err)
{
	struct denial_table *table = &filter->denials;

	filter->notifies = profile->default_verdict == FILTER_NOTIFY;
	table->default_errnum = filter->notifies ? profile->default_errnum : EPERM;
	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *rule = &profile->rules[i];
		int r;

		if (rule->verdict != FILTER_NOTIFY)
			continue;
		filter->notifies = true;
		/* An ordered profile's earlier rule may stand before another errno of its call. */
		if (rule->errnum == table->default_errnum &&
		    (rule->arg_count == 0 || !profile->ordered))
			continue;
		r = add_denial(table, profile, rule, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* libseccomp refuses rules that say what the default says. They mattered for the denials only. */
static void drop_redundant(struct filter_profile *profile)
{
	uint32_t usual = filter_action(profile->default_verdict, profile->default_errnum);
	size_t kept = 0;

	for (size_t i = 0; i < profile->count; i++) {
		struct filter_rule rule = profile->rules[i];

		if (filter_action(rule.verdict, rule.errnum) != usual)
			profile->rules[kept++] = rule;
	}
	profile->count = kept;
}

/* Nobody will answer: the kernel gives the errnos itself, uncounted. */
static void silence(struct filter_profile *profile)
{
	if (profile->default_verdict == FILTER_NOTIFY)
		profile->default_verdict = FILTER_ERRNO;
	for (size_t i = 0; i < profile->count; i++)
		if (profile->rules[i].verdict == FILTER_NOTIFY)
			profile->rules[i].verdict = FILTER_ERRNO;
}

static int compile_profile(struct filter_profile *profile, struct filter *filter, struct err *err)
{
	int r;

	filter->unknown_names = profile->unknown_names;
	memcpy(filter->note, profile->note, sizeof(filter->note));
	r = build_denials(profile, filter, err);
	if (r < 0)
		return r;
	drop_redundant(profile);
	r = build_program(profile, filter, err);
	if (r < 0)
		return r;
	return profile->ordered ? filter_check(filter, profile, err) : 0;
}

int filter_compile(const struct filter_request *request, struct filter **ret_filter,
		   struct err *err)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	cleanup(filter_free_p) struct filter *filter = calloc(1, sizeof(*filter));
	int r;

	if (!filter)
		return err_oom(err);
	switch (request->source) {
	case FILTER_UNCONFINED:
		*ret_filter = take_ptr(&filter);
		return 0;
	case FILTER_DEFAULT:
		r = filter_default_profile(request->capabilities, &profile, err);
		break;
	case FILTER_OCI:
		r = filter_oci_profile(request, &profile, err);
		break;
	default:
		return err_set(err, ERR_INVALID, EINVAL, "no seccomp profile of kind %d",
			       request->source);
	}
	if (r < 0)
		return r;
	if (!request->listener)
		silence(profile);
	r = compile_profile(profile, filter, err);
	if (r < 0)
		return r;
	*ret_filter = take_ptr(&filter);
	return 0;
}

void filter_free(struct filter *filter)
{
	if (!filter)
		return;
	free(filter->instructions);
	free(filter);
}

/*
 * The part of a program that decides by number alone: a binary search over runs of neighbouring
 * numbers with one answer. For the built-in profile that is half as many instructions as
 * libseccomp's own tree, which has a comparison for every number, and the load, which each launch
 * pays, takes half as long. Calls whose arguments decide go on to libseccomp's program, which
 * follows the tree.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

/* Numbers of x32 have this bit, and so has -1: libseccomp's program knows both. */
#define FIRST_FOREIGN 0x40000000u

/* An unconditional jump from a leaf to libseccomp's program; its distance is known at the end. */
#define GO_ON BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX)

struct run {
	uint32_t first; /* number; the run ends where the next begins */
	struct sock_filter leaf;
};

struct tree {
	struct run runs[SYSCALL_NUMBER_NEWEST + 4];
	size_t run_count;
	struct sock_filter *out; /* room for 4 instructions a run */
	size_t count;
};

/* What a number gets: its first rule if that has no comparisons, else a look at the arguments. */
static void fill_leaves(const struct filter_profile *profile, struct sock_filter *leaves)
{
	const struct sock_filter go_on = GO_ON;
	bool seen[SYSCALL_NUMBER_NEWEST + 1] = { false };
	const struct sock_filter usual = BPF_STMT(
		BPF_RET | BPF_K, filter_action(profile->default_verdict, profile->default_errnum));

	for (uint32_t nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++)
		leaves[nr] = usual;
	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *rule = &profile->rules[i];

		if (seen[rule->nr])
			continue;
		seen[rule->nr] = true;
		leaves[rule->nr] = rule->arg_count > 0
					   ? go_on
					   : (struct sock_filter)BPF_STMT(
						     BPF_RET | BPF_K,
						     filter_action(rule->verdict, rule->errnum));
	}
}

static void add_run(struct tree *tree, uint32_t first, struct sock_filter leaf)
{
	const struct run *last = tree->run_count ? &tree->runs[tree->run_count - 1] : NULL;

	if (last && last->leaf.code == leaf.code && last->leaf.k == leaf.k)
		return;
	tree->runs[tree->run_count++] = (struct run){ first, leaf };
}

/* Numbers that were not known when the profile was written are absent, not denied: libraries fall
 * back on ENOSYS only. A profile that allows or kills by default means it for them too. */
static struct sock_filter unknown_leaf(const struct filter_profile *profile)
{
	uint32_t action = filter_action(profile->default_verdict, profile->default_errnum);

	if (profile->default_verdict == FILTER_ERRNO || profile->default_verdict == FILTER_NOTIFY)
		action = SECCOMP_RET_ERRNO | ENOSYS;
	return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
}

/* The search among runs [first, end). A conditional jump reaches 255 instructions; beyond, the way
 * to the right half is a jump of its own. Recursion is as deep as the tree, 9 levels. */
static void emit_search(struct tree *tree, size_t first, size_t end)
{
	size_t middle = first + (end - first) / 2;
	bool far = middle - first > 60; /* at most 4 instructions a run */
	size_t at = tree->count;
	size_t distance;

	if (end - first == 1) {
		tree->out[tree->count++] = tree->runs[first].leaf;
		return;
	}
	tree->count += far ? 2 : 1;
	emit_search(tree, first, middle);
	distance = tree->count - at - (far ? 2 : 1);
	tree->out[at] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K,
						     tree->runs[middle].first,
						     far ? 0 : (uint8_t)distance, far ? 1 : 0);
	if (far)
		tree->out[at + 1] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
								 (uint32_t)distance);
	emit_search(tree, middle, end);
}

static void emit(struct tree *tree)
{
	const struct sock_filter start[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};

	for (size_t i = 0; i < ARRAY_SIZE(start); i++)
		tree->out[tree->count++] = start[i];
	emit_search(tree, 0, tree->run_count);
	for (size_t i = 0; i < tree->count; i++)
		if (tree->out[i].code == (BPF_JMP | BPF_JA) && tree->out[i].k == UINT32_MAX)
			tree->out[i].k = (uint32_t)(tree->count - i - 1);
}

int filter_tree_build(const struct filter_profile *profile, struct sock_filter **ret_instructions,
		      size_t *ret_count, struct err *err)
{
	struct sock_filter leaves[SYSCALL_NUMBER_NEWEST + 1];
	cleanup_free struct tree *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return err_oom(err);
	fill_leaves(profile, leaves);
	for (uint32_t nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++)
		add_run(tree, nr, leaves[nr]);
	add_run(tree, SYSCALL_NUMBER_NEWEST + 1, unknown_leaf(profile));
	add_run(tree, FIRST_FOREIGN, (struct sock_filter)GO_ON);
	tree->out = calloc(4 * tree->run_count + 4, sizeof(*tree->out));
	if (!tree->out)
		return err_oom(err);
	emit(tree);
	*ret_instructions = tree->out;
	*ret_count = tree->count;
	return 0;
}

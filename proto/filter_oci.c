/*
 * Seccomp profiles in JSON: the LinuxSeccomp object of the OCI runtime specification
 * (config-linux.md, "Seccomp"), and the file form of docker and podman, which adds archMap,
 * includes and excludes.
 *
 * The document is the caller's, bounded before it is parsed. What it means is what runc makes of
 * it:
 *   - names that this table does not know are ignored, and counted;
 *   - a rule that says what the default says is left out;
 *   - a rule that compares one argument twice stands for one rule for each comparison;
 *   - of rules without comparisons for one call the first stands, and hides those with some.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

#include "proto/filter_rules.h"
#include "proto/syscall_names.h"

#define ERRNO_MAX 4095 /* the kernel's MAX_ERRNO */

static int invalid(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int invalid(struct err *err, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(err, ERR_INVALID, EINVAL, fmt, ap);
	va_end(ap);
	return err_prefix(err, r, "seccomp profile");
}

static void json_release(json_t **json)
{
	json_decref(*json);
}

/* A string of the document on its way into a sentence. */
static const char *text_of(const json_t *value)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
	const char *text = json_string_value(value);

	return text && strlen(text) < 64 && text[strspn(text, plain)] == '\0'
		       ? text
		       : "something that is no name";
}

static int parse_action(const json_t *value, enum filter_verdict *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum filter_verdict verdict;
	} actions[] = {
		{ "SCMP_ACT_ALLOW", FILTER_ALLOW },
		{ "SCMP_ACT_LOG", FILTER_LOG },
		{ "SCMP_ACT_ERRNO", FILTER_ERRNO },
		{ "SCMP_ACT_TRAP", FILTER_TRAP },
		{ "SCMP_ACT_KILL", FILTER_KILL_THREAD },
		{ "SCMP_ACT_KILL_THREAD", FILTER_KILL_THREAD },
		{ "SCMP_ACT_KILL_PROCESS", FILTER_KILL },
	};
	const char *name = json_string_value(value);

	for (size_t i = 0; name && i < ARRAY_SIZE(actions); i++) {
		if (strcmp(name, actions[i].name) != 0)
			continue;
		*ret = actions[i].verdict;
		return 0;
	}
	if (name && strcmp(name, "SCMP_ACT_NOTIFY") == 0)
		return invalid(
			err,
			"SCMP_ACT_NOTIFY is not for workloads: the kernel takes one listener, which is Berth's; use SCMP_ACT_ERRNO");
	if (name && strcmp(name, "SCMP_ACT_TRACE") == 0)
		return invalid(err, "SCMP_ACT_TRACE has no tracer here; use SCMP_ACT_ERRNO");
	return invalid(err,
		       "action is %s, not one of SCMP_ACT_ALLOW, _LOG, _ERRNO, _TRAP, _KILL, ...",
		       text_of(value));
}

/* @key of @object, or EPERM as other runtimes have it. */
static int parse_errno(const json_t *object, const char *key, uint16_t *ret, struct err *err)
{
	const json_t *value = json_object_get(object, key);
	json_int_t number = json_integer_value(value);

	if (!value || json_is_null(value)) {
		*ret = EPERM;
		return 0;
	}
	if (!json_is_integer(value) || number < 1 || number > ERRNO_MAX)
		return invalid(err, "%s is not an errno, 1 to %d", key, ERRNO_MAX);
	*ret = (uint16_t)number;
	return 0;
}

static int parse_operator(const json_t *value, enum scmp_compare *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} operators[] = {
		{ "SCMP_CMP_NE", SCMP_CMP_NE },
		{ "SCMP_CMP_LT", SCMP_CMP_LT },
		{ "SCMP_CMP_LE", SCMP_CMP_LE },
		{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
		{ "SCMP_CMP_GE", SCMP_CMP_GE },
		{ "SCMP_CMP_GT", SCMP_CMP_GT },
		{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	};
	const char *name = json_string_value(value);

	for (size_t i = 0; name && i < ARRAY_SIZE(operators); i++) {
		if (strcmp(name, operators[i].name) != 0)
			continue;
		*ret = operators[i].op;
		return 0;
	}
	return invalid(err, "op is %s, not one of SCMP_CMP_EQ, _NE, _LT, _LE, _GE, _GT, _MASKED_EQ",
		       text_of(value));
}

/* Unsigned 64 bits. JSON's integers end at 2^63 in this parser, and no argument that is compared in
 * practice lies beyond; -1 is what all ones look like in some files. */
static int parse_datum(const json_t *object, const char *key, uint64_t *ret, struct err *err)
{
	const json_t *value = json_object_get(object, key);

	if (value && !json_is_null(value) && !json_is_integer(value))
		return invalid(err, "%s of an argument is no integer", key);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int parse_arg(const json_t *object, struct scmp_arg_cmp *ret, struct err *err)
{
	const json_t *index = json_object_get(object, "index");
	uint64_t value = 0;
	uint64_t value_two = 0;
	int r;

	if (!json_is_integer(index) || json_integer_value(index) < 0 ||
	    json_integer_value(index) > 5)
		return invalid(err, "index of an argument is not 0 to 5");
	ret->arg = (unsigned int)json_integer_value(index);
	r = parse_operator(json_object_get(object, "op"), &ret->op, err);
	if (r < 0)
		return r;
	r = parse_datum(object, "value", &value, err);
	if (r < 0)
		return r;
	r = parse_datum(object, "valueTwo", &value_two, err);
	if (r < 0)
		return r;
	/* Of a masked comparison "value" is the mask and "valueTwo" what it must leave. */
	ret->datum_a = value;
	ret->datum_b = ret->op == SCMP_CMP_MASKED_EQ ? value_two : 0;
	return 0;
}

static int parse_args(const json_t *array, struct filter_rule *rule, struct err *err)
{
	const json_t *object;
	size_t i;

	if (!array || json_is_null(array))
		return 0;
	if (!json_is_array(array) || json_array_size(array) > ARRAY_SIZE(rule->args))
		return invalid(err, "args is no array of at most %zu", ARRAY_SIZE(rule->args));
	json_array_foreach (array, i, object) {
		int r = parse_arg(object, &rule->args[i], err);

		if (r < 0)
			return r;
	}
	rule->arg_count = (uint16_t)json_array_size(array);
	return 0;
}

static bool compares_twice(const struct filter_rule *rule)
{
	unsigned int seen = 0;

	for (unsigned int i = 0; i < rule->arg_count; i++) {
		if (seen & 1u << rule->args[i].arg)
			return true;
		seen |= 1u << rule->args[i].arg;
	}
	return false;
}

static int add_rule(struct filter_profile *profile, const struct filter_rule *rule, struct err *err)
{
	struct filter_rule single = *rule;

	if (!compares_twice(rule))
		return filter_profile_add(profile, rule, err);
	single.arg_count = 1;
	for (unsigned int i = 0; i < rule->arg_count; i++) {
		int r;

		single.args[0] = rule->args[i];
		r = filter_profile_add(profile, &single, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_name(struct filter_profile *profile, const json_t *name, struct filter_rule *rule,
		    struct err *err)
{
	int nr;

	if (!json_is_string(name))
		return invalid(err, "a system call's name is no string");
	nr = syscall_number(json_string_value(name));
	if (nr < 0) {
		profile->unknown_names++;
		return 0;
	}
	rule->nr = (uint32_t)nr;
	return add_rule(profile, rule, err);
}

/* "4.8" or "5.10.3" not above the running kernel; false for what is no version. */
static bool kernel_is_at_least(const char *version)
{
	unsigned int want[2] = { 0, 0 };
	unsigned int have[2] = { 0, 0 };
	struct utsname names;

	if (uname(&names) < 0 || sscanf(version, "%u.%u", &want[0], &want[1]) != 2 ||
	    sscanf(names.release, "%u.%u", &have[0], &have[1]) != 2)
		return false;
	return have[0] > want[0] || (have[0] == want[0] && have[1] >= want[1]);
}

static bool names_native_arch(const json_t *array)
{
	const json_t *name;
	size_t i;

	json_array_foreach (array, i, name) {
		const char *text = json_string_value(name);

		if (text && (strcmp(text, "amd64") == 0 || strcmp(text, "SCMP_ARCH_X86_64") == 0))
			return true;
	}
	return false;
}

static bool holds(const struct filter_holder *holder, const json_t *name)
{
	const char *text = json_string_value(name);

	return text && holder->holds(holder->user, text);
}

/* docker's "includes": each condition that is there must hold, of capabilities all. */
static bool included(const json_t *conditions, const struct filter_holder *holder)
{
	const json_t *arches = json_object_get(conditions, "arches");
	const char *kernel = json_string_value(json_object_get(conditions, "minKernel"));
	const json_t *name;
	size_t i;

	if (json_array_size(arches) > 0 && !names_native_arch(arches))
		return false;
	if (kernel && !kernel_is_at_least(kernel))
		return false;
	json_array_foreach (json_object_get(conditions, "caps"), i, name) {
		if (!holds(holder, name))
			return false;
	}
	return true;
}

/* docker's "excludes": any one that holds takes the rule out. */
static bool excluded(const json_t *conditions, const struct filter_holder *holder)
{
	const char *kernel = json_string_value(json_object_get(conditions, "minKernel"));
	const json_t *name;
	size_t i;

	if (names_native_arch(json_object_get(conditions, "arches")))
		return true;
	if (kernel && kernel_is_at_least(kernel))
		return true;
	json_array_foreach (json_object_get(conditions, "caps"), i, name) {
		if (holds(holder, name))
			return true;
	}
	return false;
}

/* One element of "syscalls". */
static int parse_entry(const json_t *entry, struct filter_profile *profile,
		       const struct filter_holder *holder, struct err *err)
{
	const json_t *names = json_object_get(entry, "names");
	const json_t *name = json_object_get(entry, "name"); /* docker's older form */
	struct filter_rule rule = { 0 };
	size_t i;
	int r;

	if (!json_is_object(entry))
		return invalid(err, "syscalls has an element that is no object");
	if (!included(json_object_get(entry, "includes"), holder) ||
	    excluded(json_object_get(entry, "excludes"), holder))
		return 0;
	r = parse_action(json_object_get(entry, "action"), &rule.verdict, err);
	if (r < 0)
		return r;
	r = parse_errno(entry, "errnoRet", &rule.errnum, err);
	if (r < 0)
		return r;
	r = parse_args(json_object_get(entry, "args"), &rule, err);
	if (r < 0)
		return r;
	if (rule.verdict != FILTER_ERRNO)
		rule.errnum = 0;
	if (name)
		return add_name(profile, name, &rule, err);
	if (json_array_size(names) == 0)
		return invalid(err, "an element of syscalls has no names");
	json_array_foreach (names, i, name) {
		r = add_name(profile, name, &rule, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool same_answer(const struct filter_rule *rule, const struct filter_profile *profile)
{
	return rule->verdict == profile->default_verdict && rule->errnum == profile->default_errnum;
}

/* Keep of each call what libseccomp would: the first rule without comparisons alone, if there is
 * one. */
static void drop_hidden(struct filter_profile *profile)
{
	bool whole[SYSCALL_NUMBER_NEWEST + 1] = { false };
	bool done[SYSCALL_NUMBER_NEWEST + 1] = { false };
	size_t kept = 0;

	for (size_t i = 0; i < profile->count; i++)
		if (profile->rules[i].arg_count == 0)
			whole[profile->rules[i].nr] = true;
	for (size_t i = 0; i < profile->count; i++) {
		struct filter_rule rule = profile->rules[i];

		if (whole[rule.nr] && (rule.arg_count > 0 || done[rule.nr]))
			continue;
		done[rule.nr] = true;
		profile->rules[kept++] = rule;
	}
	profile->count = kept;
}

/* Left out before drop_hidden(), as runc never hands them to libseccomp. */
static void drop_same_as_default(struct filter_profile *profile)
{
	size_t kept = 0;

	for (size_t i = 0; i < profile->count; i++) {
		struct filter_rule rule = profile->rules[i];

		if (!same_answer(&rule, profile))
			profile->rules[kept++] = rule;
	}
	profile->count = kept;
}

/* A filter is on before the program is: without execve nothing starts. */
static int check_execve(const struct filter_profile *profile, struct err *err)
{
	const int execve_number = syscall_number("execve");
	enum filter_verdict verdict = profile->default_verdict;
	bool compared = false;

	for (size_t i = 0; i < profile->count; i++) {
		if (profile->rules[i].nr != (uint32_t)execve_number)
			continue;
		compared |= profile->rules[i].arg_count > 0;
		verdict = profile->rules[i].verdict;
	}
	if (!compared && (verdict == FILTER_ALLOW || verdict == FILTER_LOG))
		return 0;
	return invalid(err,
		       "it does not allow execve without conditions, so no program could start");
}

/* Flags and architectures ask for less protection than there is: not honoured, and said. */
static int check_extras(const json_t *root, struct filter_profile *profile, struct err *err)
{
	const json_t *listener = json_object_get(root, "listenerPath");
	const json_t *name;
	size_t i;

	if (json_string_length(listener) > 0)
		return invalid(err, "listenerPath is not for workloads: the listener is Berth's");
	json_array_foreach (json_object_get(root, "architectures"), i, name) {
		const char *text = json_string_value(name);

		if (text && strcmp(text, "SCMP_ARCH_X86_64") != 0 && !profile->note[0])
			(void)snprintf(profile->note, sizeof(profile->note),
				       "only the native ABI is open: %s is killed", text_of(name));
	}
	if (json_array_size(json_object_get(root, "flags")) > 0 && !profile->note[0])
		(void)snprintf(profile->note, sizeof(profile->note), "flags are ignored");
	return 0;
}

static int parse_profile(const json_t *root, struct filter_profile *profile,
			 const struct filter_holder *holder, struct err *err)
{
	const json_t *syscalls = json_object_get(root, "syscalls");
	const json_t *entry;
	size_t i;
	int r;

	r = check_extras(root, profile, err);
	if (r < 0)
		return r;
	if (syscalls && !json_is_null(syscalls) && !json_is_array(syscalls))
		return invalid(err, "syscalls is no array");
	json_array_foreach (syscalls, i, entry) {
		r = parse_entry(entry, profile, holder, err);
		if (r < 0)
			return r;
	}
	drop_same_as_default(profile);
	drop_hidden(profile);
	return check_execve(profile, err);
}

static int parse_default(const json_t *root, struct filter_profile **ret_profile, struct err *err)
{
	enum filter_verdict verdict;
	uint16_t errnum;
	int r;

	if (!json_is_object(root))
		return invalid(err, "it is no JSON object");
	r = parse_action(json_object_get(root, "defaultAction"), &verdict, err);
	if (r < 0)
		return err_prefix(err, r, "defaultAction");
	r = parse_errno(root, "defaultErrnoRet", &errnum, err);
	if (r < 0)
		return r;
	*ret_profile = filter_profile_new(verdict, verdict == FILTER_ERRNO ? errnum : 0);
	return *ret_profile ? 0 : err_oom(err);
}

int filter_read_json(const char *json, size_t length, const struct filter_holder *holder,
		     struct filter_profile **ret_profile, struct err *err)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	cleanup(json_release) json_t *root = NULL;
	json_error_t where;
	int r;

	if (length > FILTER_JSON_MAX)
		return invalid(err, "it has %zu bytes, at most %u are taken", length,
			       FILTER_JSON_MAX);
	root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &where);
	if (!root && json_error_code(&where) == json_error_numeric_overflow)
		return invalid(err, "line %d, column %d: a number is above 2^63-1", where.line,
			       where.column);
	if (!root)
		return invalid(err, "line %d, column %d: malformed JSON", where.line, where.column);
	r = parse_default(root, &profile, err);
	if (r == 0)
		r = parse_profile(root, profile, holder, err);
	if (r < 0)
		return r;
	*ret_profile = take_ptr(&profile);
	return 0;
}

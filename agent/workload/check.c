/* Paths of wrong fields, and the checks that all commands share. */
#include <stdarg.h>
#include <stdio.h>

#include "agent/workload/validate.h"
#include "proto/names.h"

#define PATH_TEXT_MAX 512

static void __attribute__((format(printf, 3, 0)))
add(const struct check *check, const char *text, const char *fmt, va_list ap)
{
	char path[PATH_TEXT_MAX];
	char rest[PATH_TEXT_MAX / 2];

	(void)vsnprintf(rest, sizeof(rest), fmt, ap);
	(void)snprintf(path, sizeof(path), "%s%s%s", check->prefix,
		       *rest && *rest != '[' && *check->prefix ? "." : "", rest);
	engine_fault_add_field(check->fault, path, text);
}

void check_wrong(const struct check *check, const char *text, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(check, text, fmt, ap);
	va_end(ap);
}

void check_result(const struct check *check, int r, const struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (r >= 0)
		return;
	va_start(ap, fmt);
	add(check, err->text, fmt, ap);
	va_end(ap);
}

void validate_fence(const Berth__V1__Fence *fence, bool needs_generation,
		    struct engine_fault *fault)
{
	const struct check check = { .fault = fault, .prefix = "fence" };

	if (!fence)
		check_wrong(&check, "every change needs a fence: epoch and generation", "%s", "");
	else if (needs_generation && fence->generation == 0)
		check_wrong(&check, "must be at least 1", "generation");
}

void validate_id(const char *id, const char *path, struct engine_fault *fault)
{
	const struct check check = { .fault = fault, .prefix = path };
	struct err err = { 0 };

	check_result(&check, names_check_workload_id(id, &err), &err, "%s", "");
}

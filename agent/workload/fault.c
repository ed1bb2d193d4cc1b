#include "agent/workload/fault.h"

#include <errno.h>
#include <string.h>

#define FAULT_TEXT_BYTES (64U * 1024)

void engine_fault_init(struct engine_fault *fault)
{
	/* All but the arena's own first bytes, which nobody reads before they are written. */
	fault->reason = NULL;
	fault->n_fields = 0;
	fault->n_fields_dropped = 0;
	fault->n_quotas = 0;
	fault->n_numbers = 0;
	arena_init(&fault->arena, FAULT_TEXT_BYTES);
}

void engine_fault_done(struct engine_fault *fault)
{
	arena_done(&fault->arena);
}

void engine_fault_add_field(struct engine_fault *fault, const char *path, const char *text)
{
	struct fault_field field = { 0 };

	if (fault->n_fields < FAULT_FIELDS_MAX) {
		field.path = arena_strdup(&fault->arena, path);
		field.text = arena_strdup(&fault->arena, text);
	}
	if (!field.path || !field.text) {
		fault->n_fields_dropped++;
		return;
	}
	fault->fields[fault->n_fields++] = field;
}

void engine_fault_copy(struct engine_fault *to, const struct engine_fault *from)
{
	to->reason = from->reason;
	for (size_t i = 0; i < from->n_fields; i++)
		engine_fault_add_field(to, from->fields[i].path, from->fields[i].text);
	to->n_fields_dropped += from->n_fields_dropped;
	for (size_t i = 0; i < from->n_quotas; i++)
		engine_fault_add_quota(to, &from->quotas[i]);
	for (size_t i = 0; i < from->n_numbers; i++)
		engine_fault_add_number(to, from->numbers[i].key, from->numbers[i].value);
}

void engine_fault_add_quota(struct engine_fault *fault, const struct fault_quota *quota)
{
	if (fault->n_quotas < FAULT_QUOTAS_MAX)
		fault->quotas[fault->n_quotas++] = *quota;
}

void engine_fault_add_number(struct engine_fault *fault, const char *key, uint64_t value)
{
	if (fault->n_numbers < FAULT_NUMBERS_MAX)
		fault->numbers[fault->n_numbers++] = (struct fault_number){ .key = key,
									    .value = value };
}

int engine_fault_check_fields(const struct engine_fault *fault, struct err *err)
{
	size_t n = fault->n_fields + fault->n_fields_dropped;

	if (n == 0)
		return 0;
	if (fault->n_fields == 0)
		return err_oom(err);
	if (n == 1)
		return err_set(err, ERR_INVALID, EINVAL, "%s: %s", fault->fields[0].path,
			       fault->fields[0].text);
	return err_set(err, ERR_INVALID, EINVAL, "%s: %s (and %zu more wrong field%s)",
		       fault->fields[0].path, fault->fields[0].text, n - 1, n > 2 ? "s" : "");
}

#include "agent/grpc/budget.h"

#include <assert.h>

size_t budget_left(const struct budget *budget)
{
	size_t left = budget->limit_bytes - budget->used_bytes;

	if (budget->parent && budget_left(budget->parent) < left)
		return budget_left(budget->parent);
	return left;
}

bool budget_take(struct budget *budget, size_t n)
{
	if (n > budget_left(budget))
		return false;
	for (; budget; budget = budget->parent)
		budget->used_bytes += n;
	return true;
}

void budget_give(struct budget *budget, size_t n)
{
	for (; budget; budget = budget->parent) {
		assert(budget->used_bytes >= n);
		budget->used_bytes -= n;
	}
}

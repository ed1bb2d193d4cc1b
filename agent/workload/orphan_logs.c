/*
 * Log files are of a workload's id, and go when it is deleted. Where a process died in the middle of that, their
 * directory is all that is left, and nobody would ever ask for it again.
 */
#include <dirent.h>

#include "agent/workload/model.h"
#include "proto/log.h"
#include "proto/names.h"

/* No instance is ever this one: what berth-sandboxd knows by the id is not meant. */
#define NO_INSTANCE UINT64_MAX

static bool is_orphan(const struct engine *engine, const struct dirent *entry)
{
	return names_check_workload_id(entry->d_name, NULL) == 0 &&
	       !engine_lookup(engine, entry->d_name) && !inventory_has_stray(engine, entry->d_name);
}

void orphan_logs_remove(struct engine *engine)
{
	const char *log_dir = engine_log_dir(engine);
	DIR *dir = log_dir ? opendir(log_dir) : NULL;
	const struct dirent *entry;
	size_t n = 0;

	while (dir && (entry = readdir(dir)))
		if (is_orphan(engine, entry) &&
		    request_remove_workload(engine, entry->d_name, NO_INSTANCE, true, NULL, NULL) >=
			    0)
			n++;
	if (dir)
		(void)closedir(dir);
	if (n)
		log_event(LOG_NOTICE, NULL,
			  "%zu log directories of workloads that were deleted are removed", n);
}

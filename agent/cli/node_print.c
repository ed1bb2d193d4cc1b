#include "agent/cli/node_print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "agent/cli/text.h"

static void print_resources(const Berth__V1__Node *node, FILE *file)
{
	static const char *const heads[] = { "", "CPU", "MEMORY", "PIDS", "WORKLOADS", NULL };
	static const Berth__V1__NodeResources none = BERTH__V1__NODE_RESOURCES__INIT;
	const struct {
		const char *name;
		const Berth__V1__NodeResources *resources;
	} rows[] = { { "capacity", node->capacity },
		     { "allocatable", node->allocatable },
		     { "requested", node->requested } };
	struct table *table = table_new(heads);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const Berth__V1__NodeResources *r = rows[i].resources ? rows[i].resources : &none;
		char bytes[TEXT_SHORT_MAX];

		table_add(table, "%s", rows[i].name);
		table_add(table, "%.2f", (double)r->cpu_millis / 1000.0);
		table_add(table, "%s", text_bytes(r->memory_bytes, bytes));
		table_add(table, "%" PRIu64, r->pids);
		table_add(table, "%u", r->workloads);
	}
	table_end(table, file);
}

static void print_usage(const Berth__V1__NodeUsage *usage, FILE *file)
{
	char used[TEXT_SHORT_MAX], available[TEXT_SHORT_MAX];

	if (!usage)
		return;
	(void)fprintf(
		file,
		"usage        cpu %.2f cores, memory %s used and %s available, load %.2f, %" PRIu64
		" processes\n",
		usage->cpu_millis ? usage->cpu_millis->average / 1000.0 : 0.0,
		text_bytes(usage->memory_used_bytes, used),
		text_bytes(usage->memory_available_bytes, available), usage->load1,
		usage->processes);
	if (usage->cpu_pressure && usage->memory_pressure && usage->io_pressure)
		(void)fprintf(file,
			      "pressure     cpu %.2f %%, memory %.2f %%, io %.2f %% (some, 10 s)\n",
			      usage->cpu_pressure->some_avg10, usage->memory_pressure->some_avg10,
			      usage->io_pressure->some_avg10);
}

static void print_line(FILE *file, const char *head, const char *text)
{
	char escaped[TEXT_ESCAPED_MAX];

	(void)fprintf(file, "%-12s %s\n", head, text_escape(text, strlen(text), escaped));
}

/* What a missing feature has said already need not be said again. */
static bool is_of_feature(const Berth__V1__Node *node, const char *warning)
{
	for (size_t i = 0; i < node->n_features; i++) {
		size_t length = strlen(node->features[i]->name);

		if (strncmp(warning, node->features[i]->name, length) == 0 &&
		    warning[length] == ':')
			return true;
	}
	return false;
}

static void print_shortage(const Berth__V1__NodePressure *pressure, FILE *file)
{
	char available[TEXT_SHORT_MAX], act[TEXT_SHORT_MAX], relieve[TEXT_SHORT_MAX];
	char limit[TEXT_SHORT_MAX], age[TEXT_SHORT_MAX];

	if (!pressure || !pressure->figures)
		return;
	(void)fprintf(file, "memory       %s available; acts below %s, undoes above %s",
		      text_bytes(pressure->figures->available_bytes, available),
		      text_bytes(pressure->act_below_bytes, act),
		      text_bytes(pressure->relieve_above_bytes, relieve));
	if (pressure->workloads_limit_bytes)
		(void)fprintf(file, "; limit of all workloads %s",
			      text_bytes(pressure->workloads_limit_bytes, limit));
	(void)fputc('\n', file);
	if (pressure->short_of_memory)
		(void)fprintf(file,
			      "             SHORT of it for %s: %u squeezed, %u frozen; %" PRIu64
			      " reclaims, %" PRIu64 " killed since the agent's start\n",
			      text_ago(pressure->since_unix_ns, age), pressure->squeezed,
			      pressure->frozen, pressure->reclaims, pressure->evictions);
	print_line(file, pressure->watching ? "  watched" : "  unwatched", pressure->sentence);
	for (size_t i = 0; i < pressure->n_cannot; i++)
		print_line(file, "  cannot", pressure->cannot[i]);
}

void node_print(const Berth__V1__Node *node, FILE *file)
{
	char age[TEXT_SHORT_MAX], agent_age[TEXT_SHORT_MAX];

	(void)fprintf(file, "node         %s (%s), kernel %s, cgroups %s\n", node->hostname,
		      node->architecture, node->kernel, node->cgroup_layout);
	(void)fprintf(file, "up           %s, agent %s; boot %s\n",
		      text_age(node->uptime_ms * 1000000, age),
		      text_age(node->agent_uptime_ms * 1000000, agent_age), node->boot_id);
	(void)fprintf(file, "versions     berthd %s, berth-sandboxd %s\n", node->agent_version,
		      node->sandbox_version);
	if (node->records)
		(void)fprintf(file, "records      %" PRIu64 " kept, %" PRIu64 " not acknowledged\n",
			      node->records->kept, node->records->unacknowledged);
	print_line(file, "schedulable", node->schedulable ? "yes" : node->unschedulable_sentence);
	print_usage(node->usage, file);
	print_shortage(node->pressure, file);
	(void)fputc('\n', file);
	print_resources(node, file);
	for (size_t i = 0; i < node->n_features; i++)
		if (!node->features[i]->supported)
			(void)fprintf(file, "%scannot       %s: %s\n", i == 0 ? "\n" : "",
				      node->features[i]->name, node->features[i]->sentence);
	for (size_t i = 0; i < node->n_warnings; i++)
		if (!is_of_feature(node, node->warnings[i]))
			print_line(file, "warning", node->warnings[i]);
}

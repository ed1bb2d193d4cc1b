#include <string.h>

#include "agent/cli/labels.h"
#include "agent/cli/text.h"
#include "agent/cli/verbs.h"

struct listing {
	struct cli *cli;
	struct table *table;
	bool all;
};

static bool is_over(const Berth__V1__WorkloadStatus *status)
{
	return status->state == BERTH__V1__WORKLOAD_STATE__EXITED ||
	       status->state == BERTH__V1__WORKLOAD_STATE__LOST;
}

static const char *held(const Berth__V1__WorkloadStatus *status)
{
	if (status->paused)
		return " (paused)";
	if (status->pressure_step == BERTH__V1__PRESSURE_STEP__PRESSURE_FROZEN)
		return " (frozen)";
	return status->state == BERTH__V1__WORKLOAD_STATE__RUNNING && !status->ready
		       ? " (not ready)"
		       : "";
}

/* The first container's that has one, in as few words as name it. */
static void add_image(struct table *table, const Berth__V1__WorkloadStatus *status)
{
	static const char ours[] = "docker.io/", official[] = "library/";
	const char *name = "-";
	size_t n = 0;

	for (size_t i = 0; i < status->n_containers; i++)
		if (status->containers[i]->image && n++ == 0)
			name = status->containers[i]->image->name;
	if (strncmp(name, ours, strlen(ours)) == 0)
		name += strlen(ours);
	if (strncmp(name, official, strlen(official)) == 0)
		name += strlen(official);
	table_add(table, n > 1 ? "%s +%zu" : "%s", name, n - 1);
}

static void add_row(struct listing *listing, const Berth__V1__WorkloadStatus *status)
{
	char age[TEXT_SHORT_MAX], left[TEXT_SHORT_MAX];
	size_t running = 0;

	for (size_t i = 0; i < status->n_containers; i++)
		running += status->containers[i]->pid != 0;
	table_add(listing->table, "%s", status->id);
	if (status->next_restart_in_ms)
		table_add(listing->table, "%s (%s)", text_state(status->state),
			  text_age(status->next_restart_in_ms * 1000000u, left));
	else
		table_add(listing->table, "%s%s", text_state(status->state), held(status));
	table_add(listing->table, "%s", text_band(status->band));
	table_add(listing->table, "%zu/%zu", running, status->n_containers);
	table_add(listing->table, "%u", status->restarts);
	table_add(listing->table, "%s", text_ago(status->created_time_unix_ns, age));
	add_image(listing->table, status);
	table_add(listing->table, "%s", status->sentence);
}

static void print_workload(struct listing *listing, const Berth__V1__Workload *workload)
{
	if (!listing->all && is_over(workload->status))
		return;
	if (listing->cli->quiet)
		(void)puts(workload->status->id);
	else if (listing->cli->json)
		(void)cli_print_json(&workload->base, false);
	else
		add_row(listing, workload->status);
}

/* All pages. */
static int list(struct listing *listing, Berth__V1__ListRequest *request)
{
	char token[512] = "";

	do {
		const Berth__V1__ListResponse *page;
		struct grpc_reply reply;
		int code;

		request->page_token = token;
		code = cli_call(listing->cli, "List", &request->base,
				&berth__v1__list_response__descriptor, &reply);
		if (code != CLI_OK)
			return code;
		page = (const Berth__V1__ListResponse *)reply.message;
		for (size_t i = 0; i < page->n_workloads; i++)
			print_workload(listing, page->workloads[i]);
		(void)snprintf(token, sizeof(token), "%s", page->next_page_token);
		grpc_reply_done(&reply);
	} while (token[0]);
	return CLI_OK;
}

VERB(ps)
{
	static const char *const heads[] = { "ID",  "STATE", "BAND", "CONTAINERS", "RESTARTS",
					     "AGE", "IMAGE", "WHY",  NULL };
	static const struct option options[] = { { "all", no_argument, NULL, 'a' },
						 { "label", required_argument, NULL, 'l' },
						 { 0 } };
	Berth__V1__ListRequest request = BERTH__V1__LIST_REQUEST__INIT;
	struct listing listing = { .cli = cli };
	cleanup_arena struct arena arena;
	struct labels labels = { 0 };
	int option, code;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	while ((option = verb_next_option(cli, argc, argv, "al:", options)) >= 0) {
		if (option == 'a')
			listing.all = true;
		else if (option != 'l' || labels_add(&labels, optarg, &arena) < 0)
			return verb_misused("ps", NULL);
	}
	if (optind < argc)
		return verb_misused("ps", "it takes no names; berthctl inspect does");
	request.page_size = 500;
	request.status_only = !cli->json;
	request.labels = (Berth__V1__ListRequest__LabelsEntry **)labels_entries(
		&labels, &berth__v1__list_request__labels_entry__descriptor, &arena);
	request.n_labels = request.labels ? labels.count : 0;
	if (!cli->quiet && !cli->json)
		listing.table = table_new(heads);
	code = list(&listing, &request);
	table_end(listing.table, code == CLI_OK ? stdout : NULL);
	return code;
}

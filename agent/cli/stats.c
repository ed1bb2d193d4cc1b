#include <inttypes.h>
#include <unistd.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

struct watching {
	const struct cli *cli;
	bool live;     /* a terminal: each report in place of the last */
	uint64_t left; /* reports to go; 0: no end */
	bool started;
};

static void add_row(struct table *table, const Berth__V1__WorkloadUsage *usage)
{
	char text[TEXT_SHORT_MAX], limit[TEXT_SHORT_MAX];
	uint64_t denied = 0, log = 0, dropped = 0;

	for (size_t i = 0; i < usage->n_containers; i++) {
		denied += usage->containers[i]->denied_syscalls;
		log += usage->containers[i]->log_bytes;
		dropped += usage->containers[i]->log_dropped_bytes;
	}
	table_add(table, "%s", usage->workload);
	table_add(table, "%.0fm", usage->cpu->usage_millis->average);
	table_add(table, "%.0fm", usage->cpu->usage_millis->maximum);
	table_add(table, "%" PRIu64 "/%" PRIu64, usage->cpu->throttled_periods,
		  usage->cpu->periods);
	table_add(table, "%s", text_bytes(usage->memory->current_bytes, text));
	table_add(table, "%s",
		  usage->memory->limit_bytes ? text_bytes(usage->memory->limit_bytes, limit) : "-");
	table_add(table, "%s", text_bytes(usage->memory->peak_bytes, text));
	table_add(table, "%s/s",
		  text_bytes((uint64_t)usage->io->read_bytes_per_second->average, text));
	table_add(table, "%s/s",
		  text_bytes((uint64_t)usage->io->write_bytes_per_second->average, text));
	table_add(table, "%" PRIu64, usage->pids);
	table_add(table, "%" PRIu64, denied);
	table_add(table, "%s%s", text_bytes(log, limit), dropped ? " (dropped some)" : "");
}

static void print_report(const struct watching *watching,
			 const Berth__V1__StreamTelemetryResponse *report)
{
	static const char *const heads[] = { "ID",     "CPU",  "MAX",  "THROTTLED", "MEMORY",
					     "LIMIT",  "PEAK", "READ", "WRITE",     "PIDS",
					     "DENIED", "LOG",  NULL };
	struct table *table = table_new(heads);
	char used[TEXT_SHORT_MAX];

	if (watching->live)
		(void)printf("\033[H\033[2J");
	if (report->node)
		(void)printf("node: cpu %.0fm (max %.0fm), memory %s used, window %.1f s%s\n",
			     report->node->cpu_millis->average, report->node->cpu_millis->maximum,
			     text_bytes(report->node->memory_used_bytes, used),
			     (double)(report->window_end_boot_ns - report->window_start_boot_ns) /
				     1e9,
			     report->missed_reports ? ", reports were missed" : "");
	for (size_t i = 0; i < report->n_workloads; i++)
		add_row(table, report->workloads[i]);
	table_end(table, stdout);
}

static void print_ids(const Berth__V1__StreamTelemetryResponse *report)
{
	for (size_t i = 0; i < report->n_workloads; i++)
		(void)puts(report->workloads[i]->workload);
	(void)fflush(stdout);
}

static bool on_report(const ProtobufCMessage *message, void *userdata)
{
	const Berth__V1__StreamTelemetryResponse *report = (const void *)message;
	struct watching *watching = userdata;

	if (watching->cli->quiet)
		print_ids(report);
	else if (watching->cli->json)
		(void)cli_print_json(message, false);
	else
		print_report(watching, report);
	if (ferror(stdout))
		return false;
	return watching->left == 0 || report->more || --watching->left > 0;
}

VERB(stats)
{
	static const struct option options[] = { { "interval", required_argument, NULL, 'i' },
						 { "count", required_argument, NULL, 'n' },
						 { 0 } };
	Berth__V1__StreamTelemetryRequest request = BERTH__V1__STREAM_TELEMETRY_REQUEST__INIT;
	struct watching watching = { .cli = cli, .live = isatty(STDOUT_FILENO) };
	struct err err = { 0 };
	uint64_t number = 0;
	int option;

	while ((option = verb_next_option(cli, argc, argv, "i:n:", options)) >= 0) {
		if (option != 'i' && option != 'n')
			return verb_misused("stats", NULL);
		if (quantity_parse_decimal(optarg, 1, UINT32_MAX, &number, &err) < 0)
			return cli_fail_usage(&err, option == 'i' ? "--interval" : "--count");
		if (option == 'i')
			request.interval_ms = (uint32_t)number;
		else
			watching.left = number;
	}
	request.ids = argv + optind;
	request.n_ids = (size_t)(argc - optind);
	return cli_follow(cli, "StreamTelemetry", &request.base,
			  &berth__v1__stream_telemetry_response__descriptor, on_report, NULL,
			  &watching);
}

/*
 * records: how containers ended, as it is kept for schedulers; and the acknowledgement of one that has
 * written them down.
 */
#include <inttypes.h>
#include <string.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

static void print_record(const Berth__V1__Event *event)
{
	char time_text[TEXT_SHORT_MAX], sentence[TEXT_ESCAPED_MAX];
	const char *text = event->exit->sentence;

	(void)printf("%8" PRIu64 "  %s  %-24s  %-12s  attempt %u  %s\n", event->sequence,
		     text_time(event->time_unix_ns, time_text), event->workload, event->container,
		     event->exit->attempt, text_escape(text, strlen(text), sentence));
}

static bool on_events(const ProtobufCMessage *message, void *userdata)
{
	const Berth__V1__WatchEventsResponse *response = (const void *)message;
	const struct cli *cli = userdata;

	for (size_t i = 0; i < response->n_events; i++) {
		const Berth__V1__Event *event = response->events[i];

		if (cli->json)
			(void)cli_print_json(&event->base, false);
		else if (cli->quiet)
			(void)printf("%" PRIu64 "\n", event->sequence);
		else if (event->exit)
			print_record(event);
	}
	(void)fflush(stdout);
	return !ferror(stdout);
}

static int acknowledge(struct cli *cli, uint64_t up_to)
{
	Berth__V1__AckRecordsRequest request = BERTH__V1__ACK_RECORDS_REQUEST__INIT;
	const Berth__V1__RecordFigures *figures;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, NULL, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.up_to_sequence = up_to;
	code = cli_call(cli, "AckRecords", &request.base,
			&berth__v1__ack_records_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	figures = ((const Berth__V1__AckRecordsResponse *)reply.message)->records;
	if (cli->json)
		code = cli_print_json(&figures->base, false);
	else if (!cli->quiet)
		(void)printf("%" PRIu64 " of %" PRIu64 " records are not acknowledged\n",
			     figures->unacknowledged, figures->kept);
	grpc_reply_done(&reply);
	return code;
}

VERB(records)
{
	static const struct option options[] = { { "all", no_argument, NULL, 'a' },
						 { "follow", no_argument, NULL, 'f' },
						 { "ack", required_argument, NULL, 'k' },
						 { 0 } };
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct err err = { 0 };
	uint64_t up_to = 0;
	int option;

	request.no_follow = true;
	request.records_only = true;
	request.earlier_records = BERTH__V1__EARLIER_RECORDS__EARLIER_RECORDS_UNACKNOWLEDGED;
	while ((option = verb_next_option(cli, argc, argv, "af", options)) >= 0) {
		if (option == 'a')
			request.earlier_records = BERTH__V1__EARLIER_RECORDS__EARLIER_RECORDS_ALL;
		else if (option == 'f')
			request.no_follow = false;
		else if (option != 'k')
			return verb_misused("records", NULL);
		else if (quantity_parse_decimal(optarg, 1, UINT64_MAX, &up_to, &err) < 0)
			return cli_fail_usage(&err, "--ack");
	}
	if (argc - optind > 1 || (up_to && optind < argc))
		return verb_misused("records", "of one workload, or of all; --ack is of all");
	if (up_to)
		return acknowledge(cli, up_to);
	if (optind < argc)
		request.id = argv[optind];
	return cli_stream(cli, "WatchEvents", &request.base,
			  &berth__v1__watch_events_response__descriptor, on_events, cli);
}

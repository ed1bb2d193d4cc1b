#include <inttypes.h>
#include <string.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

static void print_event(const Berth__V1__Event *event)
{
	char time_text[TEXT_SHORT_MAX], sentence[TEXT_ESCAPED_MAX];

	(void)printf("%8" PRIu64 "  %s  %-24s  %-20s", event->sequence,
		     text_time(event->time_unix_ns, time_text),
		     event->workload[0] ? event->workload : "(node)", text_reason(event->reason));
	if (event->from == BERTH__V1__WORKLOAD_STATE__WORKLOAD_STATE_UNSPECIFIED &&
	    event->from != event->to)
		(void)printf("  %s", text_state(event->to));
	else if (event->from != event->to)
		(void)printf("  %s -> %s", text_state(event->from), text_state(event->to));
	if (event->container[0])
		(void)printf("  [%s]", event->container);
	(void)printf("  %s\n", text_escape(event->sentence, strlen(event->sentence), sentence));
}

struct reader {
	const struct cli *cli;
	Berth__V1__WatchEventsRequest request;
	bool any;
};

static bool on_events(const ProtobufCMessage *message, void *userdata)
{
	const Berth__V1__WatchEventsResponse *response = (const void *)message;
	struct reader *reader = userdata;
	const struct cli *cli = reader->cli;

	if (response->missed > 0 && !cli->json)
		(void)cli_fail(0, "%" PRIu64 " events were too old to be kept", response->missed);
	for (size_t i = 0; i < response->n_events; i++) {
		reader->request.after_sequence = response->events[i]->sequence;
		reader->any = true;
		if (cli->quiet)
			(void)printf("%" PRIu64 "\n", response->events[i]->sequence);
		else if (cli->json)
			(void)cli_print_json(&response->events[i]->base, false);
		else
			print_event(response->events[i]);
	}
	(void)fflush(stdout);
	return !ferror(stdout);
}

/* After the last one that was shown. */
static void resume(void *userdata)
{
	struct reader *reader = userdata;

	if (reader->any)
		reader->request.from_oldest = false;
}

VERB(events)
{
	static const struct option options[] = { { "follow", no_argument, NULL, 'f' },
						 { "after", required_argument, NULL, 'a' },
						 { 0 } };
	struct reader reader = { .cli = cli, .request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT };
	Berth__V1__WatchEventsRequest *request = &reader.request;
	struct err err = { 0 };
	int option;

	request->no_follow = true;
	request->from_oldest = true;
	while ((option = verb_next_option(cli, argc, argv, "f", options)) >= 0) {
		if (option == 'f') {
			request->no_follow = false;
		} else if (option == 'a') {
			if (quantity_parse_decimal(optarg, 0, UINT64_MAX, &request->after_sequence,
						   &err) < 0)
				return cli_fail_usage(&err, "--after");
			request->from_oldest = false;
		} else {
			return verb_misused("events", NULL);
		}
	}
	if (argc - optind > 1)
		return verb_misused("events", "of one workload, or of all");
	if (optind < argc)
		request->id = argv[optind];
	if (request->no_follow)
		return cli_stream(cli, "WatchEvents", &request->base,
				  &berth__v1__watch_events_response__descriptor, on_events,
				  &reader);
	return cli_follow(cli, "WatchEvents", &request->base,
			  &berth__v1__watch_events_response__descriptor, on_events, resume,
			  &reader);
}

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

#define CONTAINERS_MAX 16

struct printing {
	const struct cli *cli;
	Berth__V1__ReadLogsRequest request;
	/* The last line that was shown of each. */
	char names[CONTAINERS_MAX][64];
	Berth__V1__LogPlace places[CONTAINERS_MAX];
	Berth__V1__LogPlace *after[CONTAINERS_MAX];
	size_t n_places;
	bool timestamps;
	bool many; /* containers: say whose a line is */
	bool raw;
};

static void print_line(const struct printing *printing, const Berth__V1__LogLine *line)
{
	FILE *file = line->is_stderr ? stderr : stdout;
	char time_text[TEXT_SHORT_MAX];

	if (printing->timestamps)
		(void)fprintf(file, "%s ", text_time(line->time_unix_ns, time_text));
	if (printing->many)
		(void)fprintf(file, "%s | ", line->container);
	text_write(file, line->text.data, line->text.len, printing->raw);
	if (!line->partial)
		(void)fputc('\n', file);
}

static void note_place(struct printing *printing, const Berth__V1__LogLine *line)
{
	size_t i = 0;

	while (i < printing->n_places && strcmp(printing->names[i], line->container) != 0)
		i++;
	if (i == CONTAINERS_MAX)
		return;
	if (i == printing->n_places) {
		(void)snprintf(printing->names[i], sizeof(printing->names[i]), "%s",
			       line->container);
		berth__v1__log_place__init(&printing->places[i]);
		printing->places[i].container = printing->names[i];
		printing->after[i] = &printing->places[i];
		printing->n_places++;
	}
	printing->places[i].place = line->place;
}

static void resume(void *userdata)
{
	struct printing *printing = userdata;

	printing->request.n_after = printing->n_places;
	printing->request.after = printing->after;
}

static bool on_lines(const ProtobufCMessage *message, void *userdata)
{
	const Berth__V1__ReadLogsResponse *response = (const void *)message;
	struct printing *printing = userdata;

	for (size_t i = 0; i < response->n_lines; i++)
		note_place(printing, response->lines[i]);
	if (printing->cli->json)
		return cli_print_json(message, false) == CLI_OK && !ferror(stdout);
	if (response->missed_files > 0)
		(void)cli_fail(0, "%u log files were rotated away before they were read",
			       response->missed_files);
	for (size_t i = 0; i < response->n_lines; i++)
		print_line(printing, response->lines[i]);
	(void)fflush(stdout);
	return !ferror(stdout);
}

/* More than one container writes, and none was named. */
static int has_many(struct cli *cli, const char *id, bool *ret)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	struct grpc_reply reply;
	int code;

	request.id = (char *)id;
	code = cli_call(cli, "Get", &request.base, &berth__v1__get_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	*ret = ((const Berth__V1__GetResponse *)reply.message)->workload->spec->n_containers > 1;
	grpc_reply_done(&reply);
	return CLI_OK;
}

static uint64_t time_before(uint64_t ms)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - ms * 1000000;
}

/* Returns 0, or an exit code. */
static int take_option(struct printing *printing, int option)
{
	Berth__V1__ReadLogsRequest *request = &printing->request;
	struct err err = { 0 };
	uint64_t number = 0;

	switch (option) {
	case 'f':
		request->follow = true;
		return 0;
	case 't':
		printing->timestamps = true;
		return 0;
	case 'n':
		if (quantity_parse_decimal(optarg, 0, UINT32_MAX, &number, &err) < 0)
			return cli_fail_usage(&err, "--tail");
		request->_tail_case = BERTH__V1__READ_LOGS_REQUEST___TAIL_TAIL;
		request->tail = (uint32_t)number;
		return 0;
	case 's':
		if (quantity_parse_duration_ms(optarg, &number, &err) < 0)
			return cli_fail_usage(&err, "--since");
		request->since_unix_ns = time_before(number);
		return 0;
	default:
		return verb_misused("logs", NULL);
	}
}

VERB(logs)
{
	static const struct option options[] = { { "follow", no_argument, NULL, 'f' },
						 { "tail", required_argument, NULL, 'n' },
						 { "since", required_argument, NULL, 's' },
						 { "timestamps", no_argument, NULL, 't' },
						 { 0 } };
	/* Into a file or a pipe the bytes go as they are: it is terminals that obey them. */
	struct printing printing = { .cli = cli,
				     .request = BERTH__V1__READ_LOGS_REQUEST__INIT,
				     .raw = cli->raw || !isatty(STDOUT_FILENO) };
	Berth__V1__ReadLogsRequest *request = &printing.request;
	int option, code = 0;

	while ((option = verb_next_option(cli, argc, argv, "fn:t", options)) >= 0) {
		code = take_option(&printing, option);
		if (code != 0)
			return code;
	}
	if (argc - optind < 1 || argc - optind > 2)
		return verb_misused("logs", "one workload, or one container of it");
	request->id = argv[optind];
	if (argc - optind == 2)
		request->container = argv[optind + 1];
	else
		code = has_many(cli, request->id, &printing.many);
	if (code != CLI_OK)
		return code;
	if (!request->follow)
		return cli_stream(cli, "ReadLogs", &request->base,
				  &berth__v1__read_logs_response__descriptor, on_lines, &printing);
	return cli_follow(cli, "ReadLogs", &request->base,
			  &berth__v1__read_logs_response__descriptor, on_lines, resume, &printing);
}

#include "agent/cli/run_pull.h"

#include <time.h>

#include "agent/cli/pull_line.h"

#define LOOK_NS_MIN 5000000L /* most images are here: then it takes a few milliseconds */
#define LOOK_NS_MAX 200000000L

bool run_has_images(const Berth__V1__WorkloadSpec *spec)
{
	for (size_t i = 0; i < spec->n_containers; i++)
		if (spec->containers[i]->root && spec->containers[i]->root->source_case ==
							 BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE)
			return true;
	return false;
}

/* Of several images the first that is not here. */
static void print(struct pull_line *line, const Berth__V1__WorkloadStatus *status)
{
	for (size_t i = 0; i < status->n_containers; i++) {
		const Berth__V1__ContainerImage *image = status->containers[i]->image;

		if (!image || image->phase == BERTH__V1__PULL_PHASE__PULL_PHASE_DONE)
			continue;
		pull_line_print(line, image, 0);
		return;
	}
}

static int look(struct cli *cli, const char *id, struct pull_line *line, bool *ret_goes_on)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	const Berth__V1__WorkloadStatus *status;
	struct grpc_reply reply;
	int code;

	request.id = (char *)id;
	code = cli_call(cli, "Get", &request.base, &berth__v1__get_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	status = ((const Berth__V1__GetResponse *)reply.message)->workload->status;
	*ret_goes_on = status->state == BERTH__V1__WORKLOAD_STATE__PENDING ||
		       status->state == BERTH__V1__WORKLOAD_STATE__PULLING;
	if (status->state == BERTH__V1__WORKLOAD_STATE__PULLING && !cli->quiet && !cli->json)
		print(line, status);
	grpc_reply_done(&reply);
	return CLI_OK;
}

int run_pull_follow(struct cli *cli, const char *id)
{
	struct timespec pause = { .tv_nsec = LOOK_NS_MIN };
	struct pull_line line;
	bool goes_on = true;
	int code;

	pull_line_begin(&line);
	while ((code = look(cli, id, &line, &goes_on)) == CLI_OK && goes_on) {
		(void)nanosleep(&pause, NULL); /* ^C ends it as ever */
		if (pause.tv_nsec < LOOK_NS_MAX)
			pause.tv_nsec *= 2;
	}
	pull_line_end(&line);
	return code;
}

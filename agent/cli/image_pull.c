#include "agent/cli/image_pull.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/text.h"

#define PASSWORD_MAX 16384

struct progress {
	const struct cli *cli;
	bool live; /* a terminal: one line, written over */
	Berth__V1__PullPhase phase;
	uint32_t layers_done;
	bool printed;
	int code;
};

static const char *phase_text(Berth__V1__PullPhase phase)
{
	switch (phase) {
	case BERTH__V1__PULL_PHASE__PULL_PHASE_RESOLVING:
		return "resolving the name";
	case BERTH__V1__PULL_PHASE__PULL_PHASE_LAYERS:
		return "fetching layers";
	case BERTH__V1__PULL_PHASE__PULL_PHASE_STORING:
		return "storing";
	default:
		return "pulling";
	}
}

static void print_line(struct progress *progress, const Berth__V1__PullImageResponse *message)
{
	char done[TEXT_SHORT_MAX], all[TEXT_SHORT_MAX], rate[TEXT_SHORT_MAX];

	(void)fprintf(stderr, "%s%s", progress->live ? "\r\033[K" : "", phase_text(message->phase));
	if (message->layers > 0)
		(void)fprintf(stderr, ": %u of %u layers, %s of %s", message->layers_done,
			      message->layers, text_bytes(message->bytes_done, done),
			      text_bytes(message->bytes, all));
	if (message->bytes_per_second > 0)
		(void)fprintf(stderr, ", %s/s", text_bytes(message->bytes_per_second, rate));
	(void)fprintf(stderr, "%s", progress->live ? "" : "\n");
	progress->printed = true;
}

static void end_line(struct progress *progress)
{
	if (progress->live && progress->printed)
		(void)fprintf(stderr, "\r\033[K");
	progress->printed = false;
}

static bool on_progress(const ProtobufCMessage *reply, void *userdata)
{
	const Berth__V1__PullImageResponse *message = (const void *)reply;
	struct progress *progress = userdata;
	bool is_step = message->phase != progress->phase ||
		       message->layers_done != progress->layers_done;

	if (progress->cli->json) {
		progress->code = cli_print_json(reply, false);
		(void)fflush(stdout);
		return progress->code == CLI_OK;
	}
	if (message->image) {
		end_line(progress);
		progress->code = image_print(progress->cli, message->image);
		return true;
	}
	if (!progress->cli->quiet && (progress->live || is_step))
		print_line(progress, message);
	progress->phase = message->phase;
	progress->layers_done = message->layers_done;
	return true;
}

/* One line of standard input; not from the command line, which every process of the host can read. */
static int read_password(char password[static PASSWORD_MAX])
{
	if (!fgets(password, PASSWORD_MAX, stdin))
		return cli_fail(CLI_USAGE, "--password-stdin: standard input has no line");
	password[strcspn(password, "\r\n")] = '\0';
	return CLI_OK;
}

int image_pull(struct cli *cli, const char *reference, const struct image_pull_options *options)
{
	Berth__V1__PullImageRequest request = BERTH__V1__PULL_IMAGE_REQUEST__INIT;
	Berth__V1__ImageCredentials credentials = BERTH__V1__IMAGE_CREDENTIALS__INIT;
	struct progress progress = { .cli = cli, .live = isatty(STDERR_FILENO) };
	char password[PASSWORD_MAX] = "";
	int code;

	if (!options->user != !options->password_stdin)
		return cli_fail(CLI_USAGE, "image pull: --user and --password-stdin go together");
	if (options->user) {
		code = read_password(password);
		if (code != CLI_OK)
			return code;
		credentials.user = (char *)options->user;
		credentials.password = password;
		request.credentials = &credentials;
	}
	request.reference = (char *)reference;
	code = cli_stream(cli, "PullImage", &request.base,
			  &berth__v1__pull_image_response__descriptor, on_progress, &progress);
	explicit_bzero(password, sizeof(password));
	end_line(&progress);
	return code != CLI_OK ? code : progress.code;
}

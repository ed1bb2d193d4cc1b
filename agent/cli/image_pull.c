#include "agent/cli/image_pull.h"

#include <stdio.h>
#include <string.h>

#include "agent/cli/pull_line.h"

#define PASSWORD_MAX 16384

struct progress {
	const struct cli *cli;
	struct pull_line line;
	int code;
};

static void print_progress(struct progress *progress, const Berth__V1__PullImageResponse *message)
{
	Berth__V1__ContainerImage image = BERTH__V1__CONTAINER_IMAGE__INIT;

	image.phase = message->phase;
	image.layers = message->layers;
	image.layers_done = message->layers_done;
	image.bytes = message->bytes;
	image.bytes_done = message->bytes_done;
	pull_line_print(&progress->line, &image, message->bytes_per_second);
}

static bool on_progress(const ProtobufCMessage *reply, void *userdata)
{
	const Berth__V1__PullImageResponse *message = (const void *)reply;
	struct progress *progress = userdata;

	if (progress->cli->json) {
		progress->code = cli_print_json(reply, false);
		(void)fflush(stdout);
		return progress->code == CLI_OK;
	}
	if (message->image) {
		pull_line_end(&progress->line);
		progress->code = image_print(progress->cli, message->image);
		return true;
	}
	if (!progress->cli->quiet)
		print_progress(progress, message);
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
	struct progress progress = { .cli = cli };
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
	pull_line_begin(&progress.line);
	code = cli_stream(cli, "PullImage", &request.base,
			  &berth__v1__pull_image_response__descriptor, on_progress, &progress);
	explicit_bzero(password, sizeof(password));
	pull_line_end(&progress.line);
	return code != CLI_OK ? code : progress.code;
}

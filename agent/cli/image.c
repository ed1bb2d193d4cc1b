/*
 * image: what of images is on the host, and what is to be.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/image_pull.h"
#include "agent/cli/text.h"
#include "agent/cli/verbs.h"

int image_print(const struct cli *cli, const Berth__V1__Image *image)
{
	char size[TEXT_SHORT_MAX];

	if (cli->json)
		return cli_print_json(&image->base, false);
	if (cli->quiet)
		(void)puts(image->name);
	else
		(void)printf("%s: %s, %u layers, %s\n", image->name, image->digest, image->layers,
			     text_bytes(image->size_bytes, size));
	return CLI_OK;
}

static int pull_each(struct cli *cli, int count, char **names,
		     const struct image_pull_options *options)
{
	int first = CLI_OK;

	for (int i = 0; i < count; i++) {
		int code = image_pull(cli, names[i], options);

		first = first == CLI_OK ? code : first;
	}
	return first;
}

static int list(struct cli *cli, int count, char **names, const struct image_pull_options *options)
{
	static const char *const heads[] = { "NAME", "DIGEST", "LAYERS", "SIZE", "PULLED", NULL };
	Berth__V1__ListImagesRequest request = BERTH__V1__LIST_IMAGES_REQUEST__INIT;
	const Berth__V1__ListImagesResponse *response;
	struct grpc_reply reply;
	struct table *table;
	int code = cli_call(cli, "ListImages", &request.base,
			    &berth__v1__list_images_response__descriptor, &reply);

	if (code != CLI_OK)
		return code;
	response = (const void *)reply.message;
	table = cli->json || cli->quiet ? NULL : table_new(heads);
	for (size_t i = 0; i < response->n_images; i++) {
		const Berth__V1__Image *image = response->images[i];
		char text[TEXT_SHORT_MAX];

		if (cli->json || cli->quiet) {
			(void)image_print(cli, image);
			continue;
		}
		table_add(table, "%s", image->name);
		table_add(table, "%.19s", image->digest);
		table_add(table, "%u", image->layers);
		table_add(table, "%s", text_bytes(image->size_bytes, text));
		table_add(table, "%s", text_ago(image->pulled_unix_ms * 1000000, text));
	}
	table_end(table, stdout);
	grpc_reply_done(&reply);
	return code;
}

static int inspect(struct cli *cli, int count, char **names,
		   const struct image_pull_options *options)
{
	Berth__V1__GetImageRequest request = BERTH__V1__GET_IMAGE_REQUEST__INIT;
	struct grpc_reply reply;
	int code = CLI_OK;

	for (int i = 0; i < count && code == CLI_OK; i++) {
		request.reference = names[i];
		code = cli_call(cli, "GetImage", &request.base,
				&berth__v1__get_image_response__descriptor, &reply);
		if (code != CLI_OK)
			return code;
		code = cli_print_json(reply.message, !cli->json);
		grpc_reply_done(&reply);
	}
	return code;
}

static int remove_each(struct cli *cli, int count, char **names,
		       const struct image_pull_options *options)
{
	Berth__V1__RemoveImageRequest request = BERTH__V1__REMOVE_IMAGE_REQUEST__INIT;
	int first = CLI_OK;

	for (int i = 0; i < count; i++) {
		char freed[TEXT_SHORT_MAX];
		struct grpc_reply reply;
		int code;

		request.reference = names[i];
		code = cli_call(cli, "RemoveImage", &request.base,
				&berth__v1__remove_image_response__descriptor, &reply);
		first = first == CLI_OK ? code : first;
		if (code != CLI_OK)
			continue;
		if (cli->json)
			(void)cli_print_json(reply.message, false);
		else if (cli->quiet)
			(void)puts(names[i]);
		else
			(void)printf(
				"%s: removed, %s freed\n", names[i],
				text_bytes(((const Berth__V1__RemoveImageResponse *)(const void *)
						    reply.message)
						   ->freed_bytes,
					   freed));
		grpc_reply_done(&reply);
	}
	return first;
}

static int usage(struct cli *cli, int count, char **names, const struct image_pull_options *options)
{
	Berth__V1__ImageUsageRequest request = BERTH__V1__IMAGE_USAGE_REQUEST__INIT;
	char bytes[TEXT_SHORT_MAX], unused[TEXT_SHORT_MAX], available[TEXT_SHORT_MAX];
	const Berth__V1__ImageUsageResponse *response;
	struct grpc_reply reply;
	int code = cli_call(cli, "ImageUsage", &request.base,
			    &berth__v1__image_usage_response__descriptor, &reply);

	if (code != CLI_OK)
		return code;
	response = (const void *)reply.message;
	if (cli->json)
		code = cli_print_json(reply.message, false);
	else
		(void)printf("%u images in %s, %s of it needed by none; %s may still be used\n",
			     response->images, text_bytes(response->bytes, bytes),
			     text_bytes(response->unused_bytes, unused),
			     text_bytes(response->available_bytes, available));
	grpc_reply_done(&reply);
	return code;
}

static int print_verified(struct cli *cli, const char *name,
			  const Berth__V1__VerifyImageResponse *response)
{
	char bytes[TEXT_SHORT_MAX];

	if (cli->json)
		(void)cli_print_json(&response->base, false);
	else if (response->intact && !cli->quiet)
		(void)printf("%s: intact, %s read\n", name, text_bytes(response->bytes, bytes));
	if (response->intact)
		return CLI_OK;
	for (size_t i = 0; i < response->n_damaged; i++)
		(void)cli_fail(CLI_FAILED, "%s: %s is damaged or missing", name,
			       response->damaged[i]);
	return cli_fail(CLI_FAILED, "%s: remove it and pull it again", name);
}

static int verify_each(struct cli *cli, int count, char **names,
		       const struct image_pull_options *options)
{
	Berth__V1__VerifyImageRequest request = BERTH__V1__VERIFY_IMAGE_REQUEST__INIT;
	int first = CLI_OK;

	for (int i = 0; i < count; i++) {
		struct grpc_reply reply;
		int code;

		request.reference = names[i];
		code = cli_call(cli, "VerifyImage", &request.base,
				&berth__v1__verify_image_response__descriptor, &reply);
		if (code == CLI_OK) {
			code = print_verified(cli, names[i], (const void *)reply.message);
			grpc_reply_done(&reply);
		}
		first = first == CLI_OK ? code : first;
	}
	return first;
}

static int collect(struct cli *cli, int count, char **names,
		   const struct image_pull_options *options)
{
	Berth__V1__CollectImagesRequest request = BERTH__V1__COLLECT_IMAGES_REQUEST__INIT;
	char freed[TEXT_SHORT_MAX];
	struct grpc_reply reply;
	int code = cli_call(cli, "CollectImages", &request.base,
			    &berth__v1__collect_images_response__descriptor, &reply);

	if (code != CLI_OK)
		return code;
	if (cli->json)
		code = cli_print_json(reply.message, false);
	else if (!cli->quiet)
		(void)printf("%s freed\n",
			     text_bytes(((const Berth__V1__CollectImagesResponse *)(const void *)
						 reply.message)
						->freed_bytes,
					freed));
	grpc_reply_done(&reply);
	return code;
}

static const struct {
	const char *name;
	bool takes_names;
	int (*run)(struct cli *cli, int count, char **names,
		   const struct image_pull_options *options);
} actions[] = {
	{ "pull", true, pull_each }, { "ls", false, list },     { "inspect", true, inspect },
	{ "rm", true, remove_each }, { "usage", false, usage }, { "verify", true, verify_each },
	{ "gc", false, collect },
};

VERB(image)
{
	static const struct option options[] = { { "user", required_argument, NULL, 'u' },
						 { "password-stdin", no_argument, NULL, 'p' },
						 { 0 } };
	struct image_pull_options pull = { 0 };
	int option;

	while ((option = verb_next_option(cli, argc, argv, "u:", options)) >= 0) {
		if (option == 'u')
			pull.user = optarg;
		else if (option == 'p')
			pull.password_stdin = true;
		else
			return verb_misused("image", NULL);
	}
	if (optind == argc)
		return verb_misused("image", "what is to be done with which image?");
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		int count = argc - optind - 1;

		if (strcmp(actions[i].name, argv[optind]) != 0)
			continue;
		if (actions[i].takes_names != (count > 0) ||
		    (pull.user && actions[i].run != pull_each))
			break;
		return actions[i].run(cli, count, argv + optind + 1, &pull);
	}
	return verb_misused("image", "that is none of its forms");
}

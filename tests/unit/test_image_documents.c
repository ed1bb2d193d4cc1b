#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/image/image_config.h"
#include "agent/image/manifest.h"
#include "proto/cleanup.h"

#define A    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define OCI  "application/vnd.oci.image."
#define DISC "application/vnd.docker."

#define DESCRIPTOR(type, digest, size) \
	"{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":" size "}"
#define CONFIG DESCRIPTOR(OCI "config.v1+json", A, "10")
#define LAYER  DESCRIPTOR(OCI "layer.v1.tar+gzip", B, "100")
#define MANIFEST(config, layers) \
	"{\"schemaVersion\":2,\"config\":" config ",\"layers\":[" layers "]}"

static const struct platform amd64 = { "linux", "amd64", "v1" };

static int read_manifest(const char *text, struct manifest *manifest, struct err *err)
{
	*err = (struct err){ 0 };
	return manifest_read(text, strlen(text), manifest, err);
}

static void a_manifest_of_either_family_is_read(void **state)
{
	static const char docker[] =
		"{\"schemaVersion\":2,\"mediaType\":\"" DISC
		"distribution.manifest.v2+json\",\"config\":" DESCRIPTOR(
			DISC "container.image.v1+json", A,
			"7") ",\"layers\":[" DESCRIPTOR(DISC "image.rootfs.diff.tar.gzip", B,
							"5") "]}";
	struct manifest manifest;
	struct err err;

	assert_int_equal(read_manifest(MANIFEST(CONFIG, LAYER "," LAYER), &manifest, &err), 0);
	assert_int_equal(manifest.n_layers, 2);
	assert_int_equal(manifest.layer_bytes, 200);
	assert_int_equal(manifest.layers[0].media, MEDIA_LAYER_GZIP);
	assert_int_equal(read_manifest(docker, &manifest, &err), 0);
	assert_int_equal(manifest.config.size_bytes, 7);
	assert_int_equal(manifest.layers[0].media, MEDIA_LAYER_GZIP);
}

static void a_wrong_manifest_is_told_apart(void **state)
{
	static const struct {
		const char *text;
		enum err_kind kind;
		const char *word;
	} bad[] = {
		{ "", ERR_INVALID, "malformed" },
		{ "[]", ERR_INVALID, "no JSON object" },
		{ "{}", ERR_INVALID, "schemaVersion" },
		{ "{\"schemaVersion\":1,\"fsLayers\":[]}", ERR_UNSUPPORTED, "schema 1" },
		{ "{\"schemaVersion\":2}", ERR_INVALID, "neither" },
		{ "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", ERR_INVALID, "neither" },
		{ "{\"schemaVersion\":2,\"manifests\":[]}", ERR_INVALID, "an index" },
		{ "{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\",\"config\":" CONFIG
		  ",\"layers\":[" LAYER "]}",
		  ERR_INVALID, "another type" },
		{ "{\"schemaVersion\":2,\"layers\":[" LAYER "]}", ERR_INVALID, "config" },
		{ MANIFEST(CONFIG, ""), ERR_INVALID, "no layers" },
		{ MANIFEST(CONFIG, "1"), ERR_INVALID, "layer 1" },
		{ MANIFEST(CONFIG, LAYER "," DESCRIPTOR(OCI "layer.v1.tar", "sha256:x", "1")),
		  ERR_INVALID, "layer 2" },
		{ MANIFEST(CONFIG, DESCRIPTOR(OCI "layer.v1.tar", A, "-1")), ERR_INVALID, "size" },
		{ MANIFEST(CONFIG, DESCRIPTOR(OCI "layer.v1.tar", A, "1.5")), ERR_INVALID, "size" },
		{ MANIFEST(CONFIG,
			   DESCRIPTOR(OCI "layer.v1.tar", A, "9223372036854775807") "," DESCRIPTOR(
				   OCI "layer.v1.tar", A, "9223372036854775807") "," LAYER),
		  ERR_INVALID, "nonsense" },
		{ MANIFEST(CONFIG, DESCRIPTOR("application/x-helm", A, "1")), ERR_UNSUPPORTED,
		  "x-helm" },
		{ MANIFEST(CONFIG, DESCRIPTOR(DISC "image.rootfs.foreign.diff.tar.gzip", A, "1")),
		  ERR_UNSUPPORTED, "nondistributable" },
		{ MANIFEST(DESCRIPTOR("application/vnd.cncf.helm.config.v1+json", A, "1"), LAYER),
		  ERR_UNSUPPORTED, "no image" },
		{ MANIFEST(DESCRIPTOR(OCI "config.v1+json", A, "5000000"), LAYER), ERR_INVALID,
		  "at most" },
		{ "{\"schemaVersion\":2,\"schemaVersion\":2}", ERR_INVALID, "malformed" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct manifest manifest;
		struct err err;

		if (read_manifest(bad[i].text, &manifest, &err) >= 0)
			fail_msg("taken: %s", bad[i].text);
		if (err.kind != bad[i].kind || !strstr(err.text, bad[i].word))
			fail_msg("%s: %s: %s", bad[i].text, err_kind_name(err.kind), err.text);
	}
}

static void the_type_that_a_server_tells_must_be_what_it_sends(void **state)
{
	static const char text[] = MANIFEST(CONFIG, LAYER);
	enum media media = MEDIA_UNKNOWN;
	struct err err = { 0 };

	assert_int_equal(manifest_media(text, strlen(text), OCI "manifest.v1+json; charset=utf-8",
					&media, &err),
			 0);
	assert_int_equal(media, MEDIA_MANIFEST);
	assert_int_equal(manifest_media(text, strlen(text), "application/json", &media, &err), 0);
	assert_true(manifest_media(text, strlen(text), OCI "index.v1+json", &media, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_true(manifest_media(text, strlen(text), DISC "distribution.manifest.v1+prettyjws",
				   &media, &err) < 0);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void documents_have_bounds_before_they_are_parsed(void **state)
{
	cleanup_free char *text = malloc(DOCUMENT_BYTES_MAX + 2);
	struct manifest manifest;
	struct err err = { 0 };

	assert_non_null(text);
	memset(text, '[', DOCUMENT_BYTES_MAX + 1);
	text[DOCUMENT_BYTES_MAX + 1] = '\0';
	assert_int_equal(manifest_read(text, DOCUMENT_BYTES_MAX + 1, &manifest, &err), -EINVAL);
	assert_non_null(strstr(err.text, "bytes"));
	assert_int_equal(manifest_read(text, DOCUMENT_DEPTH_MAX + 1, &manifest, &err), -EINVAL);
	assert_non_null(strstr(err.text, "nested"));
	memset(text, ',', DOCUMENT_BYTES_MAX);
	assert_int_equal(manifest_read(text, DOCUMENT_BYTES_MAX, &manifest, &err), -EINVAL);
	assert_non_null(strstr(err.text, "values"));
	/* What is in a string nests nothing, whatever is escaped in it. */
	memset(text, '[', 200);
	memcpy(text, "{\"schemaVersion\":3,\"x\":\"\\\"\\\\", 28);
	memcpy(text + 200, "\"}", 3);
	assert_int_equal(manifest_read(text, 202, &manifest, &err), -EINVAL);
	assert_non_null(strstr(err.text, "schemaVersion"));
}

#define ENTRY(platform, digest)                                                            \
	"{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" digest "\",\"size\":5," \
	"\"platform\":" platform "}"
#define ON(os, architecture, more) \
	"{\"os\":\"" os "\",\"architecture\":\"" architecture "\"" more "}"

static int choose(const char *entries, const struct platform *host, struct descriptor *chosen,
		  struct err *err)
{
	char text[4096];

	(void)snprintf(text, sizeof(text), "{\"schemaVersion\":2,\"manifests\":[%s]}", entries);
	*err = (struct err){ 0 };
	return manifest_choose(text, strlen(text), host, chosen, err);
}

static void the_manifest_of_this_platform_is_chosen(void **state)
{
	static const struct platform arm64 = { "linux", "arm64", "v8" };
	struct descriptor chosen;
	struct err err;

	assert_int_equal(
		choose(ENTRY(ON("linux", "arm64", ""), A) "," ENTRY(ON("linux", "amd64", ""), B),
		       &amd64, &chosen, &err),
		0);
	assert_string_equal(chosen.digest.hex, strchr(B, ':') + 1);
	/* The host's own variant before none; another one never. */
	assert_int_equal(choose(ENTRY(ON("linux", "arm64", ""),
				      A) "," ENTRY(ON("linux", "arm64", ",\"variant\":\"v8\""), B),
				&arm64, &chosen, &err),
			 0);
	assert_string_equal(chosen.digest.hex, strchr(B, ':') + 1);
	assert_int_equal(choose(ENTRY(ON("linux", "amd64", ",\"variant\":\"v4\""), A), &amd64,
				&chosen, &err),
			 -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(choose(ENTRY(ON("windows", "amd64", ""),
				      A) "," ENTRY(ON("unknown", "unknown", ""), A),
				&amd64, &chosen, &err),
			 -ENOENT);
	assert_non_null(strstr(err.text, "linux/amd64"));
	assert_non_null(strstr(err.text, "windows/amd64"));
	assert_null(strstr(err.text, "unknown"));
	assert_int_equal(choose("{}", &amd64, &chosen, &err), -ENOENT);
	assert_int_equal(choose("{\"platform\":[]}", &amd64, &chosen, &err), -EINVAL);
}

static int read_config(const char *text, size_t budget, struct arena *arena,
		       struct image_config *config, struct err *err)
{
	*err = (struct err){ 0 };
	arena_init(arena, budget);
	return image_config_read(text, strlen(text), arena, config, err);
}

static void a_configuration_is_read(void **state)
{
	static const char text[] =
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Entrypoint\":[\"/bin/a\",\"b\"],"
		"\"Cmd\":null,\"Env\":[\"PATH=/bin\"],\"User\":\"www-data\",\"WorkingDir\":\"/srv\","
		"\"StopSignal\":\"SIGQUIT\",\"Volumes\":{\"/data\":{}},\"Labels\":{\"k\":\"v\"}},"
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" A "\",\"" B "\"]}}";
	cleanup_arena struct arena arena;
	struct image_config config;
	struct manifest manifest = { .n_layers = 2 };
	struct err err;

	assert_int_equal(read_config(text, 1 << 20, &arena, &config, &err), 0);
	assert_int_equal(config.n_entrypoint, 2);
	assert_string_equal(config.entrypoint[1], "b");
	assert_int_equal(config.n_command, 0);
	assert_string_equal(config.env[0], "PATH=/bin");
	assert_string_equal(config.user, "www-data");
	assert_string_equal(config.working_directory, "/srv");
	assert_string_equal(config.stop_signal, "SIGQUIT");
	assert_string_equal(config.volumes[0], "/data");
	assert_string_equal(config.labels[0].value, "v");
	assert_int_equal(config.n_diff_ids, 2);
	assert_int_equal(image_config_check(&config, &manifest, &amd64, &err), 0);
	manifest.n_layers = 1;
	assert_int_equal(image_config_check(&config, &manifest, &amd64, &err), -EINVAL);
	manifest.n_layers = 2;
	config.platform.architecture = "s390x";
	assert_int_equal(image_config_check(&config, &manifest, &amd64, &err), -ENOENT);
	assert_non_null(strstr(err.text, "s390x"));
}

static void a_wrong_configuration_is_refused(void **state)
{
	static const char *const bad[] = {
		"{\"config\":[]}",
		"{\"config\":{\"Entrypoint\":\"sh\"}}",
		"{\"config\":{\"Env\":[1]}}",
		"{\"config\":{\"User\":0}}",
		"{\"config\":{\"Labels\":{\"a\":1}}}",
		"{\"config\":{\"Volumes\":[\"/x\"]}}",
		"{\"config\":{\"Cmd\":[\"a\\u0000b\"]}}",
		"{\"rootfs\":{\"diff_ids\":[1]}}",
		"{\"rootfs\":{\"diff_ids\":[\"sha256:1\"]}}",
		"{\"os\":1}",
		"{\"config\":{\"Cmd\":[\"\xff\"]}}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cleanup_arena struct arena arena;
		struct image_config config;
		struct err err;

		if (read_config(bad[i], 1 << 20, &arena, &config, &err) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.kind, ERR_INVALID);
	}
}

static void a_configuration_over_its_budget_is_refused(void **state)
{
	static char text[1 << 16];
	cleanup_arena struct arena arena;
	struct image_config config;
	struct err err;
	size_t at = (size_t)sprintf(text, "{\"config\":{\"Env\":[\"\"");

	for (size_t i = 0; i < 4000; i++)
		at += (size_t)sprintf(text + at, ",\"a=%05zu\"", i);
	(void)strcpy(text + at, "]}}");
	assert_true(read_config(text, 4096, &arena, &config, &err) < 0);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_of_either_family_is_read),
		cmocka_unit_test(a_wrong_manifest_is_told_apart),
		cmocka_unit_test(the_type_that_a_server_tells_must_be_what_it_sends),
		cmocka_unit_test(documents_have_bounds_before_they_are_parsed),
		cmocka_unit_test(the_manifest_of_this_platform_is_chosen),
		cmocka_unit_test(a_configuration_is_read),
		cmocka_unit_test(a_wrong_configuration_is_refused),
		cmocka_unit_test(a_configuration_over_its_budget_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/config.h"

struct settings {
	bool telnet;
	uint64_t idle_ms;
	uint64_t room_bytes;
	uint64_t cpu_millis;
	uint64_t count;
	char *name;
	char *socket;
	struct config_list peers;
	struct config_list ports;
	int level;
	int not_in_the_table;
};

static const struct config_choice levels[] = { { "info", 6 }, { "debug", 7 }, { 0 } };

static int check_peer(const char *value, struct err *err)
{
	if (strstr(value, "evil"))
		return err_set(err, ERR_INVALID, EINVAL, "a peer must not be evil");
	return 0;
}

static const struct config_key keys[] = {
	{ "Server", "Telnet", CONFIG_BOOL, offsetof(struct settings, telnet), "no",
	  "Whether to speak telnet as well." },
	{ "Server", "IdleTimeout", CONFIG_DURATION_MS, offsetof(struct settings, idle_ms), "30s",
	  "Connections without a call for so long are closed. This help is long enough to be "
	  "wrapped, because it goes on and on, as help in real tables does.",
	  .min = 1000, .max = 3600000 },
	{ "Server", "Room", CONFIG_BYTES, offsetof(struct settings, room_bytes), "64Mi",
	  "Memory for messages.", .min = 4096 },
	{ "Server", "Cpu", CONFIG_CPU_MILLIS, offsetof(struct settings, cpu_millis), "1.5",
	  "Cpu." },
	{ "Server", "Count", CONFIG_UINT, offsetof(struct settings, count), "10", "How many.",
	  .min = 1, .max = 100 },
	{ "Server", "Name", CONFIG_STRING, offsetof(struct settings, name), NULL, "A name." },
	{ "Server", "Socket", CONFIG_PATH, offsetof(struct settings, socket), "/run/x.sock",
	  "Where to listen." },
	{ "Server", "Peers", CONFIG_LIST, offsetof(struct settings, peers), "alice bob",
	  "Certificate names.", .max = 5, .check = check_peer },
	{ "Server", "Ports", CONFIG_LIST, offsetof(struct settings, ports), "", "Ports." },
	{ "Log", "Level", CONFIG_ENUM, offsetof(struct settings, level), "info", "How much to say.",
	  .choices = levels },
};

/* What no key alone can tell. */
static int check_together(const void *data, size_t ret_members[static 2], struct err *err)
{
	const struct settings *settings = data;

	if (!settings->telnet || settings->count >= 7)
		return 0;
	ret_members[0] = offsetof(struct settings, count);
	ret_members[1] = offsetof(struct settings, telnet);
	return err_set(err, ERR_INVALID, EINVAL, "too few for Telnet");
}

static const struct config_table table =
	CONFIG_TABLE_CHECKED("What the test reads.", struct settings, keys, check_together);

static int load_text(const char *text, struct settings *settings, struct err *err)
{
	return config_load_text(&table, "x.conf", text, strlen(text), settings, err);
}

static void expect_text_loads(const char *text, struct settings *settings)
{
	struct err err = { 0 };

	if (load_text(text, settings, &err) != 0)
		fail_msg("%s", err.text);
}

static void expect_wrong(const char *text, const char *sentence)
{
	struct settings settings = { 0 };
	struct settings before = settings;
	struct err err = { 0 };

	if (load_text(text, &settings, &err) >= 0)
		fail_msg("taken: %s", text);
	assert_int_equal(err.kind, ERR_INVALID);
	if (!strstr(err.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", err.text, sentence);
	assert_memory_equal(&settings, &before, sizeof(settings));
}

static void an_empty_text_gives_the_defaults(void **state)
{
	struct settings settings = { .not_in_the_table = 5 };

	expect_text_loads("", &settings);
	assert_false(settings.telnet);
	assert_int_equal(settings.idle_ms, 30000);
	assert_int_equal(settings.room_bytes, 64 << 20);
	assert_int_equal(settings.cpu_millis, 1500);
	assert_int_equal(settings.count, 10);
	assert_string_equal(settings.name, "");
	assert_string_equal(settings.socket, "/run/x.sock");
	assert_int_equal(settings.peers.n, 2);
	assert_string_equal(settings.peers.items[1], "bob");
	assert_null(settings.peers.items[2]);
	assert_int_equal(settings.ports.n, 0);
	assert_null(settings.ports.items);
	assert_int_equal(settings.level, 6);
	assert_int_equal(settings.not_in_the_table, 5);
	config_free(&table, &settings);
	assert_null(settings.name);
	assert_int_equal(settings.not_in_the_table, 5);
}

static void every_type_is_read(void **state)
{
	struct settings settings = { 0 };

	expect_text_loads(
		"# a comment\n; another\n\n[Server]\nTelnet=yes\n  IdleTimeout = 1m30s \r\n"
		"Room=1Gi\nCpu=250m\nCount=7\nName=a name = with \"all\" # in it\nSocket=/a/b\n"
		"Peers=carol \"dave and eve\"\nPeers=\tfrank\n[Log]\nLevel=debug",
		&settings);
	assert_true(settings.telnet);
	assert_int_equal(settings.idle_ms, 90000);
	assert_int_equal(settings.room_bytes, 1 << 30);
	assert_int_equal(settings.cpu_millis, 250);
	assert_int_equal(settings.count, 7);
	assert_string_equal(settings.name, "a name = with \"all\" # in it");
	assert_string_equal(settings.socket, "/a/b");
	assert_int_equal(settings.peers.n, 3);
	assert_string_equal(settings.peers.items[0], "carol");
	assert_string_equal(settings.peers.items[1], "dave and eve");
	assert_string_equal(settings.peers.items[2], "frank");
	assert_int_equal(settings.level, 7);
	config_free(&table, &settings);
}

static void the_last_assignment_counts_and_empty_means_default(void **state)
{
	struct settings settings = { 0 };

	expect_text_loads("[Server]\nCount=7\nCount=8\nRoom=8Ki\nRoom=\nName=x\nName=\n"
			  "Peers=a\nPeers=\nPeers=b\nPorts=1 2\nPorts=\n",
			  &settings);
	assert_int_equal(settings.count, 8);
	assert_int_equal(settings.room_bytes, 64 << 20);
	assert_string_equal(settings.name, "");
	assert_int_equal(settings.peers.n, 1);
	assert_string_equal(settings.peers.items[0], "b");
	assert_int_equal(settings.ports.n, 0);
	config_free(&table, &settings);
}

static void an_emptied_list_stays_empty(void **state)
{
	struct settings settings = { 0 };

	expect_text_loads("[Server]\nPeers=\n", &settings);
	assert_int_equal(settings.peers.n, 0);
	config_free(&table, &settings);
}

static void booleans_have_many_names(void **state)
{
	static const char *const yes[] = { "yes", "true", "on", "1", "Yes", "TRUE" };
	static const char *const no[] = { "no", "false", "off", "0", "No" };
	char text[64];

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		struct settings settings = { 0 };

		(void)snprintf(text, sizeof(text), "[Server]\nTelnet=%s\n", yes[i]);
		expect_text_loads(text, &settings);
		assert_true(settings.telnet);
		config_free(&table, &settings);
	}
	for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
		struct settings settings = { 0 };

		(void)snprintf(text, sizeof(text), "[Server]\nTelnet=yes\nTelnet=%s\n", no[i]);
		expect_text_loads(text, &settings);
		assert_false(settings.telnet);
		config_free(&table, &settings);
	}
}

static void a_wrong_name_says_what_is_allowed(void **state)
{
	expect_wrong("\n[Sever]\n",
		     "x.conf:2: unknown section \"Sever\"; allowed are [Server], [Log]");
	expect_wrong("[Server]\nIdleTimout=1s\n",
		     "x.conf:2: unknown key \"IdleTimout\" in [Server]; did you mean IdleTimeout?");
	expect_wrong(
		"[Server]\nBanana=1\n",
		"allowed are Telnet, IdleTimeout, Room, Cpu, Count, Name, Socket, Peers, Ports");
	expect_wrong("[Server]\nLevel=info\n", "key \"Level\" belongs into section [Log]");
	expect_wrong("Level=info\n", "x.conf:1: a key before the first [Section]");
	expect_wrong("[Server\n", "x.conf:1: a section is written as [Name]");
	expect_wrong("[\n", "a section is written");
	expect_wrong("[]\n", "unknown section \"\"");
	expect_wrong("[Server]\nTelnet\n", "x.conf:2: neither");
	expect_wrong("[Server]\n=x\n", "unknown key \"\"");
	expect_wrong("[server]\n", "unknown section");
	expect_wrong("[Server]\ntelnet=yes\n", "did you mean Telnet?");
	expect_wrong("[Server]\nA\x1b=1\n", "\"A\\x1b\"");
}

static void a_wrong_value_says_what_is_allowed(void **state)
{
	expect_wrong("[Server]\nTelnet=maybe\n",
		     "x.conf:2: Telnet: \"maybe\" is not allowed; it must be yes or no");
	expect_wrong(
		"[Server]\nIdleTimeout=5\n",
		"IdleTimeout: \"5\" is not allowed; it must be a duration, as in 1m30s or 250ms, from 1s to 1h");
	expect_wrong("[Server]\nIdleTimeout=999ms\n", "from 1s to 1h");
	expect_wrong("[Server]\nIdleTimeout=61m\n", "from 1s to 1h");
	expect_wrong("[Server]\nRoom=4095\n", "a size, as in 64Mi, of at least 4Ki");
	expect_wrong("[Server]\nCpu=x\n", "it must be a share of processors, as in 1.5 or 500m");
	expect_wrong("[Server]\nCount=0\n", "a whole number from 1 to 100");
	expect_wrong("[Server]\nCount=-1\n", "a whole number from 1 to 100");
	expect_wrong("[Server]\nCount=101\n", "a whole number from 1 to 100");
	expect_wrong("[Server]\nName=a\tb\x01\n", "Name: ");
	expect_wrong("[Server]\nSocket=run/x\n", "absolute path");
	expect_wrong("[Server]\nSocket=/a/../b\n", "Socket: ");
	expect_wrong("[Server]\nPeers=a \"b\n", "words separated by spaces");
	expect_wrong("[Server]\nPeers=a\"b\n", "words separated by spaces");
	expect_wrong("[Server]\nPeers=\"a\"b\n", "words separated by spaces");
	expect_wrong("[Server]\nPeers=good evilone\n", "x.conf:2: Peers: a peer must not be evil");
	expect_wrong("[Server]\nPeers=1 2 3 4 5 6\n", "at most 5 items");
	expect_wrong("[Server]\nPeers=1 2 3\nPeers=4 5 6\n", "x.conf:3: Peers: at most 5 items");
	expect_wrong("[Log]\nLevel=loud\n",
		     "Level: \"loud\" is not allowed; it must be one of: info, debug");
	expect_wrong("[Log]\nLevel=INFO\n", "one of: info, debug");
}

static void what_is_no_text_is_refused(void **state)
{
	struct settings settings = { 0 };
	struct err err = { 0 };

	assert_true(config_load_text(&table, "x.conf", "[Log]\0", 6, &settings, &err) < 0);
	assert_string_equal(err.text, "x.conf: not a text in UTF-8");
	expect_wrong("[Log]\n# \xff\n", "not a text");
}

static void a_failed_reload_keeps_the_old_settings(void **state)
{
	struct settings settings = { 0 };
	char *name;

	expect_text_loads("[Server]\nName=first\nPeers=x y\n", &settings);
	name = settings.name;
	assert_true(load_text("[Server]\nName=second\nPeers=z\nCount=0\n", &settings, NULL) < 0);
	assert_ptr_equal(settings.name, name);
	assert_string_equal(settings.name, "first");
	assert_int_equal(settings.peers.n, 2);
	expect_text_loads("[Server]\nName=third\n", &settings);
	assert_string_equal(settings.name, "third");
	assert_int_equal(settings.peers.n, 2); /* the default's two */
	assert_string_equal(settings.peers.items[0], "alice");
	config_free(&table, &settings);
}

static char *print(int (*how)(FILE *, const struct settings *), const struct settings *settings)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	assert_non_null(file);
	assert_int_equal(how(file, settings), 0);
	fclose(file);
	return text;
}

static int print_defaults(FILE *file, const struct settings *settings)
{
	return config_print_defaults(&table, file);
}

static int print_settings(FILE *file, const struct settings *settings)
{
	return config_print_settings(&table, settings, file);
}

static void the_default_file_documents_every_key_and_changes_nothing(void **state)
{
	cleanup_free char *text = print(print_defaults, NULL);
	struct settings settings = { 0 };

	assert_memory_equal(text, "# What the test reads.\n\n[Server]\n# Whether to speak", 50);
	assert_non_null(strstr(text, "\n#IdleTimeout=30s\n"));
	assert_non_null(strstr(text, "\n#Peers=alice bob\n"));
	assert_non_null(strstr(text, "\n[Log]\n"));
	assert_non_null(strstr(text, "# Allowed: one of: info, debug. Default: info.\n"));
	assert_non_null(strstr(text, "# Allowed: text. Default: none.\n#Name=\n"));
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		assert_true(strcspn(line, "\n") <= 100);
	}
	expect_text_loads(text, &settings);
	assert_int_equal(settings.idle_ms, 30000);
	config_free(&table, &settings);
}

static void every_default_line_may_be_uncommented(void **state)
{
	cleanup_free char *text = print(print_defaults, NULL);
	struct settings settings = { 0 };

	for (char *p = text; *p; p++) {
		if (p[0] == '\n' && p[1] == '#' && p[2] != ' ')
			p[1] = ' ';
	}
	assert_non_null(strstr(text, "\n IdleTimeout=30s\n"));
	expect_text_loads(text, &settings);
	assert_int_equal(settings.peers.n, 2);
	config_free(&table, &settings);
}

static void printed_settings_load_as_the_same(void **state)
{
	struct settings settings = { 0 }, again = { 0 };
	cleanup_free char *text = NULL, *second = NULL;

	expect_text_loads("[Server]\nTelnet=on\nIdleTimeout=90s\nRoom=12345\nName=x y\n"
			  "Peers=\nPorts=a \"b c\" \"\"\n[Log]\nLevel=debug\n",
			  &settings);
	text = print(print_settings, &settings);
	assert_non_null(strstr(text, "\nIdleTimeout=1m30s\n"));
	assert_non_null(strstr(text, "\nPorts=a \"b c\" \"\"\n"));
	assert_non_null(strstr(text, "\nPeers=\n"));
	expect_text_loads(text, &again);
	second = print(print_settings, &again);
	assert_string_equal(text, second);
	assert_int_equal(again.ports.n, 3);
	config_free(&table, &settings);
	config_free(&table, &again);
}

static void a_full_disk_is_told(void **state)
{
	cleanup_file FILE *full = fopen("/dev/full", "w");

	assert_non_null(full);
	assert_int_equal(config_print_defaults(&table, full), -EIO);
}

static void a_wrong_default_is_the_programs_fault(void **state)
{
	static const struct config_key bad[] = {
		{ "S", "K", CONFIG_UINT, offsetof(struct settings, count), "many", "." }
	};
	const struct config_table bad_table = CONFIG_TABLE("", struct settings, bad);
	struct settings settings = { 0 };
	struct err err = { 0 };

	assert_true(config_load_text(&bad_table, "x", "", 0, &settings, &err) < 0);
	assert_non_null(strstr(err.text, "default of K in [S]"));
}

/* Files: a directory with x.conf and x.conf.d/ in it. */

static char directory[64];
static char main_path[96];

static const char *path_of(const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fchmod(fileno(file), 0644), 0);
	assert_int_equal(fclose(file), 0);
}

static int make_directory(void **state)
{
	strcpy(directory, "/tmp/test_config.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	(void)snprintf(main_path, sizeof(main_path), "%s/x.conf", directory);
	return mkdir(path_of("x.conf.d"), 0755);
}

static int remove_directory(void **state)
{
	static const char *const names[] = { "x.conf.d/10-a.conf", "x.conf.d/9-b.conf",
					     "x.conf.d/.h.conf",   "x.conf.d/10-a.conf~",
					     "x.conf.d/.conf",     "x.conf" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlink(path_of(names[i]));
	(void)rmdir(path_of("x.conf.d"));
	(void)rmdir(path_of("x.conf"));
	return rmdir(directory);
}

static void expect_file_wrong(enum err_kind kind, const char *sentence)
{
	struct settings settings = { 0 };
	struct settings before = settings;
	struct err err = { 0 };

	assert_true(config_load(&table, main_path, CONFIG_MUST_EXIST, &settings, &err) < 0);
	assert_int_equal(err.kind, kind);
	if (!strstr(err.text, sentence))
		fail_msg("\"%s\" does not say \"%s\"", err.text, sentence);
	assert_memory_equal(&settings, &before, sizeof(settings));
}

static void drop_ins_follow_in_the_order_of_their_names(void **state)
{
	struct settings settings = { 0 };
	struct err err = { 0 };

	write_file("x.conf", "[Server]\nCount=1\nName=main\nPeers=m\n");
	write_file("x.conf.d/10-a.conf", "[Server]\nCount=2\nRoom=8Ki\nPeers=a\n");
	write_file("x.conf.d/9-b.conf", "[Server]\nCount=3\nPeers=b\n");
	write_file("x.conf.d/.h.conf", "garbage");
	write_file("x.conf.d/10-a.conf~", "garbage");
	write_file("x.conf.d/.conf", "garbage");
	if (config_load(&table, main_path, CONFIG_MUST_EXIST, &settings, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(settings.count, 3);
	assert_int_equal(settings.room_bytes, 8192);
	assert_string_equal(settings.name, "main");
	assert_int_equal(settings.peers.n, 3);
	assert_string_equal(settings.peers.items[0], "m");
	assert_string_equal(settings.peers.items[1], "a");
	assert_string_equal(settings.peers.items[2], "b");
	config_free(&table, &settings);
}

static void a_missing_file_is_an_error_only_if_it_must_exist(void **state)
{
	struct settings settings = { 0 };
	struct err err = { 0 };

	expect_file_wrong(ERR_NOT_FOUND, "x.conf: No such file");
	write_file("x.conf.d/10-a.conf", "[Server]\nCount=2\n");
	assert_int_equal(config_load(&table, main_path, CONFIG_MAY_BE_MISSING, &settings, &err), 0);
	assert_int_equal(err.kind, ERR_NONE);
	assert_int_equal(settings.count, 2);
	config_free(&table, &settings);
	assert_int_equal(unlink(path_of("x.conf.d/10-a.conf")), 0);
	assert_int_equal(rmdir(path_of("x.conf.d")), 0);
	assert_int_equal(config_load(&table, main_path, CONFIG_MAY_BE_MISSING, &settings, &err), 0);
	assert_int_equal(settings.count, 10);
	config_free(&table, &settings);
}

static void an_error_in_a_drop_in_names_it(void **state)
{
	write_file("x.conf", "");
	write_file("x.conf.d/10-a.conf", "[Server]\n\nCount=0\n");
	expect_file_wrong(ERR_INVALID, "/x.conf.d/10-a.conf:3: Count: ");
}

static void what_does_not_go_together_names_the_line_of_either(void **state)
{
	struct settings settings = { 0 };
	struct err err = { 0 };

	expect_wrong("[Server]\nTelnet=yes\nCount=8\n\nCount=2\n", "x.conf:5: Count: too few");
	expect_text_loads("[Server]\nTelnet=yes\nCount=2\nCount=\n", &settings);
	write_file("x.conf", "[Server]\nCount=3\n");
	write_file("x.conf.d/10-a.conf", "# one\n[Server]\nCount=9\nTelnet=yes\n");
	assert_int_equal(config_load(&table, main_path, CONFIG_MUST_EXIST, &settings, &err), 0);
	config_free(&table, &settings);
	write_file("x.conf.d/9-b.conf", "[Server]\nCount=3\n");
	expect_file_wrong(ERR_INVALID, "/x.conf.d/9-b.conf:2: Count: too few");
}

static void what_others_could_have_written_is_refused(void **state)
{
	write_file("x.conf", "");
	assert_int_equal(chmod(main_path, 0646), 0);
	expect_file_wrong(ERR_DENIED, "others may write");
	assert_int_equal(chmod(main_path, 0644), 0);
	assert_int_equal(chmod(path_of("x.conf.d"), 0777), 0);
	expect_file_wrong(ERR_DENIED, "x.conf.d: others may write");
	assert_int_equal(chmod(path_of("x.conf.d"), 0755), 0);
	if (geteuid() != 0) {
		print_message("not root: files of other users are not tried\n");
		return;
	}
	assert_int_equal(chown(main_path, 12345, 0), 0);
	expect_file_wrong(ERR_DENIED, "it belongs to user 12345");
	assert_int_equal(chown(main_path, 0, 12345), 0);
	assert_int_equal(chmod(main_path, 0664), 0);
	expect_file_wrong(ERR_DENIED, "others may write");
}

static void what_is_no_file_is_refused(void **state)
{
	assert_int_equal(mkfifo(main_path, 0644), 0);
	expect_file_wrong(ERR_DENIED, "not a regular file");
	assert_int_equal(unlink(main_path), 0);
	assert_int_equal(mkdir(main_path, 0755), 0);
	expect_file_wrong(ERR_DENIED, "not a regular file");
}

static void more_than_a_mebibyte_is_refused(void **state)
{
	struct settings settings = { 0 };
	struct err err = { 0 };

	write_file("x.conf", "");
	assert_int_equal(truncate(main_path, CONFIG_FILE_BYTES_MAX + 1), 0);
	expect_file_wrong(ERR_INVALID, "larger");
	assert_int_equal(truncate(main_path, CONFIG_FILE_BYTES_MAX), 0);
	expect_file_wrong(ERR_INVALID, "not a text"); /* all NUL, but read */
	assert_true(config_load(&table, main_path, CONFIG_MUST_EXIST, &settings, &err) < 0);
}

#define file_test(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_text_gives_the_defaults),
		cmocka_unit_test(every_type_is_read),
		cmocka_unit_test(the_last_assignment_counts_and_empty_means_default),
		cmocka_unit_test(an_emptied_list_stays_empty),
		cmocka_unit_test(booleans_have_many_names),
		cmocka_unit_test(a_wrong_name_says_what_is_allowed),
		cmocka_unit_test(a_wrong_value_says_what_is_allowed),
		cmocka_unit_test(what_is_no_text_is_refused),
		cmocka_unit_test(a_failed_reload_keeps_the_old_settings),
		cmocka_unit_test(the_default_file_documents_every_key_and_changes_nothing),
		cmocka_unit_test(every_default_line_may_be_uncommented),
		cmocka_unit_test(printed_settings_load_as_the_same),
		cmocka_unit_test(a_full_disk_is_told),
		cmocka_unit_test(a_wrong_default_is_the_programs_fault),
		file_test(drop_ins_follow_in_the_order_of_their_names),
		file_test(a_missing_file_is_an_error_only_if_it_must_exist),
		file_test(an_error_in_a_drop_in_names_it),
		file_test(what_does_not_go_together_names_the_line_of_either),
		file_test(what_others_could_have_written_is_refused),
		file_test(what_is_no_file_is_refused),
		file_test(more_than_a_mebibyte_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

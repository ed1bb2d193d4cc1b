#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"
#include "sandbox/monitor/attachment.h"
#include "sandbox/monitor/log.h"
#include "sandbox/monitor/streams.h"

static char directory[64];
static int dir_fd = -1;
static struct log tested;
static struct log_memory memory;

static int set_up(void **state)
{
	(void)snprintf(directory, sizeof(directory), "/tmp/berth-log.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(&tested, 0, sizeof(tested));
	return dir_fd < 0;
}

static int tear_down(void **state)
{
	char command[128];

	fd_close(&dir_fd);
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static char *content_of(const char *name)
{
	cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	char *text = calloc(1, 1 << 20);

	assert_true(fd >= 0);
	assert_true(read(fd, text, (1 << 20) - 1) >= 0);
	return text;
}

static bool exists(const char *name)
{
	return faccessat(dir_fd, name, F_OK, 0) == 0;
}

static void record(time_t second, long ns, const char *content)
{
	struct timespec now = { second, ns };

	log_record(&tested, "stdout", true, &now, content, strlen(content));
}

static void a_record_has_its_time_to_the_nanosecond(void **state)
{
	char *text;
	struct stat st;

	log_init(&tested, dir_fd, 1 << 20, 3, &memory);
	record(0, 0, "first");
	record(951782399, 5, "leap");          /* 2000-02-28 */
	record(951782400, 6, "day");           /* 2000-02-29 */
	record(4102444799, 999999999, "late"); /* 2099-12-31 */
	log_done(&tested);
	text = content_of("000000001.log");
	assert_string_equal(text, "1970-01-01T00:00:00.000000000Z stdout F first\n"
				  "2000-02-28T23:59:59.000000005Z stdout F leap\n"
				  "2000-02-29T00:00:00.000000006Z stdout F day\n"
				  "2099-12-31T23:59:59.999999999Z stdout F late\n");
	free(text);
	assert_int_equal(tested.books.counters.bytes, 5 + 4 + 3 + 4);
	assert_int_equal(fstatat(dir_fd, "000000001.log", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777 & ~0640, 0);
}

static void a_launch_goes_on_after_the_last_ones_files(void **state)
{
	(void)close(openat(dir_fd, "000000007.log", O_CREAT | O_WRONLY, 0600));
	(void)close(openat(dir_fd, "000000008.log", O_CREAT | O_WRONLY, 0600));
	(void)close(openat(dir_fd, "notalog", O_CREAT | O_WRONLY, 0600));
	(void)close(openat(dir_fd, "000000009.log.gz", O_CREAT | O_WRONLY, 0600));
	log_init(&tested, dir_fd, 1 << 20, 2, &memory);
	record(1, 1, "x");
	log_done(&tested);
	assert_true(exists("000000009.log"));
	assert_true(exists("000000008.log"));
	assert_false(exists("000000007.log")); /* the oldest of three */
	assert_true(exists("notalog"));
}

static void files_stay_below_their_size_and_count(void **state)
{
	uint64_t kept = 0;

	log_init(&tested, dir_fd, 1000, 3, &memory);
	for (int i = 0; i < 100; i++) {
		record(1, i, "0123456789");
		if (i % 7 == 0)
			log_flush(&tested);
	}
	log_done(&tested);
	assert_true(tested.books.sequence > 3);
	for (uint32_t i = 1; i <= tested.books.sequence; i++) {
		char name[16];
		struct stat st;

		(void)snprintf(name, sizeof(name), "%09u.log", i);
		if (i + 3 <= tested.books.sequence) {
			assert_false(exists(name));
			continue;
		}
		assert_int_equal(fstatat(dir_fd, name, &st, 0), 0);
		assert_true(st.st_size <= 1000);
		kept += (uint64_t)st.st_size / 50 * 10;
	}
	assert_int_equal(tested.books.counters.bytes, 1000);
	assert_true(tested.books.counters.rotated_bytes > 0);
	assert_true(kept <= tested.books.counters.bytes - tested.books.counters.rotated_bytes + 60);
}

static void without_a_directory_everything_is_dropped_and_counted(void **state)
{
	log_init(&tested, -1, 1000, 3, &memory);
	for (int i = 0; i < 20000; i++)
		record(1, i, "0123456789");
	log_done(&tested);
	assert_int_equal(tested.books.counters.dropped_bytes, 200000);
	assert_int_equal(tested.books.counters.bytes, 0);
}

static void a_stream_makes_records_of_lines_and_parts(void **state)
{
	static struct stream stream;
	static struct attachment attachment;
	static char long_line[LOG_RECORD_MAX + 10], lines[STREAM_BYTES];
	int no_input = -1, pipe_fds[2];
	char *text, *at;

	log_init(&tested, dir_fd, 1 << 20, 3, &memory);
	attachment_init(&attachment, &no_input, false);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	stream = (struct stream){ .fd = pipe_fds[0], .name = "stderr", .memory = lines };
	assert_int_equal(stream_read(&stream, &tested, &attachment), 0);
	assert_int_equal(write(pipe_fds[1], "one\ntw", 6), 6);
	assert_int_equal(stream_read(&stream, &tested, &attachment), 1);
	assert_int_equal(write(pipe_fds[1], "o\n\nthree", 8), 8);
	assert_int_equal(stream_read(&stream, &tested, &attachment), 1);
	stream_let_go(&stream, &tested, false); /* it took too long */
	memset(long_line, 'z', sizeof(long_line));
	assert_int_equal(write(pipe_fds[1], "\n", 1), 1);
	assert_int_equal(stream_read(&stream, &tested, &attachment), 1);
	assert_int_equal(write(pipe_fds[1], long_line, sizeof(long_line)), sizeof(long_line));
	while (stream_read(&stream, &tested, &attachment) == 1)
		;
	(void)close(pipe_fds[1]);
	assert_int_equal(stream_read(&stream, &tested, &attachment), -1);
	log_done(&tested);
	text = content_of("000000001.log");
	at = strstr(text, "stderr F one\n");
	assert_non_null(at);
	assert_non_null(at = strstr(at, "stderr F two\n"));
	assert_non_null(at = strstr(at, "stderr F \n"));
	assert_non_null(at = strstr(at, "stderr P three\n"));
	assert_non_null(at = strstr(at, "stderr F \n"));
	assert_non_null(at = strstr(at, "stderr P zzz"));
	assert_non_null(at = strstr(at, "stderr F zzzzzzzzzz\n"));
	assert_int_equal(tested.books.counters.bytes, 3 + 3 + 5 + sizeof(long_line));
	free(text);
}

static void the_first_client_gets_what_was_kept(void **state)
{
	static struct attachment attachment;
	static char part[1000], packet[1 + LOG_RECORD_MAX], kept[BACKLOG_BYTES];
	int input = 0, pair[2];
	size_t bytes = 0;
	ssize_t n;

	attachment_init(&attachment, &input, false);
	for (int i = 0; i < 200; i++) { /* more than is kept: the oldest goes */
		memset(part, i, sizeof(part));
		attachment_output(&attachment, ATTACH_STDOUT, part, sizeof(part));
	}
	attachment_output(&attachment, ATTACH_STDERR, "late", 4);
	assert_true(attachment_has_room(&attachment));
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	attachment_begin(&attachment, pair[0]);
	while ((n = recv(pair[1], packet, sizeof(packet), 0)) > 1 && packet[0] == ATTACH_STDOUT) {
		memcpy(kept + bytes, packet + 1, (size_t)n - 1);
		bytes += (size_t)n - 1;
	}
	assert_int_equal(n, 5);
	assert_memory_equal(packet, "\4late", 5);
	assert_true(bytes >= BACKLOG_BYTES - LOG_RECORD_MAX);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal((uint8_t)kept[i], 200 - (bytes - i + 999) / 1000);
	attachment_end(&attachment);
	attachment_output(&attachment, ATTACH_STDOUT, "x", 1); /* only for the first one */
	assert_int_equal(attachment.backlog.length, 0);
	(void)close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_record_has_its_time_to_the_nanosecond, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_launch_goes_on_after_the_last_ones_files, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(files_stay_below_their_size_and_count, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			without_a_directory_everything_is_dropped_and_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stream_makes_records_of_lines_and_parts, set_up,
						tear_down),
		cmocka_unit_test(the_first_client_gets_what_was_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

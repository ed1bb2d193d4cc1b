/* One after the other reads the output of a program that writes without end, and is killed at any instant. In
 * the end the log has every line once. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"
#include "sandbox/monitor/output.h"

#define ROUNDS    400
#define FILE_SIZE (64 << 10)
#define FILES     100000 /* none is removed */

static char directory[64];
static int dir_fd;

static int set_up(void **state)
{
	(void)snprintf(directory, sizeof(directory), "/tmp/berth-output.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0;
}

static int tear_down(void **state)
{
	DIR *dir = fdopendir(dir_fd); /* whose offset the others have moved */
	const struct dirent *entry;

	rewinddir(dir);
	while ((entry = readdir(dir)))
		(void)unlinkat(dir_fd, entry->d_name, 0);
	(void)closedir(dir);
	return rmdir(directory);
}

/* Line @number: its number, and as many letters as make lines of all lengths, some longer than a record. */
static size_t make_line(uint32_t number, char *line)
{
	size_t length = (size_t)sprintf(line, "%u ", number);
	size_t more = number % 500 == 499 ? 20000 + number % 7 : number * 7919u % 200;

	memset(line + length, 'a' + (int)(number % 26), more);
	line[length + more] = '\n';
	return length + more + 1;
}

/* In pieces that do not end where lines do, with a pause now and then, until @stop_fd can be read. */
static void write_without_end(int fd, int stop_fd)
{
	static char line[32768];
	struct pollfd stop = { .fd = stop_fd, .events = POLLIN };

	for (uint32_t number = 0; poll(&stop, 1, 0) == 0; number++) {
		size_t length = make_line(number, line);
		size_t half = number % 3 ? length : length / 2;

		if (write(fd, line, half) != (ssize_t)half ||
		    write(fd, line + half, length - half) != (ssize_t)(length - half))
			_exit(1);
		if (number % 1000 == 0)
			(void)poll(NULL, 0, 1);
	}
	_exit(0);
}

/* A monitor as far as output goes. It ends when the pipe does. */
static void take_all(int fd, int estate_fd, bool is_first)
{
	static struct output output;
	const int fds[ESTATE_STREAMS] = { fd, -1, -1 };
	int no_input = -1;

	output_init(&output, estate_map(estate_fd), dir_fd, FILE_SIZE, FILES, fds);
	attachment_init(&output.attachment, &no_input, false);
	if (!is_first && estate_is_inherited(output.estate))
		output_resume(&output);
	while (output.streams[0].fd >= 0) {
		struct pollfd polled = { .fd = output.streams[0].fd, .events = POLLIN };

		if (poll(&polled, 1, output.held_part ? STREAM_PART_MS : -1) == 0) {
			output_let_go(&output);
		} else {
			(void)output_take(&output, 0);
			output_flush(&output);
		}
	}
	output_flush(&output);
	_exit(0);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void end_one(pid_t pid, bool by_force)
{
	int status;

	if (by_force)
		assert_int_equal(kill(pid, SIGKILL), 0); /* not collected: the number is its own */
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(by_force || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

static pid_t start_taker(const int pipe_fds[2], int estate_fd, bool is_first)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)close(pipe_fds[1]);
		take_all(pipe_fds[0], estate_fd, is_first);
	}
	assert_true(pid > 0);
	return pid;
}

static char *read_file(const char *name, size_t *ret_length)
{
	cleanup_fd int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	text = malloc((size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	text[st.st_size] = '\0';
	*ret_length = (size_t)st.st_size;
	return text;
}

/* The lines that the records make, in order, against those that were written. */
struct check {
	uint32_t number;
	size_t at;
	size_t content;
	char line[32768];
	char expected[32768];
};

static void check_record(struct check *check, char *record)
{
	char *content;
	size_t length;

	assert_int_equal(record[30], ' ');
	assert_memory_equal(record + 31, "stdout ", 7);
	content = record + 40;
	length = strlen(content);
	assert_true(check->at + length < sizeof(check->line));
	memcpy(check->line + check->at, content, length);
	check->at += length;
	check->content += length;
	if (record[38] == 'P')
		return;
	length = make_line(check->number, check->expected) - 1;
	if (check->at != length || memcmp(check->line, check->expected, length) != 0)
		fail_msg("line %u is %.60s", check->number, check->line);
	check->number++;
	check->at = 0;
}

static void check_logs(struct check *check)
{
	for (uint32_t sequence = 1;; sequence++) {
		char name[16];
		char *text, *rest;
		size_t length;

		(void)snprintf(name, sizeof(name), "%09u.log", sequence);
		if (faccessat(dir_fd, name, F_OK, 0) < 0)
			break;
		text = read_file(name, &length);
		assert_true(length <= FILE_SIZE);
		assert_true(length == 0 || text[length - 1] == '\n');
		rest = text;
		for (char *record; (record = strsep(&rest, "\n")) && *record;)
			check_record(check, record);
		free(text);
	}
}

static void whoever_is_killed_each_line_is_logged_once(void **state)
{
	static struct check check;
	uint32_t seed = (uint32_t)time(NULL);
	int estate_fd = estate_make(), pipe_fds[2], stop_fds[2];
	const struct estate *estate = estate_map(estate_fd);
	pid_t writer, taker;

	print_message("seed %u\n", seed);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(pipe2(stop_fds, O_CLOEXEC), 0);
	writer = fork();
	if (writer == 0)
		write_without_end(pipe_fds[1], stop_fds[0]);
	assert_int_equal(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct timespec pause = { 0, next_random(&seed) % 2000000 };

		taker = start_taker(pipe_fds, estate_fd, i == 0);
		(void)nanosleep(&pause, NULL); /* the instant at which it is killed */
		end_one(taker, true);
	}
	taker = start_taker(pipe_fds, estate_fd, false);
	assert_int_equal(write(stop_fds[1], "x", 1), 1);
	end_one(writer, false);
	(void)close(pipe_fds[1]);
	end_one(taker, false);
	check_logs(&check);
	print_message("%u lines\n", check.number);
	assert_true(check.number > 1000);
	assert_int_equal(check.at, 0);
	assert_int_equal(estate_books(estate)->log.counters.bytes, check.content);
	assert_int_equal(estate_books(estate)->log.counters.dropped_bytes, 0);
	(void)close(estate_fd);
	(void)close(pipe_fds[0]);
	(void)close(stop_fds[0]);
	(void)close(stop_fds[1]);
}

/* The two instants around a read(2), which the test above seldom meets. */
static void resume_at(bool done, const char *expected)
{
	static char lines[STREAM_BYTES];
	struct stream stream = {
		.fd = -1, .name = "stdout", .mark = 0x6b72616d6b72616d, .memory = lines
	};
	static struct log_memory memory;
	static struct attachment attachment;
	int no_input = -1, pipe_fds[2];
	struct log log;
	char *text;
	size_t length;

	log_init(&log, dir_fd, FILE_SIZE, FILES, &memory);
	attachment_init(&attachment, &no_input, false);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
	stream.fd = pipe_fds[0];
	assert_int_equal(write(pipe_fds[1], "one\ntwo\nthree\n", 14), 14);
	stream.books = (struct stream_books){ .wanted = 8, .available = 14 };
	memcpy(lines, &stream.mark, sizeof(stream.mark));
	if (done)
		assert_int_equal(read(pipe_fds[0], lines, 8), 8);
	assert_int_equal(write(pipe_fds[1], "and so much more\n", 17), 17); /* meanwhile */
	stream_resume(&stream, &log);
	while (stream_read(&stream, &log, &attachment) == 1)
		;
	log_done(&log);
	text = read_file(expected, &length);
	assert_non_null(strstr(text, "F one\n"));
	assert_null(strstr(strstr(text, "F one\n") + 1, "F one\n"));
	assert_non_null(strstr(text, "F two\n"));
	assert_non_null(strstr(text, "F three\n"));
	assert_int_equal(log.books.counters.bytes, 3 + 3 + 5 + 16);
	free(text);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
}

static void a_read_that_was_announced_was_done_or_is_done(void **state)
{
	resume_at(false, "000000001.log");
	resume_at(true, "000000002.log");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_read_that_was_announced_was_done_or_is_done,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(whoever_is_killed_each_line_is_logged_once, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

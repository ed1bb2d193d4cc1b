#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/telemetry/telemetry.h"
#include "agent/telemetry/usage_files.h"
#include "proto/page.h"

/* ---- The engine, as far as telemetry sees it ---- */

static const struct engine_listener *listener;
static Berth__V1__WorkloadSpec spec = BERTH__V1__WORKLOAD_SPEC__INIT;
static Berth__V1__WorkloadState state = BERTH__V1__WORKLOAD_STATE__RUNNING;

void engine_set_listener(struct engine *engine, const struct engine_listener *l)
{
	listener = l;
}

const struct workload *engine_find(const struct engine *engine, const char *id)
{
	return strcmp(id, "w-1") == 0 ? (const struct workload *)&spec : NULL;
}

const Berth__V1__WorkloadSpec *engine_workload_spec(const struct workload *workload)
{
	return &spec;
}

uint64_t engine_workload_instance(const struct workload *workload)
{
	return 7;
}

struct engine_told engine_workload_told(const struct workload *workload)
{
	return (struct engine_told){ .state = state, .generation = 3 };
}

/* ---- A cgroup made of plain files ---- */

struct fixture {
	char dir[64];
	sd_event *event;
	struct telemetry *telemetry;
	struct telemetry_stream *stream;
	unsigned int ready;
};

static void put(struct fixture *f, const char *name, const char *text)
{
	char path[128];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void put_cpu(struct fixture *f, unsigned long usec)
{
	char text[128];

	(void)snprintf(text, sizeof(text),
		       "usage_usec %020lu\nuser_usec 5\nsystem_usec 6\nnr_throttled 2\n", usec);
	put(f, "cpu.stat", text);
}

static void start_container(struct fixture *f)
{
	char *names[] = { (char *)"unified" };
	int page_fd = -1;
	int dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct engine_started started = {
		.ref = { .workload = "w-1", .instance = 7, .container = "main", .attempt = 1 },
		.started_boot_ns = 1,
		.page_fd = &page_fd,
		.cgroup_fds = &dir_fd,
		.cgroup_names = names,
		.n_cgroups = 1,
	};

	listener->container_started(listener->userdata, &started);
}

static void end_container(void)
{
	const struct engine_container ref = {
		.workload = "w-1", .instance = 7, .container = "main", .attempt = 1
	};

	listener->container_ended(listener->userdata, &ref, NULL);
}

static int setup(void **test_state)
{
	static struct fixture f;
	const struct telemetry_config config = { .sample_interval_ms = 100 };
	struct err err = { 0 };

	f = (struct fixture){ .dir = "/tmp/berth-test-telemetry.XXXXXX" };
	assert_non_null(mkdtemp(f.dir));
	spec.id = (char *)"w-1";
	put_cpu(&f, 1000);
	put(&f, "memory.current", "4096\n");
	put(&f, "memory.stat", "anon 1000\nfile 3096\ninactive_file 96\n");
	put(&f, "pids.current", "3\n");
	put(&f, "pids.max", "max\n");
	put(&f, "io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=5 wbytes=0\n");
	assert_int_equal(sd_event_new(&f.event), 0);
	assert_int_equal(telemetry_new(f.event, NULL, &config, &f.telemetry, &err), 0);
	*test_state = &f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **test_state)
{
	struct fixture *f = *test_state;

	telemetry_free(f->telemetry);
	sd_event_unref(f->event);
	return nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void on_ready(void *userdata)
{
	struct fixture *f = userdata;

	f->ready++;
}

static void open_stream(struct fixture *f, bool changes_only)
{
	Berth__V1__StreamTelemetryRequest request = BERTH__V1__STREAM_TELEMETRY_REQUEST__INIT;
	struct err err = { 0 };

	request.interval_ms = 100;
	request.changes_only = changes_only;
	assert_int_equal(
		telemetry_stream_open(f->telemetry, &request, on_ready, f, &f->stream, &err), 0);
}

/* Run the loop until a report is due, and take it. */
static void next_report(struct fixture *f, struct arena *arena,
			Berth__V1__StreamTelemetryResponse *ret)
{
	f->ready = 0;
	while (f->ready == 0)
		assert_true(sd_event_run(f->event, 5000000) > 0);
	berth__v1__stream_telemetry_response__init(ret);
	assert_int_equal(telemetry_stream_next(f->stream, arena, ret), 1);
}

/* ---- Tests ---- */

static void files_are_read_into_a_sample(void **test_state)
{
	struct usage_sample sample = { 0 };
	struct psi psi = { 0 };

	usage_parse_file("cpu.stat", "usage_usec 12\nuser_usec 7\nsystem_usec 5\nnr_periods 3\n",
			 &sample);
	assert_int_equal(sample.cpu_usage_ns, 12000);
	assert_int_equal(sample.cpu_periods, 3);
	usage_parse_file("memory.max", "max\n", &sample);
	assert_int_equal(sample.memory_limit, 0);
	usage_parse_file("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n", &sample);
	assert_int_equal(sample.events_oom_kill, 5);
	usage_parse_file("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n8:1 rbytes=1",
			 &sample);
	assert_int_equal(sample.io_read_bytes, 11);
	assert_int_equal(sample.io_write_ops, 2);
	usage_parse_psi("some avg10=1.25 avg60=0.00 avg300=0.00 total=99\n"
			"full avg10=0.50 avg60=0.00 avg300=0.00 total=42\n",
			&psi);
	assert_int_equal(psi.some_avg10_permyriad, 125);
	assert_int_equal(psi.full_total_us, 42);
}

static void broken_files_are_no_crash(void **test_state)
{
	static const char *const texts[] = { "",           "\n",  "usage_usec", "usage_usec \n",
					     "some\nfull", "max", "avg10=",     " rbytes=" };
	static const char *const names[] = { "cpu.stat", "memory.current", "io.stat",
					     "cpu.pressure" };
	struct usage_sample sample = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (size_t j = 0; j < ARRAY_SIZE(names); j++)
			usage_parse_file(names[j], texts[i], &sample);
}

static void a_report_has_averages_and_maxima_of_its_window(void **test_state)
{
	struct fixture *f = *test_state;
	Berth__V1__StreamTelemetryResponse report;
	cleanup_arena struct arena arena;
	const Berth__V1__ContainerUsage *usage;

	arena_init(&arena, 1 << 20);
	start_container(f);
	open_stream(f, false);
	next_report(f, &arena, &report);
	put_cpu(f, 51000); /* 50 ms more */
	next_report(f, &arena, &report);
	assert_int_equal(report.sequence, 2);
	assert_true(report.window_end_boot_ns > report.window_start_boot_ns);
	assert_int_equal(report.n_workloads, 1);
	assert_int_equal(report.workloads[0]->n_containers, 1);
	usage = report.workloads[0]->containers[0];
	assert_string_equal(usage->container, "main");
	assert_int_equal(usage->cpu->usage_ns, 51000000);
	/* 50 ms in about 100 ms: some 500 millicores, on whatever busy host. */
	assert_true(usage->cpu->usage_millis->average > 20 &&
		    usage->cpu->usage_millis->average < 2000);
	assert_true(usage->cpu->usage_millis->maximum >= usage->cpu->usage_millis->average);
	assert_int_equal(usage->memory->working_set_bytes, 4000);
	assert_int_equal(usage->pids, 3);
	assert_int_equal(usage->io->read_bytes, 15);
	assert_non_null(report.node);
	assert_true(report.node->memory_available_bytes > 0);
	telemetry_stream_close(f->stream);
}

static void a_slow_reader_is_told_what_it_missed(void **test_state)
{
	struct fixture *f = *test_state;
	Berth__V1__StreamTelemetryResponse report;
	cleanup_arena struct arena arena;

	arena_init(&arena, 1 << 20);
	start_container(f);
	open_stream(f, false);
	while (f->ready < 3)
		assert_true(sd_event_run(f->event, 5000000) > 0);
	berth__v1__stream_telemetry_response__init(&report);
	assert_int_equal(telemetry_stream_next(f->stream, &arena, &report), 1);
	assert_int_equal(report.sequence, 1);
	assert_int_equal(report.missed_reports, 2);
	/* The window is all of the time: nothing fell between two reports. */
	assert_true(report.window_end_boot_ns - report.window_start_boot_ns > 250000000);
	assert_int_equal(telemetry_stream_next(f->stream, &arena, &report), 0);
	telemetry_stream_close(f->stream);
}

static void changes_only_leaves_out_what_stood_still(void **test_state)
{
	struct fixture *f = *test_state;
	Berth__V1__StreamTelemetryResponse report;
	cleanup_arena struct arena arena;

	arena_init(&arena, 1 << 20);
	start_container(f);
	open_stream(f, true);
	next_report(f, &arena, &report);
	assert_true(report.snapshot);
	assert_int_equal(report.n_workloads, 1);
	next_report(f, &arena, &report);
	assert_false(report.snapshot);
	assert_int_equal(report.n_workloads, 0);
	put_cpu(f, 2000);
	next_report(f, &arena, &report);
	assert_int_equal(report.n_workloads, 1);
	end_container();
	next_report(f, &arena, &report);
	assert_int_equal(report.n_workloads, 0);
	assert_int_equal(report.n_gone, 1);
	assert_string_equal(report.gone[0], "w-1");
	telemetry_stream_close(f->stream);
}

static void the_end_of_a_container_shows_its_last_samples(void **test_state)
{
	struct fixture *f = *test_state;
	const struct engine_container ref = {
		.workload = "w-1", .instance = 7, .container = "main", .attempt = 1
	};
	Berth__V1__ExitRecord record = BERTH__V1__EXIT_RECORD__INIT;
	Berth__V1__StreamTelemetryResponse report;
	cleanup_arena struct arena arena;

	arena_init(&arena, 1 << 20);
	start_container(f);
	open_stream(f, false);
	for (int i = 0; i < 7; i++)
		next_report(f, &arena, &report);
	listener->last_samples(listener->userdata, &ref, &arena, &record);
	assert_int_equal(record.n_last_samples, 5);
	assert_true(record.last_samples[0]->sample_boot_ns <
		    record.last_samples[4]->sample_boot_ns);
	telemetry_stream_close(f->stream);
}

static void an_interval_that_is_too_short_is_refused(void **test_state)
{
	struct fixture *f = *test_state;
	Berth__V1__StreamTelemetryRequest request = BERTH__V1__STREAM_TELEMETRY_REQUEST__INIT;
	struct err err = { 0 };

	request.interval_ms = 99;
	assert_true(telemetry_stream_open(f->telemetry, &request, on_ready, f, &f->stream, &err) <
		    0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_non_null(strstr(err.text, "interval_ms"));
}

int main(void)
{
#define WITH_TELEMETRY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_read_into_a_sample),
		cmocka_unit_test(broken_files_are_no_crash),
		WITH_TELEMETRY(a_report_has_averages_and_maxima_of_its_window),
		WITH_TELEMETRY(a_slow_reader_is_told_what_it_missed),
		WITH_TELEMETRY(changes_only_leaves_out_what_stood_still),
		WITH_TELEMETRY(the_end_of_a_container_shows_its_last_samples),
		WITH_TELEMETRY(an_interval_that_is_too_short_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

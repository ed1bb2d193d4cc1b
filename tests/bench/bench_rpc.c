/*
 * bench_rpc TARGET [CALLS]: unary calls one at a time, client and server on the same machine; prints the
 * latency in microseconds. The server is tests/interop/grpc's echo_server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/grpc/client.h"
#include "echo.pb-c.h"
#include "proto/cleanup.h"

#define WARM_UP 1000

static uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The time of one call in nanoseconds; 0 if it failed. */
static uint64_t measure(struct grpc_client *client)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	uint64_t begin_nsec = now_nsec();
	struct grpc_reply reply;
	struct err err = { 0 };
	uint64_t took_nsec;

	request.text = (char[]){ "hello" };
	if (grpc_client_unary(client, "/berth.test.v1.Echo/Echo", &request.base,
			      &berth__test__v1__echo_response__descriptor, 5000000, &reply,
			      &err) < 0) {
		(void)fprintf(stderr, "bench_rpc: %s\n", err.text);
		return 0;
	}
	took_nsec = now_nsec() - begin_nsec;
	if (reply.outcome.code != GRPC_OK) {
		(void)fprintf(stderr, "bench_rpc: %s\n", reply.outcome.message);
		took_nsec = 0;
	}
	grpc_reply_done(&reply);
	return took_nsec;
}

static int run(struct grpc_client *client, size_t n)
{
	cleanup_free uint64_t *times = calloc(n, sizeof(*times));
	uint64_t begin_nsec = 0;

	if (!times)
		return 1;
	for (size_t i = 0; i < n + WARM_UP; i++) {
		uint64_t took_nsec = measure(client);

		if (!took_nsec)
			return 1;
		if (i == WARM_UP)
			begin_nsec = now_nsec();
		if (i >= WARM_UP)
			times[i - WARM_UP] = took_nsec;
	}
	(void)printf("calls_per_second %.0f\n",
		     (double)n * 1e9 / (double)(now_nsec() - begin_nsec));
	qsort(times, n, sizeof(*times), compare);
	(void)printf("p50_usec %.1f\np99_usec %.1f\nmax_usec %.1f\n", (double)times[n / 2] / 1e3,
		     (double)times[n * 99 / 100] / 1e3, (double)times[n - 1] / 1e3);
	return 0;
}

int main(int argc, char **argv)
{
	struct grpc_client_options options = { .target = argc > 1 ? argv[1] : NULL };
	size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 20000;
	struct grpc_client *client = NULL;
	sd_event *event = NULL;
	struct err err = { 0 };
	int result = 1;

	if (!options.target || !n) {
		(void)fprintf(stderr, "usage: bench_rpc TARGET [CALLS]\n");
		return 2;
	}
	if (sd_event_default(&event) >= 0 && grpc_client_new(event, &options, &client, &err) == 0)
		result = run(client, n);
	else
		(void)fprintf(stderr, "bench_rpc: %s\n", err.text);
	grpc_client_free(client);
	sd_event_unref(event);
	return result;
}

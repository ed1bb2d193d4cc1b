#!/usr/bin/python3
"""Beginnings and ends: drains under load, restarts, dead and quiet clients, readers that do not read."""
import os
import signal
import subprocess
import threading
import time

from harness import *
import health_pb2


@test
def calls_in_flight_survive_sigterm_and_watches_end():
    with Server() as server, channel_to(server.target) as chan:
        e = Echo(chan)
        watch = chan.unary_stream("/grpc.health.v1.Health/Watch",
                                  request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                                  response_deserializer=health_pb2.HealthCheckResponse.FromString)
        stream = watch(health_pb2.HealthCheckRequest(), timeout=20)
        next(stream)
        calls = [e.echo.future(pb.EchoRequest(text="x", delay_ms=3000), timeout=30) for _ in range(20)]
        eventually(lambda: e.stats().held == 20, "all are there")
        server.process.send_signal(signal.SIGTERM)
        equal(code_of(lambda: list(stream)), grpc.StatusCode.UNAVAILABLE)
        equal([c.result().text for c in calls], ["x"] * 20)
        equal(server.process.wait(20), 0)
        equal(code_of(lambda: e.echo(pb.EchoRequest(), timeout=20)), grpc.StatusCode.UNAVAILABLE)


@test
def an_endless_stream_is_cut_when_the_grace_is_over():
    with Server("--grace-ms", "300") as server, channel_to(server.target) as chan:
        stream = Echo(chan).count(pb.CountRequest(count=1 << 60, payload_bytes=100), timeout=60)
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        equal(code_of(lambda: sum(1 for _ in stream)), grpc.StatusCode.UNAVAILABLE)
        equal(server.process.wait(20), 0)


@test
def five_rolling_restarts_under_load_lose_nothing():
    stop = threading.Event()
    failures, done = [], [0]
    path = os.path.join(TMP, "rolling")

    def load(chan):
        echo = Echo(chan).echo
        while not stop.is_set():
            try:
                echo(pb.EchoRequest(text="x"), timeout=20, wait_for_ready=True)
                done[0] += 1
            except grpc.RpcError as error:
                failures.append((error.code(), error.details()))

    def start():
        process = subprocess.Popen([SERVER, "--unix", path], stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    server = start()
    chan = channel_to("unix://" + path, ("grpc.initial_reconnect_backoff_ms", 100),
                      ("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200))
    threads = [threading.Thread(target=load, args=(chan,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        had = done[0]
        eventually(lambda: done[0] > had + 300, "load")
        server.send_signal(signal.SIGTERM)
        equal(server.wait(10), 0)
        server = start()
    had = done[0]
    eventually(lambda: done[0] > had + 300, "load after the last restart")
    stop.set()
    for thread in threads:
        thread.join()
    chan.close()
    server.terminate()
    server.wait(10)
    equal(failures, [])


@test
def a_stopped_client_is_dropped_and_a_quiet_live_one_is_kept():
    with Server(keepalive_usec=400000, keepalive_timeout_usec=2000000) as server, Tap(server.path) as tap:
        program = ("import os, grpc, sys; c = grpc.insecure_channel(sys.argv[1]);"
                   "s = c.unary_stream('/berth.test.v1.Echo/Follow')(b''); next(s); print('up', flush=True); next(s)")
        clients = [subprocess.Popen(["/usr/bin/python3", "-c", program, target], stdout=subprocess.PIPE)
                   for target in (server.target, tap.target)]
        try:
            for client in clients:
                equal(client.stdout.readline(), b"up\n")
            clients[0].send_signal(signal.SIGSTOP)
            # Each time by a new connection: grpcio answers no PING on one without calls.
            eventually(lambda: server.stats().calls == 2, "the stopped one is dropped")
            answered = tap.count("out", PING_ACK)
            tap.until("out", PING_ACK, answered + 3)
            equal(server.stats().calls, 2)
        finally:
            for client in clients:
                client.kill()
                client.wait()
                client.stdout.close()


@test
def a_client_that_pings_every_300_ms_is_kept():
    with Server() as server, Tap(server.path) as tap, \
            channel_to(tap.target, ("grpc.keepalive_time_ms", 300), ("grpc.http2.max_pings_without_data", 0),
                       ("grpc.keepalive_permit_without_calls", 1)) as chan:
        stream = Echo(chan).follow(pb.CountRequest())
        next(stream)
        tap.until("out", PING, 6)
        tap.until("in", PING_ACK, 6)
        assert stream.is_active()
        equal(Echo(chan).stats().connections, 1)
        stream.cancel()


@test
def a_connection_without_calls_is_closed_without_an_error_for_the_next_call():
    with Server(idle_usec=300000) as server, Tap(server.path) as tap, channel_to(tap.target) as chan:
        for round in range(4):
            equal(Echo(chan).echo(pb.EchoRequest(text="x"), timeout=20).text, "x")
            tap.until("in", END, round + 1)  # not GOAWAY: a call made then may still go by the old connection
        assert tap.count("in", GOAWAY) >= 4, tap.counts


@test
def readers_that_do_not_read_cost_next_to_nothing():
    with Server() as server, channel_to(server.target) as good:
        e = Echo(good)
        e.echo(pb.EchoRequest(), timeout=5)
        before = e.stats().rss_kib
        channels = [channel_to(server.target, ("grpc.http2.lookahead_bytes", 1 << 16)) for _ in range(10)]
        streams = [Echo(channels[i % 10]).count(pb.CountRequest(count=1 << 40, payload_bytes=1 << 16))
                   for i in range(50)]
        blob = pb.EchoRequest(payload=bytes(1 << 16))

        def forever():
            while True:
                yield blob
        chats = [Echo(channels[i % 10]).chat(forever()) for i in range(20)]
        limit = 96 if "asan" in os.environ["BUILD_DIR"] else 32
        for _ in range(3):  # the server has sent each of them all that it takes, again and again
            for stream in streams + chats:
                next(stream)
            equal(e.echo(pb.EchoRequest(text="quick"), timeout=10).text, "quick")
            grown = e.stats().rss_kib - before
            assert grown < limit * 1024, f"{grown} KiB"
        for stream in streams + chats:
            stream.cancel()
        for channel in channels:
            channel.close()
        eventually(lambda: e.stats().calls == 1, "all are gone")


main()

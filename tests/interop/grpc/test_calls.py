#!/usr/bin/python3
"""grpcio's client against our server: every kind of call, and every way in which one can fail."""
import os
import signal
import threading

from harness import *
import health_pb2
import reflection_pb2
import reflection_alpha_pb2

SERVER_UP = Server()
CHANNEL = channel_to(SERVER_UP.target)
E = Echo(CHANNEL)


def raw(name, kind="unary_unary", channel=CHANNEL):
    return getattr(channel, kind)(ECHO + name)


@test
def unary():
    answer = E.echo(pb.EchoRequest(text="hi"), timeout=5, metadata=[("x-test", "value")])
    equal((answer.text, answer.metadata), ("hi", "value"))
    assert f"unix:pid={os.getpid()},uid={os.getuid()}" in answer.peer, answer.peer


@test
def four_mebibytes_and_over_the_limit():
    payload = os.urandom((4 << 20) - 100)
    equal(E.echo(pb.EchoRequest(payload=payload), timeout=20).payload, payload)
    equal(code_of(lambda: E.echo(pb.EchoRequest(payload=payload + bytes(200)), timeout=20)),
          grpc.StatusCode.RESOURCE_EXHAUSTED)
    equal(E.echo(pb.EchoRequest(text="still here"), timeout=5).text, "still here")


@test
def empty_message_none_and_two():
    equal(raw("Echo")(b"", timeout=5)[:1], b"\x1a")  # only `peer` is set in the answer
    stream = raw("Echo", "stream_unary")
    equal(code_of(lambda: stream(iter([]), timeout=5)), grpc.StatusCode.INTERNAL)
    equal(code_of(lambda: stream(iter([b"", b""]), timeout=5)), grpc.StatusCode.INTERNAL)


@test
def error_text_with_unicode_percent_and_newline():
    text = "größer als 100%\nzweite Zeile %41"
    try:
        E.echo(pb.EchoRequest(text=text, fail_code=9, details=True), timeout=5)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        equal((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, text))
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        for part in (b"google.rpc.BadRequest", b"workload.id", b"google.rpc.RetryInfo", b"TEST_REASON"):
            assert part in details, part


@test
def unknown_method():
    equal(code_of(lambda: raw("Nothing")(b"", timeout=5)), grpc.StatusCode.UNIMPLEMENTED)
    equal(code_of(lambda: CHANNEL.unary_unary("/none.Such/Echo")(b"", timeout=5)), grpc.StatusCode.UNIMPLEMENTED)


@test
def bad_messages_are_invalid_arguments():
    for wire in (b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0a\x03a\x00b", b"\x0b", b"\xff" * 20):
        equal(code_of(lambda: raw("Echo")(wire, timeout=5)), grpc.StatusCode.INVALID_ARGUMENT)


@test
def deadlines():
    equal(code_of(lambda: E.hold(pb.EchoRequest(), timeout=0.2)), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(code_of(lambda: E.echo(pb.EchoRequest(), timeout=-1)), grpc.StatusCode.DEADLINE_EXCEEDED)
    eventually(lambda: E.stats().held == 0, "the handler is told")


@test
def cancel():
    call = E.hold.future(pb.EchoRequest())
    eventually(lambda: E.stats().held == 1, "held")
    call.cancel()
    eventually(lambda: E.stats().held == 0, "the handler is told")


@test
def server_streams():
    got = [m.index for m in E.count(pb.CountRequest(count=5000, payload_bytes=100), timeout=20)]
    equal(got, list(range(5000)))
    equal(sum(len(m.payload) for m in E.count(pb.CountRequest(count=30, payload_bytes=1000000), timeout=20)), 30000000)
    stream = E.count(pb.CountRequest(count=100, fail_after=5), timeout=5)
    equal(code_of(lambda: list(stream)), grpc.StatusCode.ABORTED)


@test
def cancel_mid_stream():
    stream = E.count(pb.CountRequest(count=1 << 60, payload_bytes=1000))
    for _ in range(10):
        next(stream)
    stream.cancel()
    eventually(lambda: E.stats().calls == 1, "the handler is told")


@test
def client_streams():
    equal(E.sum(iter([]), timeout=5).messages, 0)
    answer = E.sum((pb.EchoRequest(payload=b"x" * 100) for _ in range(3000)), timeout=20)
    equal((answer.messages, answer.payload_bytes), (3000, 300000))
    equal(code_of(lambda: E.sum((pb.EchoRequest(fail_code=10) for _ in range(100)), timeout=5)),
          grpc.StatusCode.ABORTED)


@test
def bidi_ping_pong():
    turn = threading.Semaphore(1)

    def requests():
        for i in range(200):
            turn.acquire()
            yield pb.EchoRequest(text=str(i))
    for i, answer in enumerate(E.chat(requests(), timeout=20)):
        equal(answer.text, str(i))
        turn.release()
    equal(i, 199)


@test
def bidi_two_thousand_unpaired():
    answers = list(E.chat((pb.EchoRequest(text=str(i)) for i in range(2000)), timeout=20))
    equal([a.text for a in answers], [str(i) for i in range(2000)])


@test
def compression_is_unimplemented():
    for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        with channel_to(SERVER_UP.target, compression=algorithm) as channel:
            equal(code_of(lambda: Echo(channel).echo(pb.EchoRequest(text="x" * 1000), timeout=5)),
                  grpc.StatusCode.UNIMPLEMENTED)


@test
def big_metadata_then_a_good_call():
    with channel_to(SERVER_UP.target) as channel:
        echo = Echo(channel).echo
        equal(code_of(lambda: echo(pb.EchoRequest(), timeout=5, metadata=[("x-big", "v" * 20000)])),
              grpc.StatusCode.RESOURCE_EXHAUSTED)
        equal(echo(pb.EchoRequest(text="a"), timeout=5, metadata=[("x-test", "v" * 8000)]).metadata, "v" * 8000)


@test
def a_thousand_at_once_on_a_fresh_channel():
    with channel_to(SERVER_UP.target) as channel:
        echo = Echo(channel).echo
        calls = [echo.future(pb.EchoRequest(text=str(i)), timeout=30) for i in range(1000)]
        equal([c.result().text for c in calls], [str(i) for i in range(1000)])


@test
def six_hundred_held_over_max_streams():
    with channel_to(SERVER_UP.target) as channel, channel_to(SERVER_UP.target) as other:
        hold = Echo(channel).hold
        calls = [hold.future(pb.EchoRequest(text="h"), timeout=60) for i in range(600)]
        eventually(lambda: Echo(other).stats().held == 256, "as many as streams are allowed")
        released = 0
        while released < 600:
            released += Echo(other).release(pb.ReleaseRequest(), timeout=10).released
        equal([c.result().text for c in calls], ["h"] * 600)


@test
def fifteen_hundred_quick_cancels_do_no_harm():
    with channel_to(SERVER_UP.target) as channel:
        e = Echo(channel)
        for _ in range(1500):
            e.hold.future(pb.EchoRequest()).cancel()
        for _ in range(200):
            equal(e.echo(pb.EchoRequest(text="fine"), timeout=5).text, "fine")
    eventually(lambda: E.stats().held == 0, "all are told")


@test
def health_check_and_watch_with_a_change():
    check = CHANNEL.unary_unary("/grpc.health.v1.Health/Check",
                                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                                response_deserializer=health_pb2.HealthCheckResponse.FromString)
    watch = CHANNEL.unary_stream("/grpc.health.v1.Health/Watch",
                                 request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                                 response_deserializer=health_pb2.HealthCheckResponse.FromString)
    service = health_pb2.HealthCheckRequest(service="berth.test.v1.Echo")
    equal(check(service, timeout=5).status, 1)
    equal(check(health_pb2.HealthCheckRequest(), timeout=5).status, 1)
    equal(code_of(lambda: check(health_pb2.HealthCheckRequest(service="x"), timeout=5)), grpc.StatusCode.NOT_FOUND)
    equal(next(watch(health_pb2.HealthCheckRequest(service="x"), timeout=5)).status, 3)
    stream = watch(service, timeout=10)
    seen = [next(stream).status]
    for _ in range(2):
        SERVER_UP.process.send_signal(signal.SIGUSR1)
        seen.append(next(stream).status)
    stream.cancel()
    equal(seen, [1, 2, 1])


@test
def reflection_in_both_versions():
    for module, version in ((reflection_pb2, "v1"), (reflection_alpha_pb2, "v1alpha")):
        call = CHANNEL.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                     request_serializer=module.ServerReflectionRequest.SerializeToString,
                                     response_deserializer=module.ServerReflectionResponse.FromString)
        ask = module.ServerReflectionRequest
        answers = list(call(iter([ask(list_services=""),
                                  ask(file_containing_symbol="berth.test.v1.Echo"),
                                  ask(file_containing_symbol="berth.test.v1.Echo.Hold"),
                                  ask(file_by_filename="grpc/health/v1/health.proto"),
                                  ask(file_containing_symbol="no.Such"),
                                  ask(all_extension_numbers_of_type="x")]), timeout=10))
        equal(sorted(s.name for s in answers[0].list_services_response.service),
              ["berth.test.v1.Echo", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
               "grpc.reflection.v1alpha.ServerReflection"])
        for i in (1, 2):
            files = answers[i].file_descriptor_response.file_descriptor_proto
            assert any(b"echo.proto" in f for f in files)
            equal(answers[i].original_request.file_containing_symbol[:18], "berth.test.v1.Echo")
        assert b"HealthCheckRequest" in answers[3].file_descriptor_response.file_descriptor_proto[0]
        equal(answers[4].error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])
        equal(answers[5].error_response.error_code, grpc.StatusCode.UNIMPLEMENTED.value[0])


@test
def zz_the_server_ends_cleanly():
    eventually(lambda: E.stats().calls == 1, "no call is left")
    CHANNEL.close()
    SERVER_UP.__exit__(None, None, None)


main()

#!/usr/bin/python3
"""Frames that no honest client sends. After each: a good call is answered at once and memory has not grown."""
import os
import random
import resource
import time

from harness import *
from rawh2 import *

SECOND = 1000000
S = Server(handshake_usec=SECOND, header_usec=SECOND, body_usec=SECOND, stall_usec=SECOND, idle_usec=2 * SECOND,
           max_connections_per_uid=600)
GOOD = Echo(channel_to(S.target))
HOUR = 3600 * SECOND
# Of a server that waits: what ends a connection there is no timer.
PATIENT = {name: HOUR for name in ("handshake_usec", "header_usec", "body_usec", "stall_usec", "idle_usec")}
GROWTH_KIB = 60 * 1024 if "asan" in os.environ["BUILD_DIR"] else 24 * 1024


def abuse(function):
    """A test that ends with a good call and a bound on memory."""
    def wrapped():
        equal(GOOD.echo(pb.EchoRequest(text="before"), timeout=10).text, "before")
        before = GOOD.stats().rss_kib
        function()
        begin = time.monotonic()
        equal(GOOD.echo(pb.EchoRequest(text="after"), timeout=10).text, "after")
        assert time.monotonic() - begin < 5, f"the good call took {time.monotonic() - begin:.1f} s"
        grown = GOOD.stats().rss_kib - before
        assert grown < GROWTH_KIB, f"memory grew by {grown} KiB"
    wrapped.__name__ = function.__name__
    return test(wrapped)


def calm(raw, seconds=20):
    """The connection was ended, by ENHANCE_YOUR_CALM."""
    assert raw.ended_within(seconds), "still open"
    equal(raw.goaway, 11)


@abuse
def random_bytes():
    for seed in range(30):
        raw = Raw(S.path, hello=False)
        raw.send(random.Random(seed).randbytes(3000))
        assert raw.ended_within(20)
        raw = Raw(S.path)
        raw.send(random.Random(seed).randbytes(3000))
        assert raw.ended_within(20)


@abuse
def http_1_1_and_upgrade():
    for request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"):
        raw = Raw(S.path, hello=False)
        raw.send(request)
        assert raw.ended_within(20)


@abuse
def not_grpc_is_an_http_error_without_grpc_status():
    raw = Raw(S.path)
    for status, kwargs in (("415", {"content_type": "text/html"}), ("415", {"content_type": "application/grpcx"}),
                           ("405", {"method": "GET"})):
        stream, frame = raw.headers(end=True, **kwargs)
        raw.send(frame)
        got = raw.answer_headers(stream)
        equal((got.get(":status"), got.get("grpc-status")), (status, None))
    for content_type in ("application/grpc+proto", "application/grpc;x=y"):
        stream, frame = raw.headers(content_type=content_type)
        raw.send(frame + raw.data(stream, lpm(b""), end=True))
        equal(raw.answer_headers(stream).get("grpc-status"), "0")
    raw.close()


@abuse
def timeouts_that_are_malformed_or_zero():
    raw = Raw(S.path)
    for timeout, code in (("", "13"), ("5", "13"), ("123456789S", "13"), ("1x", "13"), ("-1S", "13"), ("0S", "4"),
                          ("0n", "4"), ("99999999H", "0")):
        stream, frame = raw.headers(extra=[("grpc-timeout", timeout)])
        raw.send(frame + raw.data(stream, lpm(b""), end=True))
        equal((timeout, raw.answer_headers(stream).get("grpc-status")), (timeout, code))
    raw.close()


@abuse
def flags_of_messages():
    raw = Raw(S.path)
    for flag in (1, 2, 255):
        stream, frame = raw.headers()
        raw.send(frame + raw.data(stream, lpm(b"", flag=flag), end=True))
        equal(raw.answer_headers(stream).get("grpc-status"), "13")
    stream, frame = raw.headers()
    raw.send(frame + raw.data(stream, lpm(b"ab", length=10), end=True))  # ends within a message
    equal(raw.answer_headers(stream).get("grpc-status"), "13")
    raw.close()


@abuse
def the_end_of_a_request_may_come_apart():
    raw = Raw(S.path)
    stream, frame = raw.headers()
    raw.send(frame)
    for byte in lpm(b"\x0a\x02hi"):
        raw.send(raw.data(stream, bytes([byte])))
    raw.send(raw.data(stream, b"", end=True))
    equal(raw.answer_headers(stream).get("grpc-status"), "0")
    stream, frame = raw.headers()  # trailers from the client
    trailers = HeadersFrame(stream)
    trailers.data = raw.encoder.encode([("x-trailer", "1")])
    trailers.flags.add("END_HEADERS")
    trailers.flags.add("END_STREAM")
    raw.send(frame + raw.data(stream, lpm(b"")) + trailers.serialize())
    equal(raw.answer_headers(stream).get("grpc-status"), "0")
    raw.close()


@abuse
def seventeen_kilobytes_of_headers():
    raw = Raw(S.path)
    stream, frame = raw.headers(extra=[(f"x-{i}", "v" * 1000) for i in range(15)] + [("y", "v" * 1000)], end=True)
    raw.send(frame)
    equal(raw.answer_headers(stream).get("grpc-status"), "8")
    raw.close()


@abuse
def hpack_bomb():
    with Server(**PATIENT) as server:
        drop_hpack_bomb(Raw(server.path))


def drop_hpack_bomb(raw):
    stream, frame = raw.headers(extra=[("x-bomb", "b" * 3500)])
    raw.send(frame)
    bomb = HeadersFrame(raw.next_stream)
    bomb.data = raw.encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", "/x"),
                                    (":authority", "localhost")])
    bomb.data += raw.encoder.encode([("x-bomb", "b" * 3500)])
    bomb.data += raw.encoder.encode([("x-bomb", "b" * 3500)]) * 10000  # one byte each: 39 MB when decoded
    assert len(bomb.data) < 16384, len(bomb.data)
    bomb.flags.add("END_HEADERS")
    raw.send(bomb.serialize())
    assert raw.ended_within(20)


@abuse
def continuation_floods():
    with Server(**PATIENT) as server:
        for body in (b"", b"\x00\x01a\x01b"):
            raw = Raw(server.path)
            frame = HeadersFrame(1)
            frame.data = raw.encoder.encode([(":method", "POST")])
            more = ContinuationFrame(1)
            more.data = body
            raw.send(frame.serialize() + more.serialize() * 100)
            assert raw.ended_within(20)


def reset_flood(raw, n):
    out = []
    for _ in range(n):
        stream, frame = raw.headers("/berth.test.v1.Echo/Hold", end=False)
        reset = RstStreamFrame(stream)
        reset.error_code = 8
        out.append(frame + reset.serialize())
    raw.send(b"".join(out))


@abuse
def rapid_reset_is_cut_off_also_during_a_drain():
    before = GOOD.stats().calls_started
    raw = Raw(S.path)
    reset_flood(raw, 50000)
    assert raw.ended_within(20)  # by the second overflow, or by the end of the drain that the first one began
    assert GOOD.stats().calls_started - before < 3500, GOOD.stats().calls_started - before


@abuse
def resets_that_we_are_made_to_send():
    raw = Raw(S.path)
    out = []
    for _ in range(1000):  # a window update of 0 on each stream
        stream, frame = raw.headers("/berth.test.v1.Echo/Hold")
        update = WindowUpdateFrame(stream)
        update.window_increment = 1
        out.append(frame + update.serialize()[:-4] + b"\0\0\0\0")
    raw.send(b"".join(out))
    assert raw.ended_within(20)
    raw = Raw(S.path)
    out = []
    for _ in range(1000):  # windows that overflow
        stream, frame = raw.headers("/berth.test.v1.Echo/Hold")
        update = WindowUpdateFrame(stream)
        update.window_increment = (1 << 31) - 1
        out.append(frame + update.serialize())
    raw.send(b"".join(out))
    calm(raw)


@abuse
def claims_of_four_mebibytes():
    raw = Raw(S.path)
    for _ in range(250):
        stream, frame = raw.headers()
        raw.send(frame + raw.data(stream, lpm(b"x", length=4 << 20)))
    assert raw.pong()
    assert GOOD.stats().receive_buffered_bytes < 2 << 20
    raw.close()


@abuse
def four_hundred_half_messages():
    raws = [Raw(S.path) for _ in range(4)]
    for raw in raws:
        for _ in range(100):
            stream, frame = raw.headers()
            body = lpm(b"x" * 60000, length=4 << 20)
            raw.send(frame + b"".join(raw.data(stream, body[i:i + 16384]) for i in range(0, len(body), 16384)))
    stats = GOOD.stats()
    assert stats.receive_buffered_bytes <= 64 << 20, stats
    for raw in raws:
        raw.close()
    eventually(lambda: GOOD.stats().receive_buffered_bytes == 0, "the buffers are given back")


@abuse
def data_after_the_answer():
    raw = Raw(S.path)
    stream, frame = raw.headers("/berth.test.v1.Echo/Nothing")
    raw.send(frame)
    equal(raw.answer_headers(stream).get("grpc-status"), "12")
    reset = next(frame for frame in raw.frames(20) if isinstance(frame, RstStreamFrame))
    equal((reset.stream_id, reset.error_code), (stream, 0))  # NO_ERROR: the answer counts, and no more is wanted
    for _ in range(100):
        raw.send(raw.data(stream, b"x" * 1000))
    stream, frame = raw.headers()
    raw.send(frame + raw.data(stream, lpm(b""), end=True))
    got = raw.answer_headers(stream)
    assert got.get("grpc-status") == "0" or raw.closed, got
    raw.close()


@abuse
def slow_loris():
    silent = Raw(S.path, hello=False)
    preface_only = Raw(S.path, hello=False)
    preface_only.send(PREFACE)
    half_body = Raw(S.path)
    stream, frame = half_body.headers()
    half_body.send(frame + half_body.data(stream, lpm(b"x", length=100)))
    idle = Raw(S.path)
    # Bytes that never become a call, some ten a second.
    trickle(idle, PingFrame(0, b"12345678").serialize(), "idle")
    assert silent.ended_within(20), "silent"
    assert preface_only.ended_within(20), "preface only"
    equal(half_body.answer_headers(stream).get("grpc-status"), "4")
    half_body.close()
    with Server(**{**PATIENT, "header_usec": SECOND}) as server:
        half_headers = Raw(server.path)
        head = HeadersFrame(1)
        head.data = b"\x00\x01a\x01b" * 3200  # it says that so many bytes follow
        half_headers.send(head.serialize()[:9])
        trickle(half_headers, b"\x00\x01a\x01b", "half a header block")


def trickle(raw, bytes_, name):
    for _ in range(300):
        raw.send(bytes_)
        if raw.ended_within(0.1):
            return
    raise AssertionError(f"{name}: still open after {300 * 0.1:.0f} s")


def flood(frame, n=60000):
    raw = Raw(S.path)
    raw.send(frame * n)
    return raw


@abuse
def ping_and_settings_floods():
    with Server(**PATIENT) as server:
        # The peer does not read the answers: they pile up until nghttp2 gives up.
        for frame in (PingFrame(0, b"12345678").serialize(), SettingsFrame(0).serialize()):
            raw = Raw(server.path)
            raw.sock.setblocking(False)
            try:
                for _ in range(200):
                    raw.sock.send(frame * 1000)
            except OSError:
                pass
            assert raw.ended_within(20)
        many = SettingsFrame(0)
        many.settings = {0x100 + i: 1 for i in range(40)}
        raw = Raw(server.path)
        raw.send(many.serialize())
        assert raw.ended_within(20)


@abuse
def priority_window_update_and_empty_data_floods():
    priority = PriorityFrame(101)
    priority.depends_on = 0
    priority.stream_weight = 5
    calm(flood(priority.serialize()))
    update = WindowUpdateFrame(0)
    update.window_increment = 1
    calm(flood(update.serialize()))
    raw = Raw(S.path)
    stream, frame = raw.headers("/berth.test.v1.Echo/Sum")
    raw.send(frame + raw.data(stream, b"") * 60000)
    calm(raw)
    raw = Raw(S.path)
    stream, frame = raw.headers("/berth.test.v1.Echo/Sum")
    padded = DataFrame(stream, b"")
    padded.pad_length = 1  # so that all fit into the stream's window
    padded.flags.add("PADDED")
    raw.send(frame + padded.serialize() * 30000)
    calm(raw)


@abuse
def two_hundred_and_fifty_streams_with_a_closed_window():
    raw = Raw(S.path, settings={4: 0})
    request = pb.CountRequest(count=1 << 40, payload_bytes=1 << 20).SerializeToString()
    for _ in range(250):
        stream, frame = raw.headers("/berth.test.v1.Echo/Count")
        raw.send(frame + raw.data(stream, lpm(request), end=True))
    eventually(lambda: GOOD.stats().calls > 200, "they are all open")
    raw.close()
    eventually(lambda: GOOD.stats().calls == 1, "they are gone with their connection")


@abuse
def a_hundred_sockets_that_nobody_reads():
    raws = [Raw(S.path, settings={4: (1 << 31) - 1}) for _ in range(100)]
    update = WindowUpdateFrame(0)
    update.window_increment = (1 << 31) - 1 - 65535
    request = pb.CountRequest(count=1 << 40, payload_bytes=1000).SerializeToString()
    for raw in raws:
        stream, frame = raw.headers("/berth.test.v1.Echo/Count")
        raw.send(update.serialize() + frame + raw.data(stream, lpm(request), end=True))
    eventually(lambda: GOOD.stats().connections < 20, "they are dropped for taking no bytes")
    for raw in raws:
        raw.close()


@abuse
def a_thousand_streams_on_one_connection():
    raw = Raw(S.path)
    out = []
    for _ in range(1000):
        stream, frame = raw.headers("/berth.test.v1.Echo/Hold")
        out.append(frame + raw.data(stream, lpm(b""), end=True))
    raw.send(b"".join(out))
    eventually(lambda: GOOD.stats().held > 0, "some are held")
    assert GOOD.stats().held <= 256, GOOD.stats().held
    raw.close()
    eventually(lambda: GOOD.stats().held == 0, "they are gone with their connection")


@abuse
def seven_hundred_connections_of_one_user():
    raws = [Raw(S.path, hello=False) for _ in range(700)]
    eventually(lambda: sum(r.ended_within(0) for r in raws) >= 100, "those over the limit are closed")
    equal(GOOD.echo(pb.EchoRequest(text="among them"), timeout=5).text, "among them")
    for raw in raws:
        raw.close()
    eventually(lambda: GOOD.stats().connections < 10, "they are gone")


@test
def out_of_descriptors_is_survived():
    with Server(idle_usec=SECOND) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        raws = [Raw(server.path) for _ in range(60)]
        assert raws[0].ended_within(20), "one that was taken, and says nothing: a second has passed"
        with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as stat:
            ticks = sum(map(int, stat.read().split()[13:15]))
        assert ticks < 30, f"the loop spins: {ticks} ticks"
        for raw in raws:
            raw.close()
        equal(Echo(channel_to(server.target)).echo(pb.EchoRequest(text="again"), timeout=10).text, "again")


@test
def zz_the_server_ends_cleanly():
    S.__exit__(None, None, None)


main()

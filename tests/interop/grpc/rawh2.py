"""HTTP/2 by hand, for what no client library would send."""
import select
import socket
import struct
import time

import hpack
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame,
                              RstStreamFrame, SettingsFrame, WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Closed(Exception):
    pass


class Raw:
    """One connection to a unix socket."""

    def __init__(self, path, hello=True, settings=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.buffer = b""
        self.next_stream = 1
        self.closed = False
        if hello:
            frame = SettingsFrame(0)
            frame.settings = settings or {}
            self.send(PREFACE + frame.serialize())

    def close(self):
        self.sock.close()

    def send(self, data, seconds=10):
        """Send all; False once the peer has closed."""
        deadline = time.monotonic() + seconds
        view = memoryview(data)
        self.sock.setblocking(False)
        while view:
            try:
                n = self.sock.send(view)
                view = view[n:]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                self.absorb()
                select.select([self.sock], [self.sock], [], 0.1)
            except OSError:
                self.closed = True
                return False
        return True

    def absorb(self):
        try:
            data = self.sock.recv(1 << 20)
            if not data:
                self.closed = True
            self.buffer += data
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True

    def frames(self, seconds):
        """Frames as they come, until the peer closes or the time is over."""
        deadline = time.monotonic() + seconds
        self.sock.setblocking(False)
        while True:
            while len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self.buffer[9:9 + length]))
                self.buffer = self.buffer[9 + length:]
                yield frame
            if self.closed:
                return
            left = deadline - time.monotonic()
            if not select.select([self.sock], [], [], max(left, 0))[0] and left <= 0:
                return
            self.absorb()

    def ended_within(self, seconds):
        """Whether the peer closes in time; its GOAWAY's code is left in self.goaway."""
        self.goaway = None
        for frame in self.frames(seconds):
            if isinstance(frame, GoAwayFrame):
                self.goaway = frame.error_code
        return self.closed

    def headers(self, path="/berth.test.v1.Echo/Echo", extra=(), end=False, stream=None, method="POST",
                content_type="application/grpc"):
        stream = stream or self.next_stream
        self.next_stream = stream + 2
        frame = HeadersFrame(stream)
        frame.data = self.encoder.encode([(":method", method), (":scheme", "http"), (":path", path),
                                          (":authority", "localhost"), ("content-type", content_type),
                                          ("te", "trailers"), *extra])
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return stream, frame.serialize()

    def data(self, stream, body, end=False):
        frame = DataFrame(stream, body)
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def pong(self, seconds=20):
        """Whether a PING is answered, and all before it was read with it."""
        self.send(PingFrame(0, b"thus far").serialize())
        return any(isinstance(frame, PingFrame) and "ACK" in frame.flags for frame in self.frames(seconds))

    def answer_headers(self, stream, seconds=20):
        """All headers and trailers of `stream`, until it ends."""
        got = {}
        for frame in self.frames(seconds):
            if isinstance(frame, HeadersFrame):
                decoded = self.decoder.decode(frame.data)
                if frame.stream_id == stream:
                    got.update(decoded)
                    if "END_STREAM" in frame.flags:
                        return got
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                got["rst"] = frame.error_code
                return got
        return got


def lpm(body, flag=0, length=None):
    return struct.pack(">BI", flag, len(body) if length is None else length) + body

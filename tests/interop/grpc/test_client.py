#!/usr/bin/python3
"""Our client against grpcio's server, and against servers that break off or do not speak gRPC."""
import concurrent.futures
import os
import socket
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from harness import *


def run(target, *args, **kwargs):
    done = subprocess.run([CLIENT, target, *args], capture_output=True, text=True, timeout=30, **kwargs)
    assert done.stderr == "", done.stderr
    code, n, text = done.stdout.rstrip("\n").split(" ", 2)
    return code, int(n), text


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        codecs = {"request_deserializer": (pb.CountRequest if name == "Count" else pb.EchoRequest).FromString,
                  "response_serializer": lambda message: message.SerializeToString()}
        kinds = {"Echo": (grpc.unary_unary_rpc_method_handler, self.echo),
                 "Count": (grpc.unary_stream_rpc_method_handler, self.count),
                 "Sum": (grpc.stream_unary_rpc_method_handler, self.sum),
                 "Chat": (grpc.stream_stream_rpc_method_handler, self.chat),
                 "Hold": (grpc.unary_unary_rpc_method_handler, lambda request, context: held.wait(30))}
        return kinds[name][0](kinds[name][1], **codecs) if name in kinds else None

    @staticmethod
    def echo(request, context):
        if request.fail_code:
            context.abort(grpc.StatusCode.ABORTED, request.text)
        assert context.time_remaining() > 1
        return pb.EchoResponse(text=request.text, payload=request.payload)

    @staticmethod
    def count(request, context):
        for i in range(request.count):
            yield pb.CountResponse(index=i, payload=bytes(request.payload_bytes))

    @staticmethod
    def sum(requests, context):
        return pb.SumResponse(messages=sum(1 for _ in requests))

    @staticmethod
    def chat(requests, context):
        for request in requests:
            yield pb.EchoResponse(text=request.text)


held = threading.Event()
PATH = os.path.join(TMP, "grpcio")
SERVER_UP = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
SERVER_UP.add_generic_rpc_handlers((Handler(),))
SERVER_UP.add_insecure_port("unix://" + PATH)
SERVER_UP.start()
TARGET = "unix://" + PATH


@test
def every_kind_of_call():
    equal(run(TARGET, "echo", "hällo"), ("OK", 1, "hällo"))
    equal(run(TARGET, "count", "5000", "100")[:2], ("OK", 5000))
    equal(run(TARGET, "count", "12", "1000000")[:2], ("OK", 12))
    equal(run(TARGET, "count", "0", "0")[:2], ("OK", 0))
    equal(run(TARGET, "sum", "3000", "500"), ("OK", 1, "3000"))
    equal(run(TARGET, "sum", "0", "0"), ("OK", 1, "0"))
    equal(run(TARGET, "chat", "2000", "100")[:2], ("OK", 2000))
    equal(run(TARGET, "payload", str(5 << 20))[:2], ("OK", 1))


@test
def failures_arrive_with_their_text():
    equal(run(TARGET, "fail", "100% größer\tals"), ("ABORTED", 0, "100% größer\tals"))
    equal(run(TARGET, "nothing")[0], "UNIMPLEMENTED")


@test
def a_deadline_is_kept_here():
    equal(run(TARGET, "hold", "200")[0], "DEADLINE_EXCEEDED")
    held.set()


@test
def nobody_is_there():
    code, _, text = run("unix://" + TMP + "/none", "echo", "x")
    equal(code, "UNAVAILABLE")
    assert "No such file" in text, text


class Fake:
    """A server by hand: `answer(connection, stream_id)` is called when a request has ended."""

    def __init__(self, answer):
        self.path = os.path.join(TMP, f"fake{id(self)}")
        self.target = "unix://" + self.path
        self.answer = answer
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.connections = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            sock, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.talk, args=(sock, self.connections), daemon=True).start()

    def talk(self, sock, number):
        try:
            self.converse(sock, number)
        except (OSError, h2.exceptions.ProtocolError):
            pass  # the client has hung up, or reset what we were about to answer

    def converse(self, sock, number):
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        conn.initiate_connection()
        sock.sendall(conn.data_to_send())
        while True:
            data = sock.recv(65536)
            if not data:
                return
            for event in conn.receive_data(data):
                if isinstance(event, h2.events.StreamEnded) and self.answer(conn, event.stream_id, number) == "close":
                    sock.sendall(conn.data_to_send())
                    sock.close()
                    return
            sock.sendall(conn.data_to_send())


OK_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]
MESSAGE = b"\0\0\0\0\4\x0a\2hi"


def answer_well(conn, stream):
    conn.send_headers(stream, OK_HEADERS)
    conn.send_data(stream, MESSAGE)
    conn.send_headers(stream, [("grpc-status", "0")], end_stream=True)


@test
def http_errors_are_mapped():
    def answer(conn, stream, number):
        conn.send_headers(stream, [(":status", "503"), ("content-type", "text/html")])
        conn.send_data(stream, b"<html>", end_stream=True)
    equal(run(Fake(answer).target, "echo", "x")[0], "UNAVAILABLE")


@test
def no_trailers_is_unknown():
    def answer(conn, stream, number):
        conn.send_headers(stream, OK_HEADERS)
        conn.send_data(stream, MESSAGE, end_stream=True)
    equal(run(Fake(answer).target, "echo", "x")[0], "UNKNOWN")


@test
def not_grpc_is_unknown():
    def answer(conn, stream, number):
        conn.send_headers(stream, [(":status", "200"), ("content-type", "text/html")])
        conn.send_data(stream, b"<html>", end_stream=True)
    equal(run(Fake(answer).target, "echo", "x")[0], "UNKNOWN")


@test
def ok_without_a_message_or_with_two_is_internal():
    def none(conn, stream, number):
        conn.send_headers(stream, OK_HEADERS + [("grpc-status", "0")], end_stream=True)

    def two(conn, stream, number):
        conn.send_headers(stream, OK_HEADERS)
        conn.send_data(stream, MESSAGE * 2)
        conn.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    def half(conn, stream, number):
        conn.send_headers(stream, OK_HEADERS)
        conn.send_data(stream, MESSAGE[:-1])
        conn.send_headers(stream, [("grpc-status", "0")], end_stream=True)
    for answer in (none, two, half):
        equal(run(Fake(answer).target, "echo", "x")[0], "INTERNAL")


@test
def resets_are_mapped():
    for error, code in ((8, "CANCELLED"), (11, "RESOURCE_EXHAUSTED"), (2, "INTERNAL"), (7, "UNAVAILABLE")):
        fake = Fake(lambda conn, stream, number, error=error: conn.reset_stream(stream, error))
        equal(run(fake.target, "echo", "x")[0], code)


@test
def a_connection_lost_mid_call_is_unavailable():
    code, _, text = run(Fake(lambda conn, stream, number: "close").target, "echo", "x")
    equal(code, "UNAVAILABLE")
    assert "lost" in text, text


@test
def a_call_that_goaway_left_out_is_tried_again_once():
    def answer(conn, stream, number):
        if number == 1:
            conn.close_connection(0, last_stream_id=0)
            return "close"
        return answer_well(conn, stream)
    fake = Fake(answer)
    equal(run(fake.target, "echo", "x"), ("OK", 1, "hi"))
    equal(fake.connections, 2)


@test
def a_call_in_flight_finishes_after_goaway():
    def answer(conn, stream, number):
        frame = b"\0\0\x08\7\0\0\0\0\0" + stream.to_bytes(4, "big") + b"\0\0\0\0"
        conn._data_to_send += frame
        answer_well(conn, stream)
    equal(run(Fake(answer).target, "echo", "x"), ("OK", 1, "hi"))


@test
def not_http2_at_all():
    path = os.path.join(TMP, "ssh")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def talk():
        sock, _ = listener.accept()
        sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        sock.recv(1000)
    threading.Thread(target=talk, daemon=True).start()
    equal(run("unix://" + path, "echo", "x")[0], "UNAVAILABLE")


main()

"""What the suites of this folder share: the echo server, channels, counting."""
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

# So that memory given back shows in builds with AddressSanitizer too.
os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=4")
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

BUILD = os.path.join(os.environ["BUILD_DIR"], "tests/interop/grpc")
SERVER = os.path.join(BUILD, "echo_server")
CLIENT = os.path.join(BUILD, "echo_client")
HERE = os.path.dirname(os.path.abspath(__file__))
TMP = tempfile.mkdtemp(prefix="berth-grpc-")
GRPC_PROTO = "/usr/share/grpc-proto/grpc"


def generate():
    """Python code of the protos. The grpc ones move to another folder: the grpc package would hide them."""
    out = os.path.join(TMP, "py")
    os.makedirs(out, exist_ok=True)
    for name, path in (("echo", os.path.join(HERE, "echo.proto")),
                       ("health", GRPC_PROTO + "/health/v1/health.proto"),
                       ("reflection", GRPC_PROTO + "/reflection/v1/reflection.proto"),
                       ("reflection_alpha", GRPC_PROTO + "/reflection/v1alpha/reflection.proto")):
        copy = os.path.join(out, f"{name}.proto")
        with open(path, encoding="utf-8") as src, open(copy, "w", encoding="utf-8") as dst:
            dst.write(src.read())
    names = ["echo.proto", "health.proto", "reflection.proto", "reflection_alpha.proto"]
    subprocess.run(["protoc", f"-I{out}", f"--python_out={out}"] + names, check=True)
    sys.path.insert(0, out)


generate()
import grpc  # noqa: E402
import echo_pb2 as pb  # noqa: E402

ECHO = "/berth.test.v1.Echo/"


class Server:
    count = 0

    def __init__(self, *args, **settings):
        Server.count += 1
        self.path = os.path.join(TMP, f"s{Server.count}")
        self.log_path = self.path + ".log"
        argv = [SERVER, "--unix", self.path, *args]
        for name, value in settings.items():
            argv += ["--set", f"{name}={value}"]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline().decode().split()
        if not line or line[0] != "ready":
            raise RuntimeError(f"the server did not start: {open(self.log_path).read()}")
        self.port = int(line[1])
        self.target = "unix://" + self.path

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        if self.process.returncode != 0 and exc[0] is None:
            raise AssertionError(f"server ended with {self.process.returncode}: {open(self.log_path).read()}")

    def stats(self):
        with grpc.insecure_channel(self.target, options=own_connection()) as channel:
            return Echo(channel).stats()


PING, PING_ACK, GOAWAY = (6, 0), (6, 1), (7, 0)  # type and flags of frames
PREFACE_BYTES = 24


END = "end"


class Tap:
    """Connections to the unix socket `path` through here, where frames are counted: "out" of the client, "in" to it;
    and the END of each direction."""

    number = 0

    def __init__(self, path):
        Tap.number += 1
        own = os.path.join(TMP, f"tap{Tap.number}")
        self.path, self.target = path, "unix://" + own
        self.changed = threading.Condition()
        self.counts = {}
        self.sockets = [socket.socket(socket.AF_UNIX)]
        self.sockets[0].bind(own)
        self.sockets[0].listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for sock in self.sockets:
            sock.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.sockets[0].accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.path)
            except OSError:
                return  # the tap is closed, or the server has ended
            self.sockets += [client, server]
            for source, sink, way in ((client, server, "out"), (server, client, "in")):
                threading.Thread(target=self._pass_on, args=(source, sink, way), daemon=True).start()

    def _pass_on(self, source, sink, way):
        seen, skip = b"", PREFACE_BYTES if way == "out" else 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                seen += data
                while len(seen) >= skip + 9:
                    seen = seen[skip:]
                    skip = 9 + int.from_bytes(seen[:3], "big")
                    self._count(way, (seen[3], seen[4]))
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one of them has gone
        finally:
            self._count(way, END)

    def _count(self, way, kind):
        with self.changed:
            self.counts[way, kind] = self.counts.get((way, kind), 0) + 1
            self.changed.notify_all()

    def count(self, way, kind):
        with self.changed:
            return self.counts.get((way, kind), 0)

    def until(self, way, kind, wanted, seconds=60):
        with self.changed:
            if not self.changed.wait_for(lambda: self.counts.get((way, kind), 0) >= wanted, seconds):
                raise AssertionError(f"not {wanted} frames {kind} {way} in {seconds} s, but {self.counts}")


def own_connection():
    """Channels of one process share connections unless told otherwise."""
    return [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1)]


class Echo:
    """The methods of echo.proto on a channel."""

    def __init__(self, channel):
        def method(kind, name, request, response):
            return getattr(channel, kind)(ECHO + name, request_serializer=request.SerializeToString,
                                          response_deserializer=response.FromString)
        self.echo = method("unary_unary", "Echo", pb.EchoRequest, pb.EchoResponse)
        self.hold = method("unary_unary", "Hold", pb.EchoRequest, pb.EchoResponse)
        self.release = method("unary_unary", "Release", pb.ReleaseRequest, pb.ReleaseResponse)
        self.count = method("unary_stream", "Count", pb.CountRequest, pb.CountResponse)
        self.sum = method("stream_unary", "Sum", pb.EchoRequest, pb.SumResponse)
        self.chat = method("stream_stream", "Chat", pb.EchoRequest, pb.EchoResponse)
        self.follow = method("unary_stream", "Follow", pb.CountRequest, pb.CountResponse)
        self._stats = method("unary_unary", "GetStats", pb.StatsRequest, pb.StatsResponse)

    def stats(self):
        return self._stats(pb.StatsRequest(), timeout=10)


def channel_to(target, *options, **kwargs):
    return grpc.insecure_channel(target, options=own_connection() + list(options), **kwargs)


# For what the server counts: nothing tells of that but asking.
def eventually(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(0.01)


def code_of(call):
    """Run it and return its status code; None for OK."""
    try:
        call()
        return None
    except grpc.RpcError as error:
        return error.code()


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r}, wanted {wanted!r}")


TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Skip(Exception):
    pass


def main():
    passed = failed = skipped = 0
    suite = os.path.basename(sys.argv[0]).removeprefix("test_").removesuffix(".py")
    for function in TESTS:
        name = function.__name__.replace("_", " ")
        begin = time.monotonic()
        try:
            function()
            passed += 1
            print(f"ok {suite}/{name} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"skip {suite}/{name}: {reason}", flush=True)
        except Exception as error:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f"not ok {suite}/{name}: {' '.join(str(error).split())[:300] or type(error).__name__}", flush=True)
    if not os.environ.get("KEEP"):
        subprocess.run(["rm", "-rf", TMP], check=False)
    print(f"# {suite}: {passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)

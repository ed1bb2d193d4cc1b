"""A client of berth-sandboxd's private socket, for tests: what berthd says, said by hand.

The messages are generated from proto/berth/sandbox/v1/sandbox.proto when the module is loaded.
"""
import array
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import changes

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


def _load_messages():
    out = tempfile.mkdtemp(prefix="sandboxd-pb-")
    try:
        subprocess.run(["protoc", "-I", os.path.join(TREE, "proto"), "--python_out", out,
                        "berth/sandbox/v1/sandbox.proto"], check=True, cwd=os.path.join(TREE, "proto"))
        sys.path.insert(0, out)
        from berth.sandbox.v1 import sandbox_pb2
        return sandbox_pb2
    finally:
        sys.path.remove(out)
        shutil.rmtree(out)


pb = _load_messages()
STARTING, RUNNING, EXITED, FAILED = 1, 2, 3, 4
INVALID, NOT_FOUND, EXISTS, DENIED, EXHAUSTED, PRECONDITION, UNSUPPORTED = 1, 2, 3, 4, 5, 6, 7


class Refused(Exception):
    def __init__(self, failure):
        super().__init__(failure.text)
        self.kind = failure.kind
        self.text = failure.text


class Client:
    """One connection. Facts that come while an answer is awaited are kept in `facts`."""

    def __init__(self, path, hello=True):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(path)
        self.facts = []
        self.replies = {}
        self.next_id = 1
        self.hello = self.ask("hello", protocol=1, version="test").hello if hello else None

    def close(self):
        for _, fds in self.facts:
            for fd in fds:
                os.close(fd)
        self.facts = []
        self.sock.close()

    def send(self, verb, message=None, fds=(), **fields):
        request = pb.Request(id=self.next_id)
        self.next_id += 1
        part = getattr(request, verb)
        part.SetInParent()
        if message is not None:
            part.CopyFrom(message)
        for name, value in fields.items():
            target = getattr(part, name)
            if hasattr(target, "CopyFrom"):
                target.CopyFrom(value)
            elif isinstance(value, dict):
                target.update(value)
            elif isinstance(value, (list, tuple)):
                target.extend(value)
            else:
                setattr(part, name, value)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([request.SerializeToString()], ancillary)
        return request.id

    def receive(self, timeout):
        """Take one packet. Returns False when none came in time; raises EOFError at the end."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return False
        data, ancillary, flags, _ = self.sock.recvmsg(256 * 1024, socket.CMSG_SPACE(4 * 64))
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[:len(payload) - len(payload) % 4])
        if not data:
            raise EOFError("berth-sandboxd closed the connection")
        message = pb.ToAgent.FromString(data)
        if message.WhichOneof("message") == "reply":
            self.replies[message.reply.id] = (message.reply, list(fds))
        else:
            self.facts.append((message.fact, list(fds)))
        return True

    def wait_reply(self, request_id, timeout=20):
        end = time.monotonic() + timeout
        while request_id not in self.replies:
            if not self.receive(max(0, end - time.monotonic())) and time.monotonic() >= end:
                raise TimeoutError(f"no answer to request {request_id}")
        reply, fds = self.replies.pop(request_id)
        if reply.HasField("failure"):
            raise Refused(reply.failure)
        self.reply_fds = fds
        return reply

    def ask(self, verb, message=None, timeout=20, fds=(), **fields):
        return self.wait_reply(self.send(verb, message, fds, **fields), timeout)

    def wait_fact(self, kind, match=lambda fact: True, timeout=20, fail_on=()):
        """The first fact of this kind that matches; its descriptors are in `fact_fds`."""
        end = time.monotonic() + timeout
        while True:
            for i, (fact, fds) in enumerate(self.facts):
                name = fact.WhichOneof("fact")
                if name == kind and match(getattr(fact, kind)):
                    del self.facts[i]
                    self.fact_fds = fds
                    return getattr(fact, kind)
                if name in fail_on:
                    raise AssertionError(f"{name} instead of {kind}: {fact}")
            if not self.receive(max(0, end - time.monotonic())) and time.monotonic() >= end:
                raise TimeoutError(f"no fact {kind}; there are {[f for f, _ in self.facts]}")


def ref(workload, container="", instance=1, attempt=1):
    return pb.ContainerRef(workload=workload, instance=instance, container=container, attempt=attempt)


def close_all(fds):
    for fd in fds:
        os.close(fd)


def make_rootfs(path):
    """busybox-static and nothing else."""
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "data"):
        os.makedirs(os.path.join(path, name), exist_ok=True)
    shutil.copy("/bin/busybox", os.path.join(path, "bin/busybox"))
    for name in ("sh", "true", "sleep", "cat", "echo", "id", "hostname", "ls", "touch", "kill", "env"):
        link = os.path.join(path, "bin", name)
        if not os.path.lexists(link):
            os.symlink("busybox", link)
    with open(os.path.join(path, "etc/passwd"), "w") as file:
        file.write("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n")


class Daemon:
    """berth-sandboxd of a build directory, with a place and a cgroup of its own."""

    def __init__(self, build, policy="", workloads_end=True, base=None, wrap=(), cgroup=None, keeper=False):
        self.build = build
        self.base = base or tempfile.mkdtemp(prefix="berth-sandboxd-", dir="/tmp")
        os.chmod(self.base, 0o755)
        self.own_base = base is None
        self.rootfs = os.path.join(self.base, "rootfs")
        make_rootfs(self.rootfs)
        self.socket = os.path.join(self.base, "sandboxd.sock")
        self.config = os.path.join(self.base, "sandboxd.conf")
        self.log_path = os.path.join(self.base, "sandboxd.log")
        self.cgroup = cgroup or "/berth-test-" + os.path.basename(self.base).replace("berth-sandboxd-", "")
        with open(self.config, "w") as file:
            file.write(f"[Policy]\nAllowRootDirectories={self.rootfs}\n{policy}\n"
                       f"[Host]\nRunDirectory={self.base}/run\nLogDirectory={self.base}/log\n"
                       f"LayerDirectory={self.base}/layers\n"
                       f"CgroupParent={self.cgroup}\nNamespacePool=4\nUnkillableAfter=1s\n")
        self.workloads_end = workloads_end
        self.wrap = list(wrap)
        self.process = None
        self.monitor = f"{build}/sandbox/monitor/berth-monitor"
        self.keeper = Keeper(self.base) if keeper else None
        os.makedirs(f"{self.base}/run", mode=0o700, exist_ok=True)
        self.mounted = not os.path.ismount(f"{self.base}/run")
        if self.mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", f"{self.base}/run"],
                           check=True)
        self.start()

    def start(self, workloads_end=None):
        ends = self.workloads_end if workloads_end is None else workloads_end
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        start = self.keeper.start if self.keeper else subprocess.Popen
        self.process = start(
            self.wrap + [f"{self.build}/sandbox/berth-sandboxd", f"--config={self.config}",
                         f"--socket={self.socket}", f"--monitor={self.monitor}",
                         f"--unpack={self.build}/sandbox/unpack/berth-unpack",
                         *(["--stop-workloads-on-exit"] if ends else [])],
            stderr=open(self.log_path, "a"))
        if not changes.until(self.base, lambda: os.path.exists(self.socket), 30, self.process):
            raise RuntimeError("berth-sandboxd did not start:\n" + self.log())

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def wait_log(self, text, timeout=20):
        if not changes.until(self.log_path, lambda: text in self.log(), timeout, self.process):
            raise TimeoutError(f"{text!r} was never logged:\n{self.log()}")

    def connect(self, **options):
        return Client(self.socket, **options)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()

    def cgroups(self):
        """Directories of this daemon in all hierarchies."""
        return [d for top in self.tops() for d, _, _ in os.walk(top)]

    def tops(self):
        """The top one of each hierarchy that has it."""
        return [top for mount in _cgroup_mounts() if os.path.isdir(top := mount + self.cgroup)]

    def cleanup(self):
        if self.process.poll() is not None and self.cgroups():
            self.start(workloads_end=True)  # a test failed while it was dead: workloads live on
        code = self.stop()
        if self.keeper:
            self.keeper.close()
        if self.mounted:
            subprocess.run(["umount", "-l", f"{self.base}/run"], check=False)
        if self.own_base:
            shutil.rmtree(self.base, ignore_errors=True)
        return code


class Keeper:
    """What systemd is to a daemon of Type=notify with FileDescriptorStoreMax=: it keeps descriptors over restarts."""

    def __init__(self, place):
        self.path = os.path.join(place, "notify.sock")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.kept = []  # (name, descriptor)

    def take(self, until=lambda kept: False, timeout=20):
        """What was sent by now; or until @until holds of the names kept."""
        end = time.monotonic() + timeout
        while not (done := until([name for name, _ in self.kept])) or select.select([self.sock], [], [], 0)[0]:
            wait = 0 if done else max(0, end - time.monotonic())
            if not select.select([self.sock], [], [], wait)[0]:
                if timeout == 0:
                    return
                raise TimeoutError(f"kept are {self.kept}")
            self._take_one()

    def _take_one(self):
        data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(4 * 64))
        fds = array.array("i")
        for _, _, payload in ancillary:
            fds.frombytes(payload[:len(payload) - len(payload) % 4])
        said = dict(line.split("=", 1) for line in data.decode().splitlines())
        if said.get("FDSTORE"):
            assert said["FDPOLL"] == "0", "systemd would forget a pipe that hung up"
            self.kept += [(said["FDNAME"], fd) for fd in fds]
        elif said.get("FDSTOREREMOVE"):
            close_all([fd for name, fd in self.kept if name == said["FDNAME"]])
            self.kept = [(name, fd) for name, fd in self.kept if name != said["FDNAME"]]

    def start(self, argv, **options):
        """A process that is passed what is kept, the newest first, as systemd does."""
        self.take(timeout=0)
        kept = list(reversed(self.kept))
        code = "import os, sys; n = len(sys.argv[1].split(',')) if sys.argv[1] else 0; " \
               "high = [os.dup2(int(fd), 900 + i) for i, fd in enumerate(sys.argv[1].split(',')) if fd]; " \
               "[os.dup2(fd, 3 + i, inheritable=True) for i, fd in enumerate(high)]; " \
               "os.closerange(3 + n, 1000); " \
               "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n)); os.execv(sys.argv[2], sys.argv[2:])"
        return subprocess.Popen(
            [sys.executable, "-c", code, ",".join(str(fd) for _, fd in kept), *argv],
            pass_fds=[fd for _, fd in kept], env={**os.environ, "NOTIFY_SOCKET": self.path,
                                                  "LISTEN_FDNAMES": ":".join(name for name, _ in kept)}, **options)

    def close(self):
        close_all([fd for _, fd in self.kept])
        self.kept = []
        self.sock.close()


def _cgroup_mounts():
    with open("/proc/self/mounts") as file:
        return [line.split()[1] for line in file if line.split()[2] in ("cgroup", "cgroup2")]

"""Somebody has taken berthd over: every verb with every field wrong, garbage, replays, floods (escape test E71).

berth-sandboxd stays alive and answers, and nothing outside the policy is granted: what runs has its own ids,
a filter, no new privileges, no capability beyond the policy's, and lives in the daemon's own groups.

    test_hostile.py BUILD_DIRECTORY [SECONDS [SEED]]
"""
import os
import random
import socket
import sys
import time

if os.geteuid() != 0:
    print("SKIP: berth-sandboxd makes namespaces and control groups, which needs root")
    sys.exit(77)

from google.protobuf.descriptor import FieldDescriptor as Field

from sandboxd_client import Client, Daemon, close_all, pb, ref

BUILD = sys.argv[1]
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 15
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
rng = random.Random(SEED)

VERBS = [field.name for field in pb.Request.DESCRIPTOR.oneofs_by_name["verb"].fields]
TEXTS = ["", "a", "w-1", "w-2", "main", "..", ".", "/", "a/b", "../../../etc", "-x", "x" * 64, "x" * 5000, "é", "\n",
         "a\x1b[2J", "/proc/self/root", "/proc/1/root", "/etc", "/", "/dev/vda", "/dev/../etc/passwd", "0", "-1",
         "4294967295", "65536", "root", "root:shadow", "CAP_SYS_ADMIN", "CAP_KILL", "ALL", "NOFILE", "RLIMIT_CORE",
         "unconfined", "default", "host", "PATH=/bin", "LD_PRELOAD=/x", "=x", "A", "kernel.core_pattern",
         "net.ipv4.ip_forward", "net/../kernel/core_pattern", "%n%n%s", "{", '{"defaultAction":"SCMP_ACT_ALLOW"}',
         '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["execve"],"action":"SCMP_ACT_NOTIFY"}]}',
         "volume-t", "t", "h", "0-3", "0-99999999", "254:0", "/bin/sh", "/bin/true", "tmp", "/data", "/tmp"]
NUMBERS = [0, 1, 2, 3, 4, 5, 9, 15, 64, 65, 1000, 65535, 65536, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
           1 << 62, (1 << 63) - 1, (1 << 64) - 1]


def fuzz(message, texts, depth=0):
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.35:
            continue
        repeated = field.label == Field.LABEL_REPEATED
        for _ in range(rng.choice((0, 1, 1, 2, 40)) if repeated else 1):
            if field.message_type and field.message_type.GetOptions().map_entry:
                getattr(message, field.name)[rng.choice(texts)] = rng.choice(texts)
            elif field.message_type:
                part = getattr(message, field.name)
                part = part.add() if repeated else part
                part.SetInParent()
                fuzz(part, texts, depth + 1)
            else:
                value = scalar(field, texts)
                if repeated:
                    getattr(message, field.name).append(value)
                else:
                    setattr(message, field.name, value)


def scalar(field, texts):
    if field.type == Field.TYPE_STRING:
        return rng.choice(texts)
    if field.type == Field.TYPE_BOOL:
        return rng.random() < 0.5
    bits = 32 if field.type in (Field.TYPE_UINT32, Field.TYPE_INT32) else 64
    signed = field.type in (Field.TYPE_INT32, Field.TYPE_INT64)
    value = rng.choice(NUMBERS) & ((1 << (bits - signed)) - 1)
    return value


def plausible(request, daemon):
    """Some of what was fuzzed made right again, so that the deeper checks are reached too."""
    part = getattr(request, request.WhichOneof("verb"))
    names = {field.name for field in part.DESCRIPTOR.fields}
    if "ref" in names and rng.random() < 0.8:
        part.ref.CopyFrom(ref(rng.choice(("w-1", "w-2")), rng.choice(("main", "two", "")), instance=1,
                              attempt=rng.randrange(1, 40)))
    if "workload" in names and rng.random() < 0.8:
        part.workload, part.instance = rng.choice(("w-1", "w-2", "w-3")), 1
    if request.HasField("launch") and rng.random() < 0.7:
        del part.env[:], part.mounts[:], part.groups[:], part.rlimits[:]
        part.root_directory, part.root_writable = daemon.rootfs, False
        part.user, part.working_dir = rng.choice(("", "0", "www", "33")), ""
        part.ClearField("limits")
        part.ClearField("oci_seccomp_json")
        part.log_max_file_bytes = part.log_max_files = 0
        part.profile, part.gate_open = "", True
        part.ClearField("command")
        part.command.extend(rng.choice((["/bin/true"], ["/bin/sleep", "1000"])))
        if rng.random() < 0.7:
            del part.capabilities[:]
    if request.HasField("create_workload") and rng.random() < 0.7:
        part.band = rng.randrange(1, 5)
        part.host_network = part.host_ids = False
        part.sysctls.clear()
        part.ClearField("limits")
        part.hostname = ""
        del part.volumes[:]


def processes_of(daemon):
    found = set()
    for group in daemon.cgroups():
        if "/monitors" not in group:
            try:
                with open(f"{group}/cgroup.procs") as file:
                    found.update(int(pid) for pid in file)
            except OSError:
                pass
    return found


GRANTABLE = sum(1 << bit for bit in (0, 1, 3, 5, 6, 7, 10))


def check_confined(daemon):
    """Every process in a workload's group is what the policy allows, however it was asked for."""
    for pid in processes_of(daemon):
        try:
            name = os.readlink(f"/proc/{pid}/exe")  # first: what is seen after it is after execve(2)
            with open(f"/proc/{pid}/status") as file:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            user_namespace = os.readlink(f"/proc/{pid}/ns/user")
            namespaces = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "ipc", "uts", "mnt", "pid")]
        except OSError:
            continue  # it has ended
        if "busybox" not in name:
            continue  # a launch on its way to execve(2)
        for uid in status["Uid"].split() + status["Gid"].split():
            assert 0x50000000 <= int(uid) < 0x70000000, f"pid {pid} has the host's id {uid}"
        assert status["NoNewPrivs"] == "1", f"pid {pid} may gain privileges"
        # The daemon's own, which is inherited, and the workload's.
        assert int(status["Seccomp_filters"]) >= 2, f"pid {pid} has no filter of its own"
        assert user_namespace != os.readlink("/proc/self/ns/user"), f"pid {pid} is in the host's user namespace"
        for kind, link in zip(("net", "ipc", "uts", "mnt", "pid"), namespaces):
            assert link != os.readlink(f"/proc/self/ns/{kind}"), f"pid {pid} is in the host's {kind} namespace"
        for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh"):
            assert int(status[key], 16) & ~GRANTABLE == 0, f"pid {pid} has {key} {status[key]}"


class Attacker:
    def __init__(self, daemon):
        self.daemon = daemon
        self.sent = self.refused = self.done = self.closed = 0
        self.history = []
        self.connect()

    def connect(self):
        self.client = Client(self.daemon.socket)
        self.client.sock.setblocking(False)

    def drain(self):
        try:
            while self.client.receive(0):
                pass
        except (EOFError, ConnectionError):
            self.closed += 1
            self.client.close()
            self.connect()
        for reply, fds in self.client.replies.values():
            self.refused += reply.HasField("failure")
            self.done += not reply.HasField("failure")
            close_all(fds)
        for _, fds in self.client.facts:
            close_all(fds)
        self.client.replies, self.client.facts = {}, []

    def send(self, data, fds=()):
        try:
            if fds:
                socket.send_fds(self.client.sock, [data], list(fds))
            else:
                self.client.sock.send(data)
            self.sent += 1
        except BlockingIOError:
            self.drain()
        except OSError:
            self.drain()
            self.closed += 1
            self.client.close()
            self.connect()

    def one(self):
        kind = rng.random()
        if kind < 0.03:
            self.send(bytes(rng.randrange(256) for _ in range(rng.choice((1, 10, 1000)))))
        elif kind < 0.05 and self.history:
            data = bytearray(rng.choice(self.history))
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            self.send(bytes(data))
        elif kind < 0.15 and self.history:
            self.send(rng.choice(self.history))
        elif kind < 0.155:
            self.send(b"\x0a" * 190000)
        elif kind < 0.16:
            self.send(pb.Request(id=1, inventory=pb.Inventory()).SerializeToString(), [0, 1])
        else:
            self.fuzzed()

    def fuzzed(self):
        request = pb.Request(id=rng.choice(NUMBERS))
        verb = getattr(request, rng.choice(VERBS))
        verb.SetInParent()
        fuzz(verb, TEXTS)
        if request.HasField("hello") and rng.random() < 0.9:
            request.hello.protocol = 1
        if rng.random() < 0.7:
            plausible(request, self.daemon)
        try:
            data = request.SerializeToString()
        except ValueError:
            return
        if len(data) > 190000:
            return
        self.history.append(data)
        del self.history[:-200]
        self.send(data)


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def main():
    print(f"seed {SEED}")
    with open("/proc/sys/kernel/core_pattern") as file:
        core_pattern = file.read()
    daemon = Daemon(BUILD)
    code = None
    try:
        attacker = Attacker(daemon)
        end = time.monotonic() + SECONDS
        rounds = 0
        while time.monotonic() < end:
            for _ in range(50):
                attacker.one()
            attacker.drain()
            rounds += 1
            if rounds % 5 == 0:
                check_confined(daemon)
            assert daemon.process.poll() is None, "berth-sandboxd has died:\n" + daemon.log()[-3000:]
        check_confined(daemon)
        attacker.client.close()
        client = daemon.connect()
        known = client.ask("inventory").inventory.workloads
        assert len(known) <= 4096 and memory_kib(daemon.process.pid) < 64 * 1024
        print(f"{attacker.sent} messages, {attacker.done} done, {attacker.refused} refused, "
              f"{attacker.closed} connections closed, {memory_kib(daemon.process.pid)} KiB")
        assert attacker.done > 0 and attacker.refused > 0 and attacker.closed > 0, "nothing was tried"
        client.close()
        code = daemon.stop()
        assert code == 0, f"ended with {code}:\n" + daemon.log()[-3000:]
        assert not daemon.cgroups(), f"left: {daemon.cgroups()}"
        with open("/proc/sys/kernel/core_pattern") as file:
            assert file.read() == core_pattern
    finally:
        daemon.cleanup()
    with open("/proc/self/mountinfo") as file:
        assert daemon.base not in file.read(), "mounts are left"


if __name__ == "__main__":
    main()

"""The daemons are restarted as systemd does it, which keeps the listening socket; callers see nothing of it,
readers miss nothing, and nothing about a workload changes."""
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "agent"))

import host  # noqa: E402
from api import Api, Refused, types  # noqa: E402
from host import read, reason_name, state_name  # noqa: E402
from story import IN_VM, Skip, equal, has, run_stories, story  # noqa: E402

RESTARTS = int(os.environ.get("BERTH_RESTARTS", "20"))
PATIENCE = 300 if IN_VM else 20  # seconds for one call, before it counts as lost
FOREVER = "trap 'exit 9' TERM; while :; do sleep 1; done"
# Stock gRPC, as a scheduler's author would set it up.
RETRIES = json.dumps({"methodConfig": [{"name": [{"service": "berth.v1.NodeAgent"}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]}}]})
QUICK = [(f"grpc.{name}_reconnect_backoff_ms", 20) for name in ("initial", "min", "max")]


class Activated(host.Host):
    """berthd.socket is played here: the socket is bound once, and passed to each berthd."""

    def _prepare(self):
        super()._prepare()
        if IN_VM:
            return
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.socket)
        os.chmod(self.socket, 0o660)
        self.listener.listen(512)

    def _start(self, name, argv):
        if name != "berthd":
            return super()._start(name, argv)
        self.logs[name] = os.path.join(self.place, name + ".log")
        fd = self.listener.fileno()
        with open(self.logs[name], "ab") as log:
            return subprocess.Popen(["/bin/sh", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec 3<&{fd}; exec "$@"', "sh",
                                     *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[fd])

    def restart_berthd(self, sig=signal.SIGTERM):
        self.berthd.send_signal(sig)
        equal(self.berthd.wait(30), 0 if sig == signal.SIGTERM else -sig)
        self.start_berthd()

    def __exit__(self, *exc):
        super().__exit__(*exc)
        if not IN_VM:
            self.listener.close()


class Load:
    """Calls from threads of their own, until told to stop; failures are kept."""

    def __init__(self, berth, **calls):
        self.berth = berth
        self.calls = calls
        self.done = dict.fromkeys(calls, 0)
        self.slowest = dict.fromkeys(calls, 0)
        self.failures = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(name, call)) for name, call in calls.items()]

    def _work(self, name, call):
        with Api("unix://" + self.berth.socket, options=[("grpc.service_config", RETRIES)]) as api:
            while not self.stopping.is_set():
                began = time.monotonic()
                try:
                    call(api)
                    self.done[name] += 1
                    self.slowest[name] = max(self.slowest[name], time.monotonic() - began)
                    self.stopping.wait(0.5 if IN_VM else 0.001)  # emulated, they would keep all else from running
                except Exception as error:  # whatever it is, it is what we look for
                    self.failures.append((name, str(error)))
                    self.stopping.wait(0.05)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def wait_more(self, calls=2, seconds=max(60, PATIENCE)):
        """Until each has got through a few times more."""
        before = dict(self.done)
        deadline = time.monotonic() + seconds
        while any(self.done[name] < before[name] + calls for name in self.done) and not self.failures:
            if time.monotonic() > deadline:
                raise AssertionError(f"calls do not get through: {before} then {self.done}")
            time.sleep(0.005)  # nothing tells of a number in another thread


def launch(api, **request):
    """Emulated, berth-sandboxd is away for longer than the 2 s of a stock client's tries, and is asked again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return api.Launch(timeout=PATIENCE, **request)
        except Refused as why:
            if not IN_VM or why.reason != "SANDBOX_AWAY" or time.monotonic() > deadline:
                raise


def cycle(berth, number=[0]):
    """Launch and delete, as a scheduler does: with a new generation each time."""
    def call(api):
        number[0] += 1
        fence = {"epoch": berth.epoch, "generation": 1000 + number[0]}
        status = launch(api, fence=fence, spec=berth.spec("cycle", "/bin/sleep", "1000", container={"stop_grace_ms": 1})).status
        if state_name(status) != "RUNNING":
            raise AssertionError(f"it is {state_name(status)}: {status.sentence}")
        api.Delete(fence=fence, id="cycle", force=True, timeout=PATIENCE)
    return call


def limits(berth):
    """Every limit of every group of the workloads, as the kernel has it."""
    found = {}
    base = "/berth.slice/berth-workloads.service" if IN_VM else berth.group_base
    for pattern in ("/sys/fs/cgroup/*" + base, "/sys/fs/cgroup" + base):
        for base in glob.glob(pattern):
            for root, directories, files in os.walk(base):
                if "/stays-" not in root and not root.endswith("/workloads"):
                    continue
                for name in files:
                    if re.search(r"(max|high|low|limit_in_bytes|shares|weight|quota_us|period_us|cpus|mems|freeze)$", name) \
                            and "usage" not in name and "effective" not in name:
                        try:
                            found[f"{root}/{name}"] = read(f"{root}/{name}")
                        except OSError:
                            pass
    if len(found) < 20:
        raise AssertionError(f"there are {len(found)} limits only: {found}")
    return found


def steady(berth, n=5):
    before = {"since": berth.api.GetNode().node.event_sequence}
    for i in range(n):
        status = berth.shell(f"stays-{i}", FOREVER, container={"resources": {
            "memory_limit_bytes": (32 + i) << 20, "pids_limit": 20 + i, "cpu_limit_millis": 300 + i}})
        before[f"stays-{i}"] = (status.containers[0].pid, status.changed_time_unix_ns)
    return before


def check_steady(berth, before):
    since = before.pop("since")
    for name, (pid, changed) in before.items():
        status = berth.status(name)
        equal((state_name(status), status.containers[0].pid, status.restarts, status.changed_time_unix_ns),
              ("RUNNING", pid, 0, changed), name)
    changes = [(event.workload, reason_name(event)) for answer in
               berth.api.WatchEvents(after_sequence=since, no_follow=True) for event in answer.events
               if event.workload in before and event.to not in (event.__class__().to, types.PENDING, types.STARTING, types.RUNNING)]
    equal(changes, [], "states that flapped")


def systemctl(*arguments):
    subprocess.run(["systemctl", *arguments], check=True)


@story
def what_systemd_does_is_noticed_by_nobody(berth):
    if not IN_VM:
        raise Skip("there is no systemd here")
    before = steady(berth)
    kernel = limits(berth)
    with Load(berth, **{"get-node": lambda api: api.GetNode(timeout=PATIENCE), "cycle": cycle(berth)}) as load:
        for arguments in (["restart", "berthd"], ["daemon-reload"], ["restart", "berth-sandboxd"], ["daemon-reexec"],
                          ["restart", "berthd", "berth-sandboxd"], ["reload", "berthd", "berth-sandboxd"]):
            systemctl(*arguments)
            load.wait_more(1)
            equal(limits(berth), kernel, "the limits after systemctl " + " ".join(arguments))
    equal(load.failures, [])
    check_steady(berth, before)
    print(f"# {sum(load.done.values())} calls, none failed; "
          f"the slowest took {', '.join(f'{name} {s * 1000:.0f} ms' for name, s in load.slowest.items())}")


@story
def no_call_is_refused_or_lost_in_restarts_of_berthd(berth):
    before = steady(berth)
    kernel = limits(berth)
    calls = {"get-node": lambda api: api.GetNode(timeout=60), "list": lambda api: api.List(timeout=60),
             "get": lambda api: api.Get(id="stays-0"), "cycle": cycle(berth)}
    with Load(berth, **calls) as load:
        load.wait_more()
        for _ in range(RESTARTS):
            berth.restart_berthd()
            load.wait_more()
    equal(load.failures, [])
    equal(limits(berth), kernel, "the limits")
    check_steady(berth, before)
    print(f"# {RESTARTS} restarts, {sum(load.done.values())} calls, none failed; "
          f"the slowest took {', '.join(f'{name} {s * 1000:.0f} ms' for name, s in load.slowest.items())}")


@story
def no_call_is_refused_or_lost_in_restarts_of_sandboxd(berth):
    before = steady(berth)
    kernel = limits(berth)
    calls = {"get-node": lambda api: api.GetNode(timeout=60), "cycle": cycle(berth)}
    with Load(berth, **calls) as load:
        load.wait_more()
        for _ in range(RESTARTS // 4):
            berth.stop_sandboxd()
            berth.start_sandboxd()
            load.wait_more()
        berth.stop_sandboxd()
        berth.start_sandboxd()
        berth.restart_berthd()
        load.wait_more()
    equal(load.failures, [])
    equal(limits(berth), kernel, "the limits")
    check_steady(berth, before)


class Reader:
    """berthctl that follows something, its lines as they come."""

    def __init__(self, berth, *arguments):
        self.process = subprocess.Popen([berth.berthctl, "-a", "unix://" + berth.socket, *arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = []
        self.errors = []
        self.threads = [threading.Thread(target=self._read, args=pair) for pair in
                        ((self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _read(file, lines):
        for line in file:
            lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def until(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition(self.lines):
            if time.monotonic() > deadline or (self.process.poll() is not None and not condition(self.lines)):
                raise AssertionError(f"{what}: {self.lines[-5:]} {self.errors} {self.process.poll()}")
            time.sleep(0.01)  # lines come from another thread

    def end(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        for thread in self.threads:
            thread.join(20)
        return code


@story
def those_who_follow_go_on_after_a_restart(berth):
    # Two containers, so that lines of one time are of both.
    count = "i=0; while :; do i=$((i+1)); echo $0 $i; usleep 3000; done"
    berth.launch("counts", containers=[berth.container("/bin/sh", "-c", count, "a", name="a"),
                                       berth.container("/bin/sh", "-c", count, "b", name="b")])
    logs = Reader(berth, "logs", "-f", "counts")
    events = Reader(berth, "-o", "json", "events", "-f")
    stats = Reader(berth, "stats", "--interval", "200")
    readers = (logs, events, stats)
    for reader in readers:
        reader.until(lambda lines: len(lines) >= 3, "it begins")
    for turn in range(3):
        berth.restart_berthd(signal.SIGKILL if turn == 2 else signal.SIGTERM)
        lines = [len(reader.lines) for reader in readers]
        berth.run_to_end(f"event-{turn}", "/bin/true")
        logs.until(lambda now: len(now) > lines[0] + 50, "lines go on")
        stats.until(lambda now: len(now) > lines[2] + 5, "reports go on")
    berth.api.Stop(fence=berth.fence(), id="counts", grace_ms=0)
    logs.process.wait(30)
    events.until(lambda now: any('"counts"' in line and '"EXITED"' in line for line in now), "the last event")
    equal(events.end(), 0)
    equal(stats.end(), 0)
    equal(logs.process.returncode, 0)
    for name in "ab":
        numbers = [int(line.split()[-1]) for line in logs.lines if line.startswith(name + " |")]
        equal(numbers, list(range(1, len(numbers) + 1)), f"the lines of {name}")
        equal(len(numbers), len(berth.output("counts", container=name).splitlines()))
    numbers = [int(json.loads(line)["sequence"]) for line in events.lines]
    equal(numbers, list(range(numbers[0], numbers[0] + len(numbers))), "the events' numbers")
    has(" ".join(logs.errors), "goes on")


@story
def an_exec_session_ends_with_a_sentence(berth):
    berth.shell("box", FOREVER)
    session = Reader(berth, "exec", "box", "--", "/bin/sh", "-c", "echo up; exec sleep 1000")
    session.until(lambda lines: "up" in lines, "it runs")
    berth.restart_berthd()
    equal(session.process.wait(20), 6)
    for thread in session.threads:
        thread.join(20)
    has(" ".join(session.errors), "the session has ended", "run it again")
    box = berth.status("box").containers[0].pid
    group = host.group_files(box).get("pids") or host.group_files(box)[""]
    deadline = time.monotonic() + 20
    while len(read(group + "/cgroup.procs").split()) > 2:  # the shell and its sleep
        if time.monotonic() > deadline:
            raise AssertionError("the program of the session lives on")
        time.sleep(0.02)


def main():
    with Activated() as berth:
        berth.api.close()
        berth.api = Api("unix://" + berth.socket, options=[*([] if IN_VM else QUICK), ("grpc.service_config", RETRIES)])
        good = run_stories(berth, sys.argv[1:] or (["what-systemd-*"] if IN_VM else ["[!w]*"]))
    left = berth.what_is_left()
    if left:
        print("\n".join(left))
        print(f"not ok nothing-is-left: {left[0]} (and {len(left) - 1} more)")
    elif not sys.argv[1:]:
        print("ok nothing-is-left")
    return 0 if good and not left else 1


sys.exit(main())

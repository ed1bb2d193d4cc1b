"""stories.py [PATTERN...], in the guest: what only systemd, pure cgroup v2, or a clock of one's own can show of the
services that run there."""
import os
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "system", "agent"), os.path.join(HERE, "..", "system")]

import changes  # noqa: E402
import host  # noqa: E402
from api import Refused, types  # noqa: E402
from host import read, reason_name, state_name  # noqa: E402
from session import Session  # noqa: E402
from story import equal, has, run_stories, story  # noqa: E402

MIB = 1 << 20
SLICE = "/sys/fs/cgroup/berth.slice"
MONITORS = SLICE + "/berth-workloads.service/monitors/cgroup.procs"
DAEMONS = ("berthd", "berth-sandboxd")
FOREVER = "trap 'exit 9' TERM; echo up; sleep 100000 & wait; wait"
TEN_YEARS = 10 * 365 * 86400


def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def shown(unit, name):
    return systemctl("show", "-P", name, unit)


def main_pids():
    return [int(shown(unit, "MainPID")) for unit in DAEMONS]


def eventually(condition, what, seconds=120):
    """Of what systemd and the kernel do nothing tells a test."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {seconds} s: {what}")
        time.sleep(0.1)


class Limited:
    """A property of a unit, for a while."""

    def __init__(self, unit, name, value, usual="infinity"):
        self.unit, self.name, self.value, self.usual = unit, name, value, usual

    def __enter__(self):
        systemctl("set-property", "--runtime", self.unit, f"{self.name}={self.value}")

    def __exit__(self, *exc):
        systemctl("set-property", "--runtime", self.unit, f"{self.name}={self.usual}")


def running(berth, name, pid):
    """It is the process that it was, and its first attempt."""
    status = berth.status(name)
    equal((state_name(status), status.containers[0].pid, status.containers[0].attempt, status.restarts),
          ("RUNNING", pid, 1, 0), name)


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_and_see_it_come_back(berth, also=()):
    """Both daemons at once, as the kernel or an operator in a hurry does it; systemd starts others."""
    old = main_pids()
    kill([*old, *also])
    eventually(lambda: all(pid and pid not in old for pid in main_pids()), "systemd starts others")
    berth.wait_serving(120)


def numbers_in(text):
    return [int(line) for line in text.split() if line.isdigit()]


@story
def both_daemons_killed_lose_no_line_and_no_exit(berth):
    count = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo $n; usleep 20000; done; exit 5"
    berth.shell("counts", count)
    pid = berth.shell("stays", FOREVER).containers[0].pid
    for _ in range(2):
        kill_and_see_it_come_back(berth)
    record = berth.ended("counts", 120)
    equal((record.kind, record.code), (types.EXIT_CODE, 5))
    equal(numbers_in(berth.output("counts")), list(range(1, 401)), "the lines")
    running(berth, "stays", pid)


@story
def killed_with_all_monitors_the_descriptor_store_gives_all_back(berth):
    """What only the store can keep: a terminal, and the names of denied calls. How such a process ends only newer
    kernels tell who is not its parent (PIDFD_GET_INFO); with others it is unknown, never a guess."""
    denied = "trap '/bin/probe mount 3; exit 4' USR1; echo up; while :; do sleep 0.1; done"
    pids = {name: berth.shell(name, script).containers[0].pid
            for name, script in (("stays", FOREVER), ("denied", denied))}
    for name in pids:
        berth.until_output(name, "up", 60)
    pids["terminal"] = berth.launch("terminal", "/bin/sh", container={"tty": True, "stdin": True}).containers[0].pid
    if int(shown("berth-sandboxd", "NFileDescriptorStore")) < 3:
        raise AssertionError("systemd keeps no descriptors: " + shown("berth-sandboxd", "NFileDescriptorStore"))
    for _ in range(2):
        kill_and_see_it_come_back(berth, map(int, read(MONITORS).split()))
    for name, pid in pids.items():
        running(berth, name, pid)
    session = Session(berth.api.Attach, {"id": "terminal"})
    session.write(b"echo c-$((6*7))\n")
    session.expect(b"c-42")
    session.cancel()
    os.kill(pids["denied"], signal.SIGUSR1)
    record = berth.ended("denied", 60)
    check_orphan(record, 4)
    equal([(call.name, call.times) for call in record.denied], [("mount", 3)], "the denied calls")
    check_orphan(berth.api.Stop(fence=berth.fence(), id="stays", timeout=60).status.containers[0].last_exit, 9)


def check_orphan(record, code):
    if record.kind == types.EXIT_UNKNOWN:
        has(record.sentence, "the monitor died first")
    else:
        equal((record.kind, record.code), (types.EXIT_CODE, code))


@story
def berthd_out_of_memory_is_started_again(berth):
    pid = berth.shell("stays", FOREVER).containers[0].pid
    before = int(shown("berthd", "NRestarts"))
    berthd, sandboxd = main_pids()
    with Limited("berthd", "MemoryMax", "1M"):
        eventually(lambda: int(shown("berthd", "NRestarts")) > before, "berthd is killed and started again")
    berth.wait_serving(120)
    has(subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout,
        f"Memory cgroup out of memory: Killed process {berthd} (berthd)")
    running(berth, "stays", pid)
    equal(main_pids()[1], sandboxd, "berth-sandboxd")
    equal(berth.run_to_end("works", "/bin/sh", "-c", "exit 6").code, 6)


@story
def out_of_memory_the_kernel_takes_the_workload(berth):
    """All of berth.slice is short, not the workload: it is its oom_score that decides."""
    pid = berth.shell("stays", FOREVER).containers[0].pid
    daemons = main_pids() + [int(pid) for pid in read(MONITORS).split()]
    room = int(read(SLICE + "/memory.current")) + 100 * MIB
    with Limited("berth.slice", "MemoryMax", str(room)):
        berth.launch("greedy", "/bin/probe", "hold", "400", no_wait=True,
                     container={"resources": {"memory_limit_bytes": 600 * MIB}})
        record = berth.ended("greedy", 120)
    equal((record.kind, record.signal, record.oom_killed), (types.EXIT_SIGNAL, 9, True))
    equal([pid for pid in daemons if not os.path.exists(f"/proc/{pid}")], [], "daemons and monitors that are gone")
    running(berth, "stays", pid)


@story
def no_pids_refuses_launches_and_stops_go_on(berth):
    berth.shell("stays", FOREVER)
    berth.until_output("stays", "up", 60)
    with Limited("berth.slice", "TasksMax", read(SLICE + "/pids.current").strip()):
        try:
            status = berth.launch("late", "/bin/true")
            equal((state_name(status), bool(status.sentence)), ("EXITED", True))
            has(("START_FAILED", "HOST_FAILURE"), reason_name(status))
        except Refused as why:
            has(("RESOURCE_EXHAUSTED", "UNAVAILABLE"), why.code)
        equal(berth.api.Stop(fence=berth.fence(), id="stays", timeout=60).status.containers[0].last_exit.code, 9)
    equal(berth.run_to_end("works", "/bin/sh", "-c", "exit 6").code, 6)


@story
def hardly_any_cpu_makes_berthd_slow_and_not_wrong(berth):
    pid = berth.shell("stays", FOREVER).containers[0].pid
    with Limited("berthd", "CPUQuota", "5%", usual=""):
        for _ in range(5):
            equal(berth.api.Get(id="stays", timeout=120).workload.status.containers[0].pid, pid)
        berth.api.Launch(fence=berth.fence(), spec=berth.spec("slow", "/bin/sh", "-c", "exit 8"), no_wait=True,
                         timeout=120)
        equal(berth.ended("slow", 120).code, 8)
    running(berth, "stays", pid)


@story
def limits_of_processes_may_be_above_those_of_the_daemon(berth):
    """For which the kernel wants CAP_SYS_RESOURCE."""
    own = int(shown("berth-sandboxd", "LimitNOFILE"))
    text = berth.says("cat /proc/self/limits", container={"resources": {"rlimits": [
        {"name": "NOFILE", "soft": str(own + 1), "hard": str(own + 2)}]}})
    row = next(line for line in text.splitlines() if line.startswith("Max open files"))
    equal(row.split()[3:5], [str(own + 1), str(own + 2)])


# --- steps of the wall clock ---


class Clock:
    """The wall clock, to be set at will; afterwards it is what it would have been."""

    def __enter__(self):
        self.ahead = time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME)
        return self

    def step(self, seconds):
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead + seconds)

    def __exit__(self, *exc):
        self.step(0)


class Swinging:
    """An hour forward, an hour back, each half second."""

    def __init__(self, clock):
        self.clock = clock
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.swing)

    def swing(self):
        seconds = 3600
        while not self.over.wait(0.5):
            self.clock.step(seconds)
            seconds = -seconds

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *exc):
        self.over.set()
        self.thread.join()


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


SMALL = {"resources": {"memory_limit_bytes": 32 * MIB}}


class Timed:
    """A grace, a wait for a restart, a lease and a probe, each begun before what happens to the clock."""
    SECONDS = 5

    def __init__(self, berth, turn):
        self.berth = berth
        self.again, self.stubborn, self.leased, self.asked = (f"{name}-{turn}" for name in ("again", "stubborn", "leased", "asked"))
        ms = self.SECONDS * 1000
        berth.shell(self.asked, FOREVER, container={**SMALL, "liveness_probe": {
            "exec": {"command": ["/bin/true"]}, "period_ms": 1000, "timeout_ms": 60000, "failure_threshold": 1}})
        berth.shell(self.stubborn, "trap '' TERM; echo up; while :; do sleep 0.2; done",
                    container={**SMALL, "stop_grace_ms": ms})
        berth.until_output(self.stubborn, "up", 60)
        self.pid = berth.shell(self.leased, FOREVER, container=SMALL, stop_after_disconnect_ms=ms).containers[0].pid
        berth.shell(self.again, "sleep 2; exit 1", no_wait=True, container=SMALL,
                    restart={"mode": "RESTART_ON_FAILURE", "max_restarts": 1, "initial_backoff_ms": ms})
        berth.until(self.again, "BACKOFF", 60)
        self.stopped_ns = boot_ns()
        berth.api.Stop(fence=berth.fence(), id=self.stubborn, no_wait=True)
        self.silent_ns = boot_ns()

    def wait(self):
        """Without a call: the lease counts from the last one."""
        if not changes.until_ended(self.pid, 120):
            raise AssertionError("the lease does not end")
        self.ended_ns = boot_ns()

    def check(self):
        berth = self.berth
        self.check_lasted("the lease", self.ended_ns - self.silent_ns)
        equal(reason_name(berth.until(self.leased, "EXITED", 60)), "SCHEDULER_SILENT")
        status = berth.until(self.stubborn, "EXITED", 120)
        equal(reason_name(status), "KILLED_AFTER_GRACE")
        record = status.containers[0].last_exit
        self.check_lasted("the grace", record.finished_boot_ns - self.stopped_ns)
        equal(berth.until(self.again, "EXITED", 120).restarts, 1)
        records = [event.exit for event in berth.events(id=self.again) if event.HasField("exit")]
        equal([(record.attempt, record.kind, record.code) for record in records],
              [(1, types.EXIT_CODE, 1), (2, types.EXIT_CODE, 1)])
        self.check_lasted("the wait for the restart", records[1].started_boot_ns - records[0].finished_boot_ns)
        for record in records:  # the start is told by a monitor that sees it a moment later, and more so in here
            if not 1 < (record.finished_boot_ns - record.started_boot_ns) / 1e9 < 120:
                raise AssertionError(f"it ran for two seconds, and is told otherwise: {record}")
        before = berth.status(self.asked)
        berth.until_asked_again(self.asked, before)

    def check_lasted(self, what, ns):
        if not self.SECONDS <= ns / 1e9 + 0.01 < 120:
            raise AssertionError(f"{what} lasted {ns / 1e9:.2f} s instead of {self.SECONDS}")


class Host(host.Host):
    def until_asked_again(self, name, before):
        def successes(status):
            return status.containers[0].probes[0].successes

        def again():
            status = self.status(name)
            equal((state_name(status), status.restarts), ("RUNNING", 0), name)
            return successes(status) > successes(before) or successes(status) < successes(before)
        eventually(again, f"{name} is asked again: {before}")


@story
def a_clock_ten_years_ahead_ends_nothing_early(berth):
    with Clock() as clock:
        timed = Timed(berth, "ahead")
        clock.step(TEN_YEARS)
        systemctl("restart", "berthd")  # what is left of each time it knows by its store
        timed.wait()
        timed.check()


@story
def a_clock_ten_years_back_holds_nothing_up(berth):
    with Clock() as clock:
        timed = Timed(berth, "back")
        clock.step(-TEN_YEARS)
        timed.wait()
        timed.check()


@story
def a_clock_that_swings_changes_nothing(berth):
    with Clock() as clock:
        timed = Timed(berth, "swings")
        with Swinging(clock):
            timed.wait()
            timed.check()


def main():
    with Host() as berth:
        berth.generation = 1000  # other suites had workloads of the same names on this host
        good = run_stories(berth, sys.argv[1:])
    left = berth.what_is_left()
    if left:
        print("\n".join(left))
        print(f"not ok nothing-is-left: {left[0]} (and {len(left) - 1} more)")
    elif not sys.argv[1:]:
        print("ok nothing-is-left")
    return 0 if good and not left else 1


sys.exit(main())

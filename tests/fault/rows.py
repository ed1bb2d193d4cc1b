"""The rows of the fault table: F17_... is row F17. What must hold is in each."""
import os
import random
import signal
import socket
import threading
import time

from api import Refused, types
from faulty_host import FaultyHost
from host import limit, read, state_name, write
from lives import Workload, check_alone
from model import Wrong
from session import Session
from story import Skip, equal, has, refused, story
from storming import Storm

WAITS_FOR_USR1 = "trap 'exit {code}' USR1; echo up; echo start >> /data/{id}.starts; sleep 1000 & wait; wait"


def works_again(host):
    """A new workload runs, and ends."""
    workload = Workload(host, "after")
    host.through(lambda: check_alone(workload, workload.launch_and_stay()), also=("RESOURCE_EXHAUSTED",))
    workload.finish()


def record_of(workload):
    return workload.until_ended().containers[0].last_exit


def numbers_in(text):
    return [int(line) for line in text.split() if line.isdigit()]


class Kills(Storm):
    """berthd alone dies, again and again, as soon as it serves."""

    def __init__(self, host, seed, times):
        super().__init__(host, seed, lives_at_once=4)
        self.times = times

    def rage(self):
        dice = random.Random(self.seed)
        try:
            for _ in range(self.times):
                self.host.kill_and_wait("berthd")
                self.count("deaths of berthd")
                if self.over.wait(dice.random() * 0.1):
                    break
        except BaseException as error:
            self.fail("the killing", error)
        self.over.set()


def start_time(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]


@story
def F01_berthd_is_killed_at_random_under_load(host):
    seed = os.environ.get("BERTH_SEED", str(random.randrange(1 << 31)))
    print(f"# BERTH_SEED={seed}")
    with FaultyHost(with_failpoints=False) as berth:
        berth.keep()
        stay = [Workload(berth, "stays") for _ in range(3)]
        pids = [workload.launch_and_stay().containers[0].pid for workload in stay]
        began = [start_time(pid) for pid in pids]
        kills = Kills(berth, seed, int(os.environ.get("BERTH_FAULT_KILLS", "12")))
        kills.run(3600)
        if kills.failures:
            raise Wrong("; ".join(kills.failures))
        print(f"# {kills.counts}")
        for workload, pid, start in zip(stay, pids, began):
            status = workload.status()
            equal((status.containers[0].pid, status.containers[0].attempt, status.restarts), (pid, 1, 0))
            equal(start_time(pid), start)
            check_alone(workload, status)
            workload.follow = kills.read_on  # of a thousand deaths the host has not kept the whole history
            workload.finish()
        berth.until_gone()
    equal(berth.what_is_left(), [])


@story
def F03_output_and_status_outlive_the_monitor(host):
    workload = Workload(host, "counts")
    script = ("n=0; echo start >> /data/{id}.starts; while [ $n -lt 300 ]; do n=$((n+1)); echo $n; "
              "usleep 2000; done; exit 5")
    spec = workload.spec(script)
    host.through(lambda: host.api.Launch(fence=workload.fence(), spec=spec, no_wait=True))
    workload.until_started()
    for _ in range(3):
        for pid in host.monitors(workload.id):
            os.kill(pid, signal.SIGKILL)
        threading.Event().wait(0.1)
    workload.check_end(record_of(workload), types.EXIT_CODE, 5)
    numbers = numbers_in(host.output(workload.id))
    equal(numbers, sorted(set(numbers)), "the lines")
    # What a monitor had read and not written is gone with it: not more than that.
    if len(numbers) < 290 or numbers[-1] != 300:
        raise Wrong(f"{300 - len(numbers)} lines of 300 are lost; the last is {numbers[-1]}")
    workload.finish()


def exec_that_waits(host, workload):
    """A session, and the pid of its monitor."""
    before = set(host.monitors(workload.id))
    session = Session(host.api.Exec, {"id": workload.id, "command": [
        "/bin/sh", "-c", "trap 'exit 7' USR1; echo in; while :; do usleep 20000; done"]})
    session.expect(b"in")
    # The program may speak before its monitor has become the small program, of which nothing tells.
    deadline = time.monotonic() + 20
    while not (monitors := set(host.monitors(workload.id)) - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    equal(len(monitors), 1, "the monitors of a session")
    return session, monitors.pop()


@story
def F03_the_monitor_of_an_exec_dies(host):
    workload = Workload(host, "entered")
    workload.launch_and_stay()
    session, monitor = exec_that_waits(host, workload)
    host.kill_monitor(monitor)
    session.say(signal="SIGUSR1")
    record = session.end()
    equal((record.kind, record.code), (types.EXIT_CODE, 7))
    check_alone(workload, workload.status())
    workload.finish()


@story
def F03_the_monitor_of_an_exec_dies_with_sandboxd(host):
    """Nobody is left who could know how it ended: it is told as unknown, with the reason, and not as anything else."""
    workload = Workload(host, "entered")
    workload.launch_and_stay()
    session, monitor = exec_that_waits(host, workload)
    host.kill("sandboxd")
    host.kill_monitor(monitor)
    record = session.end()
    equal((record.kind, record.reason), (types.EXIT_UNKNOWN, types.SANDBOX_LOST))
    has(record.sentence, "berth-sandboxd")
    host.wait_serving()
    check_alone(workload, workload.status())
    record = Session(host.api.Exec, {"id": workload.id, "command": ["/bin/sh", "-c", "exit 7"]}).end()
    equal((record.kind, record.code), (types.EXIT_CODE, 7))
    workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


@story
def F04_all_three_die_together(host):
    workloads = [Workload(host, "together") for _ in range(3)]
    pids = [workload.launch_and_stay().containers[0].pid for workload in workloads]
    for _ in range(5):
        monitors = host.monitors()
        host.kill("sandboxd", "berthd")
        for pid in monitors:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        threading.Event().wait(0.3)
        host.wait_serving()
    for workload, pid in zip(workloads, pids):
        status = workload.status()
        equal((state_name(status), status.containers[0].pid, status.containers[0].attempt), ("RUNNING", pid, 1))
        check_alone(workload, status)
    for workload in workloads:
        workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
        workload.finish()


@story
def F05_berthd_stands_still(host):
    ends, stays = Workload(host, "ends"), Workload(host, "stays")
    pid = ends.launch(WAITS_FOR_USR1.replace("{code}", "33")).containers[0].pid
    ends.until_started()
    stays.launch("n=0; echo start >> /data/{id}.starts; while :; do n=$((n+1)); echo $n; usleep 20000; done")
    stays.until_started()
    host.kill("berthd", sig=signal.SIGSTOP)
    os.kill(pid, signal.SIGUSR1)
    threading.Event().wait(float(os.environ.get("BERTH_FAULT_PAUSE", "3")))
    host.kill("berthd", sig=signal.SIGCONT)
    ends.check_end(record_of(ends), types.EXIT_CODE, 33)
    numbers = numbers_in(host.output(stays.id))
    equal(numbers, list(range(1, len(numbers) + 1)), "the lines")
    if len(numbers) < 30:
        raise Wrong(f"{stays.id} wrote {len(numbers)} lines only: it was held up")
    stays.stop(grace_ms=0)
    for workload in (ends, stays):
        workload.finish()


@story
def F06_ends_while_the_agent_is_down_are_exact(host):
    workloads = {code: Workload(host, "code") for code in range(0, 37)}
    pids = {}
    for code, workload in workloads.items():
        pids[code] = workload.launch(WAITS_FOR_USR1.replace("{code}", str(code))).containers[0].pid
        workload.until_started()
    host.down("berthd", signal.SIGTERM)
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR1)
    host.up("berthd")
    for code, workload in workloads.items():
        workload.check_end(record_of(workload), types.EXIT_CODE, code)
    for workload in workloads.values():
        workload.finish()


@story
def F11_a_bad_configuration_changes_nothing(host):
    workload = Workload(host, "stays")
    pid = workload.launch_and_stay().containers[0].pid
    path = host.place + "/berthd.conf"
    good = read(path)
    for bad, said in ((good + "[Events\n", "berthd.conf"), (good + "[Events]\nKeep=many\n", "Keep"),
                      (good + "[Telemetry]\nInterval=5\n", "Interval")):
        write(path, bad)
        has(host.reload_berthd("the old configuration stays"), said)
        equal(workload.status().containers[0].pid, pid)
    write(path, good)
    host.reload_berthd("configuration read again")
    check_alone(workload, workload.status())
    workload.finish()


def while_nothing_can_be_written(host, spoil, mend, reason):
    """Launches are refused with the reason; what runs is listed, entered, stopped and deleted."""
    workloads = [Workload(host, "runs") for _ in range(2)]
    for workload in workloads:
        workload.launch_and_stay()
    spoil()
    try:
        late = Workload(host, "late")
        deadline = time.monotonic() + 30
        while True:  # the reserve, or what a page still has room for, may be enough for the first ones
            try:
                late.host.api.Launch(fence=late.fence(), spec=late.spec("exit 0"), no_wait=True)
            except Refused as why:
                has(("UNAVAILABLE", "RESOURCE_EXHAUSTED"), why.code)
                has(why.text.lower(), reason)
                break
            if time.monotonic() > deadline:
                raise Wrong(f"launches are accepted, and {reason}")
            late.delete()
            late = Workload(host, "late")
        host.until_gone(late.id, but_below=host.log_dir)
        equal(len(host.api.List().workloads) >= 2, True)
        record = Session(host.api.Exec, {"id": workloads[0].id, "command": ["/bin/sh", "-c", "exit 7"]}).end()
        equal((record.kind, record.code), (types.EXIT_CODE, 7))
        status = host.api.Stop(fence=workloads[0].fence(), id=workloads[0].id, timeout=20).status
        equal(status.containers[0].last_exit.code, 9)
        host.api.Delete(fence=workloads[1].fence(), id=workloads[1].id, force=True, timeout=20)
        equal(workloads[1].running(), [])
    finally:
        mend()
    host.through(lambda: check_alone(late, late.launch_and_stay()))
    late.finish()
    for workload in workloads:
        workload.finish()


@story
def F17_the_disk_of_the_store_is_full(host):
    while_nothing_can_be_written(host, host.disks[0].fill, host.disks[0].free, "is full")


STOP_HELD_UP = 8  # five seconds are what a disk may hold up a stop's signal, and some more go by on a busy host


@story
def F26_the_disk_of_the_store_is_slow(host):
    """Each commit takes two seconds: what waits for the disk waits for it, and nothing else does."""
    runs, stops = Workload(host, "runs"), Workload(host, "stops")
    runs.launch_and_stay()
    stops.launch_and_stay()
    late = [Workload(host, "late") for _ in range(4)]
    failures = []

    def launch(workload):
        try:
            check_alone(workload, workload.launch_and_stay())
        except BaseException as error:
            failures.append(error)
        finally:
            host.connect_anew()
    host.points.arm("berthd.store.commit", "delay", argument=2000, times=0xffffffff)
    threads = [threading.Thread(target=launch, args=(workload,)) for workload in late]
    try:
        for thread in threads:
            thread.start()
        host.points.wait_fired("berthd.store.commit")
        for _ in range(10):
            began = time.monotonic()
            equal(host.status(runs.id).containers[0].pid, runs.pid)
            equal(len(host.api.List().workloads) >= 2, True)
            record = Session(host.api.Exec, {"id": runs.id, "command": ["/bin/sh", "-c", "exit 7"]}).end()
            equal((record.kind, record.code), (types.EXIT_CODE, 7))
            if time.monotonic() - began > 1:
                raise Wrong(f"Get, List and Exec took {time.monotonic() - began:.2f} s: they waited for the disk")
        threads.append(threading.Thread(target=stops.stop))
        began = time.monotonic()
        threads[-1].start()
        while stops.running():
            if time.monotonic() - began > STOP_HELD_UP:
                raise Wrong(f"the signal of a stop waited for the disk for more than {STOP_HELD_UP} s")
            time.sleep(0.005)  # groups tell nobody that they empty
        for thread in threads:
            thread.join(60)
        if failures:
            raise failures[0]
        # All of them in a few commits, and not each in its own.
        if host.points.fired("berthd.store.commit") > 30:
            raise Wrong(f"{host.points.fired('berthd.store.commit')} commits for {len(late)} launches")
    finally:
        host.points.disarm("berthd.store.commit")
        for thread in threads:
            thread.join(60)
    stops.check_end(record_of(stops), types.EXIT_CODE, 9)
    for workload in (runs, stops, *late):
        workload.finish()


@story
def F26_the_disk_of_the_store_hangs(host):
    """Who asks is told what is on record; what may not be done before it is kept is refused, and what must be, is
    done. What ended meanwhile is told when the disk is back."""
    runs, ends, hears = Workload(host, "runs"), Workload(host, "ends"), Workload(host, "hears")
    for workload in (runs, ends, hears):
        workload.launch_and_stay()
    answers = {}

    def ask(verb, **fields):
        try:
            getattr(host.api, verb)(**fields)
            answers[verb] = "OK"
        except Refused as why:
            answers[verb] = (why.code, why.reason)
        finally:
            host.connect_anew()
    asked = [threading.Thread(target=ask, args=("UpdateResources",), kwargs={
                 "fence": runs.fence(), "id": runs.id, "container": "main", "resources": {"memory_limit_bytes": 80 << 20}}),
             threading.Thread(target=ask, args=("Signal",), kwargs={
                 "fence": hears.fence(), "id": hears.id, "signal": "TERM", "all_processes": True})]
    host.points.arm("berthd.store.commit", "hold")
    try:
        os.kill(ends.pid, signal.SIGKILL)
        host.points.wait_fired("berthd.store.commit")
        before, began = limit(runs.pid, "memory.max", "memory", "memory.limit_in_bytes"), time.monotonic()
        for thread in asked:
            thread.start()
        for _ in range(10):
            looked = time.monotonic()
            equal(state_name(host.status(ends.id)), "RUNNING")
            equal(len(host.api.List().workloads) >= 3, True)
            with host.api.StreamTelemetry(interval_ms=100, timeout=10) as reports:
                told = {usage.workload: usage.state for usage in next(reports).workloads}
            equal(told.get(ends.id, types.RUNNING), types.RUNNING)
            if time.monotonic() - looked > 2:
                raise Wrong(f"Get, List and a report took {time.monotonic() - looked:.2f} s: they waited for the disk")
        while hears.running():
            if time.monotonic() - began > STOP_HELD_UP:
                raise Wrong(f"a signal waited for the disk for more than {STOP_HELD_UP} s")
            time.sleep(0.005)  # groups tell nobody that they empty
        asked[0].join(max(0, began + STOP_HELD_UP - time.monotonic()))
        equal(answers.get("UpdateResources"), ("UNAVAILABLE", "STORE_FAILED"))
        equal(limit(runs.pid, "memory.max", "memory", "memory.limit_in_bytes"), before)
    finally:
        host.points.disarm("berthd.store.commit")
        for thread in asked:
            thread.join(60)
    ends.check_end(record_of(ends), types.EXIT_SIGNAL, 9)
    hears.check_end(record_of(hears), types.EXIT_CODE, 9)
    equal(answers["Signal"], "OK")
    check_alone(runs, runs.status())
    equal(limit(runs.pid, "memory.max", "memory", "memory.limit_in_bytes"), before)
    for workload in (runs, ends, hears):
        workload.finish()
    works_again(host)


@story
def F27_the_disk_of_the_store_has_no_inodes(host):
    disk = host.disks[0]
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    disk.use_up_inodes()
    try:
        # The store's files are there: nothing new is needed, even by one that begins.
        host.kill_and_wait("berthd")
        check_alone(workload, workload.status())
        works_again(host)
    finally:
        disk.free()
    workload.finish()


@story
def F25_the_state_directory_is_read_only(host):
    workload = Workload(host, "runs")
    pid = workload.launch_and_stay().containers[0].pid
    host.down("berthd")
    host.disks[0].remount("ro")
    try:
        with host.changed:
            host.left_down.discard("berthd")
            host.changed.notify_all()
        late = Workload(host, "late")

        def asked():
            try:
                host.api.Launch(fence=late.fence(), spec=late.spec("exit 0"), no_wait=True)
            except Refused as why:
                if "store" not in why.text:
                    raise  # not up yet
                return why
            raise Wrong("a launch was accepted that cannot be kept")
        has(host.through(asked).text, "launched")
        os.kill(pid, 0)
    finally:
        host.disks[0].remount("rw")
    host.through(lambda: check_alone(workload, host.status(workload.id)), also=("NOT_FOUND",))
    equal(workload.status().containers[0].pid, pid)
    # It began anew, to read what it has: that is no failure of it.
    host.take_deaths()
    workload.finish()
    works_again(host)


@story
def F22_the_store_is_empty_or_gone(host):
    state = host.place + "/state"
    for spoil in (lambda path: os.truncate(path, 0), os.unlink):
        workload = Workload(host, "stays")
        pid = workload.launch_and_stay().containers[0].pid
        host.down("berthd")
        for name in os.listdir(state):
            if name.startswith("agent.db"):
                spoil(f"{state}/{name}")
        host.up("berthd")
        has(" ".join(host.through(lambda: host.api.GetNode()).node.warnings), f"workload {workload.id} runs")
        equal(workload.running(), [pid])
        host.through(lambda: refused(lambda: host.api.Stop(fence=workload.fence(), id=workload.id),
                                     "UNAVAILABLE", "lost"))
        host.until_gone(workload.id)
        works_again(host)


class FewDescriptors:
    """A daemon that was started again with hardly more descriptors than it needs."""

    def __init__(self, host, name, more):
        self.host, self.name = host, name
        self.limit = len(os.listdir(f"/proc/{getattr(host, name).pid}/fd")) + more

    def __enter__(self):
        self.host.down(self.name)
        self.host.descriptors[self.name] = self.limit
        self.host.up(self.name)

    def __exit__(self, *exc):
        self.host.down(self.name)
        del self.host.descriptors[self.name]
        self.host.up(self.name)


@story
def F29_berthd_is_killed_for_its_memory(host):
    workload = Workload(host, "runs")
    pid = workload.launch_and_stay().containers[0].pid
    with Cage(host, "memory") as cage:
        victim = host.berthd
        cage.take(victim.pid)
        cage.set("memory.limit_in_bytes", 64 << 10)  # what it has is charged elsewhere: this is for what is new
        deadline = time.monotonic() + 30
        while host.berthd is victim:
            try:
                host.api.List(timeout=2)
                host.api.WatchEvents(from_oldest=True, no_follow=True, timeout=2).__next__()
            except (Refused, StopIteration):
                host.connect_anew()
            if time.monotonic() > deadline:
                raise Wrong("berthd needs no memory, and was not killed for it")
    equal(victim.returncode, -signal.SIGKILL)
    host.wait_serving()
    status = workload.status()
    equal((status.containers[0].pid, status.restarts), (pid, 0))
    check_alone(workload, status)
    workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()
    works_again(host)


@story
def F32_sandboxd_has_no_descriptors(host):
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    with FewDescriptors(host, "sandboxd", 3):
        late = Workload(host, "late")
        late.may_fail = 1
        try:
            late.check_failed(host.api.Launch(fence=late.fence(), spec=late.spec("exit 0")).status)
        except Refused as why:
            has(("RESOURCE_EXHAUSTED", "UNAVAILABLE"), why.code)
        equal(late.running(), [])
        workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
    late.delete()
    host.until_gone(late.id)
    workload.finish()
    works_again(host)


@story
def F32_berthd_has_no_descriptors(host):
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    with FewDescriptors(host, "berthd", 1):
        clients = []
        try:
            for _ in range(20):  # they are let in, or shed; nobody is served slower for them
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].settimeout(5)
                clients[-1].connect(host.socket)
            before, began = cpu_seconds(host.berthd.pid), time.monotonic()
            threading.Event().wait(1)
            if cpu_seconds(host.berthd.pid) - before > 0.5 * (time.monotonic() - began):
                raise Wrong("berthd spins while it has no descriptor for a connection")
            equal(workload.running(), [workload.pid])
        finally:
            for client in clients:
                client.close()
        equal(state_name(workload.status()), "RUNNING")
    workload.finish()
    works_again(host)


def cpu_seconds(pid):
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Cage:
    """A control group of the test's own, of one v1 controller."""

    def __init__(self, host, controller):
        base = f"/sys/fs/cgroup/{controller}"
        if not os.path.exists(f"{base}/cgroup.procs"):
            raise Skip(f"this host has no {controller} controller of cgroup v1")
        self.path = f"{base}{host.group_base}-cage"
        self.home = base

    def __enter__(self):
        os.mkdir(self.path)
        return self

    def set(self, name, value):
        with open(f"{self.path}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def take(self, pid):
        self.origin = next(line.split(":", 2)[2].strip() for line in read(f"/proc/{pid}/cgroup").splitlines()
                           if line.split(":")[1] == os.path.basename(self.home))
        self.set("cgroup.procs", pid)

    def __exit__(self, *exc):
        for pid in read(self.path + "/cgroup.procs").split():
            with open(self.home + self.origin.rstrip("/") + "/cgroup.procs", "w", encoding="ascii") as file:
                file.write(pid)
        os.rmdir(self.path)


@story
def F33_there_are_no_pids(host):
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    with Cage(host, "pids") as cage:
        pids = [host.sandboxd.pid, *map(int, read(f"/proc/{host.sandboxd.pid}/task/{host.sandboxd.pid}/children").split())]
        for pid in pids:
            cage.take(pid)
        cage.set("pids.max", 1)
        late = Workload(host, "late")
        late.may_fail = 1
        try:
            late.check_failed(host.api.Launch(fence=late.fence(), spec=late.spec("exit 0")).status)
        except Refused as why:
            has(("RESOURCE_EXHAUSTED", "UNAVAILABLE"), why.code)
        # Nothing that ends a workload needs a process.
        workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
        cage.set("pids.max", "max")
        workload.finish()
        late.delete()
        host.until_gone(late.id)
        works_again(host)


@story
def F33_berthd_needs_no_pids(host):
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    with Cage(host, "pids") as cage:
        cage.take(host.berthd.pid)
        cage.set("pids.max", 1)
        record = Session(host.api.Exec, {"id": workload.id, "command": ["/bin/sh", "-c", "exit 7"]}).end()
        equal((record.kind, record.code), (types.EXIT_CODE, 7))
        works_again(host)
        workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
        workload.finish()


@story
def F35_berthd_gets_hardly_any_cpu(host):
    workload = Workload(host, "runs")
    pid = workload.launch_and_stay().containers[0].pid
    with Cage(host, "cpu") as cage:
        cage.take(host.berthd.pid)
        cage.set("cpu.cfs_quota_us", 5000)  # of 100,000
        for _ in range(10):
            equal(workload.status().containers[0].pid, pid)
        other = Workload(host, "slow")
        check_alone(other, other.launch_and_stay())
        other.finish()
    check_alone(workload, workload.status())
    workload.finish()


class Replay:
    """A network that delivers each command one to five times, in any order. Whatever it does, the end is decided by
    the highest generation that was launched, and the highest that was stopped or deleted. (UpdateResources is a
    change of what is there, and so depends on the order.)"""

    def __init__(self, host, dice):
        self.host = host
        self.workload = Workload(host, "replayed")
        self.launched = self.barred = 0
        self.commands = []
        for generation in range(1, dice.randint(3, 6)):
            self.launched = generation
            self.add("Launch", generation)
            if dice.random() < 0.5:
                self.add(dice.choice(("Stop", "Delete")), generation)
                self.barred = generation
        self.delivered = [command for command in self.commands for _ in range(dice.randint(1, 5))]
        dice.shuffle(self.delivered)

    def add(self, verb, generation):
        self.commands.append((verb, generation))

    def send(self, verb, generation, epoch=None):
        fence = {"epoch": epoch or self.host.epoch, "generation": generation}
        self.workload.generation = generation
        fields = {"Launch": {"spec": self.workload.spec("trap 'exit 9' TERM; echo start >> /data/{id}.starts; "
                                                        "sleep 1000 & wait; wait"), "no_wait": True},
                  "Stop": {"id": self.workload.id, "no_wait": True},
                  "Delete": {"id": self.workload.id, "force": True}}[verb]
        try:
            self.host.through(lambda: getattr(self.host.api, verb)(fence=fence, **fields))
        except Refused as why:
            # Stale, gone, or ending: the model says what must be at the end, and not on the way.
            if why.code not in ("FAILED_PRECONDITION", "NOT_FOUND", "ABORTED"):
                raise

    def deliver(self, senders=3):
        failures = []

        def work(part):
            try:
                for verb, generation in part:
                    self.send(verb, generation)
            except BaseException as error:
                failures.append(error)
        threads = [threading.Thread(target=work, args=(self.delivered[i::senders],)) for i in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def check(self):
        self.workload.generation = self.launched
        if self.launched > self.barred:
            status = self.host.until(self.workload.id,
                                     lambda s: s.generation == self.launched and state_name(s) == "RUNNING")
            self.workload.until_started()
            equal(self.workload.running(), [status.containers[0].pid])
        else:
            deadline = time.monotonic() + 30
            while self.workload.running():
                if time.monotonic() > deadline:
                    raise Wrong(f"{self.workload.id} runs, and was ended: {self.delivered}")
                time.sleep(0.01)  # groups tell nobody that they empty
        for generation in range(1, self.launched + 1):
            if self.workload.starts(generation) > 1:
                raise Wrong(f"generation {generation} ran {self.workload.starts(generation)} times: {self.delivered}")

    def again_after_an_update(self):
        """The same answer to the last command, once more; and when what it launched has other limits by now."""
        launch = {"fence": self.workload.fence(), "spec": self.workload.spec(
            "trap 'exit 9' TERM; echo start >> /data/{id}.starts; sleep 1000 & wait; wait")}
        equal(self.host.api.Launch(**launch).already_applied, True)
        more = 2 * launch["spec"]["containers"][0]["resources"]["memory_limit_bytes"]
        self.host.api.UpdateResources(fence=self.workload.fence(), id=self.workload.id, container="main",
                                      resources={"memory_limit_bytes": more})
        equal(self.host.api.Launch(**launch).already_applied, True)
        self.deliver()
        self.check()
        spec = self.host.api.Get(id=self.workload.id).workload.spec
        equal(spec.containers[0].resources.memory_limit_bytes, more)


@story
def F46_commands_come_twice_and_in_any_order(host):
    seed = os.environ.get("BERTH_SEED", str(random.randrange(1 << 31)))
    print(f"# BERTH_SEED={seed}")
    dice = random.Random(seed)
    for _ in range(int(os.environ.get("BERTH_FAULT_REPLAYS", "6"))):
        replay = Replay(host, dice)
        replay.deliver()
        replay.check()
        if replay.launched > replay.barred:
            replay.again_after_an_update()
        replay.workload.delete()
        host.until_gone(replay.workload.id)
        replay.workload.remove_starts()


@story
def F48_an_older_scheduler_changes_nothing(host):
    workload = Workload(host, "fenced")
    status = workload.launch_and_stay()
    old, host.epoch = host.epoch, host.epoch + 1
    host.api.UpdateResources(fence=workload.fence(), id=workload.id, container="main",
                             resources={"memory_limit_bytes": 70 << 20})
    stale = {"epoch": old, "generation": 2}
    for verb, fields in (("Stop", {"id": workload.id}), ("Delete", {"id": workload.id, "force": True}),
                         ("Launch", {"spec": workload.spec("exit 0")}),
                         ("Pause", {"id": workload.id}), ("Signal", {"id": workload.id, "signal": "KILL"})):
        for again in range(2):
            refused(lambda: getattr(host.api, verb)(fence=stale, **fields), "FAILED_PRECONDITION", "epoch")
            if not again:
                host.kill_and_wait("berthd")  # it is not forgotten
    check_alone(workload, workload.status())
    equal(workload.status().containers[0].pid, status.containers[0].pid)
    workload.finish()


@story
def F54_a_log_file_is_removed(host):
    workload = Workload(host, "writes")
    workload.launch("echo start >> /data/{id}.starts; trap 'exit 9' TERM; n=0; "
                    "while :; do n=$((n+1)); echo $n; usleep 5000; done")
    host.until_output(workload.id, "10")
    directory = f"{host.log_dir}/{workload.id}/main"
    for name in os.listdir(directory):
        os.unlink(f"{directory}/{name}")
    deadline = time.monotonic() + 20
    while not os.listdir(directory):
        if time.monotonic() > deadline:
            raise Wrong("no other log file was begun")
        time.sleep(0.01)
    has(host.output(workload.id), "\n")
    workload.check_end(workload.stop(grace_ms=5000).containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


@story
def F55_the_disk_of_the_logs_is_full(host):
    workload = Workload(host, "writes")
    host.disks[1].fill()
    try:
        # More than a pipe holds: a writer that had to wait would not end.
        spec = workload.spec("echo start >> /data/{id}.starts; n=0; while [ $n -lt 4000 ]; do n=$((n+1)); "
                             "echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx $n; done; exit 3")
        try:
            host.api.Launch(fence=workload.fence(), spec=spec, no_wait=True)
        except Refused as why:
            has(("RESOURCE_EXHAUSTED", "UNAVAILABLE"), why.code)
            raise Skip("a launch needs a log directory, and there is none: refused, as it should be") from None
        status = workload.until_ended()
        workload.may_fail = 1  # its log directory may be what there is no room for
        workload.check_end(status.containers[0].last_exit, types.EXIT_CODE, 3)
        if status.containers[0].last_exit.code == 3 and not status.containers[0].log_dropped_bytes:
            raise Wrong(f"what was dropped is not counted: {status}")
    finally:
        host.disks[1].free()
    workload.finish()
    works_again(host)

"""berthd is killed in the middle of everything; nothing stops, nothing is lost, nothing is told twice."""
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "agent"))

import host  # noqa: E402
import changes  # noqa: E402
from api import Api, Refused, types  # noqa: E402
from host import reason_name, state_name  # noqa: E402
from story import equal, has, refused, run_stories, story  # noqa: E402

KILLS = int(os.environ.get("BERTH_KILLS", "50"))
FOREVER = "trap 'exit 9' TERM; while :; do sleep 1; done"


def kill_berthd(berth, sig=signal.SIGKILL):
    berth.berthd.send_signal(sig)
    berth.berthd.wait(30)


def back(berth):
    berth.start_berthd()
    berth.wait_serving()


def wait_gone(pid):
    if not changes.until_ended(pid):
        raise AssertionError(f"process {pid} does not end")


def history(berth):
    """All events that are kept; their numbers have no gap and no double."""
    events = berth.events()
    numbers = [event.sequence for event in events]
    equal(numbers, list(range(numbers[0], numbers[0] + len(numbers))), "the events' numbers")
    return events


def records(berth, workload_id):
    return [event.exit for event in history(berth) if event.workload == workload_id and event.HasField("exit")]


def until_told_running(berth, name):
    """Its event is on disk, and what belongs to it."""
    with berth.api.WatchEvents(id=name, from_oldest=True) as answers:
        for answer in answers:
            if any(event.to == types.RUNNING for event in answer.events):
                return


@story
def killed_again_and_again_nothing_stops(berth):
    before = {}
    for i in range(8):
        name = f"stays-{i}"
        before[name] = berth.shell(name, FOREVER).containers[0].pid
        until_told_running(berth, name)
    node = berth.api.GetNode().node
    instance, last = node.instance, node.event_sequence
    slowest = 0
    for _ in range(KILLS):
        kill_berthd(berth)
        began = time.monotonic()
        back(berth)
        slowest = max(slowest, time.monotonic() - began)
    for name, pid in before.items():
        status = berth.status(name)
        equal((state_name(status), status.containers[0].pid, status.containers[0].attempt, status.restarts),
              ("RUNNING", pid, 1, 0), name)
        if not status.host_id_first or not status.containers[0].launch_steps:
            raise AssertionError(f"{name} has forgotten how it was launched: {status}")
    node = berth.api.GetNode().node
    equal(node.instance, instance)
    if node.event_sequence < last:
        raise AssertionError(f"events began anew: {node.event_sequence} after {last}")
    equal([record for name in before for record in records(berth, name)], [])
    print(f"# {KILLS} kills, served again after {slowest * 1000:.0f} ms at most")


@story
def ends_meanwhile_are_exact_and_told_once(berth):
    wanted = {}
    for code in (0, 1, 37, 137, 255):
        wanted[f"code-{code}"] = (f"trap 'exit {code}' USR1; echo up; while :; do sleep 0.05; done",
                                  signal.SIGUSR1, (types.EXIT_CODE, code, 0))
    wanted["killed"] = ("echo up; exec sleep 1000", signal.SIGKILL, (types.EXIT_SIGNAL, 0, 9))
    # From outside the kernel lets no other signal end the first process of a pid namespace.
    wanted["faults"] = ("trap 'exec /bin/probe fault' USR1; echo up; while :; do sleep 0.05; done", signal.SIGUSR1, None)
    pids = {name: berth.shell(name, script).containers[0].pid for name, (script, _, _) in wanted.items()}
    for name in wanted:
        berth.until_output(name, "up")  # the trap is set
    kill_berthd(berth)
    for name, (_, number, _) in wanted.items():
        os.kill(pids[name], number)
    for pid in pids.values():
        wait_gone(pid)
    back(berth)
    for name, (_, _, record) in wanted.items():
        status = berth.until(name, "EXITED")
        exit_record = status.containers[0].last_exit
        if record:
            equal((exit_record.kind, exit_record.code, exit_record.signal), record, name)
        else:
            has((types.EXIT_SIGNAL, types.EXIT_CORE_DUMPED), exit_record.kind)
            equal(exit_record.signal, signal.SIGSEGV, name)
        equal(len(records(berth, name)), 1, f"the records of {name}")
    kill_berthd(berth, signal.SIGTERM)
    back(berth)
    for name in wanted:
        equal(len(records(berth, name)), 1, f"the records of {name} after one more restart")
        equal(state_name(berth.status(name)), "EXITED")


def launch_through(berth, name, outcome):
    """As a scheduler does: again with the same generation, until it is answered."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            outcome[name] = berth.launch(name, "/bin/sh", "-c", FOREVER, container={"stop_grace_ms": 1})
            return
        except Refused as why:
            if why.code not in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"):
                outcome[name] = why
                return
            time.sleep(0.02)  # a scheduler's own pause between two tries
    outcome[name] = "never answered"


@story
def killed_while_launching_nothing_runs_twice(berth):
    seed = int(os.environ.get("BERTH_SEED", str(random.randrange(1 << 31))))
    print(f"# BERTH_SEED={seed}")
    dice = random.Random(seed)
    for turn in range(KILLS):
        names = [f"turn-{turn}-{i}" for i in range(3)]
        outcome = {}
        threads = [threading.Thread(target=launch_through, args=(berth, name, outcome)) for name in names]
        for thread in threads:
            thread.start()
        pause = threading.Event()
        pause.wait(dice.random() * 0.12)  # where the kill falls
        kill_berthd(berth)
        back(berth)
        for thread in threads:
            thread.join(90)
        for name in names:
            status = outcome[name]
            if not hasattr(status, "containers"):
                raise AssertionError(f"turn {turn}: {name}: {status}")
            # What was cut off on its way may have failed, once and saying so; it never runs twice.
            if state_name(status) != "RUNNING":
                raise AssertionError(f"turn {turn}: {name} is {state_name(status)}: {status.sentence}")
            equal(len(running(berth, name)), 1, f"turn {turn}: programs of {name}")
            equal(running(berth, name)[0], status.containers[0].pid)
        for name in names:
            berth.remove(name)


def running(berth, name):
    """The first processes of a workload's groups, whatever Berth says."""
    import glob
    found = set()
    for procs in glob.glob(f"/sys/fs/cgroup/pids{berth.group_base}/workloads/*/{name}.*/*/cgroup.procs") + \
            glob.glob(f"/sys/fs/cgroup{berth.group_base}/workloads/*/{name}.*/*/cgroup.procs"):
        with open(procs, encoding="ascii") as file:
            pids = [int(line) for line in file]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                    inner = [line.split()[1:] for line in file if line.startswith("NSpid:")][0]
            except OSError:
                continue
            if inner[-1] == "1":
                found.add(pid)
    return sorted(found)


@story
def killed_while_stopping_it_is_stopped(berth):
    berth.shell("slow", "trap '' TERM; while :; do sleep 0.1; done", container={"stop_grace_ms": 1500})
    berth.api.Stop(fence=berth.fence(), id="slow", no_wait=True)
    kill_berthd(berth)
    back(berth)
    status = berth.until("slow", "EXITED")
    equal(reason_name(status), "KILLED_AFTER_GRACE")
    equal(len(records(berth, "slow")), 1)


@story
def fences_and_drains_outlive_a_kill(berth):
    berth.launch("gone", "/bin/true", generation=berth.generation)
    berth.remove("gone")
    berth.api.SetSchedulable(fence=berth.fence(), schedulable=False, sentence="new disk")
    kill_berthd(berth)
    back(berth)
    has(refused(lambda: berth.launch("other", "/bin/true"), "UNAVAILABLE").text, "new disk")
    berth.api.SetSchedulable(fence=berth.fence(), schedulable=True)
    refused(lambda: berth.launch("gone", "/bin/true", generation=berth.generation), "FAILED_PRECONDITION",
            "generation")


@story
def a_restart_policy_goes_on(berth):
    berth.shell("again", FOREVER, restart={"mode": "RESTART_ALWAYS", "initial_backoff_ms": 200})
    pid = berth.status("again").containers[0].pid
    kill_berthd(berth)
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    back(berth)
    status = berth.until("again", lambda s: state_name(s) == "RUNNING" and s.restarts == 1)
    equal(status.containers[0].attempt, 2)
    equal(len(records(berth, "again")), 1)


def unacknowledged(berth):
    return [event for answer in berth.api.WatchEvents(earlier_records="EARLIER_RECORDS_UNACKNOWLEDGED",
                                                      records_only=True, no_follow=True)
            for event in answer.events]


@story
def a_record_waits_for_its_scheduler(berth):
    berth.api.AckRecords(fence=berth.fence(), up_to_sequence=berth.api.GetNode().node.event_sequence)
    for number in (3, 4):
        berth.launch(f"job-{number}", "/bin/sh", "-c", f"exit {number}")
        berth.until(f"job-{number}", "EXITED")
        berth.remove(f"job-{number}")
    mine = {event.workload: event for event in unacknowledged(berth)}
    equal([mine[f"job-{number}"].exit.code for number in (3, 4)], [3, 4])
    kill_berthd(berth)
    back(berth)
    told = [event.SerializeToString(deterministic=True) for event in unacknowledged(berth)]
    equal(sorted(told), sorted(event.SerializeToString(deterministic=True) for event in mine.values()), "told again")
    first = mine["job-3"].sequence
    left = berth.api.AckRecords(fence=berth.fence(), up_to_sequence=first).records
    kill_berthd(berth)  # it was answered, so it is on disk
    back(berth)
    equal(berth.api.GetNode().node.records, left)
    equal(min(event.sequence for event in unacknowledged(berth)), mine["job-4"].sequence)
    last = str(mine["job-4"].sequence)
    has(berth.ctl("records").stdout, "job-4", "exited with code 4")
    has(berth.ctl("records", "--ack", last).stdout, "0 of ")
    equal(berth.ctl("records").stdout, "")
    has(berth.ctl("records", "-a", "job-3").stdout, "exited with code 3")
    berth.ctl("records", "--ack", str(int(last) + 100000), code=8)


class SmallDisk:
    """The agent's store on a disk of 6 MiB of its own, which can be filled, and back to where it was."""

    def __init__(self, berth):
        self.berth = berth
        self.state = os.path.join(berth.place, "state")
        self.disk = os.path.join(berth.place, "disk")
        self.filler = os.path.join(self.state, "filler")

    def __enter__(self):
        kill_berthd(self.berth, signal.SIGTERM)
        owner = os.stat(self.state)
        os.makedirs(self.disk, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=6m,mode=0700,uid={owner.st_uid},gid={owner.st_gid}",
                        "none", self.disk], check=True)
        self.come_back()
        back(self.berth)
        return self

    def __exit__(self, *why):
        kill_berthd(self.berth, signal.SIGTERM)
        subprocess.run(["umount", self.state], check=False)
        subprocess.run(["umount", self.disk], check=True)
        back(self.berth)

    def go_away(self):
        subprocess.run(["umount", "--lazy", self.state], check=True)

    def come_back(self):
        subprocess.run(["mount", "--bind", self.disk, self.state], check=True)

    def fill(self):
        with open(self.filler, "ab", buffering=0) as file:
            size = 65536
            while size:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2


def until_refused(berth, name):
    """Launch until there is no room for it: what the disk has given already may be enough for some."""
    started = []
    for i in range(300):
        try:
            berth.launch(f"{name}-{i}", "/bin/true", labels={f"l-{n}": "x" * 60 for n in range(30)})
            started.append(f"{name}-{i}")
        except Refused as why:
            return why, f"{name}-{i}", started
    raise AssertionError("a full disk takes launches without end")


def until_heard(berth):
    """It answers, although it does not serve: nothing can be launched."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return berth.api.GetNode().node
        except Refused as why:
            if why.code != "UNAVAILABLE" or time.monotonic() > deadline:
                raise
            time.sleep(0.02)  # a client's own pause between two tries


@story
def a_full_disk_refuses_launches_and_lets_everything_else_go_on(berth):
    with SmallDisk(berth) as disk:
        for name in ("stays", "stops", "ends"):
            berth.shell(name, FOREVER)
        disk.fill()
        why, name, started = until_refused(berth, "new")
        equal(why.code, "UNAVAILABLE")
        has(why.text, "full")
        refused(lambda: berth.api.Get(id=name), "NOT_FOUND")
        has(" ".join(berth.api.GetNode().node.warnings), "full")
        equal(berth.ctl("exec", "stays", "--", "/bin/echo", "here").stdout, "here\n")
        equal(state_name(berth.api.Stop(fence=berth.fence(), id="stops", grace_ms=0).status), "EXITED")
        os.kill(berth.status("ends").containers[0].pid, signal.SIGKILL)
        berth.until("ends", "EXITED")
        for one in started:
            berth.remove(one)
        # What was answered is on that disk, out of the reserve.
        kill_berthd(berth)
        berth.start_berthd()
        until_heard(berth)
        equal(state_name(berth.status("stops")), "EXITED")
        equal(berth.status("ends").containers[0].last_exit.signal, signal.SIGKILL)
        for one in started:
            refused(lambda: berth.api.Get(id=one), "NOT_FOUND")
        os.unlink(disk.filler)
        berth.wait_serving()
        equal(state_name(berth.status("stays")), "RUNNING")
        berth.launch(name, "/bin/true")
        berth.until(name, "EXITED")
        for one in (name, "stays", "stops", "ends"):
            berth.remove(one)


@story
def a_disk_that_goes_away_and_comes_back_loses_nothing(berth):
    with SmallDisk(berth) as disk:
        berth.shell("stays", FOREVER)
        berth.shell("stops", FOREVER)
        disk.go_away()
        refused(lambda: berth.launch("new", "/bin/true"), "UNAVAILABLE", "new")
        refused(lambda: berth.launch("new", "/bin/true"), "UNAVAILABLE")
        has(" ".join(berth.api.GetNode().node.warnings), "nothing can be launched")
        equal(state_name(berth.api.Stop(fence=berth.fence(), id="stops", grace_ms=0).status), "EXITED")
        refused(lambda: berth.api.Get(id="new"), "NOT_FOUND")
        disk.come_back()
        berth.wait_serving()
        kill_berthd(berth)
        back(berth)
        equal(state_name(berth.status("stops")), "EXITED")
        equal(len(records(berth, "stops")), 1)
        equal(state_name(berth.status("stays")), "RUNNING")
        for one in ("stays", "stops"):
            berth.remove(one)


@story
def damage_is_set_aside_and_workloads_run_on(berth):
    pid = berth.shell("stays", FOREVER).containers[0].pid
    berth.shell("named", FOREVER)
    kill_berthd(berth)
    state = os.path.join(berth.place, "state")
    for name in os.listdir(state):
        path = os.path.join(state, name)
        if os.path.isfile(path) and not name.startswith("agent.db.damaged"):
            with open(path, "r+b") as file:
                file.write(os.urandom(os.path.getsize(path)))
    back(berth)
    has(" ".join(berth.api.GetNode().node.warnings), "damaged", "workload stays runs")
    if not any(name.startswith("agent.db.damaged-") for name in os.listdir(state)):
        raise AssertionError(f"the damaged file is not kept: {os.listdir(state)}")
    os.kill(pid, 0)
    kill_berthd(berth)  # a new store that knows nothing is no proof that there was nothing
    back(berth)
    has(" ".join(berth.api.GetNode().node.warnings), "workload stays runs")
    os.kill(pid, 0)
    for name in ("stays", "named"):
        refused(lambda: berth.api.Stop(fence=berth.fence(), id=name), "UNAVAILABLE", "lost")
    wait_gone(pid)


def main():
    with host.Host() as berth:
        berth.api.close()
        berth.api = Api("unix://" + berth.socket, options=[  # or the client's own pauses are what is measured
            (f"grpc.{name}_reconnect_backoff_ms", 20) for name in ("initial", "min", "max")])
        good = run_stories(berth, sys.argv[1:])
    left = berth.what_is_left()
    if left:
        print("\n".join(left))
        print(f"not ok nothing-is-left: {left[0]} (and {len(left) - 1} more)")
    elif not sys.argv[1:]:
        print("ok nothing-is-left")
    return 0 if good and not left else 1


sys.exit(main())

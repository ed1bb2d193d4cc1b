"""A host that is short of memory, for real: all workloads together may have 256 MiB (ReserveMemory is the rest),
and one of them reads a file that does not fit beside what the others hold."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "agent"))

import host  # noqa: E402
from api import Api, types  # noqa: E402
from host import limit, read, reason_name, state_name  # noqa: E402
from story import IN_VM, equal, has, run_stories, story  # noqa: E402

MIB = 1 << 20
ROOM = 256 * MIB
TOTAL = int(next(line.split()[1] for line in read("/proc/meminfo").splitlines() if line.startswith("MemTotal:"))) * 1024
SETTINGS = {"Node_ReserveMemory": str(TOTAL - ROOM), "Telemetry_SampleInterval": "500ms",
            "Pressure_Stall": "5ms", "Pressure_ActBelow": "20", "Pressure_RelieveAbove": "30",
            "Pressure_RelieveAfter": "2s"}
STEPS = ("MEMORY_RECLAIMED", "MEMORY_SQUEEZED", "FROZEN_BY_PRESSURE", "EVICTED", "THAWED", "SQUEEZE_ENDED")


def launch(berth, name, band, *command, request=8, **fields):
    return berth.launch(name, *command, band=band, resources={"memory_request_bytes": request * MIB,
                                                              "memory_limit_bytes": 240 * MIB}, **fields)


def hold(berth, name, band, mib, **fields):
    status = launch(berth, name, band, "/bin/probe", "hold", str(mib), **fields)
    berth.until_output(name, "held")
    return status


def thrash(berth, name="reader", band="PRODUCTION"):
    """Does not fit; the file is in the root file system."""
    path = berth.rootfs + "/data/big"
    if not os.path.exists(path):
        with open(path, "wb") as file:
            for _ in range(80):
                file.write(bytes(MIB))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return launch(berth, name, band, "/bin/probe", "thrash", "/data/big",
                  container={"resources": {"cpu_limit_millis": 400}} if IN_VM else {})


def calm(berth, **settings):
    """What the story before has left in the page cache is charged to all: to make room again takes time, and
    that is a stall."""
    if os.path.exists(berth.rootfs + "/data/big"):
        with open(berth.rootfs + "/data/big", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    wait_until(lambda: not berth.api.GetNode().node.pressure.short_of_memory, "no longer short")
    reconfigure(berth, **settings)


def steps(berth):
    """[(workload, step), ...] so far, with the event."""
    events = [event for answer in berth.api.WatchEvents(from_oldest=True, no_follow=True) for event in answer.events]
    return [(event.workload, reason_name(event), event) for event in events if reason_name(event) in STEPS]


def until_step(berth, workload, reason, seconds=60, fits=lambda event: True):
    with berth.api.WatchEvents(id=workload, from_oldest=True, timeout=seconds) as answers:
        for answer in answers:
            for event in answer.events:
                if reason_name(event) == reason and fits(event):
                    return event
    raise AssertionError(f"{workload} was never {reason}")


def high_of(pid):
    return os.path.dirname(host.group_files(pid)[""]) + "/memory.high"


def is_frozen(pid):
    """Its ticks do not move, and the kernel says that it waits in the freezer or for its group."""
    groups = host.group_files(pid)
    path = os.path.dirname(groups[""]) + "/cgroup.freeze"
    return read(path).strip() == "1"


DROP_IN = "/etc/berth/berthd.conf.d/stories.conf"


def reconfigure(berth, **more):
    if not IN_VM:
        berth.write_settings(**more)
        berth.reload_berthd("configuration read again")
        return
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    sections = {}
    for name, value in {**SETTINGS, **more}.items():
        sections.setdefault(name.partition("_")[0], []).append(name.partition("_")[2] + "=" + value)
    host.write(DROP_IN, "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items()))
    subprocess.run(["systemctl", "restart", "berthd"], check=True)
    berth.wait_serving()


def kill_both(berth):
    if IN_VM:  # systemd starts them again
        subprocess.run(["systemctl", "kill", "-s", "KILL", "berthd", "berth-sandboxd"], check=True)
    else:
        for daemon in (berth.berthd, berth.sandboxd):
            daemon.send_signal(signal.SIGKILL)
            daemon.wait(30)
        berth.start_sandboxd()
        berth.start_berthd()
    berth.wait_serving()


@story
def all_workloads_together_leave_the_reserve_alone(berth):
    pid = hold(berth, "one", "BATCH", 4).containers[0].pid
    groups = host.group_files(pid)
    if "memory" in groups:
        base = groups["memory"].split("/workloads/")[0] + "/workloads/memory.limit_in_bytes"
    else:
        base = groups[""].split("/workloads/")[0] + "/workloads/memory.max"
    equal(int(read(base)) // 4096, berth.api.GetNode().node.allocatable.memory_bytes // 4096)
    node = berth.api.GetNode().node
    equal((node.pressure.enabled, node.pressure.watching, node.pressure.short_of_memory), (True, True, False))
    has(berth.ctl("node").stdout, "stalls of", "limit of all workloads 256.0 MiB")
    reconfigure(berth, Node_EnforceReserve="no")
    wait_until(lambda: read(base).strip() in ("max", "9223372036854771712"), "the limit is gone")
    reconfigure(berth)
    wait_until(lambda: read(base).strip()[:3] not in ("max", "922"), "the limit is back")


def wait_until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {seconds} s: {what}")
        time.sleep(0.05)  # a file of the kernel: nothing tells of its change


@story
def best_effort_is_reclaimed_squeezed_and_frozen_first_and_goes_on(berth):
    calm(berth, Pressure_StepsBestEffort="reclaim squeeze freeze", Pressure_StepsBatch="")
    hold(berth, "critical", "CRITICAL", 30)
    hold(berth, "production", "PRODUCTION", 30)
    small = hold(berth, "small", "BEST_EFFORT", 20).containers[0].pid
    large = hold(berth, "large", "BEST_EFFORT", 60).containers[0].pid
    hold(berth, "burst", "CRITICAL", 85)
    thrash(berth)
    frozen = until_step(berth, "large", "FROZEN_BY_PRESSURE")
    until_step(berth, "small", "FROZEN_BY_PRESSURE")
    equal((is_frozen(large), is_frozen(small)), (True, True))
    if host.is_v2(large, "memory"):
        squeezed = until_step(berth, "large", "MEMORY_SQUEEZED")
        has(squeezed.sentence, "squeezed to its working set", "memory.high")
        until_step(berth, "small", "MEMORY_SQUEEZED")
        equal(int(read(high_of(large))) < 100 * MIB, True)
    has(frozen.sentence, "frozen, for at most", "are available", "tasks waited for memory")
    for figures in (frozen.memory_before, frozen.memory_after):
        if not (0 < figures.available_bytes < ROOM * 20 // 100 and 60 * MIB <= figures.workload_bytes < ROOM):
            raise AssertionError(f"the figures are {figures}")
    # The kernel renews its averages every 2 s, and its triggers are quicker than that.
    wait_until(lambda: berth.api.GetNode().node.pressure.figures.some_avg10 > 0, "the stall is in the figures")
    done = [(name, step) for name, step, _ in steps(berth)]
    if done.index(("large", "FROZEN_BY_PRESSURE")) > done.index(("small", "FROZEN_BY_PRESSURE")):
        raise AssertionError(f"the one that uses more was not first: {done}")
    equal({name for name, _ in done} - {"large", "small", "production", "reader"}, set(), "others touched")
    equal({step for name, step in done if name in ("production", "reader")} - {"MEMORY_RECLAIMED"}, set())
    status = berth.status("large")
    equal((state_name(status), status.pressure_step), ("RUNNING", types.PRESSURE_FROZEN))
    has(berth.ctl("why", "large").stdout, "RUNNING, frozen,", "short of memory", "FROZEN_BY_PRESSURE")
    node = berth.api.GetNode().node.pressure
    equal((node.short_of_memory, node.frozen), (True, 2))
    has(berth.ctl("node").stdout, "SHORT", "2 frozen")

    # Neither daemon's end leaves them so.
    kill_both(berth)
    status = berth.status("large")
    equal((status.pressure_step, status.containers[0].pid), (types.PRESSURE_FROZEN, large))
    berth.remove("reader")
    berth.remove("burst")
    until_step(berth, "large", "THAWED")
    until_step(berth, "small", "THAWED")
    equal((is_frozen(large), is_frozen(small)), (False, False))
    undone = [name for name, step, _ in steps(berth) if step == "THAWED"]
    equal(undone, ["small", "large"], "the order in which they go on")
    if host.is_v2(large, "memory"):
        until_step(berth, "large", "SQUEEZE_ENDED")
        until_step(berth, "small", "SQUEEZE_ENDED")
        equal((read(high_of(large)).strip(), read(high_of(small)).strip()), ("max", "max"))
    for name in ("critical", "production", "small", "large"):
        status = berth.status(name)
        equal((state_name(status), status.restarts, status.pressure_step, status.pressure_sentence),
              ("RUNNING", 0, 0, ""), name)


@story
def one_that_is_stopped_while_frozen_ends(berth):
    calm(berth, Pressure_StepsBestEffort="freeze", Pressure_StepsBatch="", Pressure_StepsProduction="")
    hold(berth, "critical", "CRITICAL", 215)
    berth.shell("polite", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done", band="BEST_EFFORT",
                resources={"memory_request_bytes": 8 * MIB, "memory_limit_bytes": 64 * MIB})
    berth.until_output("polite", "up")
    thrash(berth)
    until_step(berth, "polite", "FROZEN_BY_PRESSURE")
    status = berth.api.Stop(fence=berth.fence(), id="polite", grace_ms=5000).status
    equal((state_name(status), status.containers[0].last_exit.code), ("EXITED", 7))
    equal(status.pressure_step, 0)


@story
def the_last_step_kills_the_whole_workload_and_says_why(berth):
    calm(berth, Pressure_StepsBestEffort="kill", Pressure_StepsBatch="", Pressure_StepsProduction="")
    hold(berth, "critical", "CRITICAL", 120)
    hold(berth, "small", "BEST_EFFORT", 10)
    hold(berth, "large", "BEST_EFFORT", 90, restart={"mode": "RESTART_ALWAYS", "initial_backoff_ms": 1})
    thrash(berth)
    until_step(berth, "large", "EVICTED")
    status = berth.until("large", "EXITED")
    equal((reason_name(status), status.containers[0].last_exit.signal, status.restarts), ("EVICTED", 9, 0))
    has(status.sentence, "killed: it used", "above its request of 8.0 MiB", "are available")
    event = until_step(berth, "large", "EVICTED", fits=lambda event: event.HasField("memory_after"))
    if event.memory_before.workload_bytes < 80 * MIB or event.memory_after.workload_bytes != 0:
        raise AssertionError(f"the figures are {event}")
    has(berth.ctl("why", "large").stdout, "EXITED", "killed: it used", "EVICTED")
    equal(berth.api.GetNode().node.pressure.evictions >= 1, True)
    equal(state_name(berth.status("critical")), "RUNNING")


def main():
    with host.Host(**SETTINGS) as berth:
        berth.api.close()
        berth.api = Api("unix://" + berth.socket, options=[] if IN_VM else [  # or the client's own pauses are what is measured
            (f"grpc.{name}_reconnect_backoff_ms", 20) for name in ("initial", "min", "max")])
        good = run_stories(berth, sys.argv[1:] or (["best-*"] if IN_VM else []))
        if IN_VM:
            os.unlink(DROP_IN)
            subprocess.run(["systemctl", "restart", "berthd"], check=True)
    left = berth.what_is_left()
    if left:
        print("\n".join(left))
        print(f"not ok nothing-is-left: {left[0]} (and {len(left) - 1} more)")
    elif not sys.argv[1:]:
        print("ok nothing-is-left")
    return 0 if good and not left else 1


sys.exit(main())

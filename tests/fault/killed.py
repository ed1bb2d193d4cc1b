"""Each of the three processes dies at each failpoint, in a short life of a workload that comes by it; each step that
can fail fails; berth-sandboxd dies while a monitor, or the container's first process, is at each step of theirs."""
import contextlib
import errno
import os
import signal
import threading

from failpoints import listed
from faulty_host import BUILD
from lives import PARTS, Workload
from model import Wrong
from story import STORIES, Skip

EVERYWHERE = os.environ.get("BERTH_FAULT_EVERYWHERE") == "1"  # in each life that comes by it, not in one

ERROR = getattr(errno, os.environ.get("BERTH_FAULT_ERROR", "ENOSPC"))  # of a step that fails

# Reached only after something else has died half-way.
AFTER_ANOTHER = {
    "sandboxd.recovery.discard": ("sandboxd.create.record", "kill", "launch"),
    "sandboxd.recovery.stranger": ("sandboxd.create.record", "kill", "launch"),
    "sandboxd.lost.ended": ("sandboxd.lost.successor", "error", "outlives-its-monitor"),
    "sandboxd.remove.again": ("monitor.launch.wait", "kill", "launch"),
}
# Reached when enough was written: so many lives may pass until then.
NOW_AND_THEN = {"berthd.store.checkpoint": 200}
# Where a failure is no answer to a request, what it would mean is told.
CANNOT_FAIL = {
    "sandboxd.recovery.workload": "what cannot be read of a workload is not taken back, and it ends",
    "sandboxd.recovery.namespaces": "the same",
    "berthd.store.open": "F22 and F25 are about a store that cannot be opened",
    "berthd.store.quarantine": "the same",
}
MAY_FAIL = ("sandboxd.", "launcher.", "first.", "session.", "monitor.launch.", "monitor.layer.", "monitor.undo.", "monitor.hand-over.", "monitor.run.")


def run_part(host, name, may_fail=0):
    workload = Workload(host, name)
    workload.may_fail = may_fail or int(name == "fails-to-start")
    PARTS[name](host, workload)
    host.wait_serving()


def reached_by_parts(host):
    """{failpoint: the parts that come by it}, with nothing armed."""
    if host.parts_of is None:
        found = {}
        for name in PARTS:
            before = host.points.reached()
            run_part(host, name)
            after = host.points.reached()
            for point in after:
                if after[point] > before[point]:
                    found.setdefault(point, []).append(name)
        host.parts_of = found
    return host.parts_of


def check_deaths(host, what):
    """Only what was killed died: a sanitizer's finding, or an assertion, is another end."""
    for daemon, status in host.take_deaths():
        if status != -signal.SIGKILL:
            raise Wrong(f"{what}: {daemon} ended with {status}, and nobody killed it")


def with_armed(host, point, action, name, argument=0, before=None, may_fail=0):
    host.take_deaths()
    host.points.arm(point, action, argument)
    if before:
        host.points.arm(*before)
    try:
        for _ in range(NOW_AND_THEN.get(point, 1)):
            run_part(host, name, may_fail)
            if host.points.fired(point):
                break
        if not host.points.fired(point):
            raise Wrong(f"{point} was not reached in the life that {name}")
        check_deaths(host, point)
    finally:
        host.points.disarm_all()


def parts_for(host, point):
    parts = ["launch"] if point in NOW_AND_THEN else reached_by_parts(host).get(point, [])
    if not parts:
        raise Wrong(f"no life of lives.py comes by {point}")
    return parts if EVERYWHERE else parts[:1]


def killed_at(point):
    def told(host):
        if point in AFTER_ANOTHER:
            *before, name = AFTER_ANOTHER[point]
            with_armed(host, point, "kill", name, before=before, may_fail=2)
            return
        for name in parts_for(host, point):
            with_armed(host, point, "kill", name, may_fail=int(point.startswith(MAY_FAIL)))
    return told


def fails_at(point):
    def told(host):
        if point in CANNOT_FAIL:
            raise Skip(CANNOT_FAIL[point])
        for name in parts_for(host, point):
            with_armed(host, point, "error", name, argument=ERROR, may_fail=1)
    return told


def others_die_at(point, kill):
    """While it is held at `point`, kill(host) ends others; then it goes on."""
    def told(host):
        failure = []

        def meanwhile():
            try:
                host.points.wait_fired(point)
                if point.startswith("first.launch."):  # the monitor has done what it does meanwhile
                    host.points.wait_reached("monitor.launch.wait", waited + 1)
                kill(host)
            except BaseException as error:  # told in the story's own thread
                failure.append(error)
            finally:
                host.points.disarm(point)
        waited = host.points.get("monitor.launch.wait", "reached")
        host.take_deaths()
        host.points.arm(point, "hold")
        thread = threading.Thread(target=meanwhile)
        thread.start()
        try:
            run_part(host, "launch", may_fail=1)
        finally:
            thread.join(60)
        if failure:
            raise failure[0]
        check_deaths(host, point)
    return told


def kill_sandboxd(host):
    host.kill_and_wait("sandboxd")


def kill_both(host):
    host.kill_and_wait("sandboxd", "berthd")


def kill_monitor(host):
    for pid in host.launching():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_all_three(host):
    host.kill("sandboxd", "berthd")
    kill_monitor(host)


def add(prefix, point, function):
    function.__name__ = f"{prefix}_{point}"
    STORIES.append(function)


def add_stories():
    points = listed(BUILD)
    launch = sorted(p for p in points if p.startswith(("monitor.launch.", "monitor.hand-over.", "first."))
                    and p not in ("monitor.launch.undo",))
    for point in sorted(points):
        add("killed_at", point, killed_at(point))
    for point in sorted(point for point in points if points[point]):
        add("fails_at", point, fails_at(point))
    for point in launch:
        add("sandboxd_dies_at", point, others_die_at(point, kill_sandboxd))
    for point in launch:
        add("all_three_die_at", point, others_die_at(point, kill_all_three))
    for point in (p for p in launch if p.startswith("first.")):
        add("the_monitor_dies_at", point, others_die_at(point, kill_monitor))

"""The monitor and the first process share a table of descriptors; what the one makes must not be what the other needs."""
import contextlib
import os
import time

from host import read, state_name
from lives import Workload
from model import Wrong
from story import equal, story

READ = "0"  # of x86-64
NUMBERS = 24  # all of them are the daemon's own, but the one that it keeps free


def waits_at_gate(pid):
    number, fd = (read(f"/proc/{pid}/syscall") + " - -").split()[:2]
    return number == READ and os.readlink(f"/proc/{pid}/fd/{int(fd, 16)}") == "anon_inode:[eventfd]"


def until_waiting(host, workload):
    """The first process waits for the monitor, where it went on before."""
    deadline = time.monotonic() + 20
    while True:
        if host.points.fired("first.exec.loading"):
            raise Wrong("the process gives its number up while the monitor still makes descriptors")
        with contextlib.suppress(OSError):
            if any(waits_at_gate(pid) for pid in workload.running()):
                return
        if time.monotonic() > deadline:
            raise Wrong("the process neither waits nor goes on")
        time.sleep(0.002)  # nothing tells what another process waits for


@story
def a_monitor_that_is_slow_takes_no_number_from_the_filter(host):
    workload = Workload(host, "narrow")
    resources = {"rlimits": [{"name": "NOFILE", "soft": NUMBERS, "hard": NUMBERS}]}
    # The second container's: the intent of both is durable by then, and its gate is open from the beginning; but the
    # monitor lets it pass only when all that it makes is made.
    host.points.arm("monitor.launch.socket", "hold", skip=1)
    host.points.arm("first.exec.loading", "hold", skip=1)
    try:
        host.launch(workload.id, generation=workload.generation, no_wait=True, containers=[
            host.container("/bin/true", name="first", role="ROLE_INIT"),
            host.container("/bin/sleep", "1000", resources=resources)])
        host.points.wait_fired("monitor.launch.socket")
        until_waiting(host, workload)
    finally:
        host.points.disarm_all()
    status = host.until(workload.id, lambda status: state_name(status) not in ("PENDING", "STARTING"))
    equal((state_name(status), status.sentence), ("RUNNING", "all main containers run"))
    workload.delete()

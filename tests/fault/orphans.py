"""What is of nobody when berth-sandboxd starts: what can be left is found, removed and counted by it (sandbox/recovery.h).
This shows that the other kinds cannot be: they last as long as who holds them, and the links of a workload as long as
its network namespace."""
import glob
import os
import time

from host import read
from killed import kill_monitor, others_die_at
from model import Wrong
from story import equal, story

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def namespaces_of(pids):
    """Those that are not this host's own."""
    own = {os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids for kind in KINDS} - own


def pids_in(groups):
    return {int(pid) for group in groups for root, _, files in os.walk(group) if "cgroup.procs" in files
            for pid in read(root + "/cgroup.procs").split()}


def holders_of(namespaces):
    """Who is in one of them, or has one open; and where one is mounted."""
    found = []
    for path in glob.glob("/proc/[0-9]*/ns/*") + glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(path) in namespaces:
                found.append(path)
        except OSError:  # it has ended
            pass
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        found += [line for line in file if line.split()[3] in namespaces]
    return found


@story
def F02_no_namespace_or_mount_outlives_all_three(host):
    mounts = host.mounts()
    seen = set()

    def kill(host):
        seen.update(namespaces_of([*host.launching(), *pids_in(host.groups())]))
        if not holders_of(seen):  # or nothing could be found afterwards, either
            raise Wrong(f"nobody holds the namespaces of a launch that is under way: {seen}")
        host.down("sandboxd")
        host.down("berthd")
        kill_monitor(host)
        # Before anybody can make others: their numbers are used again.
        deadline = time.monotonic() + 10
        while held := holders_of(seen):
            if time.monotonic() > deadline:
                raise Wrong(f"all three are dead, and the namespaces of a launch are there: {held}")
            time.sleep(0.01)  # a process that was killed tells nobody else that it is gone
        with host.changed:
            host.left_down.clear()
            host.changed.notify_all()
        host.wait_serving()

    others_die_at("first.launch.gate", kill)(host)  # all of a launch is there
    if not any(name.startswith("net:") for name in seen):
        raise Wrong(f"a launch has no network of its own: {seen}")
    host.until_gone()
    equal(host.mounts(), mounts)

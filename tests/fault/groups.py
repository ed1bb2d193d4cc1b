"""Row F36: control groups that are there already, that cannot be removed, written or found. All of it is in the test's own
mount namespace, where the daemons live too."""
import os
import subprocess
import threading
import time

from api import Refused, types
from host import read
from lives import Workload, check_alone
from model import Wrong
from rows import works_again
from story import Skip, equal, has, refused, story

HOME = "/sys/fs/cgroup"


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def v1(controller):
    path = f"{HOME}/{controller}"
    if not os.path.exists(path + "/cgroup.procs"):
        raise Skip(f"this host has no {controller} controller of cgroup v1")
    return path


def refused_or_failed(host, workload):
    """The sentence with which a launch did not succeed; nothing of it is left."""
    try:
        status = host.api.Launch(fence=workload.fence(), spec=workload.spec("exit 0")).status
        workload.may_fail = 1
        workload.check_failed(status)
        sentence = status.sentence
    except Refused as why:
        has(("RESOURCE_EXHAUSTED", "UNAVAILABLE", "FAILED_PRECONDITION", "INTERNAL", "ABORTED"), why.code)
        sentence = why.text
    equal(workload.running(), [])
    return sentence


@story
def F36_a_group_of_that_name_is_there_already(host):
    workload = Workload(host, "first")
    workload.launch_and_stay()
    group = next(path for path in host.groups(workload.id) if f"{host.group_base}/" in path)
    band, instance = os.path.dirname(group), int(group.rpartition(".")[2])
    late = Workload(host, "late")
    strange = f"{band}/{late.id}.{instance + 1}"
    os.mkdir(strange)
    try:
        has(refused_or_failed(host, late), late.id)
        late.delete()
        equal(host.groups(late.id), [strange])  # who made it has it; in the other hierarchies nothing is
    finally:
        os.rmdir(strange)
    late.generation += 1
    check_alone(late, late.launch_and_stay())
    late.finish()
    workload.finish()


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@story
def F36_a_group_cannot_be_removed(host):
    workload, other = Workload(host, "busy"), Workload(host, "other")
    workload.launch_and_stay()
    other.launch_and_stay()
    group = host.groups(workload.id)[0]
    mount("--bind", group, group)  # rmdir(2) of it is EBUSY now
    try:
        workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
        workload.delete()
        before = cpu_ticks(host.sandboxd.pid)
        threading.Event().wait(2)  # it tries again, with pauses
        spent = (cpu_ticks(host.sandboxd.pid) - before) / os.sysconf("SC_CLK_TCK")
        if spent > 0.5:
            raise Wrong(f"berth-sandboxd used {spent} s of 2 for a group that cannot be removed")
        if not os.path.isdir(group):
            raise Wrong(f"{group} was to be busy, and is gone")
        check_alone(other, other.status())
        works_again(host)
    finally:
        subprocess.run(["umount", group], check=True)
    host.until_gone(workload.id)
    workload.check_history()
    other.finish()


@story
def F36_a_hierarchy_is_read_only(host):
    path = v1("memory")
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    late = Workload(host, "late")
    mount("-o", "remount,bind,ro", path)
    try:
        has(refused_or_failed(host, late).lower(), "read-only")
        equal(host.groups(late.id), [])  # no limit without the others
        check_alone(workload, workload.status())
        workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
    finally:
        mount("-o", "remount,bind,rw", path)
    late.delete()
    host.until_gone(late.id)
    workload.finish()
    works_again(host)


class WithoutController:
    """The mount of one controller of cgroup v1 is not there while berth-sandboxd is down; begin() starts it."""

    def __init__(self, host, controller):
        self.host, self.controller = host, controller
        self.path = v1(controller)

    def __enter__(self):
        self.host.down("sandboxd")
        # Lazily: berthd has the groups of workloads open.
        subprocess.run(["umount", "--lazy", self.path], check=True)
        return self

    def __exit__(self, *exc):
        self.host.down("sandboxd")
        mount("-t", "cgroup", "-o", self.controller, "cgroup", self.path)
        self.host.up("sandboxd")
        self.host.take_deaths()  # it may have refused to begin, again and again


@story
def F36_a_controller_that_is_needed_is_not_there(host):
    workload = Workload(host, "runs")
    workload.launch_and_stay()
    with WithoutController(host, "pids"):
        begin = len(read(host.logs["sandboxd"]))
        with host.changed:
            host.left_down.discard("sandboxd")
            host.changed.notify_all()
        deadline = time.monotonic() + 20
        while "cannot limit pids on this host" not in read(host.logs["sandboxd"])[begin:]:
            if time.monotonic() > deadline:
                raise Wrong("berth-sandboxd does not say what it lacks: " + read(host.logs["sandboxd"])[begin:])
            time.sleep(0.05)  # a file tells nobody of its growth but who looks
        late = Workload(host, "late")
        refused(lambda: host.api.Launch(fence=late.fence(), spec=late.spec("exit 0")), "UNAVAILABLE", "berth-sandboxd")
        os.kill(workload.pid, 0)  # what runs runs on
    check_alone(workload, workload.status())
    workload.check_end(workload.stop().containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()
    works_again(host)


@story
def F36_a_controller_that_is_not_needed_is_not_there(host):
    with WithoutController(host, "cpuset"):
        host.up("sandboxd")
        features = {feature.name: feature for feature in host.api.GetNode().node.features}
        equal(features["cgroup.cpuset"].supported, False)
        has(features["cgroup.cpuset"].sentence, "cpuset")
        late = Workload(host, "late")
        spec = late.spec("exit 0")
        spec["containers"][0]["resources"]["cpuset_cpus"] = "0"
        refused(lambda: host.api.Launch(fence=late.fence(), spec=spec), "FAILED_PRECONDITION", "cpuset")
        equal(host.what_lives(late.id), [])
        works_again(host)  # one that asks for none
    works_again(host)

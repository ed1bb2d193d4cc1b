"""Fields of the contract, and states, that no other story is about."""
import contextlib
import os
import signal
import time

from api import types
from host import group_files, read, reason_name, state_name, write
from session import Session
from story import IN_VM, Skip, equal, has, refused, story
from test_life import NEVER_ENDS
from test_survival import wait_gone


def seen_by(host, user):
    """The names in /proc that a program of `user` finds, beside the container's first process, root's."""
    session = Session(host.api.Exec, {"id": "box", "command": ["/bin/ls", "/proc"], "identity": {"user": user}})
    record = session.end()
    equal((record.kind, record.code), (types.EXIT_CODE, 0), session.stderr)
    return set(session.stdout.decode().split())


@story
def strict_proc_shows_processes_alone_and_ones_own(host):
    for strict in (False, True):
        host.shell("box", NEVER_ENDS, container={"sandbox": {"strict_proc": strict}})
        names = {user: seen_by(host, user) for user in ("0:0", "1000:1001")}
        others = {name for name in names["0:0"] if not name.isdigit()}
        if strict:
            equal(others, {"self", "thread-self"}, "what is no process in /proc")
        else:
            has(others, "meminfo", "mounts", "cpuinfo", "sys")
        equal("1" in names["0:0"], True, "whether root sees its first process")
        equal("1" in names["1000:1001"], not strict, f"whether another user sees it, strict_proc {strict}")
        host.remove("box")
        host.generation += 1


# --- STUCK ---

def until_allowed(host, sysctls):
    """berthd has heard of a policy with these sysctls: nothing tells of it but looking."""
    deadline = time.monotonic() + 20
    while host.api.GetNode().node.allowed_sysctls != sysctls.split():
        if time.monotonic() > deadline:
            raise AssertionError("berthd did not hear of the policy that was read again")


@contextlib.contextmanager
def impatient(host):
    """berth-sandboxd gives up on processes sooner."""
    def policy(more, sysctls):
        host.write_policy(AllowedSysctls=sysctls)
        write(host.policy_path(), read(host.policy_path()) + more)  # its last section is [Host]
        host.reload_sandboxd()
        until_allowed(host, sysctls)
    policy("UnkillableAfter=500ms\n", "kernel.shm_rmid_forced")
    try:
        yield
    finally:
        policy("", "net.ipv4.tcp_syncookies")
        host.write_policy()
        host.reload_sandboxd()


@contextlib.contextmanager
def held_in_the_kernel(pid):
    """Who is frozen in a v1 freezer does not end by SIGKILL; Berth itself pauses by another where cgroup2 is there."""
    freezer = next((line.split()[1] for line in read("/proc/self/mounts").splitlines()
                    if line.split()[2] == "cgroup" and "freezer" in line.split()[3].split(",")), None)
    if not freezer or not os.path.exists(group_files(pid).get("", "") + "/cgroup.kill"):
        raise Skip("needs the v1 freezer on a host where cgroup2 is used, to hold a process in the kernel")
    held = f"{freezer}/berth-stories-held-{pid}"
    os.mkdir(held)
    try:
        write_into(held + "/cgroup.procs", pid)
        write_into(held + "/freezer.state", "FROZEN")
        yield
    finally:
        write_into(held + "/freezer.state", "THAWED")
        wait_gone(pid)
        os.rmdir(held)


def write_into(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


@story
def what_cannot_be_killed_is_stuck_until_it_can(host):
    status = host.shell("stuck", NEVER_ENDS)
    pid = status.containers[0].pid
    with impatient(host):
        with held_in_the_kernel(pid):
            status = host.api.Stop(fence=host.fence(), id="stuck", grace_ms=100).status
            equal((state_name(status), reason_name(status)), ("STUCK", "UNKILLABLE"))
            has(status.sentence, "container main cannot be killed", f"pid {pid} ")
            equal(status.containers[0].pid, pid)
            for call, fields, reason in ((host.api.Delete, {}, "STUCK"), (host.api.Delete, {"force": True}, "STUCK"),
                                         (host.api.Pause, {}, "NOT_RUNNING")):
                why = refused(lambda: call(fence=host.fence(), id="stuck", **fields), "FAILED_PRECONDITION", f"pid {pid} ")
                equal(why.reason, reason, str(why))
            has(host.ctl("ps").stdout, "STUCK")
            has(host.ctl("why", "stuck").stdout, "STUCK", f"pid {pid} ")
            equal(host.run_to_end("other", "/bin/true").code, 0)  # others do not notice
            requested = host.api.GetNode().node.requested
            equal(requested.workloads, 1, "what still holds its room")
        status = host.until("stuck", "EXITED")
        record = status.containers[0].last_exit
        equal((record.kind, record.signal), (types.EXIT_SIGNAL, 9))
        equal(reason_name(status), "KILLED_AFTER_GRACE")
    seen = [(reason_name(event), event.to) for answer in host.api.WatchEvents(id="stuck", from_oldest=True, no_follow=True)
            for event in answer.events]
    has(seen, ("UNKILLABLE", types.STUCK), ("KILLED_AFTER_GRACE", types.EXITED))


# --- the host's policy, read again ---

@story
def a_policy_that_is_read_again_holds_for_what_comes_after(host):
    def policy(sysctls, **more):
        host.write_policy(AllowedSysctls=sysctls, **more)
        host.reload_sandboxd()
        until_allowed(host, sysctls)

    def launch():
        return host.launch("wide", "/bin/sleep", "1000", network="NETWORK_HOST")
    try:
        equal(refused(launch, "PERMISSION_DENIED", "AllowHostNetwork", field="spec.network").reason, "POLICY")
        policy("kernel.shm_rmid_forced", AllowHostNetwork="yes", GrantableCapabilities="KILL")
        equal(state_name(launch()), "RUNNING")
        equal(os.readlink(f"/proc/{host.status('wide').containers[0].pid}/ns/net"), os.readlink("/proc/self/ns/net"))
        equal(list(host.api.GetNode().node.grantable_capabilities), ["KILL"])
        policy("net.ipv4.tcp_syncookies")
        equal(state_name(host.status("wide")), "RUNNING", "what ran before")
        host.remove("wide")
        host.generation += 1
        refused(launch, "PERMISSION_DENIED", "AllowHostNetwork")
    finally:
        host.write_policy()
        host.reload_sandboxd()


# --- sessions that wait for berth-sandboxd ---

@story
def sessions_that_wait_end_when_sandboxd_goes(host):
    if IN_VM:
        raise Skip("the services' own tests kill it")
    host.shell("box", NEVER_ENDS, container={"stdin": True})
    os.kill(host.sandboxd.pid, signal.SIGSTOP)  # it takes requests, and does nothing
    sessions = [Session(host.api.Attach, {"id": "box"}), Session(host.api.Exec, {"id": "box", "command": ["/bin/true"]})]
    while not all(session.requests.empty() for session in sessions):  # the library has not taken them yet
        pass
    host.api.GetNode()  # which comes behind them on the connection
    host.stop_sandboxd(signal.SIGKILL)
    for session in sessions:
        refused(session.end, "UNAVAILABLE")
    host.start_again()
    equal(state_name(host.status("box")), "RUNNING")

"""The daemons go and come back; the workloads stay."""
import os
import pwd
import signal
import socket
import tempfile

import changes
from api import Api, types
from host import AGENT_USER, read, reason_name, state_name
from session import Session
from story import IN_VM, Skip, equal, has, refused, story
from test_life import NEVER_ENDS


@story
def workloads_outlive_a_restart_of_sandboxd(host):
    status = host.shell("stays", NEVER_ENDS)
    host.shell("ends", "trap 'exit 13' TERM; echo up; while :; do sleep 0.05; done")
    host.until_output("ends", "up")
    ends = host.status("ends").containers[0].pid
    host.stop_sandboxd()
    os.kill(ends, signal.SIGTERM)  # its end has no daemon to tell: the monitor keeps it
    wait_gone(ends)
    host.start_again()
    record = host.ended("ends")
    equal((record.kind, record.code), (types.EXIT_CODE, 13))
    after = host.status("stays")
    equal((after.containers[0].pid, after.containers[0].attempt, state_name(after)),
          (status.containers[0].pid, 1, "RUNNING"))
    has([reason_name(event) for event in host.events()], "SANDBOX_LOST", "SANDBOX_BACK")
    has(host.output("stays"), "up")
    equal(state_name(host.api.Stop(fence=host.fence(), id="stays").status), "EXITED")


def wait_gone(pid):
    if not changes.until_ended(pid):
        raise AssertionError(f"process {pid} does not end")


@story
def an_exec_session_leaves_no_monitor_when_sandboxd_goes(host):
    host.shell("box", NEVER_ENDS)
    others = processes_titled("berth-monitor: box/main exe")  # of other hosts' tests
    session = Session(host.api.Exec, {"id": "box", "command": ["/bin/cat"], "stdin": True})
    session.wait(lambda s: s.started, "started")
    program = host.status("box").containers[0].pid
    monitors = [pid for pid in processes_titled("berth-monitor: box/main exe") if pid not in others]
    equal(len(monitors), 1)
    host.restart_sandboxd()
    session.cancel()
    host.api.Stop(fence=host.fence(), id="box", grace_ms=0)
    wait_gone(program)
    for pid in monitors:
        wait_gone(pid)


def processes_titled(title):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            have = read(f"/proc/{name}/cmdline").rstrip("\0")
        except OSError:
            continue
        if have.startswith(title):
            found.append(int(name))
    return found


@story
def sandboxd_killed_is_as_good_as_stopped(host):
    if IN_VM:
        raise Skip("the services' own tests kill it")
    status = host.shell("stays", NEVER_ENDS)
    health = host.api.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=30)
    equal(next(health), b"\x08\x01")
    host.stop_sandboxd(signal.SIGKILL)
    equal(next(health), b"\x08\x02", "what berthd says of itself once it has heard of it")
    health.cancel()
    refused(lambda: host.launch("meanwhile", "/bin/true"), "UNAVAILABLE")
    equal(state_name(host.status("stays")), "RUNNING")
    host.start_again()
    equal(host.status("stays").containers[0].pid, status.containers[0].pid)
    equal(state_name(host.launch("meanwhile", "/bin/sleep", "1000")), "RUNNING")


@story
def garbage_on_the_sockets_harms_no_one(host):
    host.shell("calm", NEVER_ENDS)
    addresses = [(socket.AF_UNIX, socket.SOCK_STREAM, host.socket)]
    if host.tcp_port():
        addresses.append((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", host.tcp_port())))
    private = host.run_dir + "/sandboxd.sock"
    addresses.append((socket.AF_UNIX, socket.SOCK_SEQPACKET, private))
    for family, kind, address in addresses:
        for garbage in (b"\0" * 100, os.urandom(4096), b"GET / HTTP/1.1\r\n\r\n",
                        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200):
            with socket.socket(family, kind) as peer:
                peer.settimeout(10)
                peer.connect(address)
                try:
                    peer.send(garbage)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass
                except OSError:
                    pass
    host.wait_serving()
    equal(state_name(host.status("calm")), "RUNNING")
    with Api("unix://" + host.socket) as another:
        equal(another.GetNode().node.schedulable, True)


@story
def a_bad_configuration_keeps_the_old_one(host):
    if IN_VM:
        raise Skip("the configuration there is the package's")
    host.write_settings(Node_MaxWorkloads="many")
    text = host.reload_berthd("old configuration stays")
    has(text, "berthd.conf", "MaxWorkloads")
    equal(state_name(host.launch("fine", "/bin/sleep", "1000")), "RUNNING")
    host.write_settings(Node_MaxWorkloads="1")
    host.reload_berthd("configuration read again")
    why = refused(lambda: host.launch("more", "/bin/sleep", "1000"), "RESOURCE_EXHAUSTED", "workloads")
    has(why.quotas, "workloads")
    host.write_settings()
    host.reload_berthd("configuration read again")
    equal(state_name(host.launch("more", "/bin/sleep", "1000")), "RUNNING")


def move_logs(host, directory):
    """Both daemons from the start, with another log directory; berthd is up before berth-sandboxd makes it."""
    host.berthd.terminate()
    host.berthd.wait(20)
    host.stop_sandboxd()
    host.log_dir = directory
    host.write_policy()
    host.write_settings()
    host.start_berthd()
    with Api("unix://" + host.socket) as api:  # its own, which has not seen the old one go
        api.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20, wait_for_ready=True)
    host.start_again()


@story
def berthd_reads_logs_whose_directory_was_made_after_its_start(host):
    if IN_VM:
        raise Skip("systemd starts berth-sandboxd first there")
    before = host.log_dir
    with tempfile.TemporaryDirectory(prefix="berth-stories-logs-", dir="/run") as place:
        os.chown(place, 0, pwd.getpwnam(AGENT_USER).pw_gid)
        os.chmod(place, 0o750)
        try:
            move_logs(host, place + "/workloads")
            host.run_to_end("late", "/bin/echo", "hello")
            equal(host.output("late"), "hello\n")
        finally:
            move_logs(host, before)

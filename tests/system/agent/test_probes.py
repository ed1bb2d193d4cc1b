"""Probes: what a workload says of itself when asked, and what follows."""
import os
import signal
import socket
import time
from concurrent import futures

import grpc

from api import types
from host import group_files, read, reason_name, state_name
from story import IN_VM, Skip, equal, has, refused, rounds, story
from test_life import NEVER_ENDS
from test_policy import wait_for_end
from test_survival import wait_gone

EVERY = {"period_ms": 100, "timeout_ms": 5000}
DATA = [{"name": "data", "tmpfs": {}}]
AT_DATA = [{"volume": "data", "target": "/data"}]


def with_data(**container):
    return {"volumes": DATA, "container": {"mounts": AT_DATA, **container}}


def history(host, workload_id, *reasons):
    return [(reason_name(event), event.container) for event in host.events(id=workload_id)
            if not reasons or reason_name(event) in reasons]


def probe_of(status):
    """The only probe of the first container."""
    equal(len(status.containers[0].probes), 1, "number of probes")
    return status.containers[0].probes[0]


def becomes(host, workload_id, condition, seconds=30):
    """The status once `condition` holds: of tries there are no events, so it is looked at."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = host.status(workload_id)
        if condition(status):
            return status
        time.sleep(0.02)
    raise AssertionError(f"{workload_id} is not so after {seconds} s: {status}")


def asked(host, workload_id, condition):
    """The same of its only probe."""
    return becomes(host, workload_id, lambda status: condition(probe_of(status)))


def failing(host, workload_id, *parts, times=1):
    """Until it has failed so often, and so: before its server listened, or while the host was busy, it may otherwise."""
    return asked(host, workload_id, lambda probe: probe.failures >= times and
                 all(part in probe.last_failure for part in parts))


@story
def a_web_server_is_asked_over_http(host):
    host.shell("web", "mkdir /data/www; echo yes > /data/www/ok; exec httpd -f -p 8080 -h /data/www",
               **with_data(readiness_probe={"http": {"port": 8080, "path": "/ok"}, **EVERY}))
    status = host.until("web", lambda s: s.ready)
    equal((state_name(status), status.containers[0].ready), ("RUNNING", True))
    has(host.ctl("ps").stdout, "1/1")
    host.ctl("exec", "web", "/bin/rm", "/data/www/ok")
    status = host.until("web", lambda s: not s.ready)
    has(status.containers[0].unready_sentence, "GET 127.0.0.1:8080/ok", "404")
    equal(state_name(status), "RUNNING")
    has(host.ctl("why", "web").stdout, "not ready", "GET 127.0.0.1:8080/ok: answered 404")
    host.ctl("exec", "web", "/bin/touch", "/data/www/ok")
    host.until("web", lambda s: s.ready)
    equal(history(host, "web", "BECAME_READY", "BECAME_UNREADY"),
          [("BECAME_READY", "main"), ("BECAME_READY", ""), ("BECAME_UNREADY", "main"), ("BECAME_UNREADY", ""),
           ("BECAME_READY", "main"), ("BECAME_READY", "")])


@story
def loopback_of_either_family_is_reached(host):
    host.shell("six", "httpd -f -p [::1]:8080 -h /bin", container={"readiness_probe": {
        "http": {"port": 8080, "path": "/probe", "ipv6": True}, **EVERY}})
    host.until("six", lambda s: s.ready)
    host.shell("four", "httpd -f -p [::1]:8080 -h /bin", container={"readiness_probe": {
        "http": {"port": 8080, "path": "/probe"}, **EVERY}})
    failing(host, "four", "cannot connect: Connection refused")


@story
def a_program_that_fails_ends_the_container(host):
    host.shell("sick", "touch /data/alive; " + NEVER_ENDS, **with_data(
        liveness_probe={"exec": {"command": ["/bin/sh", "-c", "cat /data/alive; echo asked >> /data/log; "
                                             "[ -f /data/alive ] || { echo it is gone; exit 3; }"]}, **EVERY}),
        restart={"mode": "RESTART_ON_FAILURE", "initial_backoff_ms": 10})
    asked(host, "sick", lambda probe: probe.successes >= 2)
    host.ctl("exec", "sick", "/bin/rm", "/data/alive")
    status = host.until("sick", lambda s: s.restarts == 1 and state_name(s) == "RUNNING")
    record = status.containers[0].last_exit
    equal((reason_name(record), record.code), ("LIVENESS_FAILED", 9))
    has(record.sentence, "its liveness probe failed 3 times in a row", "exec /bin/sh: exited with code 3: it is gone")
    has(host.ctl("why", "sick").stdout, "LIVENESS_FAILED", "it is gone")
    # It is nobody's session, and its output is no log.
    equal({reason for reason, _ in history(host, "sick")} & {"EXEC_STARTED", "EXEC_ENDED"}, {"EXEC_STARTED", "EXEC_ENDED"},
          "the one session, of berthctl")
    equal(len(history(host, "sick", "EXEC_STARTED")), 1)
    equal("it is gone" in host.output("sick"), False)


def groups_below(pid):
    """The groups below that of a container, and how many processes each has; the first one is its own."""
    files = group_files(pid)
    top = files.get("") or files["freezer"]
    return {os.path.relpath(root, top): len(read(root + "/cgroup.procs").split())
            for root, _, names in os.walk(top) if "cgroup.procs" in names}


@story
def a_program_that_is_late_is_killed_with_all_that_it_started(host):
    # What it starts leaves its session and its parents behind, and ignores every signal that can be.
    late = "trap '' TERM HUP INT; for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP INT; (sleep 1000 & sleep 1000) & wait' & done; wait"
    status = host.shell("late", NEVER_ENDS, container={"readiness_probe": {
        "exec": {"command": ["/bin/sh", "-c", late]}, "period_ms": 300, "timeout_ms": rounds(200, 2000)}})
    pid = status.containers[0].pid
    status = failing(host, "late", "exec /bin/sh: did not end within ", times=2)
    equal(status.containers[0].ready, False)
    host.api.Pause(fence=host.fence(), id="late")  # nothing new is begun
    deadline = time.monotonic() + 20
    while len(groups_below(pid)) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    host.api.Resume(fence=host.fence(), id="late")
    equal(sorted(set(groups_below(pid)) - {"."})[1:], [], "groups of probes that are over")
    host.api.Stop(fence=host.fence(), id="late", grace_ms=0)
    wait_gone(pid)


@story
def a_probe_s_program_has_the_limits_of_its_container(host):
    status = host.shell("tight", NEVER_ENDS, container={
        "resources": {"memory_limit_bytes": 16 << 20},
        "readiness_probe": {"exec": {"command": ["/bin/probe", "eat", "64"]}, **EVERY}})
    failing(host, "tight", "exec /bin/probe: ended by SIGKILL")
    equal(host.status("tight").containers[0].pid, status.containers[0].pid)


@story
def nothing_else_is_asked_before_it_has_started_up(host):
    host.shell("slow", "while :; do [ -f /data/go ] && exec /bin/server silent 9000; sleep 0.1; done", **with_data(
        startup_probe={"tcp": {"port": 9000}, "failure_threshold": 1000, **EVERY},
        liveness_probe={"exec": {"command": ["/bin/touch", "/data/asked"]}, **EVERY}))
    status = becomes(host, "slow", lambda s: s.containers[0].probes[0].failures >= 5)
    equal((status.ready, [p.successes + p.failures for p in status.containers[0].probes][1]), (False, 0))
    has(status.containers[0].unready_sentence, "startup probe")
    has(status.containers[0].probes[0].last_failure, "TCP 127.0.0.1:9000: cannot connect")
    equal(host.ctl("exec", "slow", "/bin/test", "-e", "/data/asked", code=1).stdout, "")
    host.ctl("exec", "slow", "/bin/touch", "/data/go")
    status = host.until("slow", lambda s: s.ready)
    becomes(host, "slow", lambda s: s.containers[0].probes[1].successes >= 2)
    host.ctl("exec", "slow", "/bin/test", "-e", "/data/asked")


@story
def what_does_not_start_up_in_time_is_ended(host):
    host.shell("never", NEVER_ENDS, no_wait=True, container={"startup_probe": {"tcp": {"port": 9000}, "failure_threshold": 3,
                                                                            **EVERY}})
    status = host.until("never", "EXITED")
    equal(reason_name(status), "STARTUP_FAILED")
    has(status.sentence, "its startup probe failed 3 times in a row", "Connection refused")


@story
def grpc_health_is_asked(host):
    host.launch("grpc", "/bin/server", "grpc", "9000", "/data/good", **with_data(
        readiness_probe={"grpc": {"port": 9000, "service": "x.y"}, **EVERY}))
    failing(host, "grpc", 'gRPC health of "x.y" at 127.0.0.1:9000: answered NOT_SERVING')
    host.ctl("exec", "grpc", "/bin/touch", "/data/good")
    host.until("grpc", lambda s: s.ready)
    asked(host, "grpc", lambda probe: probe.successes >= 5)


@story
def servers_of_the_host_s_network_are_asked_there(host):
    class Health(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method == "/grpc.health.v1.Health/Check":
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
            return None

    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Health(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        host.write_policy(AllowHostNetwork="yes")
        host.reload_sandboxd()
        probe = {"readiness_probe": {"grpc": {"port": port}, **EVERY}}
        until_allowed(host, lambda: host.shell("shared", NEVER_ENDS, network="NETWORK_HOST", container=probe))
        host.until("shared", lambda s: s.ready)
        # The same from a network of its own is another loopback.
        host.shell("apart", NEVER_ENDS, container=probe)
        failing(host, "apart", "Connection refused")
    finally:
        server.stop(0)
        host.remove("shared")
        host.write_policy()
        host.reload_sandboxd()


def until_allowed(host, launch):
    from api import Refused
    deadline = time.monotonic() + 20
    while True:
        try:
            return launch()
        except Refused as why:
            if "policy" not in why.text or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def memory_of(pid):
    fields = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
    return int(fields["VmRSS"].split()[0]) << 10


@story
def hostile_answers_harm_nobody(host):
    http = {"http": {"port": 9000}}
    probes = {"silent": (http, "no answer in time"), "drip": (http, "no whole answer in time"), "flood": (http, "no name"),
              "frames": (http, "does not speak HTTP/1.x"), "silent-grpc": ({"grpc": {"port": 9000}}, ""),
              "frames-grpc": ({"grpc": {"port": 9000}}, ""), "flood-grpc": ({"grpc": {"port": 9000}}, ""), "words": (http, "does not speak HTTP/1.x"),
              "words-grpc": ({"grpc": {"port": 9000}}, "")}
    before = 0 if IN_VM else memory_of(host.berthd.pid)
    for name, (probe, _) in probes.items():
        host.launch(name, "/bin/server", name.partition("-")[0], "9000", "SSH-2.0-words", container={"readiness_probe": {
            **probe, "period_ms": 100, "timeout_ms": 300}})
    for name, (_, why) in probes.items():
        equal(failing(host, name, why, times=5).ready, False)
    began = time.monotonic()
    for _ in range(20):
        host.api.GetNode()
    if time.monotonic() - began > 20:
        raise AssertionError(f"20 calls take {time.monotonic() - began} s")
    if not IN_VM and memory_of(host.berthd.pid) > before + (16 << 20):
        raise AssertionError(f"berthd grew from {before} to {memory_of(host.berthd.pid)}")


@story
def readiness_survives_a_restart_of_berthd(host):
    if IN_VM:
        raise Skip("berthd is the guest's own service")
    host.shell("stands", "httpd -f -p 8080 -h /bin", container={
        "readiness_probe": {"http": {"port": 8080, "path": "/probe"}, "period_ms": 500, "timeout_ms": 5000}})
    since = host.until("stands", lambda s: s.ready).ready_changed_unix_ns
    for sig in (signal.SIGTERM, signal.SIGKILL):
        host.berthd.send_signal(sig)
        host.berthd.wait(30)
        host.start_berthd()
        host.wait_serving()
        status = host.status("stands")
        equal((status.ready, status.ready_changed_unix_ns), (True, since))
        asked(host, "stands", lambda probe: probe.successes >= 2)
    equal(history(host, "stands", "BECAME_READY", "BECAME_UNREADY"), [("BECAME_READY", "main"), ("BECAME_READY", "")])


@story
def no_probe_fails_because_sandboxd_is_away(host):
    status = host.shell("alone", "httpd -f -p 8080 -h /bin", container={
        "liveness_probe": {"exec": {"command": ["/bin/true"]}, "period_ms": 100, "failure_threshold": 1,
                           "timeout_ms": 20000},
        "readiness_probe": {"tcp": {"port": 8080}, "period_ms": 100, "failure_threshold": 1, "timeout_ms": 20000}})
    host.until("alone", lambda s: s.ready)
    host.stop_sandboxd(signal.SIGKILL)
    away = becomes(host, "alone", lambda s: s.containers[0].probes[1].not_asked)
    has(away.containers[0].probes[1].not_asked, "connect")
    equal(host.status("alone").ready, True)  # it is reached without
    host.start_again()
    after = becomes(host, "alone", lambda s: not s.containers[0].probes[1].not_asked)
    equal((after.containers[0].pid, after.restarts, after.ready), (status.containers[0].pid, 0, True))
    equal(history(host, "alone", "BECAME_UNREADY", "LIVENESS_FAILED"), [])


@story
def wrong_probes_are_told_by_field(host):
    where = "spec.containers[0].readiness_probe"
    for probe, field in (({"http": {"port": 0}}, ".http.port"), ({"tcp": {"port": 99999}}, ".tcp.port"),
                         ({"http": {"port": 1, "path": "x"}}, ".http.path"), ({}, ""), ({"exec": {}}, ".exec.command"),
                         ({"tcp": {"port": 1}, "period_ms": 1}, ".period_ms"),
                         ({"tcp": {"port": 1}, "timeout_ms": 1}, ".timeout_ms")):
        refused(lambda: host.launch("wrong", "/bin/true", container={"readiness_probe": probe}),
                "INVALID_ARGUMENT", field=where + field)


@story
def berthctl_runs_and_explains_probes(host):
    host.ctl("run", "-d", "-n", "probed", "--root", host.rootfs, "--tmpfs", "/data", "--readiness-exec", "test -f /data/ready",
             "--readiness-period", "100ms", "--liveness-http=8080/probe", "--liveness-period=100ms",
             "--liveness-failures=1000", "--liveness-timeout=2s", "--startup-tcp", "8080", "--startup-period", "100ms",
             "--startup-failures=1000", "/bin/httpd", "-f", "-p", "8080", "-h", "/bin")
    probes = host.ctl_json("inspect", "--spec", "probed")["containers"][0]
    equal((probes["livenessProbe"]["http"]["path"], probes["startupProbe"]["tcp"], probes["livenessProbe"]["timeoutMs"]),
          ("/probe", {"port": 8080}, 2000))
    becomes(host, "probed", lambda s: "exited with code 1" in s.containers[0].unready_sentence)
    has(host.ctl("ps").stdout, "RUNNING (not ready)")
    has(host.ctl("why", "probed").stdout, "ready:     no", "exec /bin/sh: exited with code 1", "liveness:  ", "in a row")
    host.ctl("exec", "probed", "/bin/touch", "/data/ready")
    host.until("probed", lambda s: s.ready)
    has(host.ctl("why", "probed").stdout, "ready:     yes", "readiness: good ")
    # As the README has it.
    host.ctl("run", "-d", "-n", "shown", "--root", host.rootfs, "--readiness-http", "8080/healthz", "--liveness-exec",
             "test -f /tmp/alive", "--liveness-period", "5s", "--restart", "on-failure", "--restart-rule",
             "3,SEGV,oom=fail", "--stop-after-disconnect", "10m", "--", "/bin/sleep", "1000")
    equal(host.ctl_json("inspect", "--spec", "shown")["restart"]["rules"],
          [{"exitCodes": [3], "signals": ["SIGSEGV"], "oom": True, "action": "RULE_FAIL"}])
    for flags in (["--liveness-tcp", "0"], ["--liveness-tcp", "80/x"], ["--readiness-period", "soon"],
                  ["--readiness-failures", "0"], ["--startup-http", "x"]):
        has(host.ctl("run", "-d", "-n", "wrong", "--root", host.rootfs, *flags, "/bin/true", code=2).stderr, flags[0])

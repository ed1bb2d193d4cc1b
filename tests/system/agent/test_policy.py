"""What follows an end, and the leases of schedulers."""
import os
import select

from api import Api, types
from host import reason_name, state_name
from story import IN_VM, Skip, equal, has, refused, story
from test_access import authority_of
from test_life import NEVER_ENDS


def wait_for_end(pid, seconds):
    """Whether process `pid` ended within that time; nothing is asked of the host meanwhile."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


@story
def exit_codes_decide_by_rule(host):
    policy = {"mode": "RESTART_ALWAYS", "initial_backoff_ms": 20, "factor_permille": 1000, "rules": [
        {"exit_codes": [3, 4], "action": "RULE_FAIL"}, {"exit_codes": [0], "action": "RULE_DO_NOT_RESTART"},
        {"signals": ["SEGV"], "action": "RULE_DO_NOT_RESTART"}, {"oom": True, "action": "RULE_FAIL"}]}
    writable = {"root": {"directory": host.rootfs, "writable": False}}
    # Fails with 9 twice, which no rule names, then with 4.
    host.shell("counts", "n=$(cat /data/n 2> /dev/null || echo 0); echo $((n + 1)) > /data/n; [ $n -lt 2 ] && exit 9; "
               "exit 4", no_wait=True, restart=policy, volumes=[{"name": "data", "tmpfs": {}}],
               container={**writable, "mounts": [{"volume": "data", "target": "/data"}]})
    status = host.until("counts", "EXITED")
    equal((status.restarts, reason_name(status), status.containers[0].last_exit.code), (2, "FAILED_BY_RULE", 4))
    has(status.sentence, "restart rule 1", "exited with code 4")
    status = host.launch("good", "/bin/true", no_wait=True, restart=policy)
    status = host.until("good", "EXITED")
    equal((status.restarts, reason_name(status)), (0, "COMPLETED"))
    host.launch("broken", "/bin/probe", "fault", no_wait=True, restart=policy)
    status = host.until("broken", "EXITED")
    equal((status.restarts, reason_name(status)), (0, "SIGNALED"))
    host.launch("greedy", "/bin/probe", "eat", "64", no_wait=True, restart=policy,
                container={"resources": {"memory_limit_bytes": 16 << 20}})
    status = host.until("greedy", "EXITED")
    equal((status.restarts, reason_name(status)), (0, "FAILED_BY_RULE"))


@story
def the_next_restart_is_told_with_its_time(host):
    host.ctl("run", "-d", "-n", "waits", "--root", host.rootfs, "--restart=always", "--restart-rule=0,TERM=stop",
             "/bin/sh", "-c", "exit 7")
    status = host.until("waits", lambda s: state_name(s) == "BACKOFF" and s.restarts >= 2)
    if not 0 < status.next_restart_in_ms <= 4000:
        raise AssertionError(f"it starts again in {status.next_restart_in_ms} ms")
    has(host.ctl("why", "waits").stdout, "starts again in ", "exited with code 7")
    row = [line for line in host.ctl("ps").stdout.splitlines() if line.startswith("waits")][0]
    has(row, "BACKOFF (")


@story
def wrong_rules_name_their_fields(host):
    refused(lambda: host.launch("wrong", "/bin/true", restart={"rules": [{"exit_codes": [300], "action": "RULE_FAIL"}]}),
            "INVALID_ARGUMENT", field="spec.restart.rules[0].exit_codes[0]")
    refused(lambda: host.launch("wrong", "/bin/true", restart={"rules": [{"action": "RULE_FAIL"}]}),
            "INVALID_ARGUMENT", field="spec.restart.rules[0]")
    has(host.ctl("run", "-d", "-n", "wrong", "--root", host.rootfs, "--restart-rule=3", "/bin/true", code=2).stderr,
        "--restart-rule")


@story
def a_workload_whose_scheduler_is_silent_is_stopped(host):
    status = host.shell("leased", NEVER_ENDS, stop_after_disconnect_ms=1500)
    equal(status.scheduler, f"uid:{os.getuid()}")
    pid = status.containers[0].pid
    # A stream is being heard of for as long as it is open, whatever passes over it.
    with host.api.WatchEvents(id="leased") as events:
        equal(wait_for_end(pid, 3), False, "its end while a stream is open")
        del events
    has(host.ctl("why", "leased").stdout, "lease:", f"uid:{os.getuid()} is silent for 1.")
    equal(wait_for_end(pid, 30), True, "its end after the lease")
    status = host.until("leased", "EXITED")
    equal(reason_name(status), "SCHEDULER_SILENT")
    has(status.sentence, f"uid:{os.getuid()}", "1s500ms")
    told = [event for event in host.events(id="leased") if reason_name(event) == "SCHEDULER_SILENT"]
    equal(state_name_of(told[0]), "STOPPING")


def state_name_of(event):
    return types.WorkloadState.Name(event.to)


@story
def a_lease_is_of_the_scheduler_whose_certificate_it_was(host):
    if IN_VM:
        raise Skip("the guest's services listen on the unix socket alone")
    authority = authority_of(host)
    with Api(f"127.0.0.1:{host.tcp_port()}", authority.credentials("sched.example")) as scheduler:
        answer = scheduler.Launch(fence=host.fence(), spec=host.spec("theirs", "/bin/sh", "-c", NEVER_ENDS,
                                                                     stop_after_disconnect_ms=4000))
        status = answer.status
        equal(status.scheduler, "sched.example")
        pid = status.containers[0].pid
        with host.api.WatchEvents():  # an operator on the socket is somebody else
            for _ in range(6):
                equal(wait_for_end(pid, 1), False, "its end while its scheduler calls")
                scheduler.Get(id="theirs")
            equal(wait_for_end(pid, 30), True, "its end though an operator's stream is open")
    equal(reason_name(host.until("theirs", "EXITED")), "SCHEDULER_SILENT")


@story
def a_lease_goes_on_over_a_restart_of_berthd(host):
    if IN_VM:
        raise Skip("berthd is the guest's own service")
    pid = host.shell("leased", NEVER_ENDS, stop_after_disconnect_ms=4000).containers[0].pid
    host.berthd.terminate()
    host.berthd.wait(30)
    host.start_berthd()
    equal(wait_for_end(pid, 30), True, "its end after the lease")
    host.wait_serving()
    equal(reason_name(host.until("leased", "EXITED")), "SCHEDULER_SILENT")

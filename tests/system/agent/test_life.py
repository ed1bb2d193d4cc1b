"""A workload's life: its limits, its end and why, restarts, groups, stop, pause."""
from api import types
from host import group_files, is_v2, limit, read, reason_name, state_name
from story import equal, has, refused, rounds, story

NEVER_ENDS = "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done"
MIB = 1 << 20


@story
def limits_are_in_force_on_the_host(host):
    status = host.shell("limits", NEVER_ENDS, container={"resources": {
        "cpu_limit_millis": 250, "memory_limit_bytes": 64 * MIB, "pids_limit": 32, "cpu_request_millis": 100}})
    equal(state_name(status), "RUNNING")
    pid = status.containers[0].pid
    equal(limit(pid, "memory.max", "memory", "memory.limit_in_bytes"), str(64 * MIB))
    equal(limit(pid, "pids.max", "pids", "pids.max"), "32")
    if is_v2(pid, "cpu"):
        equal(limit(pid, "cpu.max", "cpu", ""), "25000 100000")
        equal(limit(pid, "memory.swap.max", "memory", ""), "0")
    else:
        equal(limit(pid, "", "cpu", "cpu.cfs_quota_us"), "25000")
    host_id = int(read(f"/proc/{pid}/uid_map").split()[1])
    equal(host_id, status.host_id_first)
    equal(host_id % 65536, 0)
    fields = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
    equal(fields["Uid"].split()[0], str(host_id), "its user on the host")
    equal(fields["CapBnd"].strip(), "0" * 16)
    equal(fields["NoNewPrivs"].strip(), "1")
    equal(fields["Seccomp"].strip(), "2")


@story
def the_limits_of_a_workload_hold_its_containers_together(host):
    containers = [host.container("/bin/sleep", "1000", name=name, resources={"memory_limit_bytes": 32 * MIB})
                  for name in ("one", "two")]
    status = host.launch("together", containers=containers, resources={"memory_limit_bytes": 48 * MIB,
                                                                      "pids_limit": 20})
    groups = [group_files(c.pid).get("memory") or group_files(c.pid)[""] for c in status.containers]
    parents = {group.rpartition("/")[0] for group in groups}
    equal(len(parents), 1, "number of parents of both groups")
    parent = parents.pop()
    name = "memory.limit_in_bytes" if not is_v2(status.containers[0].pid, "memory") else "memory.max"
    equal(read(parent + "/" + name).strip(), str(48 * MIB))


@story
def exits_are_told_exactly(host):
    for code in (0, 3, 137, 255):
        record = host.run_to_end(f"code-{code}", "/bin/sh", "-c", f"exit {code}")
        equal((record.kind, record.code, record.signal), (types.EXIT_CODE, code, 0))
        equal(reason_name(record), "COMPLETED" if code == 0 else "EXITED_NONZERO")
    host.launch("killed", "/bin/sleep", "1000")
    host.api.Signal(fence=host.fence(), id="killed", signal="KILL")
    record = host.ended("killed")
    equal((record.kind, record.signal, record.signal_name, record.oom_killed),
          (types.EXIT_SIGNAL, 9, "SIGKILL", False))
    record = host.run_to_end("fault", "/bin/probe", "fault")
    equal((record.signal, record.signal_name), (11, "SIGSEGV"))
    has([types.EXIT_SIGNAL, types.EXIT_CORE_DUMPED], record.kind)


@story
def the_oom_killer_is_named_with_its_figures(host):
    record = host.run_to_end("greedy", "/bin/probe", "eat", "64",
                             container={"resources": {"memory_limit_bytes": 16 * MIB}})
    equal((record.oom_killed, reason_name(record), record.signal), (True, "OOM_KILLED", 9))
    equal(record.memory_limit_bytes, 16 * MIB)
    if not 8 * MIB < record.memory_peak_bytes <= 17 * MIB:
        raise AssertionError(f"its peak is {record.memory_peak_bytes}")
    account = host.ctl("why", "greedy").stdout
    has(account, "OOM killer", "16.0 MiB", "memory_limit_bytes")


@story
def an_oom_kill_of_a_child_is_told_of_the_group(host):
    record = host.run_to_end("child-oom", "/bin/sh", "-c", "/bin/probe eat 64; exit 5",
                             container={"resources": {"memory_limit_bytes": 16 * MIB}})
    equal(record.oom_killed, True)
    has(record.sentence, "OOM")


@story
def a_denied_syscall_is_named(host):
    record = host.run_to_end("curious", "/bin/probe", "mount", "3")
    equal((record.kind, record.code), (types.EXIT_CODE, 0))
    denied = {entry.name: entry for entry in record.denied}
    entry = denied["mount"]
    equal((entry.times, entry.error, entry.last_program), (3, "EPERM", "/bin/probe"))
    has(host.output("curious"), "Operation not permitted")
    has(host.ctl("why", "curious").stdout, "mount(2) 3 times with EPERM, last by /bin/probe")
    has([reason_name(event) for event in host.events(id="curious")], "SYSCALL_DENIED")


@story
def restarts_wait_longer_each_time_and_end(host):
    host.launch("again", "/bin/false", no_wait=True, restart={
        "mode": "RESTART_ON_FAILURE", "initial_backoff_ms": 100, "factor_permille": 2000,
        "max_backoff_ms": 300, "max_restarts": 4})
    status = host.until("again", "EXITED")
    equal((status.restarts, reason_name(status)), (4, "RESTARTS_EXHAUSTED"))
    told, waits, began = [], [], None
    for event in host.events(id="again"):
        if event.to == types.BACKOFF and event.to != getattr(event, "from"):
            began = event.time_boot_ns
            told.append(event.sentence.rpartition("starts again in ")[2])
        elif began and event.to in (types.STARTING, types.RUNNING):
            waits.append((event.time_boot_ns - began) / 1e6)
            began = None
    equal(told, ["100ms", "200ms", "300ms", "300ms"])
    equal(len(waits), 4, f"number of waits in {waits}")
    for wait, least in zip(waits, (100, 200, 300, 300)):
        if not least <= wait < least + 5000:  # the host may be busy
            raise AssertionError(f"waits are {waits}")


@story
def success_ends_what_restarts_on_failure_only(host):
    host.launch("once", "/bin/true", no_wait=True, restart={"mode": "RESTART_ON_FAILURE"})
    equal(host.until("once", "EXITED").restarts, 0)
    host.launch("always", "/bin/true", no_wait=True,
                restart={"mode": "RESTART_ALWAYS", "initial_backoff_ms": 10, "max_restarts": 2})
    equal(host.until("always", "EXITED").restarts, 2)


@story
def a_long_run_resets_the_backoff(host):
    # Runs for longer than reset_after_ms each time: every wait is the first one.
    host.launch("reset", "/bin/sh", "-c", "sleep 0.2; exit 1", no_wait=True, restart={
        "mode": "RESTART_ALWAYS", "initial_backoff_ms": 50, "factor_permille": 100000,
        "reset_after_ms": 100})
    status = host.until("reset", lambda s: s.restarts >= 3, seconds=rounds(15, 60))
    equal(status.restarts >= 3, True)


@story
def a_restart_is_a_new_attempt_and_the_last_end_stays_told(host):
    host.shell("attempts", "exit 7", no_wait=True,
               restart={"mode": "RESTART_ALWAYS", "initial_backoff_ms": 60000})
    status = host.until("attempts", "BACKOFF")
    equal(status.containers[0].last_exit.code, 7)
    equal(status.next_restart_unix_ns > status.changed_time_unix_ns, True)
    status = host.api.Stop(fence=host.fence(), id="attempts").status
    equal((state_name(status), reason_name(status)), ("EXITED", "STOP_REQUESTED"))


@story
def init_containers_run_first_and_in_order(host):
    def step(name, role, script):
        return host.container("/bin/sh", "-c", script, name=name, role=role,
                              mounts=[{"volume": "shared", "target": "/data"}])
    host.launch("ordered", no_wait=True, volumes=[{"name": "shared", "empty_directory": {}}], containers=[
        step("main", "ROLE_MAIN", "cat /data/log; echo main; " + NEVER_ENDS),
        step("second", "ROLE_INIT", "sleep 0.1; echo second >> /data/log"),
        step("side", "ROLE_SIDECAR", "echo side >> /data/log; " + NEVER_ENDS),
        step("third", "ROLE_INIT", "echo third >> /data/log"),
    ])
    host.until_output("ordered", "main", container="main")
    text = host.output("ordered", container="main").split("\n")
    equal([line for line in text if line in ("second", "third", "side")][:2], ["second", "third"])
    status = host.status("ordered")
    equal({c.name: state_name(c) for c in status.containers},
          {"main": "RUNNING", "second": "EXITED", "side": "RUNNING", "third": "EXITED"})


@story
def a_failed_init_container_fails_the_workload(host):
    host.launch("no-init", no_wait=True, containers=[
        host.container("/bin/sh", "-c", "exit 4", name="first", role="ROLE_INIT"),
        host.container("/bin/sleep", "1000", name="main")])
    status = host.until("no-init", "EXITED")
    equal(reason_name(status), "INIT_FAILED")
    equal({c.name: c.attempt for c in status.containers}["main"], 0, "attempts of main")


@story
def sidecars_end_last(host):
    def talker(name, role):
        return host.container("/bin/sh", "-c", f"trap 'echo {name} ends >> /data/log; sleep 0.1; exit 0' TERM; echo up; "
                              "while :; do sleep 0.02; done", name=name, role=role,
                              mounts=[{"volume": "v", "target": "/data"}])
    host.launch("sides", volumes=[{"name": "v", "host_directory": {"path": host.place + "/shared"}}],
                containers=[talker("main", "ROLE_MAIN"), talker("side", "ROLE_SIDECAR")])
    for name in ("main", "side"):
        host.until_output("sides", "up", container=name)
    host.api.Stop(fence=host.fence(), id="sides")
    equal(read(host.place + "/shared/log").split("\n")[:2], ["main ends", "side ends"])


@story
def containers_die_as_one(host):
    host.launch("group", containers=[
        host.container("/bin/sh", "-c", NEVER_ENDS, name="survivor"),
        host.container("/bin/sh", "-c", "sleep 0.2; exit 6", name="mortal")])
    status = host.until("group", "EXITED")
    exits = {c.name: c.last_exit for c in status.containers}
    equal((exits["mortal"].kind, exits["mortal"].code), (types.EXIT_CODE, 6))
    equal(exits["survivor"].kind in (types.EXIT_CODE, types.EXIT_SIGNAL), True)
    equal(reason_name(status), "EXITED_NONZERO")


@story
def children_die_with_the_first_process(host):
    record = host.run_to_end("orphans", "/bin/sh", "-c", "sleep 1000 & sleep 1000 & sleep 0.1; exit 2")
    equal(record.code, 2)
    # The pid namespace ends them with it; nothing of the group may be left.
    host.remove("orphans")
    equal([g for g in host.what_is_left() if "orphans" in g], [])


@story
def stop_asks_then_kills(host):
    host.shell("polite", NEVER_ENDS)
    host.until_output("polite", "up")
    status = host.api.Stop(fence=host.fence(), id="polite").status
    equal((state_name(status), reason_name(status)), ("EXITED", "STOP_REQUESTED"))
    equal(status.containers[0].last_exit.code, 9)
    host.shell("deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    host.until_output("deaf", "up")
    status = host.api.Stop(fence=host.fence(), id="deaf", grace_ms=300).status
    equal((state_name(status), reason_name(status)), ("EXITED", "KILLED_AFTER_GRACE"))
    equal((status.containers[0].last_exit.kind, status.containers[0].last_exit.signal), (types.EXIT_SIGNAL, 9))


@story
def the_stop_signal_is_the_workloads_own(host):
    host.shell("usr1", "trap 'exit 11' USR1; echo up; while :; do sleep 0.05; done",
               container={"stop_signal": "SIGUSR1"})
    host.until_output("usr1", "up")
    equal(host.api.Stop(fence=host.fence(), id="usr1").status.containers[0].last_exit.code, 11)


@story
def signals_reach_the_first_process_or_all(host):
    host.shell("signals", "(trap 'echo child' HUP; echo ready; while :; do sleep 0.05; done) & "
               "trap 'echo parent' HUP; echo up; while :; do sleep 0.05; done")
    host.until_output("signals", "ready")
    host.until_output("signals", "up")
    host.api.Signal(fence=host.fence(), id="signals", signal="SIGHUP")
    host.until_output("signals", "parent")
    equal("child" in host.output("signals"), False)
    host.api.Signal(fence=host.fence(), id="signals", signal="1", all_processes=True)
    host.until_output("signals", "child")


@story
def pause_stands_still_and_resume_goes_on(host):
    host.shell("paused", "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done")
    host.until_output("paused", "3")
    status = host.api.Pause(fence=host.fence(), id="paused").status
    equal((status.paused, state_name(status)), (True, "RUNNING"))
    frozen = read(f"/proc/{status.containers[0].pid}/stat").split()[13]
    before = host.output("paused")
    host.says("sleep 0.3")
    grown = len(host.output("paused").split()) - len(before.split())
    if grown > 1:  # one line may have been on its way to the log
        raise AssertionError(f"it wrote {grown} lines while it was paused")
    equal(read(f"/proc/{status.containers[0].pid}/stat").split()[13], frozen)
    equal(host.api.Resume(fence=host.fence(), id="paused").status.paused, False)
    host.until_output("paused", str(int(before.split()[-1]) + 3))
    host.api.Pause(fence=host.fence(), id="paused")
    equal(state_name(host.api.Stop(fence=host.fence(), id="paused").status), "EXITED")


@story
def resize_changes_limits_in_place(host):
    status = host.shell("resized", NEVER_ENDS, container={"resources": {"memory_limit_bytes": 32 * MIB}})
    pid = status.containers[0].pid
    host.api.UpdateResources(fence=host.fence(), id="resized", container="main", resources={
        "memory_limit_bytes": 48 * MIB, "pids_limit": 40, "cpu_limit_millis": 300})
    equal(limit(pid, "memory.max", "memory", "memory.limit_in_bytes"), str(48 * MIB))
    equal(limit(pid, "pids.max", "pids", "pids.max"), "40")
    equal(limit(pid, "cpu.max", "cpu", "cpu.cfs_quota_us").split()[0], "30000")
    equal(host.status("resized").containers[0].pid, pid)
    huge = host.api.GetNode().node.capacity.memory_bytes * 2
    refused(lambda: host.api.UpdateResources(fence=host.fence(), id="resized", container="main", resources={
        "memory_limit_bytes": huge}), "RESOURCE_EXHAUSTED", "memory")
    equal(limit(pid, "memory.max", "memory", "memory.limit_in_bytes"), str(48 * MIB))
    refused(lambda: host.api.UpdateResources(fence=host.fence(), id="resized", container="main", resources={
        "rlimits": [{"name": "NOFILE", "soft": 5, "hard": 5}]}), "INVALID_ARGUMENT", field="resources.rlimits")
    host.ctl("resize", "-m", "56Mi", "resized", "main")
    equal(limit(pid, "memory.max", "memory", "memory.limit_in_bytes"), str(56 * MIB))


@story
def launches_in_parallel_all_run(host):
    count = rounds(200, 24)
    import concurrent.futures

    def one(i):
        return host.launch(f"many-{i}", "/bin/sleep", "1000", container={"resources": {
            "memory_limit_bytes": 4 * MIB, "pids_limit": 8, "cpu_limit_millis": 100}})
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(one, range(count)))
        equal([f"{s.id} is {state_name(s)}: {s.sentence}" for s in statuses if state_name(s) != "RUNNING"], [])
        listed = host.api.List(page_size=1000, states=["RUNNING"], status_only=True).workloads
        equal(len(listed), count)
        equal(len({s.status.host_id_first for s in listed}), count, "number of ranges of ids")
        list(pool.map(lambda i: host.remove(f"many-{i}"), range(count)))
    equal(len(host.api.List().workloads), 0)

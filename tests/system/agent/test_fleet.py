"""What a scheduler does with a host: fences, sets, drains, lists, events, telemetry."""
import time

from api import Api, reports, types
from host import reason_name, state_name
from story import equal, has, refused, rounds, story
from test_life import MIB, NEVER_ENDS
from test_streams import memory_of


@story
def lower_epochs_and_generations_are_refused_with_both_numbers(host):
    base = host.generation * 10
    host.launch("fenced", "/bin/sleep", "1000", generation=base + 5)
    why = refused(lambda: host.launch("fenced", "/bin/sleep", "1000", generation=base + 4), "FAILED_PRECONDITION",
                  str(base + 4), str(base + 5))
    equal((why.reason, why.numbers["generation"], why.numbers["highest_generation"]),
          ("STALE_GENERATION", str(base + 4), str(base + 5)))
    host.epoch += 5
    old = {"epoch": host.epoch - 1, "generation": base + 5}
    host.api.Stop(fence=host.fence(base + 5), id="fenced", grace_ms=0)
    why = refused(lambda: host.api.Delete(fence=old, id="fenced"), "FAILED_PRECONDITION", str(host.epoch))
    equal((why.reason, why.numbers["epoch"], why.numbers["highest_epoch"]),
          ("STALE_EPOCH", str(host.epoch - 1), str(host.epoch)))
    equal(host.api.GetNode().node.highest_epoch, host.epoch)


@story
def the_same_again_is_one_effect(host):
    spec = host.spec("same", "/bin/sleep", "1000")
    first = host.api.Launch(fence=host.fence(), spec=spec)
    again = host.api.Launch(fence=host.fence(), spec=spec)
    equal((first.already_applied, again.already_applied), (False, True))
    equal(again.status.containers[0].pid, first.status.containers[0].pid)
    refused(lambda: host.launch("same", "/bin/sleep", "1001"), "ALREADY_EXISTS", "same")
    # What says the same in other words is the same.
    explicit = {**spec, "band": "PRODUCTION", "hostname": "same", "network": "NETWORK_PRIVATE"}
    equal(host.api.Launch(fence=host.fence(), spec=explicit).already_applied, True)


@story
def a_higher_generation_replaces(host):
    old = host.launch("next", "/bin/sleep", "1000").containers[0].pid
    status = host.launch("next", "/bin/sleep", "1001", generation=host.generation + 1)
    equal((state_name(status), status.generation), ("RUNNING", host.generation + 1))
    equal(status.containers[0].pid == old, False)
    has([reason_name(event) for event in host.events(id="next")], "GENERATION_REPLACED")
    host.generation += 1


@story
def too_much_is_refused_with_what_is_left(host):
    node = host.api.GetNode().node
    huge = node.allocatable.memory_bytes + MIB
    why = refused(lambda: host.launch("huge", "/bin/true", container={"resources": {"memory_request_bytes": huge,
                                      "memory_limit_bytes": huge}}), "RESOURCE_EXHAUSTED", "memory", "left")
    has(why.quotas["memory"], str(huge), "left")
    cores = node.allocatable.cpu_millis
    host.launch("half", "/bin/sleep", "1000", container={"resources": {"cpu_request_millis": cores // 2 + 1}})
    why = refused(lambda: host.launch("half-too", "/bin/true", container={
        "resources": {"cpu_request_millis": cores // 2 + 1}}), "RESOURCE_EXHAUSTED", "cpu")
    equal(why.reason, "NO_ROOM")
    equal(host.api.GetNode().node.requested.cpu_millis, cores // 2 + 1)
    host.remove("half")
    equal(host.api.GetNode().node.requested.cpu_millis, 0)



@story
def reconcile_says_then_does(host):
    from api import pb
    name = pb.ReconcileVerb.Name
    generation = host.generation
    for workload in ("keep", "replace", "remove"):
        host.launch(workload, "/bin/sleep", "1000")

    def desired(workload, number, *command, **fields):
        return {"generation": number, "spec": host.spec(workload, *command, **fields)}
    wanted = [desired("keep", generation, "/bin/sleep", "1000"),
              desired("replace", generation + 1, "/bin/sleep", "1001"),
              desired("launch", generation, "/bin/sleep", "1000"),
              desired("refuse", generation, "/bin/true", container={"working_dir": "not/absolute"})]
    told = host.api.Reconcile(fence=host.fence(), desired=wanted, dry_run=True)
    expected = {"keep": "RECONCILE_KEEP", "launch": "RECONCILE_LAUNCH", "refuse": "RECONCILE_REFUSE",
                "remove": "RECONCILE_REMOVE", "replace": "RECONCILE_REPLACE"}
    equal({a.id: name(a.verb) for a in told.actions}, expected)
    has(next(a.sentence for a in told.actions if a.id == "refuse"), "working_dir")
    equal(sorted(w.status.id for w in host.api.List().workloads), ["keep", "remove", "replace"], "after the rehearsal")
    kept = host.status("keep").containers[0].pid
    done = host.api.Reconcile(fence=host.fence(), desired=wanted)
    equal({a.id: name(a.verb) for a in done.actions}, expected)
    host.until("launch", "RUNNING")
    host.until("replace", lambda s: s.generation == generation + 1 and state_name(s) == "RUNNING")
    with host.api.WatchEvents(id="remove", from_oldest=True) as events:
        for answer in events:
            if "DELETED" in [reason_name(event) for event in answer.events]:
                break
    equal(sorted(w.status.id for w in host.api.List().workloads), ["keep", "launch", "replace"])
    equal(host.status("keep").containers[0].pid, kept)
    again = host.api.Reconcile(fence=host.fence(), desired=wanted[:3])
    equal({name(a.verb) for a in again.actions}, {"RECONCILE_KEEP"})
    host.generation += 1


@story
def berthctl_reconciles_a_file(host):
    path = host.spec_file("set", {"desired": [{"generation": host.generation,
                                               "spec": host.spec("filed", "/bin/sleep", "1000")}]})
    has(host.ctl("reconcile", "-f", path, "--dry-run").stdout, "filed", "LAUNCH")
    equal(len(host.api.List().workloads), 0)
    host.ctl("reconcile", "-f", path)
    host.until("filed", "RUNNING")
    has(host.ctl("reconcile", "-f", path).stdout, "KEEP")


@story
def a_drain_stops_all_by_its_deadline_and_undrain_ends_it(host):
    host.shell("willing", NEVER_ENDS, band="BATCH")
    host.shell("deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done", band="CRITICAL",
               container={"stop_grace_ms": 600000})
    host.until_output("willing", "up")
    host.until_output("deaf", "up")
    began = time.monotonic()
    host.ctl("drain", "-d", "1500ms", "-m", "new kernel")
    why = refused(lambda: host.launch("late", "/bin/true"), "UNAVAILABLE", "new kernel")
    equal(why.reason is not None, True)
    node = host.api.GetNode().node
    equal((node.schedulable, node.unschedulable_sentence), (False, "new kernel"))
    willing, deaf = host.ended("willing"), host.ended("deaf")
    if time.monotonic() - began > rounds(4, 20):
        raise AssertionError(f"the drain took {time.monotonic() - began} s")
    equal((willing.code, deaf.signal), (9, 9))
    equal(willing.finished_boot_ns < deaf.finished_boot_ns, True, "whether the lower band went first")
    host.ctl("undrain")
    equal(state_name(host.launch("late", "/bin/sleep", "1000")), "RUNNING")


@story
def lists_come_in_pages_and_by_label_and_state(host):
    for i in range(7):
        host.launch(f"page-{i}", "/bin/sleep", "1000", labels={"odd": str(i % 2), "all": "yes"},
                    container={"resources": {"memory_limit_bytes": 16 << 20}})
    host.api.Stop(fence=host.fence(), id="page-3", grace_ms=0)
    seen, token = [], ""
    while True:
        answer = host.api.List(page_size=3, page_token=token)
        equal(len(answer.workloads) <= 3, True)
        seen += [w.status.id for w in answer.workloads]
        token = answer.next_page_token
        if not token:
            break
    equal(seen, [f"page-{i}" for i in range(7)])
    odd = host.api.List(labels={"odd": "1", "all": "yes"}, states=["RUNNING"], status_only=True)
    equal([w.status.id for w in odd.workloads], ["page-1", "page-5"])
    equal(odd.workloads[0].HasField("spec"), False)
    refused(lambda: host.api.List(page_size=1001), "INVALID_ARGUMENT", field="page_size")
    refused(lambda: host.api.List(page_token="what?"), "INVALID_ARGUMENT", field="page_token")
    equal(sorted(host.ctl("-q", "ps", "-l", "odd=1").stdout.split()), ["page-1", "page-5"])
    equal(len(host.ctl("-q", "ps", "-a").stdout.split()), 7)


@story
def events_go_on_where_a_watcher_stopped(host):
    host.run_to_end("history", "/bin/true")
    events = host.events(id="history")
    everything = [e.sequence for e in host.events()]
    equal(everything, list(range(everything[0], everything[0] + len(everything))))
    middle = events[1].sequence
    rest = [e.sequence for a in host.api.WatchEvents(id="history", after_sequence=middle, no_follow=True)
            for e in a.events]
    equal(rest, [e.sequence for e in events[2:]])
    node = host.api.GetNode().node
    equal(node.event_sequence >= everything[-1], True)
    refused(lambda: list(host.api.WatchEvents(after_sequence=node.event_sequence + 1000, no_follow=True)), "OUT_OF_RANGE")
    refused(lambda: list(host.api.WatchEvents(after_sequence=1, instance="another", no_follow=True)), "OUT_OF_RANGE")
    with host.api.WatchEvents() as following:
        import threading
        threading.Timer(0.05, lambda: host.launch("newer", "/bin/true", no_wait=True)).start()
        first = next(following).events[0]
        equal(first.workload, "newer")
    exits = [e.exit for e in events if e.HasField("exit")]
    equal((len(exits), exits[0].code), (1, 0))


@story
def events_that_are_too_old_are_out_of_range(host):
    node = host.api.GetNode().node
    host.launch("flap", "/bin/sleep", "1000")
    # 256 are kept here at least; a pause and a resume are one event each.
    keep = host.kept_events
    if keep is None:
        from story import Skip
        raise Skip("the installed configuration keeps too many events to fill")
    for _ in range(keep // 2 + 2):
        host.api.Pause(fence=host.fence(), id="flap")
        host.api.Resume(fence=host.fence(), id="flap")
    why = refused(lambda: list(host.api.WatchEvents(after_sequence=max(1, node.event_sequence), no_follow=True)),
                  "OUT_OF_RANGE")
    oldest = [e.sequence for a in host.api.WatchEvents(from_oldest=True, no_follow=True) for e in a.events]
    has([str(oldest[0]), str(oldest[0] - 1)], next(v for k, v in why.numbers.items() if "oldest" in k))


# --- telemetry ---


@story
def telemetry_windows_are_contiguous_and_have_their_maximum(host):
    host.launch("busy", "/bin/probe", "burn-then-idle", container={"resources": {"cpu_limit_millis": 800}})
    interval = rounds(100, 1000)
    with host.api.StreamTelemetry(interval_ms=interval, ids=["busy"]) as stream:
        found = reports(stream, rounds(12, 4))
    equal([parts[0].sequence for parts in found], list(range(1, len(found) + 1)))
    for before, after in zip(found, found[1:]):
        equal(after[0].window_start_boot_ns, before[0].window_end_boot_ns)
        length = (after[0].window_end_boot_ns - after[0].window_start_boot_ns) / 1e6
        if not interval * 0.5 <= length <= interval * rounds(5, 10):
            raise AssertionError(f"a window of {length} ms")
    equal({w.workload for parts in found for p in parts for w in p.workloads}, {"busy"})
    usages = [w for parts in found for p in parts for w in p.workloads]
    for usage in usages:
        rate = usage.cpu.usage_millis
        if rate.average > rate.maximum + 0.01 or rate.maximum > 5000:
            raise AssertionError(f"average {rate.average}, maximum {rate.maximum}")
        container = usage.containers[0]
        equal(container.memory.current_bytes > 0 and container.pids >= 1, True)
        equal(usage.memory.window_max_bytes >= usage.memory.current_bytes or
              usage.memory.window_max_bytes == 0, True)
    equal(usages[-1].cpu.usage_ns > usages[0].cpu.usage_ns, True)


@story
def the_maximum_of_a_window_is_of_a_moment_in_it(host):
    host.launch("bursts", "/bin/probe", "burn-then-idle")
    with host.api.StreamTelemetry(interval_ms=100, ids=["bursts"]) as often, \
            host.api.StreamTelemetry(interval_ms=1200, ids=["bursts"]) as seldom:
        reports(often, 1)  # as long as somebody wants it, samples are that close
        rates = [w.cpu.usage_millis for parts in reports(seldom, 3)[1:] for p in parts for w in p.workloads]
    for rate in rates:  # of 100 ms in 400
        if not rate.average < 600 or not rate.maximum > 1.3 * rate.average:
            raise AssertionError(f"average {rate.average}, maximum {rate.maximum}")


@story
def telemetry_of_what_changed_and_what_is_gone(host):
    host.launch("idle", "/bin/sleep", "1000", labels={"team": "a"})
    host.launch("busy", "/bin/probe", "burn-then-idle", labels={"team": "b"})
    with host.api.StreamTelemetry(interval_ms=rounds(200, 1000), changes_only=True) as stream:
        first = reports(stream, 1)[0]
        equal((first[0].snapshot, {w.workload for p in first for w in p.workloads}), (True, {"idle", "busy"}))
        later = reports(stream, rounds(6, 3))
        names = [w.workload for parts in later for p in parts for w in p.workloads]
        equal("busy" in names, True)
        equal(names.count("idle") < len(later), True, "whether the idle one is left out at times")
        host.remove("idle")
        for _ in range(20):
            gone = [name for part in reports(stream, 1)[0] for name in part.gone]
            if gone:
                break
        equal(gone, ["idle"])
    with host.api.StreamTelemetry(interval_ms=100, labels={"team": "b"}, workloads_only=True) as stream:
        usage = reports(stream, 1)[0][0].workloads
        equal(([w.workload for w in usage], len(usage[0].containers)), (["busy"], 0))
    refused(lambda: next(host.api.StreamTelemetry(interval_ms=50)), "INVALID_ARGUMENT", field="interval_ms")


@story
def a_slow_telemetry_reader_is_told_what_it_missed(host):
    for i in range(24):
        host.launch(f"many-{i}", "/bin/sleep", "1000", labels={f"filler{n}": "x" * 250 for n in range(10)},
                    container={"resources": {"memory_limit_bytes": 4 * MIB}})
    before = memory_of(host)
    # A client that takes no more than a window of 64 KiB ahead.
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096)]
    with Api("unix://" + host.socket, options=options) as slow, \
            slow.StreamTelemetry(interval_ms=100, timeout=60) as stream:
        reports(stream, 1)
        host.run_to_end("waits", "/bin/sleep", "3")  # meanwhile nobody reads
        grown = memory_of(host) - before
        last, missed = 1, 0
        while not missed:
            part = reports(stream, 1)[0][0]
            missed = part.missed_reports
            equal(part.sequence <= last + 1 + missed, True, f"after {last} the sequence {part.sequence}")
            last = part.sequence
    if grown > 8 << 10:
        raise AssertionError(f"berthd grew by {grown} KiB")


@story
def berthctl_shows_the_node_and_live_figures(host):
    host.launch("shown", "/bin/probe", "burn-then-idle", labels={"a": "b"})
    has(host.ctl("node").stdout, "schedulable")
    node = host.ctl_json("node")
    has(node, "bootId", "kernel", "cgroupLayout", "features")
    has(host.ctl("stats", "-i", "200", "-n", "2", "shown").stdout, "shown")
    has(host.ctl("ps").stdout, "shown", "RUNNING")
    for verb in (["ps"], ["stats", "-n", "1"], ["inspect", "shown"], ["pause", "shown"], ["resume", "shown"]):
        equal(host.ctl("-q", *verb).stdout, "shown\n", f"-q {verb}")
    equal(host.ctl("-q", "why", "shown").stdout, host.status("shown").sentence + "\n")
    spec = host.ctl("inspect", "--spec", "shown").stdout
    host.remove("shown")
    path = host.place + "/again.json"
    with open(path, "w", encoding="utf-8") as file:
        file.write(spec)
    host.ctl("run", "-d", "-f", path)
    host.until("shown", "RUNNING")
    has(host.ctl("events", "shown").stdout, "STARTED")
    host.ctl("pause", "shown")
    has(host.ctl("why", "shown").stdout, "paused")
    host.ctl("resume", "shown")
    host.ctl("kill", "-s", "KILL", "shown")
    host.until("shown", "EXITED")
    has(host.ctl("why", "shown").stdout, "SIGKILL")
    host.ctl("stop", "shown")
    host.ctl("rm", "shown")
    host.ctl("inspect", "shown", code=3)
    host.ctl("why", "nobody", code=3)
    host.ctl("frobnicate", code=2)

"""guest_boots.py NUMBER begin|load|end, in a guest whose disk is kept.

What Berth has answered and told is written down outside of the guest (/host/facts), where no power cut reaches it. Each
boot compares: every fact is there, numbers go on, nothing is there twice, and what ran ended once, as LOST."""
import hashlib
import json
import os
import random
import sys
import threading
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system", "agent"))

from api import Api, Refused, types  # noqa: E402
from host import Host, reason_name, state_name  # noqa: E402
from story import equal, has, refused  # noqa: E402

FACTS = "/host/facts"
NUMBER, VERB = int(sys.argv[1]), sys.argv[2]
SOCKET = "unix:///run/berth/berthd.sock"
ROOT = "/var/lib/berth/rootfs/busybox"
GROUPS = "/sys/fs/cgroup/berth.slice/berth-workloads.service/workloads"
ENDED = (types.EXITED, types.LOST)
LOADERS = 4


class Facts:
    """One line each; in the file, and so outside of the guest, when fact() returns."""

    def __init__(self):
        self.old = []
        if os.path.exists(FACTS):
            with open(FACTS, encoding="utf-8") as file:
                self.old = [json.loads(line) for line in file if line.endswith("\n")]
        self.file = os.open(FACTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, *fact):
        os.write(self.file, (json.dumps(fact) + "\n").encode())

    def of(self, kind):
        return [fact[1:] for fact in self.old if fact[0] == kind]


def digest(event):
    return hashlib.sha256(event.SerializeToString(deterministic=True)).hexdigest()


def fence(generation):
    return {"epoch": 1, "generation": generation}


def spec(workload_id, script, mode="RESTART_NEVER", backoff_ms=1000):
    return {"id": workload_id, "restart": {"mode": mode, "initial_backoff_ms": backoff_ms},
            "containers": [{"name": "main", "root": {"directory": ROOT}, "command": ["/bin/sh", "-c", script],
                            "stop_grace_ms": 100, "resources": {"memory_limit_bytes": 16 << 20, "pids_limit": 8}}]}


def wait_serving(api):
    watched = Host.__new__(Host)  # for what it knows of waiting, not for its directories
    watched.api, watched.berthd = api, None
    watched.wait_serving(120)


def until(api, workload_id, state):
    with api.WatchEvents(id=workload_id, from_oldest=True, timeout=60) as answers:
        for answer in answers:
            if any(event.to == state for event in answer.events):
                return


def history(api):
    return [event for answer in api.WatchEvents(from_oldest=True, no_follow=True, timeout=120) for event in answer.events]


# --- the first boot: one of each kind ---

WAITS = "trap 'exit {code}' TERM; sleep 100000 & wait; wait"
STAYS = WAITS.format(code=9)
KINDS = {"never": (STAYS, "RESTART_NEVER"), "failing": (STAYS, "RESTART_ON_FAILURE"), "always": (STAYS, "RESTART_ALWAYS"),
         # When the host goes down, one does not hear of it, and one could not.
         "deaf": ("trap '' TERM; exec sleep 100000", "RESTART_NEVER"), "paused": (STAYS, "RESTART_NEVER"),
         "ended": ("exit 3", "RESTART_NEVER"),
         "waits": ("exit 4", "RESTART_ALWAYS")}  # for its next start, at the time of the boot


def begin(api, facts):
    for name, (script, mode) in KINDS.items():
        api.Launch(fence=fence(1), spec=spec(name, script, mode, 600000), no_wait=True)
        until(api, name, {"ended": types.EXITED, "waits": types.BACKOFF}.get(name, types.RUNNING))
        facts("launched", name, 1, mode)
    api.Pause(fence=fence(1), id="paused")
    api.SetSchedulable(fence=fence(1), schedulable=False, sentence="new disk")
    for event in history(api):
        facts("event", event.sequence, digest(event))


def check_kinds(api):
    """After a reboot in order: who starts again, and as what the others are told."""
    until(api, "always", types.LOST)
    has(refused(lambda: api.Launch(fence=fence(1), spec=spec("other", "exit 0")), "UNAVAILABLE").text, "new disk")
    api.SetSchedulable(fence=fence(1), schedulable=True)
    until_runs_again(api, "always")
    status = api.Get(id="always").workload.status
    equal((status.restarts, status.containers[0].attempt), (1, 2), "always")
    for name in ("never", "failing", "deaf", "paused"):
        status = api.Get(id=name).workload.status
        equal((state_name(status), reason_name(status), status.restarts), ("LOST", "HOST_REBOOTED", 0), name)
    status = api.Get(id="ended").workload.status
    equal((state_name(status), status.containers[0].last_exit.code), ("EXITED", 3), "ended")
    told = [event for event in history(api) if event.workload == "waits" and event.HasField("exit")]
    if not told or any(event.exit.code != 4 for event in told):
        raise AssertionError(f"waits exits with 4 each time, and is told so: {told}")


def until_runs_again(api, name):
    with api.WatchEvents(id=name, from_oldest=True, timeout=60) as answers:
        for answer in answers:
            if api.Get(id=name).workload.status.state == types.RUNNING:
                return


# --- what must hold after each boot ---


def boots_of(events):
    """The events of each boot: the clock that counts from the boot begins anew with it."""
    boots, last = [[]], 0
    for event in events:
        if event.time_boot_ns < last:
            boots.append([])
        boots[-1].append(event)
        last = event.time_boot_ns
    return boots


def check_events(facts, events):
    numbers = [event.sequence for event in events]
    equal(numbers, list(range(numbers[0], numbers[0] + len(numbers))), "the events' numbers")
    kept = {event.sequence: event for event in events}
    for sequence, told in facts.of("event"):
        if sequence not in kept:
            raise AssertionError(f"event {sequence} was told, and is not there: {numbers[0]} to {numbers[-1]}")
        if digest(kept[sequence]) != told:
            raise AssertionError(f"event {sequence} was told otherwise than it is now: {kept[sequence]}")


def check_lives(boots, ids):
    """Through all boots: what lives when a boot ends is told LOST once in the next one, before all else of it."""
    records, states, generations = set(), {}, {}
    for i, boot in enumerate(boots):
        owed = {name for name, state in states.items() if state not in ENDED}
        for event in boot:
            name = event.workload
            if not name:
                continue
            changes = event.to and getattr(event, "from") != event.to
            if changes and event.to == types.LOST:
                if name not in owed:
                    raise AssertionError(f"boot {i}: {name} is LOST without need, or twice: {event}")
                owed.remove(name)
                has(event.sentence, ids[i - 1], ids[i])
                equal(reason_name(event), "HOST_REBOOTED")
            elif changes and name in owed:
                raise AssertionError(f"boot {i}: {name} goes on as if nothing was: {event}")
            if event.HasField("exit"):
                key = (name, event.generation, event.container, event.exit.attempt)
                if key in records:
                    raise AssertionError(f"two records of {key}")
                records.add(key)
                check_record(event)
            if event.generation < generations.get(name, 0):
                raise AssertionError(f"generation {event.generation} of {name} after {generations[name]}")
            generations[name] = event.generation
            if reason_name(event) == "DELETED" and not event.container:
                states.pop(name, None)
            elif event.to:
                states[name] = event.to
        if owed:
            raise AssertionError(f"boot {i}: nobody was told that these are lost: {sorted(owed)}")
    return states


def check_record(event):
    """The code with which it ends, by itself or when it is asked to, is in its name."""
    if event.workload.startswith("job-") and event.exit.kind == types.EXIT_CODE:
        equal(event.exit.code, int(event.workload.split("-")[1]), event.workload)
    if event.exit.kind == types.EXIT_UNKNOWN and not event.exit.sentence:
        raise AssertionError(f"unknown, and nobody says why: {event}")


def check_answers(api, facts):
    """What was answered is so."""
    asked = {(name, generation) for name, generation in facts.of("asked-to-delete")}
    deleted = {(name, generation) for name, generation in facts.of("deleted")}
    for name, generation, _ in facts.of("launched"):
        if (name, generation) in deleted:
            refused(lambda: api.Get(id=name), "NOT_FOUND")
            refused(lambda: api.Launch(fence=fence(generation), spec=spec(name, "exit 0")), "FAILED_PRECONDITION")
        elif (name, generation) not in asked:
            equal(api.Get(id=name).workload.status.generation, generation, name)


def check_records(api, facts, events):
    """Those that nobody has acknowledged are told again, those that somebody has are not."""
    acked = max((up_to for (up_to,) in facts.of("acked")), default=0)
    asked = max((up_to for (up_to,) in facts.of("asked-to-ack")), default=0)
    waiting = [event.sequence for answer in api.WatchEvents(earlier_records="EARLIER_RECORDS_UNACKNOWLEDGED",
                                                            records_only=True, no_follow=True) for event in answer.events]
    equal([sequence for sequence in waiting if sequence <= acked], [], "records that were acknowledged")
    missing = {event.sequence for event in events if event.HasField("exit") and event.sequence > asked} - set(waiting)
    equal(missing, set(), "records that nobody has acknowledged, and that are gone")


def check_kernel(api):
    """In the control groups there is what is told to run or to start again, once."""
    told, groups = {}, {}
    for workload in api.List(page_size=1000, status_only=True).workloads:
        if workload.status.state in (types.RUNNING, types.BACKOFF):
            told[workload.status.id] = 1
    for root, directories, _ in os.walk(GROUPS):
        if root == GROUPS:
            continue
        for name in directories:  # <id>.<instance>, below the group of its band
            groups[name.rpartition(".")[0]] = groups.get(name.rpartition(".")[0], 0) + 1
        directories.clear()
    equal(groups, told, "what runs")


def check(api, facts, boot_id):
    ids = [fact[0] for fact in facts.of("boot")] + [boot_id]
    node = api.GetNode().node
    equal(node.boot_id, boot_id)
    equal({node.instance}, {fact[0] for fact in facts.of("instance")}, "whose history it is")
    if NUMBER == 2:
        check_kinds(api)
    settle(api)
    events = history(api)
    check_events(facts, events)
    boots = boots_of(events)
    equal(len(boots), NUMBER, "boots that the events tell of")
    check_lives(boots, ids)
    check_answers(api, facts)
    check_records(api, facts, events)
    check_kernel(api)
    return f"{len(facts.of('event'))} events and {len(facts.of('launched')) + len(facts.of('deleted'))} answers of before"


def settle(api):
    """Until what starts again has done so, and what ends by itself waits for the next time."""
    for workload in api.List(page_size=1000).workloads:
        if workload.spec.restart.mode != types.RESTART_ALWAYS:
            continue
        ends = workload.spec.containers[0].command[-1].startswith("exit")
        with api.WatchEvents(id=workload.status.id, from_oldest=True, timeout=120) as answers:
            for _ in answers:
                if api.Get(id=workload.status.id).workload.status.state == (types.BACKOFF if ends else types.RUNNING):
                    break


def clear(api, facts):
    for workload in api.List(page_size=1000, status_only=True).workloads:
        delete(api, facts, workload.status.id, workload.status.generation)


def delete(api, facts, name, generation):
    facts("asked-to-delete", name, generation)
    api.Delete(fence=fence(generation), id=name, force=True)
    facts("deleted", name, generation)


# --- load, until the power goes ---


def watch(facts):
    with Api(SOCKET) as api:
        for answer in api.WatchEvents(from_oldest=True, timeout=100000):
            for event in answer.events:
                facts("event", event.sequence, digest(event))


def load(facts, loader, going):
    dice = random.Random(f"{NUMBER}/{loader}")
    kept = []
    with Api(SOCKET) as api:
        for n in range(1 << 30):
            code = dice.choice((0, 1, 37, 255))
            name = f"job-{code}-{NUMBER}-{loader}-{n}"
            mode = dice.choice(("RESTART_NEVER", "RESTART_ALWAYS", "RESTART_ON_FAILURE"))
            stays = dice.random() < 0.5
            script = (WAITS if stays else "exit {code}").format(code=code)
            api.Launch(fence=fence(1), spec=spec(name, script, mode, 100 if stays else 600000), timeout=120)
            facts("launched", name, 1, mode)
            kept.append(name)
            if n == 1:
                going.release()
            if len(kept) > 3:
                delete(api, facts, kept.pop(dice.randrange(len(kept))), 1)
            if loader == 0 and n % 4 == 3:
                newest = api.GetNode().node.event_sequence
                facts("asked-to-ack", newest)
                api.AckRecords(fence=fence(1), up_to_sequence=newest)
                facts("acked", newest)


def under_load(facts):
    """Ends with the power, or when something goes wrong."""
    wrong, going = [], threading.Semaphore(0)

    def guarded(function, *arguments):
        try:
            function(*arguments)
        except BaseException as error:  # whatever it is, the host is told of it
            wrong.append(error)
            traceback.print_exc(file=sys.stdout)
            print(f"not ok boots/{NUMBER}-load: {' '.join(str(error).split())[:300]}", flush=True)
            os._exit(1)
    threads = [threading.Thread(target=guarded, args=(watch, facts))]
    threads += [threading.Thread(target=guarded, args=(load, facts, i, going)) for i in range(LOADERS)]
    for thread in threads:
        thread.start()
    for _ in range(LOADERS):
        going.acquire()
    print("# loaded", flush=True)
    for thread in threads:
        thread.join()


def main():
    facts = Facts()
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    name = {1: "begins", 2: "a-reboot-in-order"}.get(NUMBER, f"the-power-was-cut-{NUMBER - 2}")
    with Api(SOCKET) as api:
        try:
            wait_serving(api)
            if NUMBER == 1:
                facts("instance", api.GetNode().node.instance)
                begin(api, facts)
                told = f"{len(KINDS)} workloads"
            else:
                told = check(api, facts, boot_id)
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            print(f"not ok boots/{name}: {' '.join(str(error).split())[:300]}", flush=True)
            return 1
        print(f"# {told}\nok boots/{name}", flush=True)
        facts("boot", boot_id)
        if VERB != "begin":
            clear(api, facts)
    if VERB == "load":
        under_load(facts)
    print("# going down", flush=True)
    return 0


sys.exit(main())

"""Short lives of a workload, as a scheduler drives them, each told to its end: parts[name](host, workload).

Whatever dies meanwhile, each knows which ends are right, and leaves nothing behind."""
import contextlib
import glob
import itertools
import os
import signal
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system", "sandboxd"))

from api import Refused, types
from faulty_host import inner_pids
from host import limit, read, state_name
from layer_maker import Layer, digest, unpack
from model import EXITED, Wrong, check_ended
from sandboxd_client import EXISTS, NOT_FOUND, Client
from sandboxd_client import Refused as NotDone
from sandboxd_client import pb as messages
from session import Session

PARTS = {}
NUMBERS = itertools.count(1)
MIB = 1 << 20
# Ends at once when it is asked to, which a shell that waits for a program in the foreground does not.
STAYS = "trap 'exit 9' TERM; echo up; echo start >> /data/{id}.starts; sleep 1000 & wait; wait"
ENDS = "echo up; echo start >> /data/{id}.starts; exit {code}"
FAILED = (types.START_FAILED, types.HOST_FAILURE)


def part(function):
    PARTS[function.__name__.replace("_", "-")] = function
    return function


class Workload:
    """What the scheduler wants of one workload."""

    def __init__(self, host, prefix, follow=None):
        self.host = host
        self.follow = follow or self._read_history
        self.id = f"{prefix}-{next(NUMBERS)}"
        self.generation = 1
        self.memory_bytes = 64 * MIB
        self.pid = None  # of what ran last
        # How often may a launch fail, and may an end be unknown, for what is done to the daemons?
        self.may_fail = 0
        self.may_be_unknown = False

    def fence(self):
        return self.host.fence(self.generation)

    def spec(self, script, **fields):
        return self.host.spec(
            self.id, "/bin/sh", "-c", script.replace("{id}", f"{self.id}-{self.generation}"),
            volumes=[{"name": "v", "host_directory": {"path": self.host.place + "/shared"}},
                     {"name": "t", "tmpfs": {"size_bytes": MIB, "inodes": 10}}],
            container={"mounts": [{"volume": "v", "target": "/data"}, {"volume": "t", "target": "/work"}],
                       "resources": {"memory_limit_bytes": self.memory_bytes, "pids_limit": 16},
                       "stop_grace_ms": 10000}, **fields)

    def launch(self, script=STAYS, **fields):
        """Until it runs, or has ended."""
        spec = self.spec(script, **fields)
        also = ("INTERNAL",) if self.may_fail else ()
        return self.host.through(lambda: self.host.api.Launch(fence=self.fence(), spec=spec).status, also=also)

    def launch_and_stay(self, **fields):
        """One that runs. Where something died in the launch it may have failed, saying so; then the next
        generation runs."""
        status = self.launch(STAYS, **fields)
        for _ in range(self.may_fail):
            if state_name(status) != "RUNNING":
                self.check_failed(status)
                self.generation += 1
                status = self.launch(STAYS, **fields)
        if state_name(status) != "RUNNING":
            raise Wrong(f"{self.id} does not run: {status}")
        self.until_started()
        self.pid = status.containers[0].pid
        return status

    def until_started(self):
        """What it does first is done."""
        deadline = time.monotonic() + 20
        while not self.starts():
            if time.monotonic() > deadline:
                raise Wrong(f"{self.id} is told to run, and its program does nothing: {self.status()}")
            time.sleep(0.002)  # a file tells nobody of its growth but who looks

    def check_failed(self, status):
        if not self.may_fail:
            raise Wrong(f"{self.id} failed, and nothing did: {status}")
        if status.state != EXITED or status.reason not in FAILED or not status.sentence:
            raise Wrong(f"{self.id} neither runs nor says why it does not: {status}")

    def status(self):
        return self.host.through(lambda: self.host.status(self.id))

    def starts(self, generation=None):
        path = f"{self.host.place}/shared/{self.id}-{generation or self.generation}.starts"
        return len(read(path).splitlines()) if os.path.exists(path) else 0

    def until_ended(self):
        def look():
            status = self.host.until(self.id, lambda s: s.state == EXITED)
            return status
        return self.host.through(look, also=("DEADLINE_EXCEEDED",))

    def ended_within(self, seconds):
        def look():
            try:
                self.host.until(self.id, lambda s: s.state == EXITED, seconds)
                return True
            except AssertionError:
                return False
        return self.host.through(look)

    def stop(self, **fields):
        return self.host.through(
            lambda: self.host.api.Stop(fence=self.fence(), id=self.id, **fields).status)

    def delete(self):
        def ask():
            try:
                self.host.api.Delete(fence=self.fence(), id=self.id, force=True)
            except Refused as why:
                if why.code != "NOT_FOUND":
                    raise
        self.host.through(ask)

    def check_end(self, record, kind, number):
        """The one record of an attempt is exact; or unknown, saying why, where nobody is left who could know."""
        have = (record.kind, record.code if record.kind == types.EXIT_CODE else record.signal)
        if have == (kind, number):
            return
        if record.reason in FAILED and self.may_fail and record.sentence:
            return
        if record.kind == types.EXIT_UNKNOWN and self.may_be_unknown and record.sentence:
            return
        raise Wrong(f"{self.id} ended with {kind} {number}, and is told to have ended so: {record}")

    def first_pid(self):
        return self.status().containers[0].pid

    def running(self):
        """Pids of first processes in its groups, whatever Berth says."""
        found = set()
        for group in self.host.groups(self.id):
            for root, _, files in os.walk(group):
                with contextlib.suppress(OSError):  # a group that goes while it is read
                    if "cgroup.procs" in files:
                        found |= {int(pid) for pid in read(root + "/cgroup.procs").split()}
        return sorted(pid for pid in found if is_first(pid))

    def finish(self):
        """Deleted, and what is known of its lives is right."""
        self.delete()
        self.host.until_gone(self.id)
        self.check_history()
        self.remove_starts()

    def remove_starts(self):
        for generation in range(1, self.generation + 1):
            path = f"{self.host.place}/shared/{self.id}-{generation}.starts"
            if os.path.exists(path):
                os.unlink(path)

    def _read_history(self, _):
        return self.host.history(lambda model: model.life(self.id, self.generation).deleted)

    def check_history(self):
        model = self.follow(self)
        for generation in range(1, self.generation + 1):
            life = model.lives.get((self.id, generation))
            if life is None:
                continue  # it was asked for, and never accepted
            check_ended(life, f"{self.id} generation {generation}", self.starts(generation), self.may_fail > 0)
        latest = model.life(self.id, self.generation)
        if latest.state is not None and not latest.deleted:
            raise Wrong(f"{self.id}: nobody was told that it is deleted")


def is_first(pid):
    try:
        inner = inner_pids(pid)
    except OSError:
        return False
    return len(inner) > 1 and inner[-1] == 1


def what_is_seen_of(pid):
    try:
        lines = read(f"/proc/{pid}/status").splitlines()
        seen = [line for line in lines if line.split(":")[0] in ("Name", "State", "PPid", "NSpid", "SigPnd", "ShdPnd")]
        return f"process {pid}: {seen} in {read(f'/proc/{pid}/cgroup').splitlines()[:2]}"
    except OSError as error:
        return f"process {pid}: {error.strerror}"


def check_alone(workload, status):
    """It runs once, and as the process that it is told to be."""
    pid, running = status.containers[0].pid, workload.running()
    if running != [pid]:
        raise Wrong(f"{workload.id} is told to run as {pid}, and {running} run (now {workload.running()}); "
                    f"{what_is_seen_of(pid)}; now told: {workload.status()}")
    if workload.starts() > 1:
        raise Wrong(f"{workload.id} was started {workload.starts()} times")


# --- the parts ---


@part
def launch(host, workload):
    check_alone(workload, workload.launch_and_stay())
    workload.finish()


@part
def fails_to_start(host, workload):
    spec = workload.spec("")
    spec["containers"][0]["command"] = ["/bin/no-such-program"]
    status = host.through(lambda: host.api.Launch(fence=workload.fence(), spec=spec).status)
    if status.state != EXITED or status.reason not in FAILED:
        raise Wrong(f"there is no such program, and {status}")
    workload.may_fail = True
    workload.finish()


@part
def ends(host, workload):
    spec = workload.spec(ENDS.replace("{code}", "37"))
    host.through(lambda: host.api.Launch(fence=workload.fence(), spec=spec, no_wait=True))
    workload.check_end(workload.until_ended().containers[0].last_exit, types.EXIT_CODE, 37)
    workload.finish()


@part
def is_denied_a_call(host, workload):
    spec = workload.spec("echo start >> /data/{id}.starts; /bin/probe mount 3; exit 4")
    host.through(lambda: host.api.Launch(fence=workload.fence(), spec=spec, no_wait=True))
    record = workload.until_ended().containers[0].last_exit
    workload.check_end(record, types.EXIT_CODE, 4)
    if not workload.may_fail and [(call.name, call.times) for call in record.denied] != [("mount", 3)]:
        raise Wrong(f"{workload.id} was denied three mounts, and {record}")
    workload.finish()


@part
def starts_again(host, workload):
    spec = workload.spec(ENDS.replace("{code}", "1"), restart={
        "mode": "RESTART_ON_FAILURE", "initial_backoff_ms": 20, "max_restarts": 2})
    host.through(lambda: host.api.Launch(fence=workload.fence(), spec=spec, no_wait=True))
    status = workload.until_ended()
    workload.check_end(status.containers[0].last_exit, types.EXIT_CODE, 1)
    if status.containers[0].attempt > 3:
        raise Wrong(f"two restarts are allowed, and {status}")
    workload.finish()


@part
def stops(host, workload):
    workload.launch_and_stay()
    status = workload.stop()
    workload.check_end(status.containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


@part
def is_killed(host, workload):
    workload.launch_and_stay()
    status = workload.stop(grace_ms=0)
    workload.check_end(status.containers[0].last_exit, types.EXIT_SIGNAL, 9)
    workload.finish()


@part
def runs_another_program(host, workload):
    workload.launch_and_stay()

    def ask():
        session = Session(host.api.Exec, {"id": workload.id, "command": ["/bin/sh", "-c", "echo hello; exit 7"]})
        record = session.end()
        if record is None:
            raise Wrong("an exec session ended, and nobody said how")
        return record, session.stdout
    # A session ends with the daemon that has it, and its end is unknown; the scheduler asks again.
    for _ in range(1 + workload.may_fail):
        record, output = host.through(ask, also=("INTERNAL", "ABORTED", "NOT_FOUND", "FAILED_PRECONDITION"))
        if record.kind != types.EXIT_UNKNOWN or not record.sentence:
            break
    if (record.kind, record.code) != (types.EXIT_CODE, 7) or output != b"hello\n":
        raise Wrong(f"exec ended with {record}, and wrote {output!r}")
    check_alone(workload, workload.status())
    workload.finish()


@part
def is_resized(host, workload):
    status = workload.launch_and_stay()
    host.through(lambda: host.api.UpdateResources(
        fence=workload.fence(), id=workload.id, container="main", resources={"memory_limit_bytes": 80 * MIB}),
        also=("INTERNAL",))
    pid = status.containers[0].pid
    if limit(pid, "memory.max", "memory", "memory.limit_in_bytes") != str(80 * MIB):
        raise Wrong(f"{workload.id} was resized, and its limit is not what was answered")
    check_alone(workload, workload.status())
    workload.finish()


@part
def is_paused(host, workload):
    workload.launch_and_stay()
    host.through(lambda: host.api.Pause(fence=workload.fence(), id=workload.id), also=("INTERNAL",))
    host.through(lambda: host.api.Resume(fence=workload.fence(), id=workload.id), also=("INTERNAL",))
    status = workload.stop()
    workload.check_end(status.containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


@part
def is_signalled(host, workload):
    workload.launch_and_stay()

    def ask(all_processes):
        try:
            host.api.Signal(fence=workload.fence(), id=workload.id, signal="SIGTERM", all_processes=all_processes)
        except Refused as why:
            # Where it was asked before, and the answer was lost, it may have ended of that.
            if why.code != "FAILED_PRECONDITION" or not workload.ended_within(20):
                raise
    host.through(lambda: ask(True), also=("INTERNAL",))
    # A signal has no name to know it by: what was asked of a process that died is asked again, by who sees that
    # nothing came of it.
    while not workload.ended_within(1):
        host.through(lambda: ask(False), also=("INTERNAL",))
    workload.check_end(workload.until_ended().containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


@part
def is_replaced(host, workload):
    workload.launch_and_stay()
    workload.generation += 1
    check_alone(workload, workload.launch_and_stay())
    workload.finish()


def outlives(host, workload, *daemons):
    before = workload.launch_and_stay()
    host.kill_and_wait(*daemons)
    after = workload.status()
    if (after.containers[0].pid, after.containers[0].attempt, after.restarts) != \
            (before.containers[0].pid, before.containers[0].attempt, before.restarts):
        raise Wrong(f"{workload.id} was {before}, and after the death of {daemons} is {after}")
    check_alone(workload, after)
    status = workload.stop()
    workload.check_end(status.containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


@part
def outlives_sandboxd(host, workload):
    outlives(host, workload, "sandboxd")


@part
def outlives_berthd(host, workload):
    outlives(host, workload, "berthd")


@part
def outlives_both(host, workload):
    outlives(host, workload, "sandboxd", "berthd")


@part
def outlives_its_monitor(host, workload):
    status = workload.launch_and_stay()
    for pid in host.monitors(workload.id):
        os.kill(pid, signal.SIGKILL)
    check_alone(workload, status)
    status = workload.stop()
    workload.check_end(status.containers[0].last_exit, types.EXIT_CODE, 9)
    workload.finish()


def files_of_the_store(host):
    """Beside them lies the directory of images."""
    return [entry.path for entry in os.scandir(host.place + "/state") if entry.is_file()]


@part
def is_unknown_to_berthd(host, workload):
    """berthd lost its store: what runs is left alone until somebody asks for it."""
    pid = workload.launch_and_stay().containers[0].pid
    host.down("berthd")
    for path in files_of_the_store(host):
        with open(path, "r+b") as file:
            file.write(os.urandom(min(4096, os.path.getsize(path))))
    host.up("berthd")
    if workload.running() != [pid]:
        raise Wrong(f"{workload.id} does not run on after its record was lost: {workload.running()}")

    def ask():
        try:
            host.api.Stop(fence=workload.fence(), id=workload.id)
        except Refused as why:
            if why.code != "NOT_FOUND" and "lost" not in why.text and "removed" not in why.text:
                raise
    host.through(ask)
    host.until_gone(workload.id)


@part
def begins_with_a_new_store(host, workload):
    host.down("berthd")
    for path in files_of_the_store(host):
        os.unlink(path)
    host.up("berthd")
    check_alone(workload, workload.launch_and_stay())
    workload.finish()


@part
def runs_from_layers(host, workload):
    """Asked of sandboxd itself: one layer is unpacked, run from and written over, and removed. Who connects to it
    takes berthd's place, which would take it back."""
    host.kill("berthd", sig=signal.SIGSTOP)
    try:
        LayeredLife(host, workload).told()
    finally:
        host.kill("berthd", sig=signal.SIGCONT)


class LayeredLife:
    def __init__(self, host, workload):
        self.host = host
        self.workload = workload
        self.client = None
        self.store = f"{host.place}/layers"
        with open("/bin/busybox", "rb") as file:
            self.tar = Layer().add("bin").add("bin/sh", file.read(), mode=0o755).bytes()
        self.diff_id = digest(self.tar)

    def told(self):
        for template in glob.glob(f"{self.store}/templates/*"):
            os.unlink(template)  # it is made anew
        try:
            self.asked(lambda: unpack(self.client, self.tar))
            self.check_layers([self.diff_id])
            if not self.asked(lambda: self.client.ask("verify_layer", diff_id=self.diff_id)).verify_layer.intact:
                raise Wrong("a layer that is told to be here is not whole")
            self.run()
            self.asked(lambda: self.client.ask("remove_layer", diff_id=self.diff_id), but=(NOT_FOUND,))
            self.check_layers([])
        finally:
            self.let_go()

    def let_go(self):
        if self.client:
            self.client.close()
        self.client = None

    def asked(self, ask, but=()):
        """Again where the daemon died, or said that it could not and may have."""
        refusals = self.workload.may_fail
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client = self.client or Client(f"{self.host.place}/sandboxd.sock")
                return ask()
            except (EOFError, OSError):
                self.let_go()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # until the keeper has started another
            except NotDone as why:
                if why.kind in but:
                    return None
                if refusals == 0:
                    raise
                refusals -= 1

    def run(self):
        for attempt in range(1, 2 + self.workload.may_fail):
            ref = messages.ContainerRef(workload=self.workload.id, instance=1, container="main", attempt=attempt)
            self.asked(lambda: self.client.ask("create_workload", workload=ref.workload, instance=1, band=2), (EXISTS,))
            self.asked(lambda ref=ref: self.client.ask(
                "launch", ref=ref, layers=[self.diff_id], command=["/bin/sh", "-c", "echo x > /x && exit 6"], gate_open=True,
                root_writable=True, writable_layer_bytes=2 * MIB), (EXISTS,))
            end = self.asked(lambda ref=ref: self.until_ended(ref))
            if (end.exit_si_code, end.exit_si_status) == (1, 6):
                break
            if attempt > self.workload.may_fail:
                raise Wrong(f"a container from a layer ended with {end}")
        else:
            raise Wrong("no container from a layer ended as it should")
        self.asked(lambda: self.client.ask("remove_workload", workload=ref.workload, instance=1, remove_logs=True), (NOT_FOUND,))
        self.let_go()
        self.host.until_gone(ref.workload)
        self.until_none("loop devices", self.devices)

    def until_ended(self, ref):
        """The exit, or what is one without any."""
        self.client.ask("inventory")
        while True:
            for fact, fds in self.client.facts:
                for fd in fds:
                    os.close(fd)
                kind = fact.WhichOneof("fact")
                if kind in ("exited", "start_failed") and getattr(fact, kind).ref == ref:
                    self.client.facts = []
                    return fact.exited
            self.client.facts = []
            if not self.client.receive(20):
                raise Wrong("nobody tells how a container from a layer ended")

    def devices(self):
        found = []
        for path in glob.glob("/sys/block/loop*/loop/backing_file"):
            with contextlib.suppress(OSError):
                if self.store in read(path):
                    found.append(path)
        return found

    def check_layers(self, expected):
        def known():
            return [layer.diff_id for layer in self.client.ask("list_layers").list_layers.layers]
        have = self.asked(known)
        if have != expected:
            raise Wrong(f"the layers are {have}, and not {expected}")
        names = {diff_id.removeprefix("sha256:") for diff_id in expected} | {"base", "empty", "lock", "templates"}
        self.until_none("of layers", lambda: sorted(set(os.listdir(self.store)) - names))

    @staticmethod
    def until_none(what, find, seconds=20):
        deadline = time.monotonic() + seconds
        while left := find():
            if time.monotonic() > deadline:
                raise Wrong(f"{what}: {left} are left")
            time.sleep(0.005)  # a child of the daemon removes, and the kernel lets go, and neither tells us

"""The reference model of a workload's life: what may be seen of it, whatever dies around it.

It is told the history of the host as watchers get it, and what the program itself left behind (one line a
start), and finds the contradictions. It knows nothing of how Berth works."""
from api import types

PENDING, PULLING, STARTING, RUNNING = types.PENDING, types.PULLING, types.STARTING, types.RUNNING
STOPPING, EXITED, BACKOFF, STUCK, LOST = types.STOPPING, types.EXITED, types.BACKOFF, types.STUCK, types.LOST

# A life begins PENDING and ends EXITED; after that there is only another life, of a higher generation.
FOLLOWS = {
    PENDING: {PULLING, STARTING, STOPPING, EXITED},
    PULLING: {STARTING, STOPPING, EXITED, BACKOFF},
    STARTING: {RUNNING, STOPPING, EXITED, BACKOFF},
    RUNNING: {STOPPING, EXITED, BACKOFF},
    STOPPING: {EXITED, BACKOFF, STUCK},
    STUCK: {STOPPING, EXITED, BACKOFF},
    BACKOFF: {STARTING, STOPPING, EXITED},
    EXITED: set(),
}
KNOWN = (types.EXIT_CODE, types.EXIT_SIGNAL, types.EXIT_CORE_DUMPED)


class Wrong(AssertionError):
    """What was seen cannot be."""


class Life:
    """One generation of one workload."""

    def __init__(self, generation):
        self.generation = generation
        self.state = None
        self.deleted = False
        self.records = {}  # (container, attempt): ExitRecord
        self.started = 0   # containers that were told to have started

    def was_refused(self):
        """It was taken back before anything of it was: its intent could not be kept. Where it was to replace
        an earlier life, that stays, ended."""
        return (self.deleted or self.state == EXITED) and not self.records and not self.started

    def take(self, event):
        name = f"{event.workload} generation {self.generation}"
        if self.deleted:
            raise Wrong(f"{name}: after it was deleted: {event}")
        if event.to:
            self._transit(name, getattr(event, "from"), event.to)
        if event.reason == types.STARTED and event.container:
            self.started += 1
        if event.HasField("exit"):
            self._take_record(name, event)
        if event.reason == types.DELETED and not event.container:
            if self.state != EXITED:
                raise Wrong(f"{name} was deleted in state {types.WorkloadState.Name(self.state or 0)}")
            self.deleted = True

    def _transit(self, name, begin, end):
        if self.state is None and end != PENDING and begin != end:
            raise Wrong(f"{name} begins with {types.WorkloadState.Name(end)}")
        if self.state is not None and begin != end:
            if begin != self.state:
                raise Wrong(f"{name} goes from {types.WorkloadState.Name(begin)}, and was "
                            f"{types.WorkloadState.Name(self.state)}")
            if end not in FOLLOWS[begin]:
                raise Wrong(f"{name} goes from {types.WorkloadState.Name(begin)} to {types.WorkloadState.Name(end)}")
        self.state = end

    def _take_record(self, name, event):
        key = (event.container, event.exit.attempt)
        if key in self.records:
            raise Wrong(f"{name}: two records of attempt {key[1]} of {key[0]}: {self.records[key]} and {event.exit}")
        if self.state == EXITED:
            raise Wrong(f"{name}: a record after its end: {event.exit}")
        if event.exit.kind == types.EXIT_UNKNOWN and not event.exit.sentence:
            raise Wrong(f"{name}: unknown, and nobody says why: {event.exit}")
        self.records[key] = event.exit


class Model:
    """The history of a host; lives by (workload, generation)."""

    def __init__(self):
        self.lives = {}
        self.latest = {}
        self.sequence = None

    def take(self, event):
        if self.sequence is not None and event.sequence != self.sequence + 1:
            raise Wrong(f"event {event.sequence} comes after {self.sequence}")
        self.sequence = event.sequence
        if not event.workload:
            return
        before = self.latest.get(event.workload)
        if before is not None and before.was_refused() and event.to == PENDING:
            del self.lives[event.workload, before.generation]  # the same command may come again
            before = None
        if before is None or event.generation > before.generation:
            if before is not None and before.state not in (EXITED, None):
                raise Wrong(f"{event.workload}: generation {event.generation} begins before "
                            f"{before.generation} has ended")
            before = self.lives.setdefault((event.workload, event.generation), Life(event.generation))
            self.latest[event.workload] = before
        if event.generation < before.generation:
            raise Wrong(f"{event.workload}: generation {event.generation} after {before.generation}: {event}")
        before.take(event)

    def life(self, workload, generation):
        return self.lives.get((workload, generation)) or Life(generation)


def check_ended(life, name, starts, may_fail=False):
    """A life that is over: `starts` is how often its program ran, by its own account.

    A launch that was cut off (`may_fail`) is told as failed: its program may have begun, and was ended."""
    if life.state != EXITED:
        raise Wrong(f"{name} has not ended: {types.WorkloadState.Name(life.state or 0)}")
    ran = [record for record in life.records.values() if record.kind in KNOWN + (types.EXIT_UNKNOWN,)]
    failed = [record for record in life.records.values() if record.kind == types.EXIT_KIND_UNSPECIFIED]
    if failed and not may_fail:
        raise Wrong(f"{name} is told to have failed to start, and nothing was the matter: {failed}")
    if not len(ran) <= starts <= len(ran) + len(failed):
        raise Wrong(f"{name} ran {starts} times, and its records are {life.records}")
    if life.started > starts:
        raise Wrong(f"{name} is told to have started {life.started} times, and ran {starts} times")

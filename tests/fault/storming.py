"""Lives of workloads side by side while something is done to the daemons: every life must be right, and a watcher must
see all of it."""
import os
import random
import signal
import sys
import threading
import time
import traceback

from api import Refused
from killed import check_deaths
from lives import PARTS, Workload
from model import Model, Wrong

# These do to all lives what they do to theirs.
LEFT_OUT = ("outlives-sandboxd", "outlives-berthd", "outlives-both", "is-unknown-to-berthd", "begins-with-a-new-store",
            "runs-from-layers")


class Storm:
    """All that can happen, at random."""

    def __init__(self, host, seed, lives_at_once=6):
        self.host = host
        self.seed = seed
        self.lives_at_once = lives_at_once
        self.over = threading.Event()
        self.failures = []
        self.counts = {}
        self.lock = threading.Lock()
        self.model = Model()

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, what, error):
        if not self.failures:  # the first one is the cause, more often than not
            traceback.print_exc(file=sys.stdout)
            print(self.host.last_words(60), flush=True)
        self.failures.append(f"{what}: {' '.join(str(error).split())[:600]}")
        self.over.set()

    def live(self, number):
        dice = random.Random(f"{self.seed}/{number}")
        names = os.environ.get("BERTH_FAULT_LIVES", "").split() or sorted(set(PARTS) - set(LEFT_OUT))
        while not self.over.is_set():
            name = dice.choice(names)
            workload = Workload(self.host, name, follow=self.wait_deleted)
            workload.may_fail = 1000  # as often as something dies in a launch
            workload.may_be_unknown = True
            try:
                PARTS[name](self.host, workload)
                self.count("lives")
            except BaseException as error:
                self.fail(f"{workload.id} of {name}", error)

    # --- the watcher ---

    def watch(self):
        while not self.over.is_set() or not self.finished.is_set():
            try:
                where = {"after_sequence": self.model.sequence} if self.model.sequence else {"from_oldest": True}
                for answer in self.host.api.WatchEvents(timeout=2, **where):
                    if answer.missed:
                        raise Wrong(f"the watcher missed {answer.missed} events")
                    with self.told:
                        for event in answer.events:
                            self.model.take(event)
                        self.told.notify_all()
            except Refused as why:
                if why.code not in ("UNAVAILABLE", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED"):
                    self.fail("the watcher", why)
                    return
                self.host.connect_anew()
            except Wrong as error:
                self.fail("the watcher", error)
                return

    def wait_deleted(self, workload):
        """The model of the watcher, once it was told that the workload is deleted."""
        with self.told:
            if not self.told.wait_for(lambda: self.failures or
                                      self.model.life(workload.id, workload.generation).deleted, 60):
                raise Wrong(f"{workload.id}: the watcher was not told that it is deleted")
        return self.model

    def read_on(self, workload):
        """The same after the storm, when no watcher is left."""
        deadline = time.monotonic() + 20
        while not self.model.life(workload.id, workload.generation).deleted:
            for event in self.host.through(lambda: self.host.read_events(after_sequence=self.model.sequence)):
                self.model.take(event)
            if time.monotonic() > deadline:
                raise Wrong(f"{workload.id}: nobody was told that it is deleted")
        return self.model

    # --- what happens ---

    def kill_a_daemon(self, dice):
        names = dice.choice((("sandboxd",), ("berthd",), ("berthd", "sandboxd")))
        self.host.kill(*names)
        for name in names:
            self.count(f"deaths of {name}")

    def kill_a_monitor(self, dice):
        pids = self.host.monitors() + self.host.launching()
        if pids and self.host.kill_monitor(dice.choice(sorted(pids))):
            self.count("deaths of monitors")

    def stop_berthd(self, dice):
        process = self.host.berthd
        process.send_signal(signal.SIGSTOP)
        self.count("pauses of berthd")
        self.over.wait(dice.random() * 0.5)
        process.send_signal(signal.SIGCONT)

    def fill_the_disk(self, dice):
        disk = dice.choice(self.host.disks)
        disk.fill()
        self.count("times a disk was full")
        self.over.wait(dice.random())
        disk.free()

    def rage(self):
        dice = random.Random(self.seed)
        what = (self.kill_a_daemon, self.kill_a_monitor, self.kill_a_monitor, self.stop_berthd, self.fill_the_disk)
        try:
            while not self.over.wait(dice.random() * 0.6):
                dice.choice(what)(dice)
        except BaseException as error:
            self.fail("the storm itself", error)

    def run(self, seconds):
        self.told = threading.Condition()
        self.finished = threading.Event()
        watcher = threading.Thread(target=self.watch)
        threads = [threading.Thread(target=self.live, args=(number,)) for number in range(self.lives_at_once)]
        threads.append(threading.Thread(target=self.rage))
        for thread in (watcher, *threads):
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join(180)
        self.finished.set()
        watcher.join(30)
        if not self.failures:
            check_deaths(self.host, "the storm")

"""A pair of daemons that are made to die, and somebody who starts them again, as systemd would."""
import glob
import os
import pwd
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system", "agent"))

import disks  # noqa: E402
import host  # noqa: E402
from api import BUILD, Api, Refused  # noqa: E402
from failpoints import Failpoints, listed  # noqa: E402
from model import Model, Wrong  # noqa: E402

AGAIN = ("UNAVAILABLE", "CANCELLED", "UNKNOWN")  # a connection that broke, a daemon that is not there yet


def inner_pids(pid):
    """Its numbers in the pid namespaces that it is in, outermost first."""
    for line in host.read(f"/proc/{pid}/status").splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    return []


class FaultyHost(host.Host):
    def __init__(self, with_failpoints=True, small_disks=False, **settings):
        self.channels = threading.local()
        super().__init__(**settings)
        self.points = None
        self.with_failpoints = with_failpoints
        self.small_disks = small_disks  # needs disks.own_mounts()
        self.disks = []
        self.descriptors = {}  # {daemon: how many it may have}
        self.keeping = False
        self.parts_of = None  # killed.py
        self.left_down = set()
        self.deaths = []  # (daemon, how it ended), since the last look
        self.changed = threading.Condition()

    def __enter__(self):
        if self.with_failpoints:
            self.points = Failpoints(os.path.join(self.place, "failpoints"), listed(BUILD))
            os.environ["BERTH_FAILPOINTS"] = self.points.path
        return super().__enter__()

    def _prepare(self):
        super()._prepare()
        if not self.small_disks:
            return
        state = self.place + "/state"
        user = pwd.getpwnam(host.AGENT_USER)
        os.mkdir(state, 0o700)
        os.chown(state, user.pw_uid, user.pw_gid)
        self.disks = [disks.Disk(state), disks.Disk(self.log_dir)]

    def __exit__(self, *exc):
        self.keep(False)
        if self.points:
            self.points.disarm_all()
        super().__exit__(*exc)
        if self.points:
            os.environ.pop("BERTH_FAILPOINTS", None)

    # One channel a thread, made anew when it broke: the client's own pauses before it connects again would be
    # most of what is waited for.
    @property
    def api(self):
        if getattr(self.channels, "api", None) is None:
            self.channels.api = Api("unix://" + self.socket)
        return self.channels.api

    @api.setter
    def api(self, api):
        self.channels.api = api

    def connect_anew(self):
        self.api.close()
        self.api = None

    def _stop_daemons(self):
        for disk in self.disks:
            disk.free()
        super()._stop_daemons()
        for disk in self.disks:
            disk.unmount()

    def _start(self, name, argv):
        if name in self.descriptors:
            argv = ["prlimit", f"--nofile={self.descriptors[name]}:{self.descriptors[name]}", *argv]
        return super()._start(name, argv)

    # --- the keeper ---

    def keep(self, on=True):
        """From now on a daemon that ends is started again, unless it is left down."""
        with self.changed:
            if on == self.keeping:
                return
            self.keeping = on
            self.changed.notify_all()
        for name in ("sandboxd", "berthd") if on else ():
            threading.Thread(target=self._keep, args=(name,), daemon=True).start()

    def _keep(self, name):
        while True:
            status = getattr(self, name).wait()
            with self.changed:
                if self.keeping:
                    self.deaths.append((name, status))
                self.changed.wait_for(lambda: not self.keeping or name not in self.left_down)
                if not self.keeping:
                    return
                getattr(self, "start_" + name)()
                self.changed.notify_all()

    def kill(self, *names, sig=signal.SIGKILL):
        """All at once; the keeper starts them again."""
        for name in names:
            getattr(self, name).send_signal(sig)

    def kill_and_wait(self, *names):
        """Until others were started in their place."""
        old = [getattr(self, name) for name in names]
        self.kill(*names)
        with self.changed:
            self.changed.wait_for(lambda: all(getattr(self, name) is not process
                                              for name, process in zip(names, old)), 30)
        self.wait_serving()

    def down(self, name, sig=signal.SIGKILL):
        """It ends, and stays down until up()."""
        self.left_down.add(name)
        process = getattr(self, name)
        process.send_signal(sig)
        process.wait(30)

    def up(self, name):
        old = getattr(self, name)
        with self.changed:
            self.left_down.discard(name)
            self.changed.notify_all()
            self.changed.wait_for(lambda: getattr(self, name) is not old, 30)
        self.wait_serving()

    def wait_serving(self, seconds=60):
        deadline = time.monotonic() + seconds
        self.connect_anew()
        while True:
            try:
                return super().wait_serving(max(0.1, deadline - time.monotonic()))
            except AssertionError:  # it ended: the keeper sees to that
                if not self.keeping or time.monotonic() > deadline:
                    raise

    def take_deaths(self):
        with self.changed:
            deaths, self.deaths = self.deaths, []
        return deaths

    # --- a scheduler's calls ---

    def through(self, call, seconds=60, also=()):
        """Again and again until it is answered, as a scheduler does."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return call()
            except Refused as why:
                if why.code not in AGAIN + tuple(also) or time.monotonic() > deadline:
                    raise
                self.connect_anew()
                time.sleep(0.01)  # a scheduler's own pause between two tries

    def history(self, enough=lambda model: True, seconds=10):
        """The model that has seen all events that are kept, and for which `enough` holds: an answer may be
        ahead of the event that tells of the same, by one commit."""
        deadline = time.monotonic() + seconds
        while True:
            model = Model()
            for event in self.through(lambda: self.read_events(from_oldest=True)):
                model.take(event)
            if enough(model) or time.monotonic() > deadline:
                return model

    def read_events(self, **where):
        return [event for answer in self.api.WatchEvents(no_follow=True, **where) for event in answer.events]

    # --- what is there of a workload, whatever Berth says ---

    def groups(self, workload_id=None):
        """Directories of control groups of workloads: <id>.<instance>."""
        name = f"{workload_id or '*'}.[0-9]*"
        return sorted(glob.glob(f"/sys/fs/cgroup/*{self.group_base}/workloads/*/{name}") +
                      glob.glob(f"/sys/fs/cgroup{self.group_base}/workloads/*/{name}"))

    def files(self, workload_id="*"):
        return sorted(glob.glob(f"{self.place}/sandbox/{workload_id}.*") +
                      glob.glob(f"{self.log_dir}/{workload_id}"))

    def mounts(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            return sorted(line.split()[4] for line in file if self.place + "/" in line)

    def monitors(self, workload_id=None):
        """Pids of monitors, and of what is to become one."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                title = host.read(path).rstrip("\0")
                base = host.read(os.path.dirname(path) + "/cgroup")
                if self.group_base + "/" not in base or not title.startswith("berth-monitor: "):
                    continue
                # The first process has the title too, until its program has begun.
                is_monitor = len(inner_pids(path.split("/")[2])) == 1
            except OSError:
                continue
            if is_monitor and (workload_id is None or title.startswith(f"berth-monitor: {workload_id}/")):
                found.append(int(path.split("/")[2]))
        return found

    def kill_monitor(self, pid):
        """Whether it was there to be killed: the number may be another's by now."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if pid not in self.monitors() + self.launching():
                return False
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)

    def launching(self):
        """Pids of monitors that are in the middle of a launch."""
        found = []
        for path in glob.glob("/proc/[0-9]*/comm"):
            try:
                # The first process has the name too, until its program has begun.
                if host.read(path) == "berth-launch\n" and \
                        self.group_base + "/" in host.read(os.path.dirname(path) + "/cgroup") and \
                        len(inner_pids(path.split("/")[2])) == 1:
                    found.append(int(path.split("/")[2]))
            except OSError:
                pass
        return found

    def what_lives(self, workload_id=None):
        return self.groups(workload_id) + self.files(workload_id or "*") + \
            [f"monitor {pid}" for pid in self.monitors(workload_id)]

    def until_gone(self, workload_id=None, seconds=20, but_below=None):
        """What a daemon still removes, and a monitor that was told to end, is gone soon."""
        deadline = time.monotonic() + seconds
        while left := [one for one in self.what_lives(workload_id) if not (but_below and one.startswith(but_below))]:
            if time.monotonic() > deadline:
                raise Wrong(f"it is left: {left[:6]}")
            time.sleep(0.005)  # directories of the kernel tell nobody that they go

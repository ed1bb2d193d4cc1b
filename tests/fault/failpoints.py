"""The other end of proto/failpoint.h: a file of failpoints that every process of the daemons maps."""
import errno
import mmap
import os
import struct
import subprocess
import time

SLOT = struct.Struct("<64s7I36x")
FIELDS = ("action", "argument", "skip", "times", "reached", "fired", "pid")
ACTIONS = {"none": 0, "kill": 1, "error": 2, "delay": 3, "hold": 4}
PROGRAMS = ("agent/berthd", "sandbox/berth-sandboxd", "sandbox/monitor/berth-monitor")


def listed(build):
    """{name: whether it can fail} of all programs of a build with failpoints."""
    found = {}
    for program in PROGRAMS:
        done = subprocess.run([os.path.join(build, program), "--list-failpoints"], check=False,
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{build}/{program} has no failpoints: build it with -DBERTH_FAILPOINTS=ON")
        for line in done.stdout.splitlines():
            name, _, can_fail = line.partition(" ")
            found[name] = bool(can_fail)
    return found


class Failpoints:
    """A set in a file; `names` are written to a new one, an old one is read."""

    def __init__(self, path, names=None):
        self.path = path
        if names is not None:
            with open(path, "wb") as file:
                for name in sorted(names):
                    file.write(SLOT.pack(name.encode(), *[0] * len(FIELDS)))
            os.chmod(path, 0o666)  # berthd is another user
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.offsets = {}
        for offset in range(0, len(self.map), SLOT.size):
            name = SLOT.unpack_from(self.map, offset)[0].rstrip(b"\0").decode()
            self.offsets[name] = offset

    def _at(self, name, field):
        return self.offsets[name] + 64 + 4 * FIELDS.index(field)

    def get(self, name, field):
        return struct.unpack_from("<I", self.map, self._at(name, field))[0]

    def _set(self, name, field, value):
        struct.pack_into("<I", self.map, self._at(name, field), value)

    def arm(self, name, action, argument=0, skip=0, times=1):
        """`times` goes in last: it is what arms."""
        self._set(name, "times", 0)
        for field, value in (("action", ACTIONS[action]), ("argument", argument), ("skip", skip), ("fired", 0)):
            self._set(name, field, value)
        self._set(name, "times", times)

    def disarm(self, name):
        self._set(name, "times", 0)
        self._set(name, "action", 0)  # who holds there goes on

    def disarm_all(self):
        for name in self.offsets:
            self.disarm(name)

    def reached(self):
        return {name: self.get(name, "reached") for name in self.offsets}

    def fired(self, name):
        return self.get(name, "fired")

    def wait_fired(self, name):
        self._wait(name, "fired", 1)

    def wait_reached(self, name, times):
        self._wait(name, "reached", times)

    def _wait(self, name, field, value, seconds=20):
        deadline = time.monotonic() + seconds
        while self.get(name, field) < value:
            if time.monotonic() > deadline:
                raise AssertionError(f"failpoint {name} was not reached")
            time.sleep(0.001)  # memory that is shared tells nobody of its change


def parse(text):
    """name=kill@3, name=error:ENOSPC, name=delay:200ms, name=hold: (name, action, argument, skip, times).
    @n: at the n-th time; @*: each time."""
    name, _, what = text.partition("=")
    what, _, when = what.partition("@")
    action, _, argument = what.partition(":")
    if action not in ACTIONS or not name:
        raise SystemExit(f"{text!r} is not NAME=kill|error:ERRNO|delay:MSms|hold[@N|@*]")
    if action == "error":
        number = getattr(errno, argument or "EIO")
    else:
        number = int(argument.removesuffix("ms") or 0)
    if when == "*":
        return name, action, number, 0, 0xffffffff
    return name, action, number, int(when or 1) - 1, 1

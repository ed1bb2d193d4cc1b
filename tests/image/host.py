"""A berthd of its own, in a directory of its own, and berthctl to speak with it. No berth-sandboxd: nothing is launched."""
import json
import os
import pathlib
import signal
import shutil
import subprocess
import sys
import tempfile
import time
import traceback


class Failed(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


class Host:
    def __init__(self, build, images="", store=None):
        self.build = pathlib.Path(build)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="berth-image."))
        self.store = store or self.directory / "store"
        self.store.mkdir(exist_ok=True)
        self.config = self.directory / "berthd.conf"
        self.log = self.directory / "log"
        self.socket = self.directory / "run" / "s"
        self.socket.parent.mkdir()
        self.daemon = None
        self.configure(images)

    def configure(self, images):
        self.config.write_text(
            f"[Listen]\nSocket={self.socket}\n[Store]\nDirectory={self.store}\n"
            f"[Sandbox]\nSocket={self.directory}/run/none\n[Images]\nCollectAbove=100\n{images}\n")

    def start(self):
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(
                [self.build / "agent" / "berthd", "--config", self.config], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            done = self.ctl("image", "ls", ok=None)
            if done.returncode == 0:
                return
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise Failed("berthd does not start: " + self.log.read_text())
            time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        if self.daemon:
            self.daemon.send_signal(how)
            self.daemon.wait(timeout=20)
        self.daemon = None

    def end(self):
        if self.daemon and self.daemon.poll() is None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self):
        return {**os.environ, "BERTH_ADDRESS": f"unix://{self.socket}"}

    def command(self, *words):
        return [self.build / "agent" / "cli" / "berthctl", *words]

    def ctl(self, *words, ok=True, stdin=None, timeout=60):
        done = subprocess.run(self.command(*words), env=self.environment(), text=True, input=stdin,
                              capture_output=True, timeout=timeout)
        if ok is not None:
            check((done.returncode == 0) == ok, "berthctl", *words, "ended with", done.returncode,
                  done.stdout, done.stderr)
        return done

    def begin(self, *words):
        return subprocess.Popen(self.command(*words), env=self.environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def json(self, *words):
        return [json.loads(line) for line in self.ctl("-o", "json", *words).stdout.splitlines()]

    def blobs(self):
        return sorted(p.name for p in (self.store / "images" / "blobs").iterdir())

    def refused(self, word, *words, stdin=None):
        done = self.ctl(*words, ok=False, stdin=stdin)
        check(word in done.stderr, repr(word), "is not in", done.stderr)
        check(self.daemon.poll() is None, "berthd has died:", self.log.read_text()[-2000:])
        return done.stderr


def run_stories(stories, *arguments):
    """Each is a function, whose name is its sentence. Prints a line each; returns the exit status."""
    status = 0
    for story in stories:
        name = story.__name__
        try:
            story(*arguments)
            print(f"ok {name}", flush=True)
        except Exception as error:  # whatever it is, the next story goes on
            traceback.print_exc(file=sys.stdout)
            print(f"not ok {name}: {str(error).splitlines()[0] if str(error) else error!r}", flush=True)
            status = 1
    return status

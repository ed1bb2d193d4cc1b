"""Who reads slowly, or not at all, and who is attached while everything dies."""
import os
import subprocess
import threading
import time

from api import Api, Refused, types
from host import read
from lives import Workload, check_alone
from model import Wrong
from story import equal, has, story
from terminal import Terminal

INTERVAL_MS = 100
REPORTS_GROW_BY = 10  # workloads, so that a window is full soon
MAY_GROW_KIB = 8 << 10


def rss_kib(pid):
    return next(int(line.split()[1]) for line in read(f"/proc/{pid}/status").splitlines() if line.startswith("VmRSS:"))


class Reports:
    """A stream of telemetry, and what its reader was told; it reads as long as it is allowed to."""

    def __init__(self, host):
        # The window grows by what is read, and by nothing else.
        self.api = Api("unix://" + host.socket, options=(("grpc.http2.bdp_probe", 0),
                                                          ("grpc.http2.lookahead_bytes", 1024)))
        self.stream = self.api.StreamTelemetry(interval_ms=INTERVAL_MS, timeout=86400)
        self.may_read = threading.Event()
        self.sequences, self.missed, self.failure = [], 0, None
        self.changed = threading.Condition()
        self.may_read.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for report in self.stream:
                with self.changed:
                    self.missed += report.missed_reports
                    if not self.sequences or self.sequences[-1] != report.sequence:
                        self.sequences.append(report.sequence)
                    self.changed.notify_all()
                self.may_read.wait()
        except Refused as why:
            with self.changed:
                self.failure = why
                self.changed.notify_all()

    def wait(self, condition, what, seconds=20):
        with self.changed:
            if not self.changed.wait_for(lambda: self.failure or condition(self), seconds) or self.failure:
                raise Wrong(f"{what}: not in {seconds} s: {self.failure}, {self.missed} missed of {self.sequences[-3:]}")

    def close(self):
        self.may_read.set()
        self.stream.call.cancel()
        self.api.close()


@story
def F49_a_reader_of_telemetry_stops_reading(host):
    workloads = [Workload(host, "figures") for _ in range(REPORTS_GROW_BY)]
    for workload in workloads:
        workload.launch_and_stay()
    slow, quick = Reports(host), Reports(host)
    try:
        for reports in (slow, quick):
            reports.wait(lambda reports: len(reports.sequences) >= 3, "reports")
        slow.may_read.clear()
        before, began = rss_kib(host.berthd.pid), len(quick.sequences)
        pause = float(os.environ.get("BERTH_FAULT_WINDOW", "5"))
        threading.Event().wait(pause)
        grown = rss_kib(host.berthd.pid) - before
        if grown > MAY_GROW_KIB:
            raise Wrong(f"berthd grew by {grown} KiB for a reader that does not read")
        check_alone(workloads[0], workloads[0].status())  # and others are answered
        with quick.changed:
            told = len(quick.sequences) - began
            if told < 0.5 * pause * 1000 / INTERVAL_MS or quick.missed:
                raise Wrong(f"another reader was told {told} reports in {pause} s, and missed {quick.missed}")
        at = len(slow.sequences)
        slow.may_read.set()
        slow.wait(lambda reports: reports.missed > 0 and len(reports.sequences) > at + 3, "what was dropped is counted")
        with slow.changed, quick.changed:
            equal(slow.sequences, list(range(1, len(slow.sequences) + 1)), "the reports' numbers")
            # Both began together: what one was told, the other was told, or told that it is dropped.
            behind = quick.sequences[-1] - (slow.sequences[-1] + slow.missed)
            if abs(behind) > 5:
                raise Wrong(f"{quick.sequences[-1]} reports there were; the slow reader was told {slow.sequences[-1]} "
                            f"and that {slow.missed} are dropped")
    finally:
        slow.close()
        quick.close()
    for workload in workloads:
        workload.finish()


class Client:
    """berthctl, and what it has written."""

    def __init__(self, host, name, *arguments):
        self.path = f"{host.place}/{name}.out"
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([host.berthctl, "-a", "unix://" + host.socket, *arguments],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def text(self):
        return read(self.path)

    def until(self, condition, what, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition(self.text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Wrong(f"{what}: not in {seconds} s, ended with {self.process.poll()}: {self.text()[-400:]!r}")
            time.sleep(0.01)  # a file tells nobody of its growth but who looks

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(20)
        os.unlink(self.path)


def kill_all_three(host):
    """Until others were started in the daemons' place."""
    monitors = host.monitors()
    old = host.sandboxd, host.berthd
    host.kill("sandboxd", "berthd")
    for pid in monitors:
        host.kill_monitor(pid)
    with host.changed:
        host.changed.wait_for(lambda: host.sandboxd is not old[0] and host.berthd is not old[1], 30)
    host.wait_serving()


def lines_of(text):
    return [int(line) for line in text.splitlines() if line.isdigit()]


@story
def F04_clients_are_attached_when_all_three_die(host):
    workload = Workload(host, "counts")
    workload.launch("trap 'exit 9' TERM; n=0; echo start >> /data/{id}.starts; "
                    "while :; do n=$((n+1)); echo $n; usleep 20000; done")
    workload.until_started()
    pid = workload.first_pid()
    logs = Client(host, "logs", "logs", "-f", workload.id)
    events = Client(host, "events", "events", "-f")
    stats = Client(host, "stats", "stats", "-i", "100", workload.id)
    try:
        logs.until(lambda text: len(lines_of(text)) > 10, "lines")
        stats.until(lambda text: text.count(workload.id) > 3, "figures")
        for _ in range(3):
            with Terminal(host, "exec", "-it", workload.id, "/bin/sh") as terminal:
                terminal.type(b"echo in-$((6*7))\n")
                terminal.expect(b"in-42")
                seen = lines_of(logs.text())[-1], stats.text().count(workload.id)
                kill_all_three(host)
                # Nobody can know how its program ended, and that is what is said.
                equal(terminal.end(), 6, "the code of exec")
                has(terminal.seen.decode(errors="replace"), "berthctl: ")
            logs.until(lambda text: lines_of(text)[-1] > seen[0] + 20, "lines after the death of all three")
            stats.until(lambda text: text.count(workload.id) > seen[1] + 3, "figures after the death of all three")
            check_alone(workload, workload.status())
            equal(workload.first_pid(), pid)
        workload.check_end(workload.stop(grace_ms=5000).containers[0].last_exit, types.EXIT_CODE, 9)
        events.until(lambda text: f"{workload.id}" in text and "STOP_REQUESTED" in text, "the end among the events")
        logs.process.wait(30)
        # What it wrote while nobody had the other end of its output, it could not write. Of the rest all is told, once.
        equal(lines_of(logs.text()), lines_of(host.output(workload.id)), "the lines that were followed")
        equal(lines_of(logs.text()), sorted(set(lines_of(logs.text()))), "the lines")
    finally:
        for client in (logs, events, stats):
            client.end()
    workload.finish()

"""The end of berth-sandboxd, as systemctl stop asks for it: who sees it stopped finds no process of it left.

    test_stop.py BUILD_DIRECTORY [unittest arguments]
"""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import unittest

from sandboxd_client import close_all, ref
from test_sandboxd import FOREVER, Runner, Story, name_of, parent_of, thaw_and_remove, write

PR_SET_CHILD_SUBREAPER = 36
EXIT_DELAY_USEC = 1000000  # of a monitor; without the daemon's patience it would be seen


def read(path):
    with open(path) as file:
        return file.read()


def children(pid):
    return [int(child) for child in read(f"/proc/{pid}/task/{pid}/children").split()]


def has_ended(pid):
    try:
        return read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


class Stop(Story):
    def setUp(self):
        # Whoever outlives its daemon becomes a child of this program.
        self.assertEqual(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0)
        self.before = children(os.getpid())
        self.tracers = []
        super().setUp()

    def start_again(self, **options):
        self.daemon.stop()
        self.daemon.start(**options)
        self.client = self.daemon.connect()

    def ends_slowly(self, pid):
        """Once this has returned, that process takes its time between its last words and its end."""
        if not shutil.which("strace"):
            self.skipTest("needs strace, to make a process slow")
        tracer = subprocess.Popen(["strace", "-p", str(pid), "-e", "trace=exit_group", "-e",
                                   f"inject=exit_group:delay_enter={EXIT_DELAY_USEC}"], stderr=subprocess.PIPE, text=True)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.stderr.close)
        self.tracers.append(tracer.pid)
        while "attached" not in (line := tracer.stderr.readline()):
            self.assertTrue(line, "strace could not attach")

    def live_on(self):
        """Stop the daemon; who is there then, by name."""
        self.assertEqual(self.daemon.stop(), 0)
        return [name_of(pid).strip() for pid in children(os.getpid())
                if pid not in self.before + self.tracers and not has_ended(pid)]

    def monitor_of_exec(self):
        self.client.ask("exec", ref=ref("w-1", "main"), session=1, command=["/bin/sleep", "1000"])
        close_all(self.client.reply_fds)
        return parent_of(self.client.wait_fact("exec_started").pid)

    def test_workloads_that_end_take_their_monitors_with_them(self):
        self.create()
        self.ends_slowly(parent_of(self.launch(FOREVER).pid))
        self.assertEqual(self.live_on(), [])
        self.assertEqual(self.daemon.cgroups(), [])

    def test_and_those_of_their_exec_sessions(self):
        self.create()
        self.launch(FOREVER)
        self.ends_slowly(self.monitor_of_exec())
        self.assertEqual(self.live_on(), [])
        self.assertEqual(self.daemon.cgroups(), [])

    def test_and_those_from_before_a_restart(self):
        self.create()
        monitor = parent_of(self.launch(FOREVER).pid)
        self.daemon.kill()
        self.daemon.start()
        self.ends_slowly(monitor)
        self.assertEqual(self.live_on(), [])
        self.assertEqual(self.daemon.cgroups(), [])

    def test_only_monitors_of_what_lives_on_do(self):
        self.start_again(workloads_end=False)
        self.create()
        self.launch(FOREVER, "stays")
        started = self.launch_until_term(0)
        self.ends_slowly(parent_of(started.pid))
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        self.client.wait_fact("exited")
        self.assertEqual(self.live_on(), ["berth-monitor"])

    def hold_helper(self, freezer):
        """A helper of the daemon, frozen, and the group that holds it."""
        for i in range(200):
            # In the middle of something, perhaps before it can let a helper go.
            os.kill(self.daemon.process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.daemon.process.pid, os.WSTOPPED)
            for pid in children(self.daemon.process.pid):
                held = name_of(pid) == "berth-sandboxd\n" and self.freeze_if_there(freezer, pid)
                if held:
                    return pid, held
            os.kill(self.daemon.process.pid, signal.SIGCONT)
            if i % 4 == 3:  # all namespaces are prepared: take some
                self.create(f"w-{i}")
        self.fail("no helper was seen in 200 looks")

    def freeze_if_there(self, freezer, pid):
        held = f"{freezer}/{os.path.basename(self.daemon.base)}.{pid}"
        os.mkdir(held)
        try:
            write(f"{held}/cgroup.procs", str(pid))
            write(f"{held}/freezer.state", "FROZEN")
            while read(f"{held}/freezer.state") != "FROZEN\n":
                os.sched_yield()
        except ProcessLookupError:
            pass
        if read(f"{held}/cgroup.procs"):
            self.addCleanup(thaw_and_remove, held)
            return held
        os.rmdir(held)  # it was about to end, and did
        return None

    def until_told(self, notices, wanted):
        while wanted not in notices.recv(4096).decode():
            pass

    def test_a_helper_that_is_slow_to_end_is_waited_for(self):
        freezer = self.free_freezer()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind("\0berth-test-stop-%d" % os.getpid())
            notices.settimeout(20)
            os.environ["NOTIFY_SOCKET"] = "@berth-test-stop-%d" % os.getpid()
            self.addCleanup(os.environ.pop, "NOTIFY_SOCKET", None)
            self.start_again()
            self.until_told(notices, "READY=1")
            helper, held = self.hold_helper(freezer)
            self.daemon.process.terminate()
            self.daemon.process.send_signal(signal.SIGCONT)
            self.until_told(notices, "waiting for helpers to end")
            self.assertIsNone(self.daemon.process.poll())
            self.assertFalse(has_ended(helper))
            write(f"{held}/freezer.state", "THAWED")
            self.assertEqual(self.daemon.process.wait(20), 0)
        self.assertTrue(has_ended(helper))


if __name__ == "__main__":
    unittest.main(testRunner=Runner)

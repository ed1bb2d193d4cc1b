"""berth-sandboxd end to end: a workload's life, its refusals, and the deaths of the daemon and of monitors.

    test_sandboxd.py BUILD_DIRECTORY [unittest arguments]
"""
import contextlib
import fcntl
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

if os.geteuid() != 0:
    print("SKIP: berth-sandboxd makes namespaces and control groups, which needs root")
    sys.exit(77)

from sandboxd_client import (DENIED, EXISTS, FAILED, INVALID, NOT_FOUND, PRECONDITION, RUNNING, Daemon, Refused,
                             close_all, pb, ref)
import changes

BUILD = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build"


def until_term(code, before="true"):
    """A program that says "up" once SIGTERM would end it with this code: before, a pid 1 ignores it."""
    return ["/bin/sh", "-c", f"trap 'exit {code}' TERM; {before}; echo up; while :; do sleep 1 & wait $!; done"]


FOREVER = until_term(9)
CLD_EXITED, CLD_KILLED = 1, 2
NS_GET_OWNER_UID = 0xb704


def mounts_of(daemon):
    """Others mount and unmount meanwhile."""
    with open("/proc/self/mountinfo") as file:
        return [line for line in file if daemon.base in line]


class Story(unittest.TestCase):
    policy = ""
    options = {}

    def setUp(self):
        self.daemon = Daemon(BUILD, self.policy, **self.options)
        self.addCleanup(self.daemon.cleanup)
        self.client = self.daemon.connect()

    def tearDown(self):
        if os.environ.get("VERBOSE"):
            print(self.daemon.log())

    def create(self, workload="w-1", **fields):
        return self.client.ask("create_workload", workload=workload, instance=1, band=2, **fields)

    def launch(self, command, container="main", workload="w-1", wait="started", attempt=1, **fields):
        self.client.ask("launch", ref=ref(workload, container, attempt=attempt),
                        root_directory=self.daemon.rootfs, command=command, gate_open=True, **fields)
        if wait:
            fact = self.client.wait_fact(wait, lambda f: f.ref.container == container,
                                         fail_on=("start_failed",) if wait != "start_failed" else ())
            close_all(self.client.fact_fds)
            return fact

    def launch_until_term(self, code, before="true", **fields):
        started = self.launch(until_term(code, before), **fields)
        self.until_logged(" stdout F up\n")
        return started

    def until_logged(self, text):
        self.assertTrue(changes.until(f"{self.daemon.base}/log/w-1/main", lambda: text in self.log_of()),
                        f"{text!r} was never written")

    def free_freezer(self):
        """A v1 freezer that the daemon does not use: whom it holds does not die of SIGKILL."""
        freezer = next((line.split()[1] for line in open("/proc/self/mounts")
                        if line.split()[2] == "cgroup" and "freezer" in line.split()[3].split(",")), None)
        if not freezer or not any("cgroup.kill" in os.listdir(f"{top}/workloads") for top in self.daemon.tops()):
            self.skipTest("needs the v1 freezer on a host where cgroup2 is used, to hold a process in the kernel")
        return freezer

    def freeze(self, freezer, pid):
        held = f"{freezer}/{os.path.basename(self.daemon.base)}"
        os.mkdir(held)
        self.addCleanup(thaw_and_remove, held)
        write(f"{held}/cgroup.procs", str(pid))
        write(f"{held}/freezer.state", "FROZEN")
        return held

    def refused(self, kind, verb, **fields):
        with self.assertRaises(Refused) as caught:
            self.client.ask(verb, **fields)
        self.assertEqual(caught.exception.kind, kind, caught.exception.text)
        return caught.exception.text

    def log_of(self, container="main", workload="w-1"):
        place = f"{self.daemon.base}/log/{workload}/{container}"
        return "".join(open(f"{place}/{name}").read() for name in sorted(os.listdir(place)))


class Life(Story):
    policy = "AllowHostDirectories=/usr/share:ro"

    def test_a_workload_lives_and_leaves_nothing(self):
        mounts = mounts_of(self.daemon)
        self.create(hostname="box", volumes=[pb.Volume(name="t", tmpfs_bytes=1 << 20)])
        started = self.launch(["/bin/sh", "-c", "id -u; hostname; echo x > /data/x; exit 7"], wait="started",
                              mounts=[pb.Mount(volume="t", target="/data")])
        self.assertGreater(started.pid, 1)
        self.assertTrue(started.cgroup_dirs)
        self.assertIn("clone", [step.step for step in started.steps])
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 7))
        self.assertGreater(exited.total_cpu_ns, 0)
        self.assertIn(" stdout F 0\n", self.log_of())
        self.assertIn(" stdout F box\n", self.log_of())
        self.client.ask("remove_container", ref=ref("w-1", "main"))
        self.client.ask("remove_workload", workload="w-1", instance=1, remove_logs=True)
        self.assertEqual(os.listdir(f"{self.daemon.base}/run"), [])
        self.assertEqual(os.listdir(f"{self.daemon.base}/log"), [])
        self.assertEqual(mounts_of(self.daemon), mounts)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(self.daemon.cgroups(), [])

    def test_what_the_policy_lets_read_is_not_mounted_to_be_written(self):
        self.create(volumes=[pb.Volume(name="v", host_directory="/usr/share/doc")])
        mount = pb.Mount(volume="v", target="/data")
        text = self.refused(DENIED, "launch", ref=ref("w-1", "main"), root_directory=self.daemon.rootfs,
                            command=["/bin/true"], gate_open=True, mounts=[mount])
        self.assertIn("mounts[0]: volume v may only be read by AllowHostDirectories", text)
        mount.read_only = True
        self.launch(["/bin/sh", "-c", "! touch /data/x"], wait="exited", mounts=[mount])

    def test_the_page_is_given_for_reading_only(self):
        self.create()
        self.client.ask("launch", ref=ref("w-1", "main"), root_directory=self.daemon.rootfs,
                        command=FOREVER, gate_open=True)
        self.client.wait_fact("started", fail_on=("start_failed",))
        page, *dirs = self.client.fact_fds
        self.assertEqual(os.pread(page, 4, 0), b"BTPG")
        with self.assertRaises(OSError):
            os.pwrite(page, b"x", 0)
        self.assertTrue(all(os.path.isdir(f"/proc/self/fd/{fd}") for fd in dirs))
        close_all([page, *dirs])

    def test_the_gate_holds_until_it_is_opened(self):
        self.create()
        self.client.ask("launch", ref=ref("w-1", "main"), root_directory=self.daemon.rootfs,
                        command=["/bin/true"])
        with self.assertRaises(TimeoutError):
            self.client.wait_fact("started", timeout=0.3)
        self.client.ask("open_gate", ref=ref("w-1", "main"))
        self.client.wait_fact("exited", fail_on=("start_failed",))

    def test_a_launch_behind_a_closed_gate_can_be_killed(self):
        self.create()
        self.client.ask("launch", ref=ref("w-1", "main"), root_directory=self.daemon.rootfs,
                        command=["/bin/true"])
        self.client.ask("kill", ref=ref("w-1", "main"))
        self.client.wait_fact("start_failed")
        self.client.ask("remove_workload", workload="w-1", instance=1)

    def test_containers_share_the_workloads_network_and_host_name(self):
        self.create(hostname="shared")
        for name in ("one", "two"):
            self.launch(["/bin/sh", "-c", "hostname; ls -l /proc/self/ns/net"], name, wait="exited")
        one, two = (self.log_of(name).split("net:[")[1] for name in ("one", "two"))
        self.assertEqual(one, two)

    def test_a_workload_counts_against_limits_of_its_own(self):
        # What it uses of inotify, queued signals and the like counts against whoever made its namespace.
        first = self.create().create_workload.host_id_first
        fd = os.open(f"/proc/{self.launch(FOREVER).pid}/ns/user", os.O_RDONLY)
        self.addCleanup(os.close, fd)
        owner = struct.unpack("I", fcntl.ioctl(fd, NS_GET_OWNER_UID, b"\0" * 4))[0]
        self.assertEqual(owner, first)

    def test_signal_freeze_limits_and_kill(self):
        self.create()
        self.launch_until_term(9)
        for frozen in (True, False):
            self.client.ask("freeze", workload="w-1", instance=1, frozen=frozen)
        self.client.ask("update_limits", ref=ref("w-1", "main"), limits=pb.Limits(pids_max=77))
        self.assertIn("77", [open(f"{d}/pids.max").read().strip() for d in self.daemon.cgroups()
                             if d.endswith("main.1") and os.path.exists(f"{d}/pids.max")])
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 9))
        self.launch(FOREVER, attempt=2)
        self.client.ask("kill", ref=ref("w-1"))
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_KILLED, signal.SIGKILL))

    def test_what_cannot_be_killed_is_told_and_ends_when_it_can(self):
        freezer = self.free_freezer()
        self.create()
        pid = self.launch(FOREVER).pid
        held = self.freeze(freezer, pid)
        self.client.ask("kill", ref=ref("w-1", "main"))
        stuck = self.client.wait_fact("unkillable")
        self.assertEqual(stuck.ref.container, "main")
        self.assertIn(f"pid {pid} ", stuck.processes[0])
        self.refused(PRECONDITION, "remove_workload", workload="w-1", instance=1)
        self.client.ask("create_workload", workload="w-2", instance=1, band=2)  # others do not notice
        self.launch(["/bin/true"], workload="w-2", wait="exited")
        write(f"{held}/freezer.state", "THAWED")
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_KILLED, signal.SIGKILL))
        self.client.ask("remove_workload", workload="w-1", instance=1)

    def test_exec_with_pipes_and_with_a_terminal(self):
        self.create()
        self.launch(FOREVER)
        self.client.ask("exec", ref=ref("w-1", "main"), session=5, stdin=True,
                        command=["/bin/sh", "-c", "cat; echo bad >&2; exit 3"])
        stdin, stdout, stderr = self.client.reply_fds
        os.write(stdin, b"words\n")
        os.close(stdin)
        ended = self.client.wait_fact("exec_exited", fail_on=("exec_failed",))
        self.assertEqual((ended.session, ended.exit_si_status), (5, 3))
        self.assertEqual((os.read(stdout, 100), os.read(stderr, 100)), (b"words\n", b"bad\n"))
        close_all([stdout, stderr])
        self.client.ask("exec", ref=ref("w-1", "main"), session=6, tty=True, rows=30, columns=90,
                        command=["/bin/sh", "-c", "exit 4"])
        self.assertEqual(len(self.client.reply_fds), 1)
        ended = self.client.wait_fact("exec_exited", lambda f: f.session == 6, fail_on=("exec_failed",))
        self.assertEqual(ended.exit_si_status, 4)
        close_all(self.client.reply_fds)

    def test_what_cannot_start_says_why_and_can_be_tried_again(self):
        self.create()
        failed = self.launch(["/bin/nothing-here"], wait="start_failed")
        self.assertIn("nothing-here", failed.failure.text)
        self.launch(["/bin/true"], wait="exited", attempt=2)
        self.client.ask("remove_workload", workload="w-1", instance=1)

    def test_an_image_leads_no_volume_over_what_is_the_kernels(self):
        self.create(volumes=[pb.Volume(name="t", tmpfs_bytes=1 << 20)])
        for name in ("proc", "sys", "dev"):
            os.symlink(f"/{name}", f"{self.daemon.rootfs}/to-{name}")
        os.symlink("/data", f"{self.daemon.rootfs}/to-data")
        os.mkdir(f"{self.daemon.rootfs}/data/x")
        for i, target in enumerate(("/to-proc/1", "/to-sys/kernel", "/to-dev/pts", "/to-dev/shm"), 1):
            failed = self.launch(["/bin/true"], f"c{i}", wait="start_failed",
                                 mounts=[pb.Mount(volume="t", target=target)])
            self.assertIn("symbolic link", failed.failure.text)
        self.launch(["/bin/true"], wait="exited", mounts=[pb.Mount(volume="t", target="/to-data/x")])

    def test_a_denied_call_is_named(self):
        self.create()
        self.launch(["/bin/busybox", "mount", "-t", "tmpfs", "x", "/tmp"], wait=None)
        denied = self.client.wait_fact("denied", fail_on=("start_failed",))
        self.assertIn("busybox", denied.call.program)
        exited = self.client.wait_fact("exited")
        self.assertIn(denied.call.number, [call.number for call in exited.denied])

    def test_refusals(self):
        self.create(volumes=[pb.Volume(name="ro", host_directory="/usr/share")])
        self.refused(EXISTS, "create_workload", workload="w-1", instance=2, band=2)
        self.refused(DENIED, "create_workload", workload="w-2", instance=1, band=2, host_network=True)
        self.refused(DENIED, "create_workload", workload="w-2", instance=1, band=2, host_ids=True)
        self.refused(DENIED, "create_workload", workload="w-2", instance=1, band=2,
                     volumes=[pb.Volume(name="v", host_directory="/etc")])
        self.refused(NOT_FOUND, "kill", ref=ref("w-9"))
        self.refused(NOT_FOUND, "kill", ref=ref("w-1", instance=9))
        launch = dict(ref=ref("w-1", "main"), root_directory=self.daemon.rootfs, command=["/bin/true"])
        for kind, change in ((DENIED, dict(root_directory="/")), (DENIED, dict(root_directory="/etc")),
                             (DENIED, dict(root_writable=True)), (DENIED, dict(profile="unconfined")),
                             (DENIED, dict(capabilities=["CAP_SYS_ADMIN"])), (INVALID, dict(user="-1")),
                             (INVALID, dict(command=[])), (INVALID, dict(env=["A\nB=1"])),
                             (INVALID, dict(mounts=[pb.Mount(volume="ro", target="/proc/x")])),
                             (INVALID, dict(mounts=[pb.Mount(volume="none", target="/data")])),
                             (INVALID, dict(mounts=[pb.Mount(volume="ro", target="/data", sub_path="../x")])),
                             (INVALID, dict(limits=pb.Limits(memory_max_bytes=(1 << 64) - 1))),
                             (INVALID, dict(ref=ref("w-1", "main", attempt=0)))):
            self.refused(kind, "launch", **{**launch, **change})
        self.launch(FOREVER)
        self.refused(PRECONDITION, "remove_container", ref=ref("w-1", "main"))
        self.refused(PRECONDITION, "remove_workload", workload="w-1", instance=1)
        self.refused(PRECONDITION, "open_gate", ref=ref("w-1", "main"))
        self.refused(EXISTS, "launch", **launch)

    def test_hello_comes_first(self):
        other = self.daemon.connect(hello=False)
        for verb, fields in (("inventory", {}), ("hello", {"protocol": 0}), ("inventory", {})):
            with self.assertRaises(Refused) as caught:
                other.ask(verb, **fields)
            self.assertEqual(caught.exception.kind, PRECONDITION)
        self.assertEqual(other.ask("hello", protocol=1).hello.refuses_starts, "")
        other.ask("inventory")
        with self.assertRaises((EOFError, OSError)):  # the new connection has ended the old one
            self.client.ask("inventory")

    def starts_alone_are_refused(self, *words):
        """What runs is seen, stopped and removed, and its output read; nothing new is begun."""
        for verb, fields in (("create_workload", {"workload": "w-2", "instance": 1, "band": 2}),
                             ("exec", {"ref": ref("w-1", "main"), "session": 1, "command": ["/bin/true"]}),
                             ("launch", {"ref": ref("w-1", "two"), "root_directory": self.daemon.rootfs,
                                         "command": ["/bin/true"], "gate_open": True})):
            why = self.refused(PRECONDITION, verb, **fields)
            for word in words:
                self.assertIn(word, why)
        known = self.client.ask("inventory").inventory.workloads
        self.assertEqual([(w.workload, w.containers[0].state) for w in known], [("w-1", RUNNING)])
        self.client.ask("attach", ref=ref("w-1", "main"))
        close_all(self.client.reply_fds)
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        self.assertEqual(self.client.wait_fact("exited").exit_si_status, 21)
        self.client.ask("remove_workload", workload="w-1", instance=1, remove_logs=True)

    def test_a_berthd_of_another_release_may_do_all_but_begin(self):
        for protocol in (2, 4711):
            self.create()
            self.launch_until_term(21)
            self.client = self.daemon.connect(hello=False)
            hello = self.client.ask("hello", protocol=protocol, version="9.9").hello
            self.assertIn(f"protocol {protocol} ", hello.refuses_starts)
            self.starts_alone_are_refused(f"protocol {protocol} ", "one release")
            self.client = self.daemon.connect()  # the next one is of ours
        self.create()
        self.launch(["/bin/true"], wait="exited")

    def test_monitors_of_another_release_are_not_started(self):
        self.create()
        self.launch_until_term(21)
        self.daemon.kill()
        monitor = f"{self.daemon.base}/another-monitor"
        with open(f"{BUILD}/sandbox/monitor/berth-monitor", "rb") as file:
            program = file.read()
        self.assertEqual(program.count(b"berth-monitor of setup "), 1)
        for other in (re.sub(rb"(berth-monitor of setup )\d", rb"\g<1>2", program), b"#!/bin/sh\n"):
            with open(monitor, "wb") as file:
                file.write(other)
            self.daemon.monitor = monitor
            self.daemon.start()
            self.client = self.daemon.connect(hello=False)
            hello = self.client.ask("hello", protocol=1).hello
            self.assertIn("another-monitor is not of this berth-sandboxd's release", hello.refuses_starts)
            self.daemon.kill()
        self.daemon.start()
        self.client = self.daemon.connect()
        self.starts_alone_are_refused("another-monitor", "one")


class Mortal(Story):
    def restart(self):
        self.daemon.kill()
        self.daemon.start()
        self.client = self.daemon.connect()

    def wait_monitors(self, n):
        procs = [f"{top}/monitors/cgroup.procs" for top in self.daemon.tops() if "unified" in top] or \
                [f"{self.daemon.tops()[0]}/monitors/cgroup.procs"]
        end = time.monotonic() + 20
        while len(pids := list(map(int, open(procs[0]).read().split()))) != n:
            self.assertLess(time.monotonic(), end, f"monitors: {pids}")
            fds = [fd for pid in pids if (fd := open_pid(pid)) is not None]
            # Nothing tells of one that comes.
            select.select(fds, [], [], 20 if len(fds) == len(pids) > n else 0.01)
            close_all(fds)

    def state(self):
        known = self.client.ask("inventory").inventory.workloads
        return {c.container: c for w in known for c in w.containers}

    def hold_monitors(self):
        frozen = next((f"{top}/monitors/cgroup.freeze" for top in self.daemon.tops()
                       if os.path.exists(f"{top}/monitors/cgroup.freeze")), None)
        if not frozen:
            self.skipTest("needs cgroup2, to hold monitors where they are")
        write(frozen, "1")
        return frozen

    def lose_monitor(self, pid):
        monitor = parent_of(pid)
        os.kill(monitor, signal.SIGKILL)
        self.assertTrue(changes.until_ended(monitor))

    def wait_monitor(self, pid, others=()):
        """The number of the one monitor, not of @others, that the container with this first process has."""
        end = time.monotonic() + 20
        while True:
            found = [int(p) for p in os.listdir("/proc") if p.isdigit() and title_of(p) == "berth-monitor: w-1/main"
                     and self.serves(int(p)) and int(p) not in others]
            if found:
                self.assertEqual(len(found), 1)
                return found[0]
            self.assertLess(time.monotonic(), end, "it has no monitor:\n" + self.daemon.log())
            select.select([], [], [], 0.002)

    def wait_successor(self, pid, after=0):
        return self.wait_monitor(pid, (after, parent_of(pid)))

    def serves(self, monitor):
        try:
            return self.daemon.base in os.readlink(f"/proc/{monitor}/fd/{self.run_fd(monitor)}")
        except OSError:
            return False

    def run_fd(self, monitor):
        for fd in os.listdir(f"/proc/{monitor}/fd"):
            if os.readlink(f"/proc/{monitor}/fd/{fd}").startswith(self.daemon.base + "/run/"):
                return fd
        return "none"

    def keep(self, until):
        """Where there is a descriptor store, until it has done what it was told."""
        if self.daemon.keeper:
            self.daemon.keeper.take(until)

    @staticmethod
    def until_said(client, words):
        said = b""
        while words not in said:
            try:
                packet = client.recv(70000)
            except ConnectionResetError:  # it left input unread: told once, before what it had said
                packet = client.recv(70000)
            assert packet, f"the attachment ended after {said}"
            said += packet[1:]
        return said


class Deaths(Mortal):
    def test_a_workload_outlives_the_daemon(self):
        self.create(hostname="kept", volumes=[pb.Volume(name="t", tmpfs_bytes=1 << 20)])
        pid = self.launch_until_term(9, "echo 1 > /data/x", mounts=[pb.Mount(volume="t", target="/data")]).pid
        self.restart()
        self.assertEqual(self.state()["main"].state, RUNNING)
        again = self.client.wait_fact("started")
        self.assertEqual(again.pid, pid)
        self.launch(["/bin/sh", "-c", "hostname; cat /data/x; ls -l /proc/self/ns/net"], "two", wait="exited",
                    mounts=[pb.Mount(volume="t", target="/data")])
        self.assertIn(" kept\n", self.log_of("two"))
        self.assertIn(f"{os.readlink(f'/proc/{pid}/ns/net')}\n", self.log_of("two"))
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        exited = self.client.wait_fact("exited", lambda f: f.ref.container == "main")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 9))

    def test_an_exit_while_the_daemon_is_away_is_told_exactly(self):
        self.create()
        pid = self.launch_until_term(37).pid
        self.daemon.kill()
        watch = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        self.assertTrue(select.select([watch], [], [], 10)[0])
        os.close(watch)
        self.daemon.start()
        self.client = self.daemon.connect()
        known = self.state()["main"]
        if known.state == RUNNING:  # its monitor is just saying so
            exited = self.client.wait_fact("exited")
        else:
            exited = known.exited
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 37))

    def test_a_monitor_that_dies_before_it_is_heard_again_loses_no_workload(self):
        self.create()
        pid = self.launch_until_term(44).pid
        frozen = self.hold_monitors()
        self.restart()
        os.kill(parent_of(pid), signal.SIGKILL)
        write(frozen, "0")
        self.wait_successor(pid)
        self.assertEqual(self.state()["main"].state, RUNNING)
        os.kill(pid, signal.SIGTERM)
        exited = self.client.wait_fact("exited", fail_on=("start_failed",))
        if exited.exit_si_code == 0:  # a kernel before 6.15
            self.assertIn("monitor-lost", exited.unknown_reason)
        else:
            self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 44))

    def test_a_monitor_too_early_to_be_found_again_gives_up(self):
        self.create()
        frozen = self.hold_monitors()
        self.client.ask("launch", ref=ref("w-1", "main"), root_directory=self.daemon.rootfs, command=FOREVER,
                        gate_open=True)
        self.restart()
        self.assertEqual(self.state()["main"].state, FAILED)
        write(frozen, "0")
        self.wait_monitors(0)
        self.client.ask("remove_workload", workload="w-1", instance=1)
        self.assertEqual([d for d in self.daemon.cgroups() if "/w-1." in d], [])

    def test_what_no_record_speaks_of_ends_with_the_next_start(self):
        self.create()
        lost = self.launch_until_term(9).pid
        self.client.ask("create_workload", workload="w-2", instance=1, band=2)
        kept = self.launch(FOREVER, workload="w-2").pid
        self.daemon.kill()
        shutil.rmtree(f"{self.daemon.base}/run/w-1.1")
        for top in self.daemon.tops():  # and what a daemon leaves that dies inside a CreateWorkload
            os.mkdir(f"{top}/workloads/batch/w-3.7")
        watch = os.pidfd_open(lost)
        self.addCleanup(os.close, watch)
        self.daemon.start()
        self.assertTrue(select.select([watch], [], [], 10)[0])
        self.client = self.daemon.connect()
        self.assertEqual([w.workload for w in self.client.ask("inventory").inventory.workloads], ["w-2"])
        self.assertEqual(self.client.wait_fact("started").pid, kept)
        orphans = [warning for warning in self.client.hello.warnings if "of no workload" in warning]
        self.assertEqual(len(orphans), 1)
        self.assertRegex(orphans[0], r": [1-9]\d* control groups with their processes, 0 run directories")
        left = [d for d in self.daemon.cgroups() if "/w-1." in d or "/w-3." in d]
        self.assertEqual(left, [])
        self.wait_monitors(1)  # the lost one's has nobody to tell

    def test_what_is_mounted_for_nobody_is_taken_down(self):
        self.client.ask("create_workload", workload="w-5", instance=1, band=2,
                        volumes=[pb.Volume(name="v", tmpfs_bytes=1 << 20)])
        self.daemon.kill()
        directory = f"{self.daemon.base}/run/w-5.1"
        before = [line for line in mounts_of(self.daemon) if "/volume-v " in line]
        self.assertEqual(len(before), 1)
        os.unlink(directory + "/workload")
        self.daemon.start()
        self.client = self.daemon.connect()
        self.assertEqual([line for line in mounts_of(self.daemon) if line in before], [])
        self.assertFalse(os.path.exists(directory))
        orphans = [warning for warning in self.client.hello.warnings if "of no workload" in warning]
        self.assertRegex(orphans[0], "1 control groups with their processes, 1 run directories, 1 mounts")

    def test_what_was_not_made_here_is_left_alone(self):
        """It has a name as ours have, where only ours should be, and processes."""
        self.create()
        self.daemon.kill()
        groups = [f"{top}/workloads/batch/w-4.7" for top in self.daemon.tops()]
        for group in groups:
            os.mkdir(group)
        with subprocess.Popen(["sleep", "1000"]) as other:
            try:
                for group in groups:
                    with contextlib.suppress(OSError):  # a cpuset without cpus takes nobody
                        write(f"{group}/cgroup.procs", str(other.pid))
                self.daemon.start()
                self.client = self.daemon.connect()
                self.assertIsNone(other.poll())
                self.assertEqual([group for group in groups if not os.path.isdir(group)], [])
                told = [text for text in self.client.hello.warnings if "leaves them alone" in text]
                self.assertEqual(len(told), 1)
                self.assertRegex(told[0], "^1 control groups below ")
            finally:
                other.kill()
        self.restart()  # empty, they are in nobody's way
        self.assertEqual([group for group in groups if os.path.isdir(group)], [])

    def test_exec_sessions_outlive_the_daemon_and_are_told(self):
        self.create()
        self.launch(FOREVER)
        self.client.ask("exec", ref=ref("w-1", "main"), session=7, command=until_term(5))
        stdout, _ = fds = self.client.reply_fds
        self.client.wait_fact("exec_started")
        self.assertTrue(select.select([stdout], [], [], 10)[0])
        self.assertEqual(os.read(stdout, 100), b"up\n")
        self.client.ask("exec", ref=ref("w-1", "main"), session=8, stdin=True, command=["/bin/cat"])
        cat = self.client.reply_fds
        self.client.wait_fact("exec_started")
        self.daemon.kill()
        os.close(cat[0])  # this one ends while nobody listens
        self.assertTrue(select.select([cat[1]], [], [], 10)[0])
        self.assertEqual(os.read(cat[1], 1), b"")
        close_all(cat[1:])
        self.daemon.start()
        self.client = self.daemon.connect()
        self.wait_monitors(2)
        self.client.ask("signal", ref=ref("w-1", "main"), session=7, signal=signal.SIGTERM)
        ended = self.client.wait_fact("exec_exited", lambda f: f.session == 7)
        self.assertEqual((ended.exit_si_code, ended.exit_si_status), (CLD_EXITED, 5))
        close_all(fds)
        self.wait_monitors(1)

    def test_two_daemons_do_not_share_their_groups(self):
        second = Daemon.__new__(Daemon)
        with self.assertRaises(RuntimeError) as caught:
            second.__init__(BUILD, self.policy, cgroup=self.daemon.cgroup)
        subprocess.run(["umount", "-l", f"{second.base}/run"], check=True)
        shutil.rmtree(second.base)
        self.assertIn("in use by another", str(caught.exception))

    def test_a_monitor_that_dies_loses_no_exit_status(self):
        self.create()
        pid = self.launch_until_term(41).pid
        self.lose_monitor(pid)
        self.assertEqual(parent_of(pid), self.daemon.process.pid)
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 41))
        self.client.ask("remove_workload", workload="w-1", instance=1)

    def test_a_workload_writes_on_to_its_log_without_its_monitor(self):
        self.create()
        # A SIGPIPE would end it with 141; 200,000 bytes are more than the pipe takes unread.
        loud = "i=0; while [ $i -lt 20000 ]; do echo 123456789; i=$((i+1)); done; exit 6"
        pid = self.launch(["/bin/sh", "-c", f"trap '{loud}' TERM; echo up; while :; do sleep 1 & wait $!; done"]).pid
        self.until_logged(" stdout F up\n")
        self.lose_monitor(pid)
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 6))
        self.assertEqual((exited.log_bytes, exited.log_dropped_bytes), (2 + 20000 * 9, 0))
        self.assertEqual(self.log_of().count("stdout F 123456789\n"), 20000)

    def test_the_next_monitor_does_all_that_the_first_did(self):
        self.create()
        script = "trap 'exit 17' TERM; while read word; do mount -t tmpfs x /tmp 2>&1; echo got $word; done; exit 3"
        pid = self.launch(["/bin/sh", "-c", script], stdin=True).pid
        self.lose_monitor(pid)
        self.wait_successor(pid)
        self.client.ask("attach", ref=ref("w-1", "main"))
        client = socket.socket(fileno=self.client.reply_fds[0])
        self.addCleanup(client.close)
        client.settimeout(20)
        client.send(b"\0one\n")
        self.assertIn(b"permission denied", self.until_said(client, b"got one\n"))
        os.kill(self.wait_successor(pid), signal.SIGKILL)  # the client stays attached, to the next one
        client.send(b"\0two\n")
        self.until_said(client, b"got two\n")
        self.assertEqual(self.client.wait_fact("denied").call.program.rpartition("/")[2], "busybox")
        client.send(b"\1")  # the input ends, though the daemon has a descriptor of it as well
        self.keep(lambda names: not any(name.endswith(".stdin") for name in names))
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 3))
        self.assertEqual([call.times for call in exited.denied], [2])
        self.assertIn("stdout F got two\n", self.log_of())
        self.assertEqual(client.recv(100), b"")

    def test_monitors_that_die_again_and_again_are_done_without(self):
        self.create()
        pid = self.launch_until_term(7).pid
        self.lose_monitor(pid)
        last = 0
        for _ in range(20):
            last = self.wait_successor(pid, last)
            os.kill(last, signal.SIGKILL)
        self.daemon.wait_log("for a while it goes on without one")
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 7))

    def test_both_dead_the_pipes_are_found_again(self):
        self.create()
        pid = self.launch_until_term(45).pid
        monitor = parent_of(pid)
        self.daemon.kill()
        os.kill(monitor, signal.SIGKILL)
        self.assertTrue(changes.until_ended(monitor))
        self.daemon.start()
        self.client = self.daemon.connect()
        self.assertEqual(self.state()["main"].state, RUNNING)
        self.wait_successor(pid)
        self.client.ask("exec", ref=ref("w-1", "main"), session=3, command=["/bin/sh", "-c", "echo late > /proc/1/fd/1"])
        close_all(self.client.reply_fds)
        self.client.wait_fact("exec_exited", fail_on=("exec_failed",))
        os.kill(pid, signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        if exited.exit_si_code == 0:  # a kernel before 6.15
            self.assertIn("monitor-lost", exited.unknown_reason)
        else:
            self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 45))
        self.assertIn("stdout F late\n", self.log_of())

    def test_without_a_monitor_what_cannot_be_killed_is_told_too(self):
        freezer = self.free_freezer()
        self.create()
        pid = self.launch(["/bin/sh", "-c", "sleep 1000 & echo $!; read x"], stdin=True).pid
        self.until_logged(" stdout F ")  # the number that its child has in there
        child = int(open(f"/proc/{pid}/task/{pid}/children").read())
        held = self.freeze(freezer, child)
        self.lose_monitor(pid)
        self.client.ask("kill", ref=ref("w-1", "main"))
        self.client.wait_fact("unkillable")
        self.assertEqual(self.state()["main"].state, RUNNING)
        write(f"{held}/freezer.state", "THAWED")
        exited = self.client.wait_fact("exited")
        self.assertIn(exited.exit_si_code, (CLD_EXITED, CLD_KILLED))  # its stdin ended with the monitor

    def test_a_terminal_does_not_hang_up_with_its_monitor(self):
        self.create()
        pid = self.launch_until_term(8, tty=True).pid
        self.lose_monitor(pid)
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 8))

    def test_a_monitor_that_dies_after_a_restart_is_told_as_it_is(self):
        self.create()
        pid = self.launch_until_term(43).pid
        self.restart()
        self.assertEqual(self.state()["main"].state, RUNNING)
        self.client.wait_fact("started")
        self.lose_monitor(pid)
        os.kill(pid, signal.SIGTERM)
        exited = self.client.wait_fact("exited")
        if exited.exit_si_code == 0:  # a kernel before 6.15
            self.assertIn("monitor-lost", exited.unknown_reason)
        else:
            self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 43))

    def test_the_policy_is_reloaded_and_a_bad_one_is_not(self):
        with open(self.daemon.config, "a") as file:
            file.write("\n[Policy]\nAllowHostNetwork=yes\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.wait_log("was read again")
        self.client.ask("create_workload", workload="w-net", instance=1, band=2, host_network=True)
        with open(self.daemon.config, "a") as file:
            file.write("AllowHostIds=perhaps\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.wait_log("stays as it was")
        self.refused(DENIED, "create_workload", workload="w-ids", instance=1, band=2, host_ids=True)


class Kept(Mortal):
    """With a descriptor store, as under systemd: the deaths of both at once."""
    options = {"keeper": True}

    def kill_both(self, pid):
        self.keep(lambda names: names)
        monitor = parent_of(pid)
        self.assertGreater(monitor, 1)
        for victim in (self.daemon.kill, lambda: os.kill(monitor, signal.SIGKILL)):
            victim()
        self.assertTrue(changes.until_ended(monitor))

    def back(self):
        self.daemon.start()
        self.client = self.daemon.connect()

    def test_what_is_said_while_both_are_dead_is_logged(self):
        self.create()
        loud = "trap 'echo dying; echo words >&2; mount -t tmpfs x /tmp; exit 46' TERM"
        pid = self.launch(["/bin/sh", "-c", f"{loud}; echo up; while :; do sleep 1 & wait $!; done"]).pid
        self.until_logged(" stdout F up\n")
        self.kill_both(pid)
        watch = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        # Its denied call waits for somebody who answers; a daemon without the listener would mean ENOSYS.
        self.assertFalse(select.select([watch], [], [], 0.3)[0])
        self.back()
        self.assertTrue(select.select([watch], [], [], 20)[0])
        os.close(watch)
        known = self.state()["main"]
        exited = self.client.wait_fact("exited") if known.state == RUNNING else known.exited
        if exited.exit_si_code:  # else a kernel before 6.15
            self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 46))
        self.assertEqual([call.times for call in exited.denied], [1])
        for line in ("stdout F dying\n", "stderr F words\n", "denied"):
            self.assertIn(line, self.log_of())
        self.keep(lambda names: not names)

    def test_an_exit_while_both_are_dead_is_told_exactly(self):
        for code in (1, 37, 255):
            self.client.ask("create_workload", workload="w-1", instance=1, band=2)
            pid = self.launch_until_term(code).pid
            self.kill_both(pid)
            watch = os.pidfd_open(pid)
            os.kill(pid, signal.SIGTERM)
            self.assertTrue(select.select([watch], [], [], 20)[0])
            os.close(watch)
            self.back()
            known = self.state()["main"]
            exited = self.client.wait_fact("exited") if known.state == RUNNING else known.exited
            if exited.exit_si_code == 0:  # a kernel before 6.15
                self.assertIn("monitor-lost", exited.unknown_reason)
            else:
                self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, code))
            self.client.ask("remove_workload", workload="w-1", instance=1, remove_logs=True)
            self.keep(lambda names: not names)
            self.client.facts = []

    def test_an_open_input_and_a_terminal_outlive_both(self):
        self.create()
        script = "while read word; do echo got $word; done; exit 3"
        for name, tty in (("pipe", False), ("tty", True)):
            pid = self.launch(["/bin/sh", "-c", script], name, stdin=True, tty=tty).pid
            last = "keep.w-1.1.tty.1" if tty else "keep.w-1.1.pipe.1.stdin"
            self.keep(lambda names, last=last: last in names)
            self.kill_both(pid)
            self.back()
            self.client.ask("attach", ref=ref("w-1", name))
            client = socket.socket(fileno=self.client.reply_fds[0])
            client.settimeout(20)
            client.send(b"\0one\n")
            self.until_said(client, b"got one")
            client.send(b"\1")
            self.keep(lambda names: not any(name.endswith("pipe.1.stdin") for name in names))
            exited = self.client.wait_fact("exited", lambda fact: fact.ref.container == name)
            self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 3))
            client.close()
        self.keep(lambda names: not names)

    def test_deaths_at_any_instant_lose_no_line_and_no_status(self):
        seed = int(os.environ.get("BERTH_SEED", time.time_ns() % 2**32))
        rounds = int(os.environ.get("BERTH_ROUNDS", 30))
        print(f"# seed {seed}, {rounds} rounds", flush=True)
        chance = random.Random(seed)
        loud = "i=0; while [ ! -e /data/stop ]; do echo $i and some more; i=$((i+1)); done; echo $i lines; exit 77"
        self.create(volumes=[pb.Volume(name="t", tmpfs_bytes=1 << 20)])
        pid = self.launch(["/bin/sh", "-c", loud], log_max_files=1000,
                          mounts=[pb.Mount(volume="t", target="/data")]).pid
        self.keep(lambda names: names)
        for _ in range(rounds):
            time.sleep(chance.random() / 50)  # the instant: anywhere in what they do
            victims = chance.choice((["monitor"], ["sandboxd"], ["monitor", "sandboxd"], ["sandboxd", "monitor"]))
            monitor = self.wait_monitor(pid) if "monitor" in victims else 0
            for victim in victims:
                if victim == "monitor":
                    os.kill(monitor, signal.SIGKILL)
                else:
                    self.keep(lambda names: True)
                    self.daemon.kill()
            if "sandboxd" in victims:
                self.back()
        self.wait_monitor(pid)
        write(f"/proc/{pid}/root/data/stop", "")
        known = self.state()["main"]
        exited = self.client.wait_fact("exited") if known.state == RUNNING else known.exited
        self.assertEqual((exited.exit_si_code, exited.exit_si_status), (CLD_EXITED, 77), self.daemon.log())
        lines = [line.split(" F ", 1)[1] for line in self.log_of().splitlines()]
        self.assertEqual(lines[-1], f"{len(lines) - 1} lines")
        for i, line in enumerate(lines[:-1]):
            self.assertEqual(line, f"{i} and some more")
        self.assertEqual((exited.log_bytes, exited.log_dropped_bytes), (sum(map(len, lines)), 0))

    def test_what_is_kept_of_nobody_is_let_go(self):
        self.daemon.kill()
        self.daemon.keeper.kept.append(("keep.w-9.1.main.1", os.open("/dev/null", os.O_RDONLY)))
        self.back()
        self.keep(lambda names: not names)
        self.assertIn("1 descriptors that systemd kept are of nothing", self.daemon.log())


def open_pid(pid):
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def thaw_and_remove(held):
    write(f"{held}/freezer.state", "THAWED")
    end = time.monotonic() + 10
    while open(f"{held}/cgroup.procs").read() and time.monotonic() < end:
        select.select([], [], [], 0.01)
    os.rmdir(held)


def name_of(pid):
    try:
        return open(f"/proc/{pid}/comm").read()
    except OSError:
        return ""


def title_of(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read().rstrip("\0")
    except OSError:
        return ""


def parent_of(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


class Options(unittest.TestCase):
    def run_daemon(self, *args):
        return subprocess.run([f"{BUILD}/sandbox/berth-sandboxd", *args], capture_output=True, text=True)

    def test_a_wrong_key_names_the_file_and_the_line(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("[Policy]\nAllowHostNetwork=no\nAlowHostIds=yes\n")
            file.flush()
            os.chmod(file.name, 0o644)
            result = self.run_daemon("--check-config", f"--config={file.name}")
        self.assertEqual(result.returncode, 2)
        self.assertIn(f"{file.name}:3:", result.stderr)
        self.assertIn("AllowHostIds", result.stderr)

    def test_the_default_policy_reads_back_as_itself(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(self.run_daemon("--print-default-config").stdout)
            file.flush()
            os.chmod(file.name, 0o644)
            self.assertEqual(self.run_daemon("--check-config", f"--config={file.name}").returncode, 0)

    def test_version_help_and_wrong_options(self):
        self.assertIn("0.1.0", self.run_daemon("--version").stdout)
        self.assertIn("--config", self.run_daemon("--help").stdout)
        self.assertEqual(self.run_daemon("--nonsense").returncode, 2)


class Lines(unittest.TestResult):
    """The lines of TAP, as the programs of cmocka write them."""

    def tell(self, good, test, more=""):
        print(f"{good} {self.testsRun} - {test.id().partition('.')[2]}{more}", flush=True)

    def addSuccess(self, test):
        self.tell("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell("ok", test, " # SKIP " + reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        print(self.failures[-1][1])
        self.tell("not ok", test)

    def addError(self, test, err):
        super().addError(test, err)
        print(self.errors[-1][1])
        self.tell("not ok", test)


class Runner:
    @staticmethod
    def run(tests):
        result = Lines()
        tests(result)
        return result


if __name__ == "__main__":
    unittest.main(testRunner=Runner)

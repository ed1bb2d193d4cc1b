"""What a program's name may lead to: nothing that the monitor, whose descriptor table the first process shares until
execve(2), has open. Names are the image's and the workload's: the command, a link, PATH, an interpreter.

    test_ways_out.py BUILD_DIRECTORY [unittest arguments]
"""
import os
import shutil
import sys
import time
import unittest

if os.geteuid() != 0:
    print("SKIP: berth-sandboxd makes namespaces and mounts, which needs root")
    sys.exit(77)

from sandboxd_client import Daemon, close_all, ref

BUILD = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build"
NUMBERS = range(3, 64)
LOADER = "/lib64/ld-linux-x86-64.so.2"
FOREVER = ["/bin/sh", "-c", "while :; do sleep 1; done"]


class WaysOut(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon(BUILD, "AllowHostIds=yes")
        self.addCleanup(self.daemon.cleanup)
        self.client = self.daemon.connect()
        self.runs = 0
        # Of the host; and what the controls find, in the image, by the same name.
        self.outside = f"{self.daemon.base}/outside"
        for place in (self.outside, self.daemon.rootfs + self.outside):
            os.makedirs(place)
            shutil.copy("/bin/busybox", f"{place}/readlink")
            if os.path.exists(LOADER):
                shutil.copy(os.path.realpath(LOADER), f"{place}/loader")
        for number in NUMBERS:
            self.put_ways(number)

    def put_ways(self, number):
        """In the image: a link, a script and a program whose interpreters are links, all through one descriptor."""
        image = self.daemon.rootfs
        os.makedirs(f"{image}/{number}")
        for name in ("readlink", "loader"):
            os.symlink(self.way(number) + f"/{name}", f"{image}/{number}/{name}")
        with open(f"{image}/{number}/script", "w", encoding="ascii") as file:
            file.write(f"#!/{number}/readlink -f\n")
        if os.path.exists(LOADER):
            with open("/bin/true", "rb") as file:
                program = file.read()
            interpreter = f"/{number}/loader".encode().ljust(len(LOADER), b"\0")
            self.assertIn(LOADER.encode(), program)
            with open(f"{image}/{number}/dynamic", "wb") as file:
                file.write(program.replace(LOADER.encode(), interpreter))
            os.chmod(f"{image}/{number}/dynamic", 0o755)
        os.chmod(f"{image}/{number}/script", 0o755)

    def way(self, number):
        return f"/proc/self/fd/{number}" + "/.." * 12 + self.outside

    def attempts(self, number):
        yield [self.way(number) + "/readlink", "/"], []
        yield [f"/{number}/readlink", "/"], []
        yield [f"/{number}/script"], []
        if os.path.exists(LOADER):
            yield [f"/{number}/dynamic"], []

    def by_path(self):
        return ["readlink", "/"], ["PATH=" + ":".join(self.way(number) for number in NUMBERS)]

    def launch(self, workload, command, env=()):
        """How it ended: "start_failed", or its status."""
        self.runs += 1
        self.client.ask("launch", ref=ref(workload, "first", attempt=self.runs), root_directory=self.daemon.rootfs,
                        command=command, env=list(env), gate_open=True)
        how = self.end("start_failed", "exited")
        self.client.ask("remove_container", ref=ref(workload, "first", attempt=self.runs))
        return how

    def exec(self, command, env=()):
        self.runs += 1
        self.client.ask("exec", ref=ref("w-1", "main"), session=self.runs, command=command, env=list(env))
        close_all(self.client.reply_fds)
        return self.end("exec_failed", "exec_exited")

    def end(self, failed, exited):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            facts, self.client.facts = self.client.facts, []
            for fact, fds in facts:
                close_all(fds)
                kind = fact.WhichOneof("fact")
                if kind == exited:
                    return getattr(fact, kind).exit_si_status
                if kind == failed:
                    self.assertRegex(getattr(fact, kind).failure.text, "does not exist in|there is no program")
                    return failed
            self.client.receive(1)
        raise TimeoutError(f"neither {failed} nor {exited}")

    def controls(self, run):
        """With a directory open by that number each of them goes through."""
        for command, env in self.attempts(5):
            shell = f"exec 5</data; exec {' '.join(command)}"
            self.assertNotIn(run(["/bin/sh", "-c", shell], env), (126, 127) if "dynamic" not in shell else (126,))

    def check_launches(self, workload):
        for number in NUMBERS:
            for command, env in self.attempts(number):
                self.assertEqual(self.launch(workload, command, env), "start_failed", command)
        self.assertEqual(self.launch(workload, *self.by_path()), "start_failed")

    def test_no_name_of_a_first_process_leads_out(self):
        self.client.ask("create_workload", workload="w-1", instance=1, band=2)
        self.check_launches("w-1")
        self.controls(lambda command, env: self.launch("w-1", command, env))

    def test_nor_with_the_hosts_ids(self):
        self.client.ask("create_workload", workload="w-1", instance=1, band=2, host_ids=True)
        self.check_launches("w-1")

    def test_no_name_of_an_exec_session_leads_out(self):
        self.client.ask("create_workload", workload="w-1", instance=1, band=2)
        self.client.ask("launch", ref=ref("w-1", "main"), root_directory=self.daemon.rootfs, command=FOREVER,
                        gate_open=True)
        self.client.wait_fact("started", fail_on=("start_failed",))
        for number in NUMBERS:
            for command, env in self.attempts(number):
                self.assertEqual(self.exec(command, env), "exec_failed", command)
        self.assertEqual(self.exec(*self.by_path()), "exec_failed")
        self.controls(self.exec)


if __name__ == "__main__":
    unittest.main(verbosity=2)

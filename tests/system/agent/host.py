"""The two daemons of the stories: an own pair with their own directories, sockets and control groups; in
the guest the services that run there."""
import contextlib
import glob
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import changes
from api import BUILD, Api, Refused
from story import IN_VM

AGENT_USER = "berth" if any(u.pw_name == "berth" for u in pwd.getpwall()) else "nobody"


def program(*places):
    for place in places:
        if os.path.exists(os.path.join(BUILD, place)):
            return os.path.join(BUILD, place)
    return shutil.which(os.path.basename(places[0])) or os.path.join(BUILD, places[0])


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


class Host:
    # Directories whose content the policy allows for volumes are below `place` too.
    def __init__(self, **settings):
        self.berthctl = program("agent/cli/berthctl", "bin/berthctl")
        self.settings = settings  # Section_Key=value of berthd, for an own pair
        self.kept_events = None if IN_VM else int(settings.get("Events_Keep", "16384"))
        self.policy = {"AllowHostDirectories": "{place}/shared:rw {place}/readonly:ro"}
        # On a disk: /run is memory on most hosts, which cannot be id-mapped before Linux 6.3, and what is read there
        # is never read again.
        self.place = "/var/lib/berth/rootfs/stories" if IN_VM else tempfile.mkdtemp(prefix="berth-stories-", dir="/var/lib")
        self.rootfs = os.path.join(self.place, "rootfs")
        self.group_base = "/" + os.path.basename(self.place)
        self.run_dir = "/run/berth" if IN_VM else self.place
        self.log_dir = "/var/log/berth/workloads" if IN_VM else os.path.join(self.place, "log")
        self.socket = os.path.join(self.run_dir, "berthd.sock")
        self.sandboxd = self.berthd = None
        self.logs = {}
        self.api = None
        self.epoch = 1
        self.generation = 1  # of this story: a deleted one never comes back
        self.said = 0
        self.before = self._state_of_host()

    # --- what there is before and after ---

    def _state_of_host(self):
        state = set()
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            state |= {"mount " + line.split()[4] for line in file if self.place in line or "/berth/" in line}
        state |= {"netns " + name for name in glob.glob("/run/netns/*")}
        for pid in filter(str.isdigit, os.listdir("/proc") if not IN_VM else ()):
            with contextlib.suppress(OSError):
                if self._is_ours(pid):
                    state.add(f"process {pid} " + read(f"/proc/{pid}/cmdline").replace("\0", " "))
        for root, _, _ in os.walk("/sys/fs/cgroup"):
            if self.group_base + "/" in root + "/" or re.search("/workloads/[^/]+/", root) and IN_VM:
                state.add("group " + root)
        return state

    def _is_ours(self, pid):
        """Another pair of daemons may be on this host: whether this one has something of this place."""
        name = os.path.basename(self.place)
        return read(f"/proc/{pid}/comm").startswith("berth") and (
            name in read(f"/proc/{pid}/cmdline") or
            any(name in os.readlink(link) for link in glob.glob(f"/proc/{pid}/fd/*")))

    def what_is_left(self):
        return sorted(self._state_of_host() - self.before)

    # --- starting ---

    def __enter__(self):
        try:
            self._prepare()
            if IN_VM:
                subprocess.run(["systemctl", "restart", "berth-sandboxd"], check=True)
            else:
                self.start_sandboxd()
                self.start_berthd()
            self.api = Api("unix://" + self.socket)
            self.wait_serving()
        except BaseException:
            print(self.last_words())
            self.__exit__(None, None, None)
            raise
        return self

    def _prepare(self):
        os.makedirs(self.place, exist_ok=True)
        os.chmod(self.place, 0o755)
        user = pwd.getpwnam(AGENT_USER)
        for name in ("rootfs", "shared", "readonly", "berthd.d"):
            os.makedirs(os.path.join(self.place, name), exist_ok=True)
        self._make_rootfs(self.rootfs)
        if IN_VM:
            os.makedirs("/etc/berth/sandboxd.conf.d", exist_ok=True)
            self.write_policy()
            return
        # berthd binds its socket itself; the sticky bit keeps it from the files of the other.
        os.chown(self.place, 0, user.pw_gid)
        os.chmod(self.place, 0o1775)
        if "TLS_Key" in self.settings:
            from test_access import prepare
            prepare(self.place, user.pw_gid)
        os.makedirs(self.log_dir)
        os.chown(self.log_dir, 0, user.pw_gid)
        os.chmod(self.log_dir, 0o750)
        self.write_policy()
        self.write_settings()

    @staticmethod
    def _make_rootfs(root):
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "data", "ro", "work"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        shutil.copy("/bin/busybox", root + "/bin/busybox")
        for name in ("probe", "server"):
            shutil.copy(program("tests/system/agent/story_" + name), root + "/bin/" + name)
        listed = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True)
        for applet in listed.stdout.split():
            if applet != "busybox" and not os.path.lexists(f"{root}/bin/{applet}"):
                os.symlink("busybox", f"{root}/bin/{applet}")
        write(root + "/etc/passwd", "root:x:0:0:root:/:/bin/sh\napp:x:1000:1001:app:/work:/bin/sh\n")
        write(root + "/etc/group", "root:x:0:\napp:x:1001:\naudio:x:29:app\n")
        write(root + "/bin/notes", "no program\n")
        write(root + "/bin/foreign", "", 0o755)
        with open(root + "/bin/foreign", "wb") as file:  # an ELF head of a machine that nobody has
            file.write(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x08\x00\x01\x00\x00\x00" + bytes(200))

    def policy_path(self):
        return "/etc/berth/sandboxd.conf.d/stories.conf" if IN_VM else self.place + "/sandboxd.conf"

    def write_policy(self, **more):
        lines = ["[Policy]"]
        roots = self.rootfs if not IN_VM else "/var/lib/berth/rootfs"
        for key, value in {"AllowRootDirectories": roots, **self.policy, **more}.items():
            lines.append(f"{key}=" + value.format(place=self.place))
        if not IN_VM:
            lines += ["[Host]", f"CgroupParent={self.group_base}", f"LogDirectory={self.log_dir}",
                      f"RunDirectory={self.place}/sandbox", f"LayerDirectory={self.place}/layers",
                      f"AgentUser={AGENT_USER}"]
        write(self.policy_path(), "\n".join(lines) + "\n")

    def write_settings(self, **more):
        sections = {"Listen": [f"Socket={self.socket}"],
                    "Sandbox": [f"Socket={self.place}/sandboxd.sock", f"LogDirectory={self.log_dir}"],
                    "Store": [f"Directory={self.place}/state"], "Log": ["Level=debug"]}
        for name, value in {**self.settings, **more}.items():
            section, _, key = name.partition("_")
            sections.setdefault(section, []).append(f"{key}={value}".format(place=self.place))
        text = "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items())
        write(self.place + "/berthd.conf", text)

    def _start(self, name, argv):
        self.logs[name] = os.path.join(self.place, name + ".log")
        with open(self.logs[name], "ab") as log:
            # UMask= as in the units.
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    umask=0o027 if name == "sandboxd" else 0o077)

    def start_sandboxd(self):
        self.sandboxd = self._start("sandboxd", [
            program("sandbox/berth-sandboxd"), f"--config={self.place}/sandboxd.conf",
            f"--socket={self.place}/sandboxd.sock",
            "--monitor=" + program("sandbox/monitor/berth-monitor"),
            "--unpack=" + program("sandbox/unpack/berth-unpack"), *self.sandboxd_options])

    # Without it the workloads live on; the last one of a Host ends them.
    sandboxd_options = ()

    def start_berthd(self):
        self.berthd = self._start("berthd", [
            "setpriv", f"--reuid={AGENT_USER}", "--regid=" + str(pwd.getpwnam(AGENT_USER).pw_gid), "--clear-groups",
            "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
            program("agent/berthd"), "--config", self.place + "/berthd.conf"])

    def stop_sandboxd(self, sig=signal.SIGTERM):
        if IN_VM:
            subprocess.run(["systemctl", "stop", "berth-sandboxd"], check=True)
            return
        self.sandboxd.send_signal(sig)
        self.sandboxd.wait(30)

    def restart_sandboxd(self):
        self.stop_sandboxd()
        self.start_again()

    def start_again(self):
        if IN_VM:
            subprocess.run(["systemctl", "start", "berth-sandboxd"], check=True)
        else:
            self.start_sandboxd()
        self.wait_serving()

    def reload_sandboxd(self):
        if IN_VM:
            subprocess.run(["systemctl", "reload", "berth-sandboxd"], check=True)
        else:
            self.sandboxd.send_signal(signal.SIGHUP)

    def reload_berthd(self, wanted, seconds=20):
        """SIGHUP; the log that came of it, once `wanted` is in it."""
        log = self.logs["berthd"]
        begin = len(read(log))
        self.berthd.send_signal(signal.SIGHUP)
        if not changes.until(log, lambda: wanted in read(log)[begin:], seconds, self.berthd):
            raise AssertionError(f"{wanted!r} was not logged: {read(log)[begin:]}")
        return read(log)[begin:]

    def tcp_port(self):
        """Where berthd listens with TLS; 0 where it does not."""
        if IN_VM:
            return 0
        found = re.findall(r"listening on .* \(port (\d+)\)", read(self.logs["berthd"]))
        return int(found[-1]) if found else 0  # of the last one that was started

    def wait_serving(self, seconds=60):
        """Until grpc.health.v1 says that berthd serves, which it does once it has its sandbox."""
        deadline = time.monotonic() + seconds
        watch = self.api.channel.unary_stream("/grpc.health.v1.Health/Watch")
        while True:
            if self.berthd and self.berthd.poll() is not None:
                raise AssertionError(f"berthd ended with {self.berthd.returncode}")
            call = watch(b"", timeout=min(2, deadline - time.monotonic()), wait_for_ready=True)
            try:
                for answer in call:
                    if answer == b"\x08\x01":
                        return
            except Exception:  # not listening yet, or going down: until the time is over
                if time.monotonic() >= deadline:
                    raise
            finally:
                call.cancel()

    # --- ending ---

    def clear(self):
        """Forget all workloads, and make the host schedulable again."""
        try:
            if not self.api.GetNode().node.schedulable:
                self.api.SetSchedulable(fence=self.fence(), schedulable=True)
            workloads = self.api.List(page_size=1000, status_only=True).workloads
            for workload in workloads:  # all at once, and not each after its grace
                self.api.Stop(fence=self.fence(workload.status.generation), id=workload.status.id, grace_ms=0, no_wait=True)
            for workload in workloads:
                self.remove(workload.status.id)
        except Refused as why:
            raise AssertionError(f"cannot clear up: {why}") from None
        self.generation += 1

    def __exit__(self, *exc):
        if self.api:
            self.api.close()
        if IN_VM:
            os.unlink(self.policy_path())
            subprocess.run(["systemctl", "restart", "berth-sandboxd"], check=True)
        else:
            self._stop_daemons()
        shutil.rmtree(self.place)

    def _stop_daemons(self):
        if self.berthd:
            self.berthd.terminate()
            self.berthd.wait(30)
        if self.sandboxd and self.sandboxd.poll() is None:
            self.stop_sandboxd()
        if self.sandboxd:  # one more, whose only work is to end what still runs
            self.sandboxd_options = ("--stop-workloads-on-exit",)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.place + "/sandboxd.sock")
            self.start_sandboxd()
            changes.until(self.place, lambda: os.path.exists(self.place + "/sandboxd.sock"), 30, self.sandboxd)
            self.stop_sandboxd()
        self._remove_base()

    def _remove_base(self):
        """The daemon leaves its parent groups for the next one of its kind."""
        for base in glob.glob("/sys/fs/cgroup/*" + self.group_base) + glob.glob("/sys/fs/cgroup" + self.group_base):
            for root, _, _ in os.walk(base, topdown=False):
                try:
                    os.rmdir(root)
                except OSError:
                    pass

    def last_words(self, lines=25):
        if IN_VM:
            return subprocess.run(["journalctl", "--no-pager", "-n", str(lines), "-u", "berthd", "-u", "berth-sandboxd"],
                                  check=False, capture_output=True, text=True).stdout
        return "".join(f"--- {name}\n" + "\n".join(read(path).splitlines()[-lines:]) + "\n"
                       for name, path in self.logs.items() if os.path.exists(path))

    # --- what stories do ---

    def fence(self, generation=None):
        return {"epoch": self.epoch, "generation": generation or self.generation}

    def container(self, *command, name="main", **fields):
        # One that ends by itself when it is asked gets the time to do so on a busy host, too.
        willing = any("trap '" in word and "exit" in word for word in command)
        return {"name": name, "root": {"directory": self.rootfs}, "command": list(command),
                "stop_grace_ms": 10000 if willing else 400, **fields}

    def spec(self, workload_id, *command, container=None, **fields):
        """One container of busybox; `container` are its further fields, the rest is the workload's."""
        if command:
            fields["containers"] = [self.container(*command, **(container or {}))]
        return {"id": workload_id, **fields}

    def launch(self, workload_id, *command, generation=None, no_wait=False, **fields):
        return self.api.Launch(fence=self.fence(generation), no_wait=no_wait,
                               spec=self.spec(workload_id, *command, **fields)).status

    def shell(self, workload_id, script, **fields):
        return self.launch(workload_id, "/bin/sh", "-c", script, **fields)

    def status(self, workload_id):
        return self.api.Get(id=workload_id).workload.status

    def until(self, workload_id, condition, seconds=30):
        """The status for which `condition` holds, looked at after each event."""
        if isinstance(condition, str):
            name = condition
            condition = lambda status: state_name(status) == name  # noqa: E731
        try:
            with self.api.WatchEvents(id=workload_id, from_oldest=True, timeout=seconds) as events:
                for _ in events:
                    status = self.status(workload_id)
                    if condition(status):
                        return status
        except Refused as why:
            if why.code != "DEADLINE_EXCEEDED":
                raise
        raise AssertionError(f"{workload_id} is not so after {seconds} s: {self.status(workload_id)}")

    def events(self, **fields):
        """The history as of now. What Get and List say of already may not be on disk yet, and so not be told."""
        newest = self.api.GetNode().node.event_sequence
        if newest > 1:
            with self.api.WatchEvents(after_sequence=newest - 1) as stream:
                next(stream)
        return [event for answer in self.api.WatchEvents(from_oldest=True, no_follow=True, **fields)
                for event in answer.events]

    def ended(self, workload_id, seconds=30):
        """The exit record of a workload's only container."""
        return self.until(workload_id, "EXITED", seconds).containers[0].last_exit

    def run_to_end(self, workload_id, *command, **fields):
        self.launch(workload_id, *command, no_wait=True, **fields)
        return self.ended(workload_id)

    def output(self, workload_id, **fields):
        """All that it wrote, as text."""
        text = b""
        for answer in self.api.ReadLogs(id=workload_id, **fields):
            for line in answer.lines:
                text += line.text + (b"" if line.partial else b"\n")
        return text.decode("utf-8", "replace")

    def says(self, script, **fields):
        """What a shell in a workload prints, after it ended well."""
        self.said += 1
        workload_id = f"says-{self.said}"
        record = self.run_to_end(workload_id, "/bin/sh", "-c", script, **fields)
        text = self.output(workload_id)
        if record.kind != 1 or record.code != 0:
            raise AssertionError(f"{script!r} ended with {record.sentence}: {text}")
        self.remove(workload_id)
        return text

    def until_output(self, workload_id, wanted, seconds=30, **fields):
        """Follow the log until a line has `wanted`."""
        seen = b""
        try:
            with self.api.ReadLogs(id=workload_id, follow=True, timeout=seconds, **fields) as answers:
                for answer in answers:
                    for line in answer.lines:
                        seen += line.text + b"\n"
                        if wanted.encode() in line.text:
                            return line
        except Refused as why:
            raise AssertionError(f"{wanted!r} was not written: {why}; but {seen[-300:]!r}") from None
        raise AssertionError(f"{wanted!r} was not written, but {seen[-300:]!r}")

    def remove(self, workload_id, generation=None):
        generation = generation or self.status(workload_id).generation
        self.api.Delete(fence=self.fence(generation), id=workload_id, force=True)

    def ctl(self, *arguments, code=0, stdin=b"", seconds=60, text=True):
        """berthctl; its exit code has to be `code`."""
        done = subprocess.run([self.berthctl, "-a", "unix://" + self.socket, *arguments], check=False,
                              input=stdin, capture_output=True, timeout=seconds)
        if code is not None and done.returncode != code:
            raise AssertionError(f"berthctl {' '.join(arguments)} ended with {done.returncode} instead of {code}: "
                                 f"{done.stderr.decode('utf-8', 'replace')} {done.stdout[-500:]!r}")
        if text:
            done.stdout = done.stdout.decode("utf-8", "replace")
            done.stderr = done.stderr.decode("utf-8", "replace")
        return done

    def ctl_json(self, *arguments):
        return json.loads(self.ctl("-o", "json", *arguments).stdout)

    def spec_file(self, name, spec):
        path = os.path.join(self.place, name + ".json")
        write(path, json.dumps(spec))
        return path


def state_name(status):
    from api import types
    return types.WorkloadState.Name(status.state)


def reason_name(message):
    from api import types
    return types.Reason.Name(message.reason)


def group_files(pid):
    """{controller: directory} of a process, on whichever hierarchy the host has them."""
    mounts = {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split()[:3]
            if kind == "cgroup2":
                mounts.setdefault("", left.split()[4])
            elif kind == "cgroup":
                for option in options.split(","):
                    mounts.setdefault(option, left.split()[4])
    found = {}
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            if name in mounts:
                found[name] = mounts[name] + path
    return found


def limit(pid, v2_file, v1_controller, v1_file):
    """The text of a limit in force for a process, of the container or the workload above it."""
    groups = group_files(pid)
    if v1_controller in groups:
        return read(os.path.join(groups[v1_controller], v1_file)).strip()
    return read(os.path.join(groups[""], v2_file)).strip()


def is_v2(pid, controller):
    return controller not in group_files(pid)

"""Workloads that run from images: launch_stories.py [PATTERN...], against one pair of daemons.

The images come from Debian's docker-registry: of busybox, and a Debian root with python3.
"""
import os
import pathlib
import signal
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system" / "agent"))

import host as daemons
import changes
from story import Skip, equal, has, refused, run_stories, story
from terminal import Terminal

sys.path.append(str(HERE))
from docker_registry import DockerRegistry, run
from gate import Gate

DEBIAN = "base-files,dash,python3"
world = None


class World:
    def __init__(self, directory):
        self.directory = directory
        self.layout = directory / "layout"
        run("umoci", "init", "--layout", self.layout)
        (directory / "registry").mkdir()
        self.registry = DockerRegistry(directory / "registry")
        self.gate = Gate(self.registry)

    def name(self, tag, path="team/app", gate=False):
        return f"{(self.gate if gate else self.registry).host}/{path}:{tag}"

    def make(self, tag, *layers, **config):
        """An image of archives, pushed; a configuration by umoci's words: config_env=["A=b"]."""
        image = f"{self.layout}:{tag}"
        run("umoci", "new", "--image", image)
        for layer in layers:
            run("umoci", "raw", "add-layer", "--image", image, layer)
        words = [word for key, values in config.items() for value in values
                 for word in ("--config." + key, value)]
        if words:
            run("umoci", "config", "--image", image, *words)
        self.push(tag, tag)

    def push(self, tag, to, path="team/app"):
        run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", f"oci:{self.layout}:{tag}",
            f"docker://{self.registry.host}/{path}:{to}")

    def busybox(self):
        root = self.directory / "busybox"
        daemons.Host._make_rootfs(str(root))
        (root / "home").mkdir()
        (root / "home" / "app").mkdir()
        path = self.directory / "busybox.tar"
        run("tar", "-C", root, "-cf", path, ".")
        return path

    def end(self):
        self.gate.end()
        self.registry.end()


def spec(workload_id, tag="app", gate=False, policy=None, restart=None, path="team/app", **container):
    image = {"reference": world.name(tag, path, gate)}
    if policy:
        image["pull_policy"] = policy
    root = {"image": image, **container.pop("root", {})}
    fields = {"restart": restart} if restart else {}
    return {"id": workload_id, "containers": [{"name": "main", "root": root, "stop_grace_ms": 400, **container}],
            **fields}


def launch(host, workload_id, no_wait=False, **fields):
    return host.api.Launch(fence=host.fence(), no_wait=no_wait, spec=spec(workload_id, **fields)).status


def need(host, name):
    for feature in host.api.GetNode().node.features:
        if feature.name == name and not feature.supported:
            raise Skip(feature.sentence)


def ended_well(host, workload_id):
    status = host.until(workload_id, "EXITED")
    record = status.containers[0].last_exit
    if not status.containers[0].HasField("last_exit"):
        raise AssertionError(f"{workload_id}: {status.sentence}")
    if record.kind != 1 or record.code != 0:
        raise AssertionError(f"{workload_id} {record.sentence}: {host.output(workload_id)}")
    return host.output(workload_id)


def times_logged(host, text):
    return daemons.read(host.logs["berthd"]).count(text)


@story
def an_image_runs_as_it_says(host):
    status = launch(host, "app", no_wait=True)
    lines = ended_well(host, "app").splitlines()
    equal(lines, ["1000 1001", "/home/app", "image", "Read-only file system", "written", "/opt/bin:/bin"])
    status = host.status("app").containers[0].image
    equal(status.name, world.name("app"))
    theirs = run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://" + world.name("app"))
    equal(status.digest, theirs.strip())
    steps = [event.to for event in host.events(id="app") if getattr(event, "from") != event.to]
    equal(steps, [1, 2, 3, 4, 6], "pending, pulling, starting, running, exited:")
    has(host.ctl("ps", "-a").stdout, world.name("app"))
    has(host.ctl("why", "app").stdout, "image:", status.digest)


@story
def the_spec_has_the_last_word(host):
    script = "id -u; pwd; echo $SAID $MORE; grep -c ' /data ' /proc/mounts"
    whole = spec("app", command=["/bin/sh", "-c"], args=[script], env={"SAID": "spec", "MORE": "more"}, working_dir="/tmp", identity={"user": "7:7"},
                 mounts=[{"volume": "v", "target": "/data", "read_only": True}])
    whole["volumes"] = [{"name": "v", "tmpfs": {}}]
    host.api.Launch(fence=host.fence(), spec=whole, no_wait=True)
    equal(ended_well(host, "app").splitlines(), ["7", "/tmp", "spec more", "1"])


@story
def what_a_container_writes_over_its_image_is_bounded_and_goes_with_it(host):
    need(host, "writable-layers")
    script = ("cd /home/app; echo mine > file && cat file; dd if=/dev/zero of=big bs=1M count=8 2>&1 | grep -o 'No space.*'; "
              "rm big; i=0; while touch f$i 2> /dev/null; do i=$((i+1)); done; [ $i -gt 64 ] && [ $i -lt 200 ] && echo bounded || echo $i")
    fields = {"root": {"writable": True}, "identity": {"user": "0"}, "command": ["/bin/sh", "-c", script]}
    whole = spec("app", **fields)
    whole["containers"][0]["root"]["image"].update({"writable_bytes": 4 << 20, "writable_inodes": 128})
    host.api.Launch(fence=host.fence(), spec=whole, no_wait=True)
    equal(ended_well(host, "app").splitlines(), ["mine", "No space left on device", "bounded"])
    launch(host, "other", no_wait=True, command=["/bin/ls"], args=["/home/app"])
    equal(ended_well(host, "other"), "")


@story
def layers_are_unpacked_once_and_shared(host):
    launch(host, "app", no_wait=True)
    ended_well(host, "app")
    before = set(os.listdir(host.place + "/layers"))
    launch(host, "other", tag="more", no_wait=True)
    equal(ended_well(host, "other"), "more\n")
    equal(len(set(os.listdir(host.place + "/layers")) - before), 1, "how many layers came")


@story
def a_volume_may_be_an_image(host):
    script = "cat /work/word; touch /work/x 2>&1 | sed 's/.*: //'; ls /work/bin | wc -l"
    whole = spec("app", command=["/bin/sh", "-c", script], mounts=[{"volume": "model", "target": "/work"}])
    whole["volumes"] = [{"name": "model", "image": {"reference": world.name("more")}}]
    host.api.Launch(fence=host.fence(), spec=whole, no_wait=True)
    lines = ended_well(host, "app").splitlines()
    equal((lines[:2], int(lines[2]) > 100), (["more", "Read-only file system"], True))
    equal(host.status("app").volumes[0].image.name, world.name("more"))


@story
def ten_that_want_an_image_have_it_pulled_once(host):
    world.push("app", "ten")
    names = [f"ten-{i}" for i in range(10)]
    for name in names:
        launch(host, name, tag="ten", no_wait=True)
    for name in names:
        ended_well(host, name)
    equal(times_logged(host, "pulled " + world.name("ten")), 1, "how often it was pulled")


@story
def run_of_berthctl_runs_an_image(host):
    equal(host.ctl("run", "--rm", world.name("more")).stdout, "more\n")
    equal(host.ctl("run", "--rm", world.name("plain"), "/bin/echo", "one", "two").stdout, "one two\n")
    equal(host.ctl("run", "--rm", "--entrypoint", "/bin/cat", "-i", world.name("more"), "-", stdin=b"through").stdout,
          "through")
    equal(host.ctl("run", "--rm", world.name("plain"), "/bin/sh", "-c", "exit 7", code=7).stdout, "")
    said = host.ctl("run", "--rm", "--pull", "never", world.name("nowhere"), code=None)
    equal(said.returncode != 0, True, "it ended badly")
    has(said.stderr, "PULL_NEVER", "berthctl image pull")
    with Terminal(host, "run", "--rm", "-it", world.name("plain"), "/bin/sh") as terminal:
        terminal.expect(b"# ")
        terminal.type(b"tty; echo 4$((1+1))\n")
        terminal.expect(b"42")
        has(terminal.seen.decode(), "/dev/")
        terminal.type(b"exit 3\n")
        equal(terminal.end(), 3)


@story
def a_failed_pull_says_where_and_is_tried_again(host):
    status = launch(host, "none", tag="none")
    equal((status.state, status.reason), (6, 37))
    has(status.sentence, world.name("none"), "/v2/team/app/manifests/none", "no such repository")
    has(host.ctl("why", "none").stdout, "/v2/team/app/manifests/none")
    again = launch(host, "again", tag="late", restart={"mode": "RESTART_ON_FAILURE", "initial_backoff_ms": 100})
    equal((again.state, again.reason), (7, 37))
    world.push("more", "late")
    equal(ended_well(host, "again"), "more\n")
    why = refused(lambda: host.api.Launch(fence=host.fence(), spec=spec("bad", tag="a b")), "INVALID_ARGUMENT")
    has(str(why.fields), "spec.containers[0].root.image.reference")


@story
def a_registry_may_be_trusted_by_digests_alone(host):
    image = {"reference": "strict.example/app:1"}
    whole = {"id": "app", "containers": [{"name": "main", "root": {"image": image}}]}
    why = refused(lambda: host.api.Launch(fence=host.fence(), spec=whole), "PERMISSION_DENIED", "RequireDigests")
    equal((why.reason, list(why.fields)), ("POLICY", ["spec.containers[0].root.image.reference"]))
    image["reference"] = "strict.example/app@sha256:" + "0" * 64
    image["pull_policy"] = "PULL_NEVER"
    has(host.api.Launch(fence=host.fence(), spec=whole).status.sentence, "not on this host")
    digest = run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://" + world.name("more"))
    launch(host, "exact", tag="more@" + digest.strip(), no_wait=True)
    equal(ended_well(host, "exact"), "more\n")


@story
def an_image_without_a_program_is_run_with_one(host):
    status = launch(host, "none", tag="plain")
    equal((status.state, status.reason), (6, 37))
    has(status.sentence, "no program")


@story
def an_image_in_use_is_not_removed(host):
    world.push("app", "used")
    launch(host, "app", tag="used", command=["/bin/sleep", "1000"])
    why = refused(lambda: host.api.RemoveImage(reference=world.name("used")), "FAILED_PRECONDITION", "workload app")
    equal(why.reason, "IN_USE")
    host.api.Stop(fence=host.fence(), id="app", grace_ms=0)
    host.api.RemoveImage(reference=world.name("used"))


@story
def layers_that_no_image_has_any_more_go(host):
    store = host.place + "/layers"
    launch(host, "app", tag="more", no_wait=True)
    ended_well(host, "app")
    before = set(os.listdir(store))
    world.make("gone", world.directory / "busybox.tar", world.directory / "gone.tar", entrypoint=["/bin/true"])
    launch(host, "gone", tag="gone", no_wait=True)
    ended_well(host, "gone")
    equal(len(set(os.listdir(store)) - before), 1, "how many layers came")
    host.api.RemoveImage(reference=world.name("gone"))
    if not changes.until(store, lambda: set(os.listdir(store)) == before, 20, host.berthd):
        raise AssertionError(f"{sorted(set(os.listdir(store)) - before)} stays, or more has gone")
    launch(host, "again", tag="gone", no_wait=True)
    ended_well(host, "again")


@story
def who_asks_the_registry_is_a_policy(host):
    world.push("more", "moves")
    launch(host, "first", tag="moves", no_wait=True)
    equal(ended_well(host, "first"), "more\n")
    world.push("other", "moves")
    launch(host, "second", tag="moves", no_wait=True)
    equal(ended_well(host, "second"), "more\n")
    launch(host, "third", tag="moves", policy="PULL_NEVER", no_wait=True)
    equal(ended_well(host, "third"), "more\n")
    launch(host, "fourth", tag="moves", policy="PULL_ALWAYS", no_wait=True)
    equal(ended_well(host, "fourth"), "other\n")


@story
def stop_and_delete_end_a_pull(host):
    world.gate.shut()
    launch(host, "stopped", tag="stopped", gate=True, no_wait=True)
    launch(host, "deleted", tag="deleted", gate=True, no_wait=True)
    world.gate.wait()
    world.gate.wait()
    equal(host.status("stopped").state, 2)
    has(host.ctl("ps").stdout, "PULLING")
    host.api.Stop(fence=host.fence(), id="stopped")
    equal((host.status("stopped").state, host.status("stopped").reason), (6, 9))
    host.remove("deleted")


@story
def a_pull_goes_on_after_berthd_was_killed(host):
    world.gate.shut()
    launch(host, "app", tag="more", gate=True, no_wait=True)
    world.gate.wait()
    host.berthd.kill()
    host.berthd.wait()
    host.start_berthd()
    host.wait_serving()
    equal(host.status("app").state, 2, "its state (2: pulling)")
    world.gate.wait()
    world.gate.open()
    equal(ended_well(host, "app"), "more\n")
    equal(host.status("app").restarts, 0)


@story
def a_pull_goes_on_while_berth_sandboxd_is_away(host):
    world.gate.shut()
    launch(host, "app", tag="other", gate=True, no_wait=True)
    world.gate.wait()
    host.stop_sandboxd()
    world.gate.open()
    if not changes.until(host.logs["berthd"], lambda: times_logged(host, "pulled " + world.name("other", gate=True)), 20):
        raise AssertionError("it was not pulled meanwhile")
    equal(host.status("app").state, 2, "its state (2: pulling)")
    host.start_again()
    equal(ended_well(host, "app"), "other\n")
    equal(host.status("app").restarts, 0)


@story
def what_runs_from_an_image_outlives_berthd(host):
    launch(host, "app", tag="waits")
    launch(host, "again", tag="waits", restart={"mode": "RESTART_ON_FAILURE", "initial_backoff_ms": 10})
    host.until_output("app", "up")
    host.berthd.kill()
    host.berthd.wait()
    host.start_berthd()
    host.wait_serving()
    done = host.ctl("exec", "app", "/bin/sh", "-c", "id -u; pwd; echo $SAID")
    equal(done.stdout.split(), ["1000", "/home/app", "image"])
    host.api.Stop(fence=host.fence(), id="app")
    has(host.status("app").containers[0].last_exit.sentence, "code 5")  # of its trap for the image's stop signal
    host.api.Signal(fence=host.fence(), id="again", signal="KILL")
    status = host.until("again", lambda status: status.restarts == 1 and status.state == 4)
    equal((status.containers[0].image.name, status.containers[0].image.phase), (world.name("waits"), 4))


@story
def a_debian_root_with_python_is_used_under_the_default_sandbox(host):
    make_debian(world.directory)
    script = ("import hashlib, http.server, os, socket, sqlite3, ssl, subprocess, threading\n"
              "print(open('/etc/debian_version').read().strip()[:2], os.getuid())\n"
              "print(sqlite3.connect(':memory:').execute('select 6*7').fetchone()[0])\n"
              "print(subprocess.run(['/bin/sh', '-c', 'echo child'], capture_output=True, text=True).stdout.strip())\n"
              "done = []\n"
              "threads = [threading.Thread(target=lambda: done.append(1)) for _ in range(8)]\n"
              "[t.start() for t in threads]; [t.join() for t in threads]\n"
              "print(len(done))\n")
    launch(host, "python", tag="debian", no_wait=True, args=["-c", script])
    equal(ended_well(host, "python").splitlines(), ["12 33", "42", "child", "8"])
    equal(list(host.status("python").containers[0].denied), [])
    probe = {"http": {"port": 8080}, "period_ms": 100}
    launch(host, "web", tag="debian", args=["-m", "http.server", "--directory", "/etc", "8080"], readiness_probe=probe)
    host.until("web", lambda status: status.ready)
    fetch = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/debian_version').status)"
    equal(host.ctl("exec", "web", "--", "/usr/bin/python3", "-c", fetch).stdout, "200\n")
    host.ctl("image", "verify", world.name("debian"))


class SmallDisk(daemons.Host):
    """Its store, and so its images, are on a disk of their own."""

    def _prepare(self):
        super()._prepare()
        state, user = self.place + "/state", daemons.pwd.getpwnam(daemons.AGENT_USER)
        os.makedirs(state)
        run("mount", "-t", "tmpfs", "-o", f"size=52m,mode=0700,uid={user.pw_uid},gid={user.pw_gid}", "none", state)

    def _stop_daemons(self):
        super()._stop_daemons()
        run("umount", self.place + "/state")


@story
def a_disk_that_fills_loses_the_images_that_nobody_needs(_):
    for tag in ("first", "pinned", "older", "newer"):
        layer = world.directory / tag
        layer.mkdir()
        (layer / "random").write_bytes(os.urandom(8 << 20))
        run("tar", "-C", layer, "-cf", f"{layer}.tar", "random")
        world.make(tag, world.directory / "busybox.tar", f"{layer}.tar", entrypoint=["/bin/sleep"], cmd=["0"])
    settings = {"Images_PlainHTTP": world.registry.host, "Images_KeepFree": "1Mi", "Images_CollectAbove": "60",
                "Images_CollectBelow": "55", "Images_Pinned": world.name("pinned")}
    with SmallDisk(**settings) as host:
        launch(host, "first", tag="first", args=["1000"])
        for tag in ("pinned", "older", "newer"):
            launch(host, tag, tag=tag, no_wait=True)
            ended_well(host, tag)
        log = host.logs["berthd"]
        if not changes.until(log, lambda: f"image {world.name('older')} is removed" in daemons.read(log), 20, host.berthd):
            raise AssertionError("it is not removed: " + daemons.read(log)[-2000:] + run("df", host.place + "/state"))
        equal(sorted(image.name for image in host.api.ListImages().images),
              sorted(world.name(tag) for tag in ("first", "pinned", "newer")))
        host.clear()
    equal(host.what_is_left(), [])


def make_images(directory):
    busybox = world.busybox()
    world.make("app", busybox, **{
        "entrypoint": ["/bin/sh", "-c"],
        "cmd": ["id -u | tr '\\n' ' '; id -g; pwd; echo $SAID; touch /no 2>&1 | sed 's/.*: //'; "
                "echo written > /data/x && cat /data/x; echo $PATH"],
        "env": ["SAID=image", "PATH=/opt/bin:/bin"], "user": ["app"],
        "workingdir": ["/home/app/"], "volume": ["/data"]})
    world.make("plain", busybox)
    for word in ("more", "other", "gone"):
        layer = directory / word
        layer.mkdir()
        (layer / "word").write_text(word + "\n")
        run("tar", "-C", layer, "-cf", f"{layer}.tar", "word")
        world.make(word, busybox, f"{layer}.tar", entrypoint=["/bin/cat"], cmd=["/word"])
    world.make("waits", busybox, entrypoint=["/bin/sh", "-c"], env=["SAID=image"], user=["app"],
               workingdir=["/home/app"], cmd=["trap 'exit 5' USR1; echo up; while :; do sleep 0.05; done"],
               stopsignal=["SIGUSR1"])


def make_debian(directory):
    """python3 and what it needs, without the scripts of its packages: a root to be run from, not to be lived in."""
    root = directory / "debian.tar"
    run("mmdebstrap", "--quiet", "--variant=extract", f"--include={DEBIAN}", "bookworm", root)
    world.make("debian", root, entrypoint=["/usr/bin/python3"], user=["33:33"])


def main():
    global world
    patterns = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="berth-launch.") as name:
        world = World(pathlib.Path(name))
        try:
            make_images(world.directory)
            settings = {"Images_PlainHTTP": f"{world.registry.host} {world.gate.host}", "Images_KeepFree": "64Mi",
                        "Images_CollectAbove": "100", "Images_RequireDigests": "strict.example"}
            with daemons.Host(**settings) as berth:
                good = run_stories(berth, patterns)
            left = berth.what_is_left()
        finally:
            world.end()
    for line in left:
        print(line)
    print("not ok nothing-is-left: " + left[0] if left else "ok nothing-is-left")
    return 0 if good and not left else 1


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a host is cleared away
if __name__ == "__main__":
    sys.exit(main())

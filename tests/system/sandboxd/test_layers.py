"""Layers of images, from a blob to the store: what may be in one, what may not, and what a crash leaves.

    test_layers.py BUILD_DIRECTORY [unittest arguments]
"""
import contextlib
import fcntl
import io
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

if os.geteuid() != 0:
    print("SKIP: berth-sandboxd makes namespaces and mounts, which needs root")
    sys.exit(77)

from layer_maker import GZIP, PLAIN, ZSTD, Layer, blob, compress, digest, unpack
from sandboxd_client import (DENIED, EXHAUSTED, INVALID, NOT_FOUND, PRECONDITION, UNSUPPORTED, Daemon, Refused,
                             close_all, pb, ref)
import changes

BUILD = sys.argv.pop(1) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else "build"
EIGHT_EXBIBYTES = (1 << 63) - 1
MIB = 1 << 20


class Story(unittest.TestCase):
    policy = ""

    def prepare(self, base):
        """What is there before the daemon is."""

    def setUp(self):
        base = tempfile.mkdtemp(prefix="berth-sandboxd-", dir="/tmp")
        self.addCleanup(lambda: shutil.rmtree(base, ignore_errors=True))
        self.prepare(base)
        self.daemon = Daemon(BUILD, self.policy, base=base)
        self.addCleanup(self.daemon.cleanup)
        self.client = self.daemon.connect()
        self.store = f"{self.daemon.base}/layers"
        self.canary = f"{self.daemon.base}/canary"
        with open(self.canary, "w") as file:
            file.write("untouched")
        os.chmod(self.canary, 0o666)  # as open as could be: only the fences keep it

    def tree(self, tar):
        return f"{self.store}/{digest(tar)[7:]}/tree"

    def layers(self):
        return [layer.diff_id for layer in self.client.ask("list_layers").list_layers.layers]

    def entries(self):
        """What is in the store beside what is always there."""
        return sorted(set(os.listdir(self.store)) - {"base", "empty", "lock"}) if os.path.isdir(self.store) else []

    def refused(self, tar, kind=INVALID, says="", **options):
        with self.assertRaises(Refused) as caught:
            unpack(self.client, tar, **options)
        self.assertEqual(caught.exception.kind, kind, caught.exception.text)
        self.assertIn(says, caught.exception.text)
        self.assertEqual(self.entries(), [], "something is left of a layer that was refused")
        with open(self.canary) as file:
            self.assertEqual(file.read(), "untouched")
        self.assertEqual(self.layers(), [])
        return caught.exception


class TestLayers(Story):
    def test_a_layer_is_unpacked_with_the_ids_of_the_image_whatever_its_compression(self):
        layer = Layer()
        layer.add("etc", uid=1, gid=2, mode=0o750, mtime=1000)
        layer.add("etc/file", "hello", uid=65535, gid=33, mode=0o4755, mtime=2000)
        layer.link("etc/link", "/nowhere", uid=7).link("etc/hard", "etc/file", hard=True)
        layer.add("./deep/er/é\n", "x", pax_headers={"SCHILY.xattr.user.a": "b"})
        tar = layer.bytes()
        for how in (GZIP, ZSTD, PLAIN):
            result = unpack(self.client, tar, how)
            self.assertEqual((result.bytes, result.existed), (6, False))
            self.assertTrue(unpack(self.client, tar, how).existed)
            top = self.tree(tar)
            st = os.lstat(f"{top}/etc/file")
            self.assertEqual((st.st_uid, st.st_gid, st.st_mode, st.st_mtime, st.st_nlink),
                             (65535, 33, stat.S_IFREG | 0o4755, 2000, 2))
            st = os.lstat(f"{top}/etc")
            self.assertEqual((st.st_uid, st.st_gid, st.st_mode, st.st_mtime), (1, 2, stat.S_IFDIR | 0o750, 1000))
            self.assertEqual((os.readlink(f"{top}/etc/link"), os.lstat(f"{top}/etc/link").st_uid), ("/nowhere", 7))
            self.assertEqual(os.getxattr(f"{top}/deep/er/é\n", "user.a"), b"b")
            self.assertEqual(os.stat(self.store).st_mode & 0o777, 0o700)
            self.assertTrue(self.client.ask("verify_layer", diff_id=digest(tar)).verify_layer.intact)
            self.client.ask("remove_layer", diff_id=digest(tar))
            self.assertEqual(self.entries(), [])
        with self.assertRaises(Refused) as caught:
            self.client.ask("remove_layer", diff_id=digest(tar))
        self.assertEqual(caught.exception.kind, NOT_FOUND)

    def test_a_directory_may_have_many_files_in_any_order(self):
        layer = Layer().add("d")
        for i in range(2000):
            layer.add(f"d/{i * 7919 % 2000}", "")
        tar = layer.bytes()
        unpack(self.client, tar)
        self.assertEqual(len(os.listdir(f"{self.tree(tar)}/d")), 2000)
        self.assertTrue(self.client.ask("verify_layer", diff_id=digest(tar)).verify_layer.intact)

    def test_marks_of_removed_files_become_those_of_overlayfs(self):
        tar = Layer().add("a").add("a/.wh.gone", "").add("b").add("b/.wh..wh..opq", "").add("b/here", "x") \
            .add(".wh.c", "").add("c").add("d", "x").add(".wh.d", "").add(".wh..wh.plnk", "").bytes()
        unpack(self.client, tar)
        top = self.tree(tar)
        st = os.lstat(f"{top}/a/gone")
        self.assertEqual((stat.S_IFMT(st.st_mode), st.st_rdev), (stat.S_IFCHR, 0))
        self.assertEqual(os.getxattr(f"{top}/b", "user.overlay.opaque"), b"y")
        self.assertEqual(os.getxattr(f"{top}/c", "user.overlay.opaque"), b"y")  # made anew after it was removed
        self.assertTrue(stat.S_ISREG(os.lstat(f"{top}/d").st_mode))  # of the same layer: it stays
        self.assertEqual(sorted(os.listdir(top)), ["a", "b", "c", "d"])

    def test_what_may_not_be_in_a_layer_is_left_out_or_brought_into_its_range(self):
        layer = Layer().add("dev").add("plain", "x")
        for name, kind in (("null", tarfile.CHRTYPE), ("zero", tarfile.CHRTYPE), ("vda", tarfile.BLKTYPE),
                           ("pipe", tarfile.FIFOTYPE)):
            layer.add(f"dev/{name}", kind=kind, devmajor=0 if name == "null" else 1, devminor=0 if name == "null" else 5)
        layer.add("owners", "x", uid=1 << 30, gid=(1 << 31) - 1, mode=0o7777, mtime=0)
        layer.add("times", "x", pax_headers={"mtime": "99999999999999999.5"})
        layer.add("before", "x", pax_headers={"mtime": "-99999999999.5"})
        layer.add("attributes", "x", pax_headers={
            "SCHILY.xattr.security.capability": "\x01\x00\x00\x02" + "\x00" * 16,
            "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.redirect": "/etc",
            "SCHILY.xattr.system.posix_acl_access": "x", "SCHILY.xattr.user.kept": "1"})
        layer.add("opaque", pax_headers={"SCHILY.xattr.user.overlay.opaque": "y"})
        tar = layer.bytes()
        unpack(self.client, tar)
        top = self.tree(tar)
        self.assertEqual(os.listdir(f"{top}/dev"), [])
        st = os.lstat(f"{top}/owners")
        self.assertEqual((st.st_uid, st.st_gid, st.st_mode & 0o7777), (65534, 65534, 0o7777))
        self.assertEqual((os.lstat(f"{top}/times").st_mtime, os.lstat(f"{top}/before").st_mtime), (0, 0))
        self.assertEqual(os.listxattr(f"{top}/attributes"), ["user.kept"])
        self.assertEqual(os.listxattr(f"{top}/opaque"), [])

    def test_attacks(self):
        """Each is refused whole, and says why; the same without its sting is unpacked."""
        def plain():
            return Layer().add("d").add("d/f", "x")

        outside = self.canary
        rows = {
            "upwards": (plain().add("../x", "x"), "upwards"),
            "upwards inside": (plain().add("d/../../x", "x"), "upwards"),
            "absolute": (plain().add(outside, "x"), "absolute"),
            "no name": (plain().add("", "x"), "no name"),
            "only dots": (plain().add("..", "x"), "upwards"),
            "the root a file": (plain().add(".", "x"), "root is no directory"),
            "the root a link": (plain().link("./", "/"), "root is no directory"),
            "too deep": (plain().add("a/" * 5000 + "x", "x"), "entry"),
            "a part too long": (plain().add("a" * 300, "x"), "too long"),
            "a link, then through it": (plain().link("l", self.daemon.base).add("l/canary", "x"), "over a link"),
            "a relative link, then through it": (plain().link("l", "../../..").add("l/x", "x"), "over a link"),
            "a link to itself": (plain().link("l", "l").add("l/x", "x"), "over a link"),
            "a link in the middle": (plain().link("d/l", "/").add(f"d/l{outside}", "x"), "over a link"),
            "through a file": (plain().add("d/f/x", "x"), "over a link or a file"),
            "a directory replaced by a link": (plain().link("d", "/tmp").add("d/x", "x"), "not empty"),
            "an empty one replaced by a link": (Layer().add("e").link("e", self.daemon.base).add("e/canary", "x"),
                                                "over a link"),
            "a hard link upwards": (plain().link("h", "../../../canary", hard=True), "upwards"),
            "an absolute hard link": (plain().link("h", outside, hard=True), "absolute"),
            "a hard link through a link": (plain().link("l", self.daemon.base).link("h", "l/canary", hard=True),
                                           "over a link"),
            "a hard link to nothing": (plain().link("h", "nothing", hard=True), "no file of this layer"),
            "a hard link to a directory": (plain().link("h", "d", hard=True), "no file of this layer"),
            "a hard link to a mark": (plain().add(".wh.w", "").link("h", "w", hard=True), "no file of this layer"),
            "a mark upwards": (plain().add("../.wh.x", ""), "upwards"),
            "a mark of ..": (plain().add("d/.wh...", ""), "marks nothing"),
            "a mark of nothing": (plain().add("d/.wh.", ""), "marks nothing"),
            "a mark through a link": (plain().link("l", self.daemon.base).add("l/.wh.canary", ""), "over a link"),
            "hiding through a link": (plain().link("l", self.daemon.base).add("l/.wh..wh..opq", ""), "over a link"),
            "a mark as a directory": (plain().add(".wh.d/x", "x"), "no directory"),
            "a link to nothing": (plain().link("l", ""), "symbolic link"),
            "large attributes": (plain().add("x", "x", pax_headers={"SCHILY.xattr.user.a": "y" * 70000}), "attributes"),
        }
        for name, (layer, says) in rows.items():
            with self.subTest(name):
                self.refused(layer.bytes(), says=says)
        unpack(self.client, plain().link("l", self.daemon.base).link("h", "d/f", hard=True).bytes())

    def test_limits(self):
        many = Layer()
        for i in range(200):
            many.add(f"f{i}", "")
        self.refused(many.bytes(), EXHAUSTED, "more than 100 entries", max_entries=100)
        deep = Layer().add("/".join("d" * 150), "").bytes()  # parents that no entry names count too
        self.refused(deep, EXHAUSTED, max_entries=100)
        self.refused(Layer().add("f", "x" * 100000).bytes(), EXHAUSTED, "more than 20000 bytes", max_bytes=20000)
        sparse = tarfile.TarInfo("sparse")
        sparse.size = 0
        sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse",
                              "GNU.sparse.realsize": str(EIGHT_EXBIBYTES)}
        body = b"1\n0\n0\n".ljust(512, b"\0")
        sparse.size = len(body)
        layer = Layer()
        layer.tar.addfile(sparse, io.BytesIO(body))
        self.refused(layer.bytes(), EXHAUSTED, "more than")

    def test_bombs(self):
        zeros = subprocess.run("head -c 700M /dev/zero | gzip -9", shell=True, check=True, stdout=subprocess.PIPE).stdout
        header = Layer().add("big", "").buffer.getvalue()[:512]
        big = tarfile.TarInfo("big")
        big.size = 700 << 20
        data = compress(big.tobuf(), GZIP) + zeros  # members of gzip follow one another
        self.assertEqual(len(header), 512)
        self.refused(b"", EXHAUSTED, "times as many", data=data, diff_id="sha256:" + "0" * 64)
        self.refused(b"", EXHAUSTED, "more than 1048576 bytes", data=data, diff_id="sha256:" + "0" * 64, max_bytes=1 << 20)
        tar = Layer().add("f", "x").bytes()
        window = subprocess.run(["zstd", "-q", "-c", "--long=31", "-1", "--no-content-size"],
                                input=os.urandom(1 << 20) * 8, stdout=subprocess.PIPE, check=True).stdout
        self.refused(b"", INVALID, "cannot decompress", how=ZSTD, data=window, diff_id="sha256:" + "0" * 64)
        self.refused(tar, INVALID, "not compressed once", data=compress(compress(tar, GZIP), GZIP))

    def test_a_blob_is_what_it_is_said_to_be(self):
        tar = Layer().add("f", os.urandom(100000)).bytes()
        data = compress(tar, GZIP)
        self.refused(tar, INVALID, "not what the image's configuration says", diff_id="sha256:" + "0" * 64)
        self.refused(tar, INVALID, "", data=data[:len(data) // 2])
        self.refused(tar, INVALID, "", data=data[:500] + bytes([data[500] ^ 1]) + data[501:])
        self.refused(tar, INVALID, "not compressed once", data=tar)
        self.refused(tar, INVALID, "", how=PLAIN, data=data)
        self.refused(tar, INVALID, "", how=ZSTD, data=data)
        self.refused(b"not a tar" * 1000, INVALID, "no tar archive")
        self.refused(tar, INVALID, "compression", how=3, data=tar)
        self.refused(tar, INVALID, "digest", diff_id="sha256:../../x")
        fd = blob(data)
        writable = os.open(f"{self.daemon.base}/writable", os.O_RDWR | os.O_CREAT)
        read_end, write_end = os.pipe()
        place = os.open("/", os.O_RDONLY)
        path = os.open(self.canary, os.O_PATH)
        for bad in (writable, read_end, place, path):
            with self.assertRaises(Refused) as caught:
                self.client.ask("unpack_layer", fds=[bad], diff_id=digest(tar), compression=1, blob_bytes=len(data))
            self.assertEqual(caught.exception.kind, INVALID)
        with self.assertRaises(Refused):
            self.client.ask("unpack_layer", fds=[fd], diff_id=digest(tar), compression=1, blob_bytes=len(data) - 1)
        self.client.ask("unpack_layer", fds=[fd], diff_id=digest(tar), compression=1, blob_bytes=len(data))
        for each in (fd, writable, read_end, write_end, place, path):
            os.close(each)

    def test_damage_is_found(self):
        def put(path, text):
            with open(path, "w") as file:
                file.write(text)

        tar = Layer().add("d").add("d/f", "hello").add("e", "x").link("l", "d/f").bytes()
        damages = {
            "content": lambda top: put(f"{top}/d/f", "hellO"),
            "mode": lambda top: os.chmod(f"{top}/d/f", 0o4755),
            "owner": lambda top: os.lchown(f"{top}/l", 1, 1),
            "more": lambda top: put(f"{top}/new", "x"),
            "less": lambda top: os.unlink(f"{top}/e"),
            "the last": lambda top: os.unlink(f"{top}/l"),
            "attribute": lambda top: os.setxattr(f"{top}/d", "user.overlay.opaque", b"y"),
            "target": lambda top: (os.unlink(f"{top}/l"), os.symlink("e", f"{top}/l")),
            "manifest": lambda top: put(f"{top}/../manifest", "40755 0 0 0 0 - .\n"),
            "all": lambda top: subprocess.run(["rm", "-r", top], check=True),
        }
        for name, damage in damages.items():
            with self.subTest(name):
                unpack(self.client, tar)
                self.assertTrue(self.client.ask("verify_layer", diff_id=digest(tar)).verify_layer.intact)
                damage(self.tree(tar))
                found = self.client.ask("verify_layer", diff_id=digest(tar)).verify_layer
                self.assertFalse(found.intact)
                self.assertTrue(found.what)
                self.client.ask("remove_layer", diff_id=digest(tar))

    def test_lists_are_in_order_and_complete(self):
        made = []
        for i in range(30):
            tar = Layer().add(f"f{i}", "x").bytes()
            made.append(digest(tar))
            unpack(self.client, tar)
        self.assertEqual(self.layers(), sorted(made))
        after = sorted(made)[10]
        self.assertEqual([layer.diff_id for layer in self.client.ask("list_layers", after=after).list_layers.layers],
                         sorted(made)[11:])
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = self.daemon.connect()
        self.assertEqual(self.layers(), sorted(made))

    def test_many_at_once_and_the_same_one_twice(self):
        tars = [Layer().add(f"f{i}", os.urandom(200000)).bytes() for i in range(12)]
        asked = []
        for tar in tars + tars[:3]:
            data = compress(tar, GZIP)
            fd = blob(data)
            asked.append(self.client.send("unpack_layer", fds=[fd], diff_id=digest(tar), compression=1,
                                          blob_bytes=len(data)))
            os.close(fd)
        self.client.ask("inventory")  # other requests go on
        for request in asked:
            self.client.wait_reply(request, 60)
        self.assertEqual(self.layers(), sorted(digest(tar) for tar in tars))

    def test_nothing_is_known_of_the_host_where_an_archive_is_read(self):
        tar = Layer().add("f", os.urandom(30 << 20)).bytes()
        data = compress(tar, GZIP)
        fd = blob(data)
        request = self.client.send("unpack_layer", fds=[fd], diff_id=digest(tar), compression=1, blob_bytes=len(data))
        os.close(fd)
        pid = self.unpacker()
        os.kill(pid, signal.SIGSTOP)
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        own = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("user", "net", "ipc", "uts")}
        files = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        with open(f"/proc/{pid}/cgroup") as file:
            groups = file.read()
        os.kill(pid, signal.SIGCONT)
        self.client.wait_reply(request, 60)
        for kind, name in own.items():
            self.assertNotEqual(name, os.readlink(f"/proc/self/ns/{kind}"))
        self.assertTrue(all(int(uid) >= 0x50000000 for uid in status["Uid"].split() + status["Gid"].split()))
        self.assertEqual((status["NoNewPrivs"], status["CapBnd"], status["CapInh"]), ("1", "0" * 16, "0" * 16))
        self.assertEqual(int(status["CapEff"], 16), 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4)
        self.assertGreaterEqual(int(status["Seccomp_filters"]), 2)
        # Its directory's root is "/": no mount namespace has it. The blob has no name; the rest is its log.
        self.assertFalse([name for name in files if name.startswith("/") and not name.endswith("(deleted)") and
                          not name.startswith("/tree")
                          and name not in ("/", "/times", "/dev/null", self.daemon.log_path)], files)
        self.assertIn("layers.0/unpack.", groups)

    def unpacker(self):
        def find():
            for pid in os.listdir("/proc"):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as file, open(f"/proc/{pid}/cgroup") as group:
                        with open(f"/proc/{pid}/status") as status:
                            if file.read() == b"berth-unpack\0" and self.daemon.cgroup in group.read() and \
                                    "Seccomp_filters:\t2" in status.read():
                                return int(pid)
                except OSError:
                    continue
            return None

        for _ in range(2000):
            if pid := find():
                return pid
        self.fail("berth-unpack was never seen")

    def test_deaths_leave_nothing_that_counts(self):
        tar = Layer().add("f", os.urandom(30 << 20)).bytes()
        data = compress(tar, GZIP)

        def begin():
            fd = blob(data)
            request = self.client.send("unpack_layer", fds=[fd], diff_id=digest(tar), compression=1,
                                       blob_bytes=len(data))
            os.close(fd)
            return request, self.unpacker()

        request, pid = begin()
        os.kill(pid, signal.SIGKILL)  # the unpacker
        with self.assertRaises(Refused):
            self.client.wait_reply(request)
        self.assertEqual(self.entries(), [])
        request, pid = begin()
        with open(f"/proc/{pid}/stat") as file:
            parent = int(file.read().rsplit(")", 1)[1].split()[1])
        os.kill(parent, signal.SIGKILL)  # the daemon's child that waits for it
        with self.assertRaises(Refused):
            self.client.wait_reply(request)
        self.assertTrue(changes.until(self.store, lambda: self.entries() == []), self.entries())
        request, pid = begin()
        self.daemon.kill()
        self.client.close()
        self.daemon.start()
        self.client = self.daemon.connect()
        self.assertIn("1 layers of images", "".join(self.client.hello.warnings))
        self.assertEqual(self.layers(), [])
        self.assertTrue(changes.until(self.store, lambda: self.entries() == []), self.entries())
        unpack(self.client, tar)
        self.assertTrue(self.client.ask("verify_layer", diff_id=digest(tar)).verify_layer.intact)

    def test_an_asker_that_goes_away_leaves_a_layer_that_counts(self):
        tar = Layer().add("f", os.urandom(5 << 20)).bytes()
        data = compress(tar, GZIP)
        fd = blob(data)
        self.client.send("unpack_layer", fds=[fd], diff_id=digest(tar), compression=1, blob_bytes=len(data))
        os.close(fd)
        self.client.close()
        self.client = self.daemon.connect()
        unpack(self.client, tar)
        self.assertEqual(self.layers(), [digest(tar)])

    def test_descriptors_that_no_verb_has_end_the_connection(self):
        self.client.send("list_layers", fds=[0])
        with self.assertRaises((EOFError, OSError)):
            self.client.wait_reply(10 ** 6)
        self.client.close()
        self.client = self.daemon.connect()
        self.client.send("unpack_layer", diff_id="sha256:" + "0" * 64)
        with self.assertRaises((EOFError, OSError)):
            self.client.wait_reply(10 ** 6)
        self.client.close()
        self.client = self.daemon.connect()


class LaunchStory(Story):
    def setUp(self):
        super().setUp()
        with open("/bin/busybox", "rb") as file:
            busybox = file.read()
        self.base = Layer().add("bin").add("bin/busybox", busybox, mode=0o755).link("bin/sh", "busybox") \
            .add("etc").add("etc/passwd", "www:x:33:33::/:/bin/sh\n").add("gone", "x").add("o").add("o/old", "x").bytes()
        self.upper = Layer().add(".wh.gone", "").add("o").add("o/.wh..wh..opq", "").add("o/new", "y", uid=33).bytes()
        self.client.ask("create_workload", workload="w-1", instance=1, band=2)

    def launch(self, tars, script, attempt=1, fact="exited", **fields):
        self.client.ask("launch", ref=ref("w-1", "main", attempt=attempt), layers=[digest(tar) for tar in tars],
                        command=["/bin/sh", "-c", script], gate_open=True, **fields)

        def ours(found):
            return found.ref.attempt == attempt
        close_all(self.client.fact_fds if self.client.wait_fact("started", ours, fail_on=("start_failed",)) else [])
        return self.client.wait_fact(fact, ours, timeout=60) if fact == "exited" else None

    def log_of(self):
        """Of the last attempt that wrote something."""
        directory = f"{self.daemon.base}/log/w-1/main"
        files = sorted(os.listdir(directory))
        if not files:
            return []
        with open(f"{directory}/{files[-1]}") as file:
            return [line.split(" ", 3)[3].rstrip("\n") for line in file]


class TestLaunch(LaunchStory):
    def test_a_container_runs_from_layers_with_its_own_ids(self):
        for tar in (self.base, self.upper):
            unpack(self.client, tar)
        end = self.launch([self.base, self.upper],
                          "b=/bin/busybox; $b ls / /o; $b stat -c '%u %g' /o/new /bin/busybox; $b id; "
                          "$b touch /x || echo read-only", user="www")
        self.assertEqual((end.exit_si_code, end.exit_si_status), (1, 0))
        lines = self.log_of()
        self.assertEqual(lines[:11], ["/:", "bin", "dev", "etc", "o", "proc", "sys", "", "/o:", "new", "33 0"])
        self.assertIn("0 0", lines)
        self.assertIn("uid=33(www) gid=33", lines)
        self.assertIn("read-only", lines)
        self.assertEqual(os.listdir(self.tree(self.base) + "/o"), ["old"])  # as it was

    def test_a_hundred_layers(self):
        tars = [self.base] + [Layer().add("n", str(i)).bytes() for i in range(127)]
        for tar in tars:
            unpack(self.client, tar)
        self.launch(tars, "/bin/busybox cat /n")
        self.assertEqual(self.log_of(), ["126"])
        with self.assertRaises(Refused) as caught:
            self.launch(tars + tars[-1:], "true", attempt=2)
        self.assertEqual(caught.exception.kind, INVALID)

    def test_a_root_that_hides_all_below(self):
        cut = Layer().add(".wh..wh..opq", "").add("bin").add("bin/busybox", open("/bin/busybox", "rb").read(), mode=0o755) \
            .link("bin/sh", "busybox").bytes()
        for tar in (self.base, cut):
            unpack(self.client, tar)
        self.launch([self.base, cut], "/bin/busybox ls /")
        self.assertEqual(self.log_of(), ["bin", "dev", "proc", "sys"])

    def test_layers_in_use_stay_also_over_a_restart(self):
        for tar in (self.base, self.upper):
            unpack(self.client, tar)
        self.launch([self.base, self.upper], "/bin/busybox sleep 1000", fact=None)
        for _ in range(2):
            with self.assertRaises(Refused) as caught:
                self.client.ask("remove_layer", diff_id=digest(self.upper))
            self.assertEqual(caught.exception.kind, PRECONDITION)
            self.client.close()
            self.daemon.kill()
            self.daemon.start()
            self.client = self.daemon.connect()
        self.client.ask("kill", ref=ref("w-1"))
        self.client.ask("inventory")
        self.client.wait_fact("exited")
        self.client.ask("remove_layer", diff_id=digest(self.upper))

    def test_what_cannot_be_a_root_is_refused(self):
        unpack(self.client, self.base)
        for layers, fields, kind in (([digest(self.upper)], {}, NOT_FOUND), (["sha256:../x"], {}, INVALID),
                                     ([digest(self.base)], {"root_directory": self.daemon.rootfs}, INVALID)):
            with self.assertRaises(Refused) as caught:
                self.client.ask("launch", ref=ref("w-1", "main"), layers=layers, command=["/bin/sh"], **fields)
            self.assertEqual(caught.exception.kind, kind, caught.exception.text)
        self.launch([self.base], "true")


class TestVolumes(LaunchStory):
    """An image that is mounted in a container."""

    def mount(self, tars, target="/data", **fields):
        return pb.Mount(**{"target": target, "read_only": True, "layers": [digest(tar) for tar in tars], **fields})

    def test_its_files_are_there_for_reading_alone(self):
        models = Layer().add("m", mode=0o750, uid=33).add("m/one", "1", uid=33).add("m/two", "2").add("su", "x", mode=0o4755) \
            .bytes()
        newer = Layer().add("m", mode=0o750, uid=33).add("m/.wh.one", "").add("three", "3").bytes()
        root = Layer().add("data").add("more").bytes()
        for tar in (self.base, root, models, newer):
            unpack(self.client, tar)
        script = "b=/bin/busybox; $b ls /data /data/m /more; $b stat -c '%u %a' /data/m; $b cat /data/m/two; echo; " \
                 "echo x > /data/three || echo no; $b touch /data/new || echo no; $b grep ' /data ' /proc/mounts"
        self.launch([self.base, root], script, user="www",
                    mounts=[self.mount([models, newer]), self.mount([newer], "/more")])
        lines = self.log_of()
        self.assertEqual(lines[:11], ["/data:", "m", "su", "three", "", "/data/m:", "two", "", "/more:", "m", "three"])
        self.assertEqual(lines[11:13], ["33 750", "2"])
        self.assertEqual(lines.count("no"), 2)
        self.assertTrue(all(word in lines[-1] for word in ("ro,", "nosuid", "nodev")), lines)

    def test_it_is_in_use_and_counts(self):
        for tar in (self.base, self.upper):
            unpack(self.client, tar)
        self.launch([self.base], "/bin/busybox sleep 1000", fact=None, mounts=[self.mount([self.upper], "/o")])
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = self.daemon.connect()
        with self.assertRaises(Refused) as caught:
            self.client.ask("remove_layer", diff_id=digest(self.upper))
        self.assertEqual(caught.exception.kind, PRECONDITION)
        self.client.ask("kill", ref=ref("w-1"))
        self.client.ask("inventory")
        self.client.wait_fact("exited")
        self.client.ask("remove_layer", diff_id=digest(self.upper))
        # As many as there can be, and their record is read again.
        many = [Layer().add("n", str(i)).bytes() for i in range(127)]
        for tar in many:
            unpack(self.client, tar)
        self.launch([self.base] + many, "/bin/busybox sleep 1000", attempt=2, fact=None,
                    mounts=[self.mount(many + [self.base], "/o")])
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = self.daemon.connect()
        self.assertEqual([layer.in_use for layer in self.client.ask("list_layers").list_layers.layers], [True] * 128)

    def test_what_cannot_be_mounted_is_refused(self):
        unpack(self.client, self.base)
        for mounts, kind, says in (
                ([self.mount([self.upper])], NOT_FOUND, "mounts[0]: layers[0]"),
                ([self.mount([self.base], read_only=False)], INVALID, "read_only"),
                ([self.mount([self.base], volume="v")], INVALID, "only one"),
                ([self.mount([self.base], sub_path="bin")], UNSUPPORTED, "whole"),
                ([self.mount([self.base], "/proc/x")], INVALID, "no place"),
                ([self.mount([self.base] * 128), self.mount([self.base] * 128, "/etc")], INVALID, "at most 256")):
            with self.assertRaises(Refused) as caught:
                self.client.ask("launch", ref=ref("w-1", "main"), layers=[digest(self.base)], command=["/bin/sh"],
                                mounts=mounts)
            self.assertEqual(caught.exception.kind, kind, caught.exception.text)
            self.assertIn(says, caught.exception.text)
        self.launch([self.base], "true")


class WritableStory(LaunchStory):
    policy = "[Defaults]\nDefaultWritableLayer=3Mi\n[Host]\nMaxWritableLayer=64Mi"

    def setUp(self):
        super().setUp()
        if not {feature.name: feature for feature in self.client.hello.features}["writable-layers"].supported:
            self.skipTest("no writable layers where the store is")
        for tar in (self.base, self.upper):
            unpack(self.client, tar)
        self.attempt = 0
        self.logs = f"{self.daemon.base}/log/w-1/main"
        self.events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)  # NETLINK_KOBJECT_UEVENT
        self.events.bind((0, 1))
        self.addCleanup(self.events.close)

    def run_in(self, script, fact="exited", **fields):
        """The lines that it wrote."""
        self.attempt += 1
        options = {"root_writable": True, "writable_layer_bytes": 8 * MIB, **fields}
        self.launch([self.base, self.upper], "b=/bin/busybox; " + script, attempt=self.attempt, fact=fact, **options)
        return self.log_of() if fact == "exited" else None

    def until_said(self, line):
        self.assertTrue(changes.until(self.logs, lambda: line in self.log_of()), self.log_of())

    def devices(self):
        """Loop devices of files in this store."""
        found = []
        for name in os.listdir("/sys/block"):
            try:
                with open(f"/sys/block/{name}/loop/backing_file") as file:
                    if self.store in file.read():
                        found.append(name)
            except OSError:
                continue
        return found

    def write_back(self):
        fd = os.open(f"/dev/{self.devices()[0]}", os.O_RDONLY)
        try:
            fcntl.ioctl(fd, 0x1261)  # BLKFLSBUF
        finally:
            os.close(fd)

    def nothing_left(self):
        """The kernel tells when a loop device is let go of."""
        while self.devices() and select.select([self.events], [], [], 20)[0]:
            self.events.recv(1 << 16)
        self.assertEqual(self.devices(), [])
        self.assertEqual(set(self.entries()) - {"templates"}, {digest(self.base)[7:], digest(self.upper)[7:]})


class TestWritable(WritableStory):
    """What a container writes over its layers."""

    def test_it_is_the_containers_own_and_a_restarted_one_begins_anew(self):
        script = "$b ls /; $b cat /o/new; echo; $b stat -c '%u %g %a' / /o/new; " \
                 "echo more >> /o/new; $b chown 5:6 /o/new; $b rm -r /etc; $b mkdir /made; echo z > /made/f; " \
                 "$b ln -s f /made/l; $b mv /made /moved; $b ls / /moved; $b cat /o/new; " \
                 "$b stat -c '%u %g %a' /o/new /moved/f; $b mknod /n c 1 3 2>/dev/null || echo no node"
        capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]
        first = self.run_in(script, capabilities=capabilities)
        self.assertEqual(first, [
            "bin", "dev", "etc", "o", "proc", "sys", "y", "0 0 755", "33 0 644",
            "/:", "bin", "dev", "moved", "o", "proc", "sys", "", "/moved:", "f", "l", "ymore", "5 6 644", "0 0 644",
            "no node"])
        self.assertEqual(self.run_in(script, capabilities=capabilities), first)
        with open(self.tree(self.upper) + "/o/new") as file:
            self.assertEqual(file.read(), "y")
        self.assertEqual(os.listdir(self.tree(self.base) + "/etc"), ["passwd"])
        self.nothing_left()

    def test_its_limits_are_hard(self):
        lines = self.run_in("$b dd if=/dev/zero of=/big bs=4096 count=100000 2>&1; $b stat -c %s /big; $b rm /big; "
                            "i=0; while echo > /f$i; do i=$((i+1)); done 2>/err; echo made $i; $b rm /f*; "
                            "$b dd if=/dev/zero of=/big bs=1M count=6 2>/dev/null && echo again", writable_layer_inodes=100)
        self.assertIn("No space left on device", lines[0])
        size = int(next(line for line in lines if line.isdigit()))
        self.assertTrue(7.5 * MIB <= size < 8 * MIB, size)
        made = int(next(line for line in lines if line.startswith("made ")).split()[1])
        self.assertTrue(100 <= made < 117, made)
        self.assertEqual(lines[-1], "again")
        lines = self.run_in("$b dd if=/dev/zero of=/big bs=4096 count=100000; $b stat -c %s /big", writable_layer_bytes=0)
        self.assertTrue(2.8 * MIB <= int(lines[-1]) < 3 * MIB, lines)  # the policy's default
        self.nothing_left()

    def test_all_of_it_ends_with_the_container_whoever_dies(self):
        self.run_in("echo x > /x; $b sleep 1000", fact=None)
        self.assertEqual(len(self.devices()), 1)
        self.client.close()
        self.daemon.kill()
        self.daemon.start()
        self.client = self.daemon.connect()
        self.assertEqual(len(self.devices()), 1)  # it runs on
        self.client.ask("kill", ref=ref("w-1"))
        self.client.ask("inventory")
        self.client.wait_fact("exited")
        self.nothing_left()
        self.run_in("$b sleep 1000", fact=None)
        with open(f"/proc/{self.daemon.process.pid}/task/{self.daemon.process.pid}/children") as file:
            children = [int(pid) for pid in file.read().split()]
        self.client.close()
        self.daemon.kill()
        for child in children:  # the launcher and the monitor
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.daemon.start()
        self.client = self.daemon.connect()
        with contextlib.suppress(Refused):  # it may have gone with its monitor
            self.client.ask("kill", ref=ref("w-1"))
        self.nothing_left()

    def test_a_start_that_fails_leaves_nothing(self):
        self.client.ask("launch", ref=ref("w-1", "main"), layers=[digest(self.base)], command=["/nothing"],
                        root_writable=True, writable_layer_bytes=8 * MIB, gate_open=True)
        self.assertIn("/nothing", self.client.wait_fact("start_failed").failure.text)
        self.nothing_left()

    def test_marks_of_overlayfs_are_not_the_containers_to_make(self):
        """What hides files in a layer is an attribute; one that the container sets must be another."""
        source = f"{self.daemon.base}/mark.c"
        with open(source, "w") as file:
            file.write('''#include <errno.h>
                          #include <stdio.h>
                          #include <sys/xattr.h>
                          int main(int argc, char **argv)
                          {
                              int mine = setxattr("/o", "user.mine", "y", 1, 0) < 0 ? errno : 0;
                              (void)!setxattr("/o", "user.overlay.opaque", "y", 1, 0);
                              int trusted = setxattr("/o", "trusted.overlay.opaque", "y", 1, 0) < 0 ? errno : 0;
                              printf("%d %d\\n", mine, trusted);
                          }''')
        subprocess.run(["cc", "-static", "-o", f"{self.daemon.base}/mark", source], check=True)
        with open(f"{self.daemon.base}/mark", "rb") as file:
            mark = Layer().add("mark", file.read(), mode=0o755).add("o").add("o/.wh..wh..opq", "").bytes()
        unpack(self.client, mark)
        self.launch([self.base, mark], "/mark; /bin/busybox sleep 1000", fact=None, root_writable=True,
                    writable_layer_bytes=8 * MIB)
        self.until_said("0 1")  # EPERM
        self.write_back()
        device = f"/dev/{self.devices()[0]}"
        marks = subprocess.run(["debugfs", "-R", "ea_list /upper/o", device], capture_output=True, text=True, check=True).stdout
        self.assertIn("user.mine", marks)
        self.assertNotIn("user.overlay.opaque", marks)
        self.assertNotIn("trusted", marks)

    def test_what_cannot_be_is_refused(self):
        row = {"root_writable": True}
        for fields, kind, says in (
                ({**row, "writable_layer_bytes": 1000}, INVALID, "1048576"),
                ({**row, "writable_layer_bytes": 65 * MIB}, DENIED, "MaxWritableLayer"),
                ({**row, "writable_layer_bytes": MIB, "writable_layer_inodes": 5000}, INVALID, "more than half"),
                ({"writable_layer_bytes": MIB}, INVALID, "not writable")):
            with self.assertRaises(Refused) as caught:
                self.client.ask("launch", ref=ref("w-1", "main"), layers=[digest(self.base)], command=["/bin/sh"], **fields)
            self.assertEqual(caught.exception.kind, kind, caught.exception.text)
            self.assertIn(says, caught.exception.text)
        self.nothing_left()


class TestWritableSpace(WritableStory):
    """What it takes of the host's disk, which is a small one here."""

    def prepare(self, base):
        os.mkdir(f"{base}/layers", 0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", f"{base}/layers"], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", "-l", f"{base}/layers"], check=False))

    def used(self):
        st = os.statvfs(self.store)
        return (st.f_blocks - st.f_bfree) * st.f_frsize

    def test_what_is_deleted_is_given_back(self):
        before = self.used()
        self.run_in("trap '$b rm /f; echo removed' USR1; $b dd if=/dev/zero of=/f bs=1M count=30; echo written; "
                    "$b sleep 1000 & wait; wait", fact=None, writable_layer_bytes=60 * MIB)
        self.until_said("written")
        self.write_back()
        self.assertTrue(30 * MIB <= self.used() - before < 33 * MIB, self.used() - before)
        self.client.ask("signal", ref=ref("w-1", "main"), signal=signal.SIGUSR1)
        self.until_said("removed")
        self.assertLess(self.used() - before, 3 * MIB)

    def test_a_full_disk_of_the_host_is_the_containers_trouble_alone(self):
        before = self.used()
        self.run_in("$b dd if=/dev/zero of=/f bs=1M count=55; echo written; $b sleep 1000", fact=None,
                    writable_layer_bytes=60 * MIB)
        self.until_said("written")
        with contextlib.suppress(OSError):
            self.write_back()
        with self.assertRaises(Refused) as caught:
            unpack(self.client, Layer().add("f", os.urandom(MIB)).bytes())
        self.assertEqual(caught.exception.kind, EXHAUSTED)
        self.client.ask("kill", ref=ref("w-1"))
        self.client.wait_fact("exited")
        self.nothing_left()
        end = time.monotonic() + 20
        while self.used() - before > MIB and time.monotonic() < end:
            self.client.ask("inventory")  # the kernel lets go of the file after it tells of the device
        self.assertLess(self.used() - before, MIB)
        self.assertEqual(self.run_in("echo x > /x && echo ok"), ["ok"])


class TestHost(unittest.TestCase):
    """What the host can do is found out by doing it, where the layers would lie."""

    def features(self, daemon):
        client = daemon.connect()
        self.addCleanup(client.close)
        return {feature.name: feature for feature in client.hello.features}

    def daemon(self, prepare=lambda base: None):
        base = tempfile.mkdtemp(prefix="berth-sandboxd-", dir="/tmp")
        self.addCleanup(lambda: shutil.rmtree(base, ignore_errors=True))
        prepare(base)
        daemon = Daemon(BUILD, base=base)
        self.addCleanup(daemon.cleanup)
        return daemon

    def test_images_are_possible_here_and_nothing_is_made_to_find_out(self):
        daemon = self.daemon()
        images = self.features(daemon)["images"]
        self.assertEqual((images.supported, images.sentence), (True, ""))
        self.assertFalse(os.path.exists(f"{daemon.base}/layers"))

    def test_a_file_system_that_maps_no_ids_is_told_of(self):
        def mount(base):
            os.mkdir(f"{base}/layers")
            subprocess.run(["mount", "-t", "ramfs", "-o", "mode=0700", "ramfs", f"{base}/layers"], check=True)
            self.addCleanup(lambda: subprocess.run(["umount", "-l", f"{base}/layers"], check=False))

        images = self.features(self.daemon(mount))["images"]
        self.assertFalse(images.supported)
        self.assertIn("LayerDirectory: its file system cannot map ids", images.sentence)


class TestFullDisk(Story):
    def test_a_full_disk_is_said_and_nothing_stays(self):
        os.mkdir(self.store, 0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", self.store], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", "-l", self.store], check=False))
        small = Layer().add("f", "x").bytes()
        self.refused(Layer().add("f", os.urandom(20 << 20)).bytes(), EXHAUSTED, "No space left")
        unpack(self.client, small)
        self.assertTrue(self.client.ask("verify_layer", diff_id=digest(small)).verify_layer.intact)


if __name__ == "__main__":
    unittest.main()

"""Small disks for what the daemons write, in a mount namespace of the test's own."""
import ctypes
import errno
import os
import subprocess

CLONE_NEWNS = 0x00020000
LIBC = ctypes.CDLL(None, use_errno=True)


def own_mounts():
    """What is mounted from here on, the host does not see. Before any thread."""
    if LIBC.unshare(CLONE_NEWNS) < 0:
        raise OSError(ctypes.get_errno(), "cannot have a mount namespace of our own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


class Disk:
    """A tmpfs of some size at a directory; what is in it stays below it."""

    def __init__(self, path, size="16m", inodes=4000):
        self.path = path
        self.filler = os.path.join(path, "filler")
        os.makedirs(path, exist_ok=True)
        st = os.stat(path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode={st.st_mode & 0o7777:o},"
                        f"uid={st.st_uid},gid={st.st_gid}", "tmpfs", path], check=True)

    def fill(self):
        """To the last byte."""
        with open(self.filler, "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def use_up_inodes(self):
        os.mkdir(self.filler)
        number = 0
        try:
            while True:
                open(os.path.join(self.filler, str(number)), "wb").close()
                number += 1
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def free(self):
        if os.path.isdir(self.filler):
            for name in os.listdir(self.filler):
                os.unlink(os.path.join(self.filler, name))
            os.rmdir(self.filler)
        elif os.path.exists(self.filler):
            os.unlink(self.filler)

    def remount(self, mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", self.path], check=True)

    def unmount(self):
        subprocess.run(["umount", "--lazy", self.path], check=True)

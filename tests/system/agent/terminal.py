"""berthctl as a person has it before them."""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from story import rounds


class Terminal:
    """berthctl on a pseudo terminal."""

    def __init__(self, host, *arguments):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen([host.berthctl, "-a", "unix://" + host.socket, *arguments], stdin=slave,
                                        stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def type(self, keys):
        os.write(self.master, keys)

    def expect(self, text, seconds=rounds(15, 60)):
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} did not come, but {self.seen[-300:]!r}")
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                raise AssertionError(f"the terminal closed before {text!r}: {self.seen[-300:]!r}") from None

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self, seconds=rounds(15, 60)):
        """Its exit code. What is still in the terminal is read, so that it can end."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if select.select([self.master], [], [], 0.1)[0]:
                    self.seen += os.read(self.master, 65536)
            except OSError:  # nobody has the other end
                break
        return self.process.wait(max(1, deadline - time.monotonic()))

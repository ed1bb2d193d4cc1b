"""Waiting for what processes write, make and do: by inotify(7), which Python has no module for, and by pidfds."""
import contextlib
import ctypes
import os
import select
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_IN_WANTED = 0x2 | 0x80 | 0x100 | 0x200  # modified, moved to, created, deleted


def _watch(path):
    fd = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0 or _LIBC.inotify_add_watch(fd, os.fsencode(path), _IN_WANTED) < 0:
        raise OSError(ctypes.get_errno(), f"cannot watch {path} (see fs.inotify.max_user_instances)")
    return fd


def until(path, condition, seconds=30, process=None):
    """Look whether `condition` holds whenever the file `path`, or something in the directory `path`, was written,
    made or removed. Returns what it returned; at last, or once the subprocess `process` has ended, even if that is
    false."""
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        fds = [_watch(path)]
        stack.callback(os.close, fds[0])
        if process and process.poll() is None:
            fds.append(os.pidfd_open(process.pid))
            stack.callback(os.close, fds[1])
        while not (value := condition()):
            ready = select.select(fds, [], [], max(0, end - time.monotonic()))[0]
            if fds[0] not in ready:
                return condition()
            os.read(fds[0], 1 << 16)
        return value


def until_ended(pid, seconds=30):
    """Whether that process has ended, as far as it ever was there; a zombie has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)

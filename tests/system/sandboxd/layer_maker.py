"""Layers of images, made by hand, so that they can hold what no tool would write."""
import gzip
import hashlib
import io
import os
import subprocess
import tarfile
import tempfile

GZIP, ZSTD, PLAIN = 1, 2, 0


class Layer:
    """An archive of entries. Nothing is checked on the way in."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, content=None, kind=None, mode=None, **fields):
        info = tarfile.TarInfo(name)
        info.type = kind or (tarfile.REGTYPE if content is not None else tarfile.DIRTYPE)
        info.mode = mode if mode is not None else (0o755 if info.type == tarfile.DIRTYPE else 0o644)
        data = content.encode() if isinstance(content, str) else content
        info.size = len(data) if data is not None and info.type == tarfile.REGTYPE else 0
        for key, value in fields.items():
            setattr(info, key, value)
        self.tar.addfile(info, io.BytesIO(data) if info.size else None)
        return self

    def link(self, name, target, hard=False, **fields):
        return self.add(name, kind=tarfile.LNKTYPE if hard else tarfile.SYMTYPE, linkname=target, **fields)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compress(data, how):
    if how == GZIP:
        return gzip.compress(data, 6)
    if how == ZSTD:
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def blob(data):
    """An open file that holds @data, for reading alone; nobody else has its name."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return os.open(file.name, os.O_RDONLY | os.O_CLOEXEC)


def unpack(client, tar, how=GZIP, diff_id=None, data=None, timeout=120, **limits):
    """UnpackLayer of the archive @tar; @data instead of what it compresses to. Returns the result."""
    data = compress(tar, how) if data is None else data
    fd = blob(data)
    try:
        return client.ask("unpack_layer", fds=[fd], timeout=timeout, diff_id=diff_id or digest(tar),
                          compression=how, blob_bytes=len(data), **limits).unpack_layer
    finally:
        os.close(fd)

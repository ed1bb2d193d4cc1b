"""A registry in a few lines, that answers rightly until a story has it do otherwise."""
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

OCI = "application/vnd.oci.image."
MANIFEST = OCI + "manifest.v1+json"
INDEX = OCI + "index.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(name, data):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return plain.getvalue(), gzip.compress(plain.getvalue(), 1)


class Image:
    """Its pieces by digest, and its manifest."""

    def __init__(self, *contents, architecture="amd64", more=None):
        self.pieces = {}
        self.layers = []
        diff_ids = []
        for i, data in enumerate(contents):
            plain, packed = layer(f"file-{i}", data)
            diff_ids.append(digest(plain))
            self.layers.append(self.add(packed, OCI + "layer.v1.tar+gzip"))
        config = {"os": "linux", "architecture": architecture, "config": {"Cmd": ["/bin/sh"]},
                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        self.config = self.add(json.dumps(config).encode(), OCI + "config.v1+json")
        self.manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self.config,
                         "layers": self.layers, **(more or {})}

    def add(self, data, media):
        self.pieces[digest(data)] = data
        return {"mediaType": media, "digest": digest(data), "size": len(data)}

    def bytes(self):
        return json.dumps(self.manifest).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        registry = self.server.registry
        with registry.lock:
            registry.requests.append((self.path, dict(self.headers)))
        for prefix, answer in registry.answers:
            if self.path.startswith(prefix) and answer(self) is not True:
                return
        self.rightly()

    def rightly(self):
        registry = self.server.registry
        parts = self.path.split("?")[0].split("/")
        name = parts[-1]
        if parts[-2] == "manifests" and name in registry.manifests:
            data, media = registry.manifests[name]
            self.send(data, media)
        elif parts[-2] == "blobs" and name in registry.pieces:
            self.send_piece(registry.pieces[name])
        else:
            self.send(b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json", 404)

    def send(self, data, media="application/octet-stream", status=200, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def send_piece(self, data):
        asked = self.headers.get("Range")
        if not asked:
            return self.send(data)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(data):
            return self.send(b"", status=416)
        return self.send(data[start:], status=206,
                         headers=[("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # clients that go away are what some stories are about


class Registry:
    def __init__(self):
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.registry = self
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.clear()

    def clear(self):
        with self.lock:
            self.requests = []
        self.answers = []  # (prefix of the path, what to do with it), the first that fits
        self.manifests = {}
        self.pieces = {}

    def put(self, image, tag="1"):
        data = image.bytes()
        self.manifests[tag] = self.manifests[digest(data)] = (data, MANIFEST)
        self.pieces.update(image.pieces)
        return digest(data)

    def paths(self):
        with self.lock:
            return [path for path, _ in self.requests]

    def end(self):
        self.server.shutdown()
        self.server.server_close()

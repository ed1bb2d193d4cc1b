"""Who may what, over TCP with certificates; and certificates that change under way."""
import os
import subprocess

import grpc

from api import Api
from host import read, state_name, write
from story import IN_VM, Skip, equal, has, refused, story

LOOKS = {"GetNode": {}, "Get": {"id": "there"}, "List": {}}


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, place, name="ca"):
        self.place, self.name = place, name
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-days", "2", "-keyout", self.path("key"), "-out", self.path("pem"))

    def path(self, kind, name=None):
        return os.path.join(self.place, f"{name or self.name}.{kind}")

    @staticmethod
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    def issue(self, name):
        """NAME.pem and NAME.key, for the DNS name `name`, and for 127.0.0.1."""
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-days", "2", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-addext",
                     "basicConstraints=CA:FALSE", "-CA", self.path("pem"), "-CAkey", self.path("key"),
                     "-keyout", self.path("key", name), "-out", self.path("pem", name))

    def credentials(self, name, trusted=None):
        def content(path):
            with open(path, "rb") as file:
                return file.read()
        return grpc.ssl_channel_credentials(content((trusted or self).path("pem")), content(self.path("key", name)),
                                            content(self.path("pem", name)))


def prepare(place, group):
    """What settings() names; `group` is berthd's."""
    authority = Authority(place)
    for name in ("host", "sched.example", "ops.example", "eyes.example", "stranger.example"):
        authority.issue(name)
    os.chown(authority.path("key", "host"), 0, group)
    os.chmod(authority.path("key", "host"), 0o640)


def settings():
    return {"Listen_Address": "127.0.0.1:0", "TLS_Certificate": "{place}/host.pem", "TLS_Key": "{place}/host.key",
            "TLS_ClientCA": "{place}/ca.pem", "Access_Schedulers": "sched.example", "Access_Operators": "ops.example",
            "Access_Observers": "eyes.example"}


def authority_of(host):
    if IN_VM:
        raise Skip("the services there listen on no TCP address")
    found = object.__new__(Authority)
    found.place, found.name = host.place, "ca"
    return found


def connect(host, name, authority=None, trusted=None):
    ours = authority_of(host)
    return Api(f"127.0.0.1:{host.tcp_port()}", (authority or ours).credentials(name, trusted or ours))


@story
def roles_come_from_certificate_names(host):
    host.launch("there", "/bin/sleep", "1000")
    start = [{"start": {"id": "there", "command": ["/bin/true"]}}]
    attach = [{"start": {"id": "there"}}]
    with connect(host, "eyes.example") as api:
        for name, fields in LOOKS.items():
            getattr(api, name)(**fields)
        next(api.WatchEvents(from_oldest=True))
        next(api.StreamTelemetry(interval_ms=100))
        for name in ("Launch", "Stop", "Delete", "Signal", "Pause", "Resume", "UpdateResources", "Reconcile",
                     "SetSchedulable"):
            refused(lambda: getattr(api, name)(), "PERMISSION_DENIED", name, "observer")
        refused(lambda: list(api.ReadLogs(id="there")), "PERMISSION_DENIED", "ReadLogs", "observer")
        refused(lambda: list(api.Exec(start)), "PERMISSION_DENIED", "Exec", "observer")
    with connect(host, "sched.example") as api:
        api.Pause(fence=host.fence(), id="there")
        api.Resume(fence=host.fence(), id="there")
        list(api.ReadLogs(id="there"))
        refused(lambda: list(api.Exec(start)), "PERMISSION_DENIED", "Exec", "scheduler")
        refused(lambda: list(api.Attach(attach)), "PERMISSION_DENIED", "Attach", "scheduler")
    with connect(host, "ops.example") as api:
        equal([a.WhichOneof("message") for a in api.Exec(start)][-1], "exit")
    with connect(host, "stranger.example") as api:
        refused(lambda: api.GetNode(), "PERMISSION_DENIED", "GetNode", "no role")
    has(host.ctl("ps").stdout, "there")


@story
def strangers_do_not_get_in(host):
    ours = authority_of(host)
    other = Authority(host.place, "other")
    other.issue("forged")
    with connect(host, "forged", other, ours) as api:
        refused(lambda: api.GetNode(timeout=5), "UNAVAILABLE")
    with Api(f"127.0.0.1:{host.tcp_port()}") as api:
        refused(lambda: api.GetNode(timeout=5), "UNAVAILABLE")
    bare = grpc.ssl_channel_credentials(open(ours.path("pem"), "rb").read())
    with Api(f"127.0.0.1:{host.tcp_port()}", bare) as api:
        refused(lambda: api.GetNode(timeout=5), "UNAVAILABLE")


@story
def berthctl_works_over_tcp(host):
    place = authority_of(host).place
    done = subprocess.run([host.berthctl, "-a", f"127.0.0.1:{host.tcp_port()}", "--cert", place + "/ops.example.pem",
                           "--key", place + "/ops.example.key", "--ca", place + "/ca.pem", "node"], check=False,
                          capture_output=True, text=True, timeout=30)
    equal(done.returncode, 0, done.stderr)
    has(done.stdout, "schedulable")
    done = subprocess.run([host.berthctl, "-a", f"127.0.0.1:{host.tcp_port()}", "--cert", place + "/eyes.example.pem",
                           "--key", place + "/eyes.example.key", "--ca", place + "/ca.pem", "drain"], check=False,
                          capture_output=True, text=True, timeout=30)
    equal(done.returncode, 5, done.stderr)


@story
def certificates_are_read_again_without_a_restart(host):
    ours = authority_of(host)
    host.launch("there", "/bin/sleep", "1000")
    newer = Authority(host.place, "newer")
    kept = {name: read(f"{host.place}/{name}") for name in ("host.pem", "host.key", "ca.pem")}
    newer.issue("next")
    with connect(host, "sched.example") as old:
        old.GetNode()
        write(host.place + "/host.pem", "no certificate\n")
        has(host.reload_berthd("old certificates stay"), "host.pem")
        with connect(host, "sched.example") as api:
            api.GetNode()
        for place, source in (("host.pem", "next.pem"), ("host.key", "next.key"), ("ca.pem", "newer.pem")):
            write(f"{host.place}/{place}", read(f"{host.place}/{source}"), 0o640 if place == "host.key" else 0o644)
        newer.issue("sched.example")
        host.reload_berthd("configuration read again")
        old.GetNode()  # the connection that was there goes on
    with Api(f"127.0.0.1:{host.tcp_port()}", newer.credentials("sched.example")) as api:
        equal(state_name(api.Get(id="there").workload.status), "RUNNING")
    for name, text in kept.items():
        write(f"{host.place}/{name}", text, 0o640 if name == "host.key" else 0o644)
    ours.issue("sched.example")
    host.reload_berthd("configuration read again")
    with connect(host, "sched.example") as api:
        api.GetNode()

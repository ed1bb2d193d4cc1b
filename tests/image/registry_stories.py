"""Debian's docker-registry on loopback, without TLS, with TLS and with passwords; images made with umoci and skopeo."""
import json
import os
import pathlib
import sys
import tempfile

from docker_registry import DockerRegistry, run
from host import Host, check, run_stories

PASSWORD = "pass-w0rd-of-me"


class World:
    def __init__(self, build, directory):
        self.directory = directory
        self.layout = directory / "layout"
        self.make_images()
        self.tls = directory / "tls"
        self.tls.mkdir()
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", self.tls / "key.pem", "-out", self.tls / "cert.pem")
        for name in ("plain", "locked"):
            (directory / name).mkdir()
        self.plain = DockerRegistry(directory / "plain")
        self.locked = DockerRegistry(directory / "locked", tls=self.tls, password=PASSWORD)
        for tag in ("1", "2"):
            self.push(self.plain, tag)
        self.push(self.locked, "1", "--dest-creds", "me:" + PASSWORD)
        self.credentials = directory / "registries.json"
        self.host = Host(build, f"PlainHTTP={self.plain.host}\nCredentials={self.credentials}\n"
                                f"Authorities={self.locked.host}={self.tls}/cert.pem")

    def make_images(self):
        image = f"{self.layout}:1"
        run("umoci", "init", "--layout", self.layout)
        run("umoci", "new", "--image", image)
        for i, size in enumerate((4 << 20, 100, 1 << 20)):
            (self.directory / "file").write_bytes(os.urandom(size))
            run("umoci", "insert", "--rootless", "--image", image, self.directory / "file", f"/file-{i}")
        run("umoci", "config", "--image", image, "--config.entrypoint", "/bin/program", "--config.cmd", "one",
            "--config.env", "A=b", "--config.user", "www-data:adm", "--config.workingdir", "/srv",
            "--config.stopsignal", "SIGQUIT", "--config.label", "k=v", "--config.volume", "/data")
        run("umoci", "tag", "--image", image, "2")
        run("umoci", "insert", "--rootless", "--image", f"{self.layout}:2", self.directory / "file", "/another")

    def push(self, registry, tag, *options):
        run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", *options,
            f"oci:{self.layout}:{tag}", f"docker://{registry.host}/team/app:{tag}")

    def end(self):
        self.host.end()
        self.plain.end()
        self.locked.end()


def an_image_is_what_skopeo_says_it_is(world):
    host, name = world.host, f"{world.plain.host}/team/app:1"
    steps = [json.loads(line) for line in host.ctl("-o", "json", "image", "pull", name).stdout.splitlines()]
    check(steps[-1]["phase"] == "PULL_PHASE_DONE" and steps[-1]["bytesFetched"] == steps[-1]["bytes"], steps[-1])
    theirs = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    ours = host.json("image", "inspect", name)[0]
    check(ours["image"]["digest"] == theirs["Digest"], ours["image"], theirs["Digest"])
    check([layer["digest"] for layer in ours["layers"]] == theirs["Layers"], ours["layers"])
    config = ours["config"]
    check(config["entrypoint"] == ["/bin/program"] and config["command"] == ["one"] and config["env"] == ["A=b"], config)
    check(config["user"] == "www-data:adm" and config["workingDirectory"] == "/srv", config)
    check(config["stopSignal"] == "SIGQUIT" and config["volumes"] == ["/data"] and config["labels"] == {"k": "v"}, config)
    host.ctl("image", "verify", name)


def layers_that_are_here_are_not_fetched(world):
    name = f"{world.plain.host}/team/app:2"
    steps = world.host.json("image", "pull", name)
    check(int(steps[-1]["bytes"]) > int(steps[-1]["bytesFetched"]) > 0, steps[-1])
    check(len(world.host.json("image", "ls")) == 2, "two tags")
    world.host.ctl("image", "rm", name)
    world.host.ctl("image", "verify", f"{world.plain.host}/team/app:1")


def dockers_own_manifests_are_pulled(world):
    name = f"{world.plain.host}/team/docker:1"
    run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--format", "v2s2",
        f"oci:{world.layout}:1", f"docker://{name}")
    world.host.ctl("image", "pull", name)
    world.host.ctl("image", "verify", name)
    check(len(world.host.json("image", "inspect", name)[0]["layers"]) == 3, "layers")
    world.host.ctl("image", "rm", name)


def names_and_tags_that_are_not_there_are_told(world):
    world.host.refused("no such repository", "image", "pull", f"{world.plain.host}/team/app:none")
    world.host.refused("no such repository", "image", "pull", f"{world.plain.host}/none")


def a_password_is_needed_where_it_is(world):
    host, name = world.host, f"{world.locked.host}/team/app:1"
    host.refused("needs credentials", "image", "pull", name)
    host.refused("do not permit it", "image", "pull", "-u", "me", "--password-stdin", name, stdin="wrong\n")
    host.ctl("image", "pull", "-u", "me", "--password-stdin", name, stdin=PASSWORD + "\n")
    host.ctl("image", "rm", name)


def the_hosts_own_credentials_are_used(world):
    host, name = world.host, f"{world.locked.host}/team/app:1"
    world.credentials.write_text(json.dumps({"auths": {world.locked.host: {"username": "me", "password": PASSWORD}}}))
    world.credentials.chmod(0o644)
    host.refused("must belong to root", "image", "pull", name)
    world.credentials.chmod(0o600)
    host.ctl("image", "pull", name)
    host.ctl("image", "rm", name)
    world.credentials.write_text("{")
    host.refused("malformed JSON", "image", "pull", name)
    world.credentials.unlink()


def an_authority_that_nobody_named_is_refused(world):
    host = Host(world.host.build)
    try:
        host.start()
        host.refused("Authorities", "image", "pull", f"{world.locked.host}/team/app:1")
        host.refused("PlainHTTP", "image", "pull", f"{world.plain.host}/team/app:1")
    finally:
        host.end()


def a_password_is_nowhere(world):
    for path in [world.host.log, *world.host.store.rglob("*")]:
        check(not path.is_file() or PASSWORD.encode() not in path.read_bytes(), "the password is in", path)


STORIES = [an_image_is_what_skopeo_says_it_is, layers_that_are_here_are_not_fetched, dockers_own_manifests_are_pulled,
           names_and_tags_that_are_not_there_are_told, a_password_is_needed_where_it_is,
           the_hosts_own_credentials_are_used, an_authority_that_nobody_named_is_refused, a_password_is_nowhere]


def main():
    with tempfile.TemporaryDirectory(prefix="berth-registry.") as directory:
        world = World(sys.argv[1], pathlib.Path(directory))
        try:
            world.host.start()
            return run_stories([s for s in STORIES if not sys.argv[2:] or s.__name__ in sys.argv[2:]], world)
        finally:
            world.end()


if __name__ == "__main__":
    sys.exit(main())

"""Debian's docker-registry on loopback, and what the stories make images with."""
import crypt
import json
import socket
import subprocess
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*words, **options):
    """What a program that ends well has printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout} {done.stderr}")
    return done.stdout


class DockerRegistry:
    def __init__(self, directory, tls=None, password=None):
        self.host = f"localhost:{free_port()}"
        self.storage = directory / "storage"
        config = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                  "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
                  "http": {"addr": self.host}}
        if tls:
            config["http"]["tls"] = {"certificate": str(tls / "cert.pem"), "key": str(tls / "key.pem")}
        if password:
            passwords = directory / "htpasswd"
            passwords.write_text("me:" + crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)) + "\n")
            config["auth"] = {"htpasswd": {"realm": "r", "path": str(passwords)}}
        path = directory / "config.json"  # YAML takes it
        path.write_text(json.dumps(config))
        self.log = open(directory / "log", "wb")
        self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 10
        port = int(self.host.split(":")[1])
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("docker-registry does not start: " + (directory / "log").read_text())
            time.sleep(0.05)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

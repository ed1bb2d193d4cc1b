"""Every answer of a registry wrong in turn, and what becomes of it: a sentence that says which, and nothing that counts."""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

from host import Failed, Host, check, run_stories
from hostile import INDEX, MANIFEST, OCI, Image, Registry, digest

NOISE = random.Random(4).randbytes(300_000)
SECRET = "s3cret-of-nobody"


def name(registry, tag="1"):
    return f"{registry.host}/team/app:{tag}"


def wrong(host, registry, word, *, tag="1", left=()):
    """The pull is refused with @word, and no image and no whole piece that is wrong is there."""
    text = host.refused(word, "image", "pull", name(registry, tag))
    check(not host.json("image", "ls"), "there is an image after a pull that failed")
    for blob in host.blobs():
        if "." not in blob:
            data = (host.store / "images" / "blobs" / blob).read_bytes()
            check(digest(data) == "sha256:" + blob, "a piece that is none is called whole")
    host.ctl("image", "gc")
    check(host.blobs() == [], "pieces are left:", host.blobs())
    return text


def a_pull_is_answered_and_forgotten(host, registry, other):
    found = registry.put(Image(b"one", NOISE))
    host.ctl("image", "pull", name(registry))
    images = host.json("image", "ls")
    check(images[0]["digest"] == found and images[0]["layers"] == 2, images)
    host.ctl("image", "verify", name(registry))
    details = host.json("image", "inspect", name(registry))[0]
    check(details["config"]["command"] == ["/bin/sh"], details)
    asked = len(registry.paths())
    host.ctl("image", "pull", name(registry))
    check(not [p for p in registry.paths()[asked:] if "blobs" in p and digest_of_layer(registry, p)],
          "a layer that is there was fetched again")
    host.ctl("image", "rm", name(registry))
    check(host.blobs() == [], "pieces are left:", host.blobs())
    host.refused("no image", "image", "rm", name(registry))


def digest_of_layer(registry, path):
    return len(registry.pieces.get(path.rsplit("/", 1)[-1], b"")) > 1000


def an_index_leads_to_this_platform(host, registry, other):
    here, there = Image(b"here"), Image(b"there", architecture="s390x")
    registry.put(there, "there")
    data = here.bytes()
    registry.put(here, "here")
    entries = [{"mediaType": MANIFEST, "digest": digest(i.bytes()), "size": len(i.bytes()),
                "platform": {"os": "linux", "architecture": a}}
               for i, a in ((there, "s390x"), (here, "amd64"))]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    registry.manifests["1"] = registry.manifests[digest(index)] = (index, INDEX)
    host.ctl("image", "pull", name(registry))
    image = host.json("image", "ls")[0]
    check(image["digest"] == digest(index) and image["manifestDigest"] == digest(data), image)
    host.ctl("image", "rm", name(registry))
    by_digest = f"{registry.host}/team/app@{digest(index)}"
    host.ctl("image", "pull", by_digest)
    host.ctl("image", "rm", by_digest)
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries[:1]}).encode()
    registry.manifests["1"] = (index, INDEX)
    check("linux/s390x" in wrong(host, registry, "no image for linux/amd64"), "which there are")
    registry.clear()
    registry.put(there)
    wrong(host, registry, "this host is linux/amd64")


def wrong_documents_are_told_apart(host, registry, other):
    image = Image(b"x")
    good = image.bytes()
    documents = [
        (b"", MANIFEST, "malformed JSON"),
        (b"<html>", "text/html", "malformed JSON"),
        (b"[" * 100_000, MANIFEST, "nested"),
        (b" " * (5 << 20), MANIFEST, "more than 4194304 bytes"),
        (json.dumps({"schemaVersion": 1}).encode(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        (good, INDEX, "another type"),
        (json.dumps({**image.manifest, "manifests": []}).encode(), MANIFEST, "neither"),
        (json.dumps({**image.manifest, "layers": []}).encode(), MANIFEST, "no layers"),
        (json.dumps({**image.manifest, "layers": image.layers * 200}).encode(), MANIFEST, "at most 128"),
        (json.dumps({**image.manifest, "config": {**image.config, "mediaType": "application/x-helm"}}).encode(), MANIFEST, "no image of a container"),
        (json.dumps({**image.manifest, "layers": [{**image.layers[0], "mediaType": "text/plain"}]}).encode(), MANIFEST, "text/plain"),
        (json.dumps({**image.manifest, "layers": [{**image.layers[0], "digest": "sha512:00"}]}).encode(), MANIFEST, "only sha256"),
        (json.dumps({**image.manifest, "layers": image.layers * 2}).encode(), MANIFEST, "the manifest 2"),
    ]
    for data, media, word in documents:
        registry.clear()
        registry.put(image)
        registry.manifests["1"] = (data, media)
        wrong(host, registry, word)


def wrong_bytes_are_found(host, registry, other):
    image = Image(NOISE)
    packed, config = image.layers[0]["digest"], image.config["digest"]
    data = image.pieces[packed]
    changed = bytes([data[0] ^ 1]) + data[1:]
    for what, bytes_, word in ((packed, changed, "digest"), (packed, data + b"x", "more than"),
                               (packed, data[:-1], "and should have"), (packed, b"", "should have"),
                               (config, image.pieces[config] + b" ", "digest")):
        registry.clear()
        registry.put(image)
        registry.pieces[what] = bytes_
        wrong(host, registry, word)
    registry.clear()
    registry.put(image)
    registry.manifests[digest(b"other")] = registry.manifests["1"]
    host.refused("digest", "image", "pull", f"{registry.host}/team/app@{digest(b'other')}")


def statuses_say_what_to_do(host, registry, other):
    registry.put(Image(b"x"))
    for status, word in ((403, "needs credentials"), (404, "no such repository"), (418, "is it a registry?"),
                         (301, "leads nowhere"), (401, "does not say how")):
        registry.answers = [("/v2/", lambda h, s=status: h.send(b"no", status=s))]
        text = wrong(host, registry, word)
        check("/v2/team/app/manifests/1" in text and str(status) in text, text)


def what_passes_is_tried_again(host, registry, other):
    image = Image(b"x")
    registry.put(image)
    left = [500, 503, 429]

    def fail_first(handler):
        if left:
            return handler.send(b"", status=left.pop())
        return True

    registry.answers = [("/v2/team/app/blobs/" + image.layers[0]["digest"], fail_first)]
    host.ctl("image", "pull", name(registry))
    check(not left, "not all failures were seen")
    host.ctl("image", "rm", name(registry))


def what_does_not_pass_ends(host, registry, other):
    registry.put(Image(b"x"))
    registry.answers = [("/v2/", lambda h: h.send(b"", status=503))]
    check("try again later" in wrong(host, registry, "status 503"), "what to do")
    check(len(registry.paths()) == 5, "it was tried", len(registry.paths()), "times")


def a_broken_layer_goes_on_where_it_ended(host, registry, other):
    image = Image(NOISE)
    packed = image.layers[0]["digest"]
    data = image.pieces[packed]
    registry.put(image)
    left = [1]

    def break_off(handler):
        if not left:
            return True
        left.pop()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:100_000])
        handler.wfile.flush()
        handler.close_connection = True

    registry.answers = [("/v2/team/app/blobs/" + packed, break_off)]
    host.ctl("image", "pull", name(registry))
    with registry.lock:
        ranges = [h.get("Range") for p, h in registry.requests if packed in p]
    check(ranges == [None, "bytes=100000-"], ranges)
    host.ctl("image", "rm", name(registry))


def what_was_left_wrongly_is_fetched_anew(host, registry, other):
    image = Image(NOISE)
    packed = image.layers[0]["digest"]
    registry.put(image)
    part = host.store / "images" / "blobs" / (packed.split(":")[1] + ".part")
    part.write_bytes(b"x" * 1000)
    os.chmod(part, 0o600)
    host.ctl("image", "pull", name(registry))
    with registry.lock:
        ranges = [h.get("Range") for p, h in registry.requests if packed in p]
    check(ranges == ["bytes=1000-", None], ranges)
    host.ctl("image", "rm", name(registry))
    # A server that answers another range than was asked for.
    registry.clear()
    registry.put(image)
    part.write_bytes(image.pieces[packed][:1000])
    registry.answers = [("/v2/team/app/blobs/" + packed,
                         lambda h: h.send(b"z" * 10, status=206, headers=[("Content-Range", "bytes 5-14/20")]))]
    wrong(host, registry, "sends something else")


def a_registry_that_stops_is_given_up(host, registry, other):
    image = Image(b"x")
    registry.put(image)
    gone = threading.Event()

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.flush()
        gone.wait(30)

    registry.answers = [("/v2/", stall)]
    began = time.monotonic()
    pull = host.begin("image", "pull", name(registry))
    try:
        while len(registry.paths()) < 2:
            check(time.monotonic() < began + 20, "a stalled request was not tried again")
            time.sleep(0.05)
    finally:
        pull.send_signal(signal.SIGINT)
        pull.communicate(timeout=10)
        gone.set()


def redirects_get_no_credentials(host, registry, other):
    image = Image(NOISE)
    packed = image.layers[0]["digest"]
    registry.put(image)
    other.put(image)

    def ask(handler):
        if "Authorization" in handler.headers:
            return True
        return handler.send(b"", status=401, headers=[("WWW-Authenticate", 'Basic realm="r"')])

    def lead_away(handler):
        if "Authorization" not in handler.headers:
            return ask(handler)
        return handler.send(b"", status=307, headers=[
            ("Location", f"http://{other.host}/v2/team/app/blobs/{packed}?signature=hidden")])

    registry.answers = [("/v2/team/app/blobs/" + packed, lead_away), ("/v2/", ask)]
    host.ctl("image", "pull", "-u", "me", "--password-stdin", name(registry), stdin=SECRET + "\n")
    check(other.requests and "Authorization" not in other.requests[0][1], other.requests)
    host.ctl("image", "rm", name(registry))
    # What it is led to asks for them as well: it gets none, and the sentence has no secret.
    other.answers = [("/", lambda h: h.send(b"", status=401, headers=[("WWW-Authenticate", 'Basic realm="r"')]))]
    text = host.refused("status 401", "image", "pull", "-u", "me", "--password-stdin", name(registry),
                        stdin=SECRET + "\n")
    check("signature" not in text and "hidden" not in text, text)
    check(all("Authorization" not in h for _, h in other.requests), "credentials followed a redirect")
    host.ctl("image", "gc")
    registry.answers = [("/v2/", lambda h: h.send(b"", status=302, headers=[("Location", h.path)]))]
    wrong(host, registry, "on and on")
    registry.answers = [("/v2/", lambda h: h.send(b"", status=302, headers=[("Location", "http://localhost:1/x")]))]
    wrong(host, registry, "PlainHTTP")
    registry.answers = [("/v2/", lambda h: h.send(b"", status=302, headers=[("Location", "file:///etc/passwd")]))]
    wrong(host, registry, "rotocol")


def tokens_are_asked_for_and_sent(host, registry, other):
    registry.put(Image(b"x"))
    bearer = f'Bearer realm="http://{registry.host}/token",service="the registry",scope="repository:team/app:pull"'

    def ask(handler):
        if handler.headers.get("Authorization") == "Bearer t0ken":
            return True
        return handler.send(b"", status=401, headers=[("WWW-Authenticate", bearer)])

    def give(handler):
        check("scope=repository%3Ateam%2Fapp%3Apull&service=the%20registry" in handler.path, handler.path)
        return handler.send(json.dumps({"token": "t0ken"}).encode(), "application/json")

    registry.answers = [("/token", give), ("/v2/", ask)]
    host.ctl("image", "pull", name(registry))
    host.ctl("image", "rm", name(registry))
    check(registry.paths().count(registry.paths()[1]) == 1, "one token is enough")
    registry.clear()
    host.ctl("image", "gc")
    for answer, word in ((b"{}", "no token"), (b'{"token":"a\\nb"}', "no token"), (b"x", "malformed"),
                         (b"x" * 100_000, "more than 65536"), (b'{"token":"other"}', "needs credentials")):
        registry.answers = [("/token", lambda h, a=answer: h.send(a, "application/json")), ("/v2/", ask)]
        wrong(host, registry, word)
    for challenge, word in (("Negotiate", "basic and bearer"), ("Bearer", "from where"), ('Bearer realm="', "malformed"),
                            ('Bearer realm="ftp://x/"', "without TLS"), ("Bearer realm=" + "x" * 1500, "malformed or too long")):
        registry.answers = [("/v2/", lambda h, c=challenge: h.send(b"", status=401, headers=[("WWW-Authenticate", c)]))]
        wrong(host, registry, word)


def heads_have_bounds(host, registry, other):
    registry.put(Image(b"x"))
    registry.answers = [("/v2/", lambda h: h.send(b"", headers=[(f"X-{i}", "y" * 1000) for i in range(90)]))]
    wrong(host, registry, "more than 65536 bytes")


def many_ask_and_one_pull_is_made(host, registry, other):
    image = Image(NOISE)
    packed = image.layers[0]["digest"]
    registry.put(image)
    go = threading.Event()

    def wait(handler):
        go.wait(20)
        return True

    registry.answers = [("/v2/team/app/blobs/" + packed, wait)]
    pulls = [host.begin("image", "pull", name(registry)) for _ in range(8)]
    try:
        # A question that is answered later than they were asked: they all wait by then, or soon after.
        deadline = time.monotonic() + 10
        while not any(packed in p for p in registry.paths()):
            check(time.monotonic() < deadline, "no pull has come to the layer")
            time.sleep(0.02)
        host.ctl("image", "ls")
        go.set()
        for pull in pulls:
            out, err = pull.communicate(timeout=20)
            check(pull.returncode == 0, err)
    finally:
        go.set()
    check(sum(packed in p for p in registry.paths()) == 1, registry.paths())
    host.ctl("image", "rm", name(registry))


def a_pull_that_nobody_waits_for_ends_and_goes_on_later(host, registry, other):
    for how in ("client", "berthd"):
        image = Image(NOISE + how.encode())
        packed = image.layers[0]["digest"]
        data = image.pieces[packed]
        registry.clear()
        registry.put(image)
        gone = threading.Event()

        def slow(handler):
            if "Range" in handler.headers:
                return True
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[:200_000])
            handler.wfile.flush()
            gone.wait(20)

        registry.answers = [("/v2/team/app/blobs/" + packed, slow)]
        pull = host.begin("-o", "json", "image", "pull", name(registry))
        part = host.store / "images" / "blobs" / (packed.split(":")[1] + ".part")
        deadline = time.monotonic() + 10
        while not part.exists() or part.stat().st_size < 200_000:
            check(time.monotonic() < deadline, "the layer does not come")
            time.sleep(0.02)
        if how == "client":
            pull.kill()
        else:
            host.stop(signal.SIGKILL)
        pull.communicate(timeout=20)
        gone.set()
        if how == "berthd":
            host.start()
        check(not host.json("image", "ls"), "half an image counts")
        host.ctl("image", "pull", name(registry))
        with registry.lock:
            ranges = [h.get("Range") for p, h in registry.requests if packed in p]
        check(ranges == [None, "bytes=200000-"], how, ranges)
        host.ctl("image", "verify", name(registry))
        host.ctl("image", "rm", name(registry))


def damage_is_found_by_verification(host, registry, other):
    image = Image(NOISE)
    registry.put(image)
    host.ctl("image", "pull", name(registry))
    blob = host.store / "images" / "blobs" / image.layers[0]["digest"].split(":")[1]
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(bytes(data))
    host.refused(image.layers[0]["digest"], "image", "verify", name(registry))
    host.ctl("image", "rm", name(registry))
    host.ctl("image", "pull", name(registry))
    host.ctl("image", "verify", name(registry))
    host.ctl("image", "rm", name(registry))


def shared_layers_stay_while_somebody_needs_them(host, registry, other):
    one, two = Image(NOISE, b"one"), Image(NOISE, b"two")
    registry.put(one, "1")
    registry.put(two, "2")
    host.ctl("image", "pull", name(registry, "1"), name(registry, "2"))
    host.ctl("image", "rm", name(registry, "1"))
    host.stop()
    host.start()
    check([i["name"] for i in host.json("image", "ls")] == [name(registry, "2")], "after a restart")
    host.ctl("image", "verify", name(registry, "2"))
    host.ctl("image", "rm", name(registry, "2"))
    check(host.blobs() == [], host.blobs())


def a_full_disk_is_told_and_left_clean(host, registry, other):
    disk = host.directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", disk], check=True)
    full = Host(host.build, f"PlainHTTP={registry.host}\nKeepFree=0", store=disk)
    try:
        full.start()
        registry.put(Image(random.Random(5).randbytes(8 << 20)))
        # It says so before it begins; and where the disk fills meanwhile, then.
        wrong(full, registry, "may be used")
        registry.clear()
        image = Image(random.Random(6).randbytes(1 << 20))
        registry.put(image)
        left = os.statvfs(disk)

        def fill(handler):
            (disk / "filler").write_bytes(b"x" * (left.f_bavail * left.f_frsize - (256 << 10)))
            return True

        registry.answers = [("/v2/team/app/blobs/" + image.layers[0]["digest"], fill)]
        wrong(full, registry, "full")
        (disk / "filler").unlink()
        registry.answers = []
        full.ctl("image", "pull", name(registry))
    finally:
        full.end()
        subprocess.run(["umount", disk], check=True)


def policy_and_mirrors_are_kept_to(host, registry, other):
    image = Image(NOISE)
    asker = Host(host.build, f"PlainHTTP={registry.host} {other.host}\nMirrors={registry.host}={other.host}\n"
                             f"Registries={registry.host}")
    try:
        asker.start()
        asker.refused("may not pull from", "image", "pull", "elsewhere.example/app")
        registry.put(image)
        other.put(image)
        asker.ctl("image", "pull", "-u", "me", "--password-stdin", name(registry), stdin=SECRET + "\n")
        check(registry.paths() == [] and len(other.paths()) == 3, "the mirror was not asked first")
        asker.ctl("image", "rm", name(registry))
        # A mirror that fails, has nothing, or lies is passed over.
        for answer in (lambda h: h.send(b"", status=503), lambda h: h.send(b"", status=404),
                       lambda h: h.send(b"{}", MANIFEST),
                       lambda h: h.send(b"", status=401, headers=[("WWW-Authenticate", 'Basic realm="r"')])):
            registry.clear(), other.clear()
            registry.put(image)
            other.answers = [("/v2/team/app/blobs", answer)]
            other.manifests = registry.manifests
            asker.ctl("image", "pull", "-u", "me", "--password-stdin", name(registry), stdin=SECRET + "\n")
            check(all("Authorization" not in h for _, h in other.requests), "a mirror was given credentials")
            asker.ctl("image", "rm", name(registry))
    finally:
        asker.end()


def nothing_of_secrets_is_kept(host, registry, other):
    for path in [host.log, *host.store.rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            check(SECRET.encode() not in data and b"t0ken" not in data and b"hidden" not in data,
                  "a secret is in", path)


STORIES = [a_pull_is_answered_and_forgotten, an_index_leads_to_this_platform, wrong_documents_are_told_apart,
           wrong_bytes_are_found, statuses_say_what_to_do, what_passes_is_tried_again, what_does_not_pass_ends,
           a_broken_layer_goes_on_where_it_ended, what_was_left_wrongly_is_fetched_anew,
           a_registry_that_stops_is_given_up, redirects_get_no_credentials, tokens_are_asked_for_and_sent,
           heads_have_bounds, many_ask_and_one_pull_is_made, a_pull_that_nobody_waits_for_ends_and_goes_on_later,
           damage_is_found_by_verification, shared_layers_stay_while_somebody_needs_them,
           a_full_disk_is_told_and_left_clean, policy_and_mirrors_are_kept_to, nothing_of_secrets_is_kept]


def main():
    registry, other = Registry(), Registry()
    host = Host(sys.argv[1], f"PlainHTTP={registry.host} {other.host}\nKeepFree=0\nStallTimeout=1s")
    wanted = [s for s in STORIES if not sys.argv[2:] or s.__name__ in sys.argv[2:]]

    def fresh(story):
        def run(*arguments):
            registry.clear(), other.clear()
            story(*arguments)
        run.__name__ = story.__name__
        return run

    try:
        host.start()
        return run_stories([fresh(s) for s in wanted], host, registry, other)
    finally:
        host.end()
        registry.end(), other.end()


if __name__ == "__main__":
    sys.exit(main())

"""Bad input: a clear error that names the field, and nothing changed."""
import base64
import json
import time

from story import equal, has, refused, story

CONTROL = "a\x01b"


def with_container(**fields):
    return lambda host: host.spec("bad", "/bin/true", container=fields)


def with_workload(**fields):
    return lambda host: {**host.spec("bad", "/bin/true"), **fields}


C = "spec.containers[0]."
# What is wrong, and the field that the answer has to name.
BAD = [
    (with_workload(id="Bad"), "spec.id"), (with_workload(id=""), "spec.id"), (with_workload(id="a/../b"), "spec.id"),
    (with_workload(id="x" * 64), "spec.id"), (with_workload(id="a\nb"), "spec.id"),
    (with_container(name="UP"), C + "name"), (with_container(name=""), C + "name"),
    (with_workload(containers=[]), "spec.containers"),
    (with_container(root={"directory": "relative"}), C + "root.directory"),
    (with_container(root={"directory": "/a/../b"}), C + "root.directory"),
    (with_container(root={}), C + "root.directory"),
    (with_container(command=[]), C + "command"), (with_container(command=["/bin/a\x02"]), C + "command[0]"),
    (with_container(working_dir="work"), C + "working_dir"),
    (with_container(working_dir="/a\nb"), C + "working_dir"),
    (with_container(identity={"user": "a b"}), C + "identity.user"),
    (with_container(identity={"user": "4294967296"}), C + "identity.user"),
    (with_container(identity={"groups": ["1:2"]}), C + "identity.groups[0]"),
    (with_container(identity={"capabilities": ["cap_chown"]}), C + "identity.capabilities[0]"),
    (with_container(env={"A": CONTROL}), C + 'env["A"]'), (with_container(env={"A": "a\nb"}), C + 'env["A"]'),
    (with_container(env={"1A": "x"}), C + 'env["1A"]'), (with_container(env={"A=B": "x"}), C + 'env["A=B"]'),
    (with_container(stop_signal="SIGNOTHING"), C + "stop_signal"),
    (with_container(stop_grace_ms=3600001), C + "stop_grace_ms"),
    (with_container(role=9), C + "role"),
    (with_container(resources={"memory_limit_bytes": 1000}), C + "resources.memory_limit_bytes"),
    (with_container(resources={"cpu_limit_millis": 5}), C + "resources.cpu_limit_millis"),
    (with_container(resources={"pids_limit": 0}), C + "resources.pids_limit"),
    (with_container(resources={"cpu_weight": 10001}), C + "resources.cpu_weight"),
    (with_container(resources={"cpuset_cpus": "0-"}), C + "resources.cpuset_cpus"),
    (with_container(resources={"io_limits": [{"device": "vda"}]}), C + "resources.io_limits[0].device"),
    (with_container(resources={"rlimits": [{"name": "NOPE", "soft": 1, "hard": 1}]}), C + "resources.rlimits[0].name"),
    (with_container(resources={"rlimits": [{"name": "CORE", "soft": 2, "hard": 1}]}), C + "resources.rlimits[0].soft"),
    (with_container(mounts=[{"volume": "none", "target": "/data"}]), C + "mounts[0].volume"),
    (with_container(mounts=[{"volume": "none", "target": "/proc/x"}]), C + "mounts[0].target"),
    (with_container(mounts=[{"volume": "none", "target": "data"}]), C + "mounts[0].target"),
    (with_container(mounts=[{"volume": "none", "target": "/data", "sub_path": "../x"}]), C + "mounts[0].sub_path"),
    (with_container(log={"max_file_bytes": 1}), C + "log.max_file_bytes"),
    (with_container(log={"max_files": 101}), C + "log.max_files"),
    (with_container(sandbox={"builtin": "loose"}), C + "sandbox.builtin"),
    (with_workload(hostname="-bad-"), "spec.hostname"), (with_workload(band=17), "spec.band"),
    (with_workload(network=5), "spec.network"), (with_workload(labels={"a b": "x"}), 'spec.labels["a b"]'),
    (with_workload(labels={"a": CONTROL}), 'spec.labels["a"]'), (with_workload(labels={"a": "x" * 257}), 'spec.labels["a"]'),
    (with_workload(sysctls={"kernel shm": "1"}), 'spec.sysctls["kernel shm"]'),
    (with_workload(restart={"factor_permille": 999}), "spec.restart.factor_permille"),
    (with_workload(restart={"mode": 9}), "spec.restart.mode"),
    (with_workload(volumes=[{"name": "v"}]), "spec.volumes[0]"),
    (with_workload(volumes=[{"name": "V", "tmpfs": {}}]), "spec.volumes[0].name"),
    (with_workload(volumes=[{"name": "v", "host_directory": {"path": "x"}}]), "spec.volumes[0].host_directory.path"),
    (with_workload(volumes=[{"name": "v", "tmpfs": {"size_bytes": 1}}]), "spec.volumes[0].tmpfs.size_bytes"),
]


@story
def wrong_fields_of_a_spec_are_named(host):
    before = host.api.GetNode().node.event_sequence
    wrong = []
    for make, field in BAD:
        try:
            refused(lambda: host.api.Launch(fence=host.fence(), spec=make(host)), "INVALID_ARGUMENT", field=field)
        except AssertionError as error:
            wrong.append(f"{field}: {error}")
    equal(wrong, [])
    equal(host.api.GetNode().node.event_sequence, before, "the last event")
    equal(len(host.api.List().workloads), 0)


@story
def bytes_that_are_no_text_are_refused(host):
    """NUL and bad UTF-8, as no library would send them."""
    from api import pb
    for raw, *field in ((b"\x0a\x03a\0b", "id"), (b"\x0a\x02\xff\xfe", "id"), (b"\x0a\x05ab", "id"), (b"\xff" * 30,)):
        equal(list(refused_raw(host, "Get", raw).fields), field, f"the fields of {raw!r}")
    spec = pb.LaunchRequest(spec={"id": "x", "containers": [{"name": "m", "command": ["/bin/a", "M"], "env": {"A": "M"}}]})
    spec = spec.SerializeToString()
    for at, field in ((spec.index(b"M"), "spec.containers[0].command[1]"), (spec.rindex(b"M"), "spec.containers[0].env[0].value")):
        equal(list(refused_raw(host, "Launch", spec[:at] + b"\0" + spec[at + 1:]).fields), [field])
    equal(pb.GetRequest.FromString(b"\x0a\x01a").id, "a")


def refused_raw(host, method, raw):
    """What bytes that no library would send are refused with."""
    from api import Refused, SERVICE
    import grpc
    try:
        host.api.channel.unary_unary(f"/{SERVICE.full_name}/{method}")(raw, timeout=10)
    except grpc.RpcError as error:
        why = Refused(error)
        equal(why.code, "INVALID_ARGUMENT", f"the code for {raw!r}")
        return why
    raise AssertionError(f"{raw!r} was taken")


@story
def a_field_of_another_release_is_refused_in_a_spec(host):
    from api import pb, types
    spec = types.WorkloadSpec(id="x", containers=[{"name": "m", "command": ["/bin/a"], "root": {"directory": "/a"}}])
    spec = spec.SerializeToString() + b"\xf8\x7f\x01"  # 2047: 1
    launch = pb.LaunchRequest(fence={"epoch": host.epoch, "generation": 1}).SerializeToString()
    why = refused_raw(host, "Launch", launch + b"\x12" + bytes([len(spec)]) + spec)
    equal(list(why.fields), ["spec"])
    has(why.fields["spec"], "2047")


@story
def sizes_of_terminals_have_a_limit_and_a_field(host):
    from session import Session
    host.launch("there", "/bin/sleep", "1000", container={"tty": True, "stdin": True})
    for start, later, field in (({"size": {"rows": 10001, "columns": 80}}, None, "start.size"),
                                ({"size": {"rows": 24, "columns": 4294967295}}, None, "start.size"),
                                ({}, {"rows": 65537, "columns": 80}, "resize")):
        for method, more in ((host.api.Exec, {"command": ["/bin/sleep", "1000"], "tty": True}), (host.api.Attach, {})):
            session = Session(method, {"id": "there", **more, **start})
            if later:
                session.say(resize=later)
            why = refused(session.end, "INVALID_ARGUMENT", "10000", field=field)
            equal(list(why.fields), [field])
    session = Session(host.api.Exec, {"id": "there", "command": ["/bin/sh", "-c", "stty size"], "tty": True,
                                      "size": {"rows": 10000, "columns": 9999}})
    session.end()
    equal(session.stdout.split(), [b"10000", b"9999"], "the size of the largest terminal")


@story
def input_is_taken_whole_or_refused(host):
    from session import Session
    host.launch("hears", "/bin/cat", container={"stdin": True})
    for method, start in ((host.api.Exec, {"command": ["/bin/wc", "-c"], "stdin": True}), (host.api.Attach, {})):
        session = Session(method, {"id": "hears", **start})
        session.say(stdin=base64.b64encode(b"x" * ((64 << 10) + 1)).decode())
        refused(session.end, "INVALID_ARGUMENT", "64 KiB", field="stdin")
    session = Session(host.api.Exec, {"id": "hears", "command": ["/bin/wc", "-c"], "stdin": True})
    session.write(b"x" * (64 << 10))
    session.close_stdin()
    session.end()
    equal(session.stdout.split(), [str(64 << 10).encode()])


@story
def unknown_ids_are_not_found(host):
    fence = host.fence()
    calls = {"Get": {}, "Stop": {"fence": fence}, "Delete": {"fence": fence}, "Pause": {"fence": fence},
             "Resume": {"fence": fence}, "Signal": {"fence": fence, "signal": "TERM"},
             "UpdateResources": {"fence": fence, "resources": {"pids_limit": 9}}}
    for name, fields in calls.items():
        refused(lambda: getattr(host.api, name)(id="nobody", **fields), "NOT_FOUND", "nobody")
        refused(lambda: getattr(host.api, name)(id="No/Body", **fields), "INVALID_ARGUMENT", field="id")


@story
def commands_on_a_workload_check_their_fields(host):
    host.launch("there", "/bin/sleep", "1000")
    fence = host.fence()
    refused(lambda: host.api.Signal(fence=fence, id="there", signal="SIGWHAT"), "INVALID_ARGUMENT", field="signal")
    refused(lambda: host.api.Signal(fence=fence, id="there", signal="99"), "INVALID_ARGUMENT", field="signal")
    refused(lambda: host.api.Signal(fence=fence, id="there", container="other", signal="TERM"), "NOT_FOUND", "other")
    refused(lambda: host.api.Stop(fence=fence, id="there", grace_ms=3600001), "INVALID_ARGUMENT", field="grace_ms")
    refused(lambda: host.api.Delete(fence=fence, id="there"), "FAILED_PRECONDITION", "there")
    refused(lambda: host.api.Launch(spec=host.spec("other", "/bin/true")), "INVALID_ARGUMENT", field="fence")
    refused(lambda: host.api.Launch(fence={"epoch": host.epoch}, spec=host.spec("other", "/bin/true")),
            "INVALID_ARGUMENT", field="fence.generation")
    refused(lambda: host.api.UpdateResources(fence=fence, id="there", container="main", resources={
        "memory_limit_bytes": 17}), "INVALID_ARGUMENT", field="resources.memory_limit_bytes")
    refused(lambda: host.api.SetSchedulable(fence=fence, sentence="a\x07b"), "INVALID_ARGUMENT", field="sentence")
    refused(lambda: host.api.Reconcile(fence=fence, desired=[{"spec": {"id": "x"}}], dry_run=True),
            "INVALID_ARGUMENT", field="desired[0].generation")
    refused(lambda: list(host.api.WatchEvents(id="No/Body", no_follow=True)), "INVALID_ARGUMENT", field="id")


@story
def berthctl_says_what_is_wrong_with_its_exit_code(host):
    has(host.ctl("run", "--name", "Bad", "--root", host.rootfs, "/bin/true", code=4).stderr, "spec.id")
    host.ctl("run", "--name", "big", "--root", host.rootfs, "--memory-request", "9000Gi", "-m", "9000Gi", "/bin/true",
             code=7)
    host.ctl("run", "--host-network", "--root", host.rootfs, "/bin/true", code=5)
    host.ctl("stop", "nobody", code=3)
    host.ctl("run", "--name", "x", code=2)
    has(host.ctl("run", "--name", "x", "/bin/true", code=4).stderr, "root.image.reference")  # without --root it is an image
    began = time.monotonic()
    import subprocess
    done = subprocess.run([host.berthctl, "-a", "unix:///nowhere/berthd.sock", "ps"], check=False, capture_output=True)
    equal(done.returncode, 6)
    has(done.stderr.decode(), "/nowhere/berthd.sock")
    equal(time.monotonic() - began < 30, True)


@story
def berthctl_takes_its_own_options_on_either_side_of_the_verb(host):
    host.launch("sided", "/bin/sleep", "1000")
    equal(host.ctl("-q", "ps").stdout, host.ctl("ps", "--quiet").stdout)
    equal(json.loads(host.ctl("ps", "-o", "json").stdout)["spec"]["id"], "sided")
    equal(host.ctl("exec", "sided", "--", "/bin/echo", "-q", "--help").stdout, "-q --help\n")
    equal(host.ctl("why", "-q", "sided").stdout, host.ctl("-q", "why", "sided").stdout)
    has(host.ctl("logs", "--help").stdout, "--follow")
    for words, why in ((("ps", "-o", "xml"), "--output xml: table or json"),
                       (("ps", "sided"), "takes no names"),
                       (("inspect",), "which workload?"),
                       (("run", "--root", host.rootfs), "a command is needed"),
                       (("stop", "--bogus", "sided"), "--bogus")):
        has(host.ctl(*words, code=2).stderr, why)

"""Every method of berth.v1 from generated stubs, over each transport; health, reflection, deadlines, details."""
import os
import shutil
import subprocess
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
sys.path.insert(0, os.path.join(TREE, "tests/system/agent"))
GRPC_PROTO = "/usr/share/grpc-proto/grpc"


def generate():
    """Stubs of the contract, and of the standard services in another folder: grpc/ is the library's name."""
    out = tempfile.mkdtemp(prefix="interop-stubs-")
    try:
        for name, path in (("health", "health/v1/health.proto"), ("reflection_v1", "reflection/v1/reflection.proto"),
                           ("reflection_v1alpha", "reflection/v1alpha/reflection.proto")):
            shutil.copy(os.path.join(GRPC_PROTO, path), f"{out}/{name}.proto")
        protos = os.path.join(TREE, "proto/berth/v1")
        os.makedirs(out + "/berth/v1")
        for name in ("types.proto", "node_agent.proto"):
            shutil.copy(os.path.join(protos, name), out + "/berth/v1")
        names = ["berth/v1/types.proto", "berth/v1/node_agent.proto", "health.proto", "reflection_v1.proto",
                 "reflection_v1alpha.proto"]
        subprocess.run(["protoc", "-I", out, "--python_out", out, *names], check=True)
        # Debian's grpc_tools has a protoc that does not know `optional`, which stubs of services do not depend on.
        for name in names[:2]:
            with open(f"{out}/{name}", "r+", encoding="utf-8") as file:
                text = file.read()
                file.seek(0)
                file.truncate()
                file.write(text.replace("  optional ", "  "))
        subprocess.run(["/usr/bin/python3", "-m", "grpc_tools.protoc", "-I", out, "--grpc_python_out", out, *names],
                       check=True)
        sys.path.insert(0, out)
        import health_pb2_grpc  # noqa: F401
        import reflection_v1_pb2_grpc  # noqa: F401
        import reflection_v1alpha_pb2_grpc  # noqa: F401
        from berth.v1 import node_agent_pb2_grpc  # noqa: F401
    finally:
        shutil.rmtree(out)


generate()

import grpc  # noqa: E402
import health_pb2 as health  # noqa: E402
import health_pb2_grpc  # noqa: E402
import reflection_v1_pb2 as reflection_v1  # noqa: E402
import reflection_v1_pb2_grpc  # noqa: E402
import reflection_v1alpha_pb2 as reflection_v1alpha  # noqa: E402
import reflection_v1alpha_pb2_grpc  # noqa: E402
from berth.v1 import node_agent_pb2 as pb  # noqa: E402
from berth.v1 import node_agent_pb2_grpc  # noqa: E402
from berth.v1 import types_pb2 as types  # noqa: E402

import host as hosts  # noqa: E402
import test_access  # noqa: E402
from api import BUILD, Refused  # noqa: E402
from story import STORIES, Skip, equal, has, run_stories, story  # noqa: E402

STORIES.clear()  # those of the module above are the system suite's
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


def channel(host, transport):
    if transport == "unix":
        return grpc.insecure_channel("unix://" + host.socket, OPTIONS)
    credentials = test_access.authority_of(host).credentials("ops.example")
    return grpc.secure_channel(f"127.0.0.1:{host.tcp_port()}", credentials, OPTIONS)


def fence(host):
    return pb.Fence(epoch=host.epoch, generation=host.generation)


def spec(host, name, *command):
    return types.WorkloadSpec(id=name, containers=[types.Container(
        name="main", command=command, root=types.RootFilesystem(directory=host.rootfs), stdin=True, stop_grace_ms=200)])


def call_all(host, transport):
    """Every method once; returns the names of those that were called."""
    called = set()
    with channel(host, transport) as link:
        stub = node_agent_pb2_grpc.NodeAgentStub(link)

        def call(name, **fields):
            called.add(name)
            request = getattr(pb, name + "Request")(**fields)
            return getattr(stub, name)(request, timeout=30)
        now = fence(host)
        equal(call("GetNode").node.architecture != "", True)
        status = call("Launch", fence=now, spec=spec(host, "inter", "/bin/cat")).status
        equal(status.state, types.RUNNING)
        equal(call("Get", id="inter").workload.spec.containers[0].command, ["/bin/cat"])
        equal([w.status.id for w in call("List").workloads], ["inter"])
        call("Pause", fence=now, id="inter")
        call("Resume", fence=now, id="inter")
        call("UpdateResources", fence=now, id="inter", container="main", resources=types.Resources(pids_limit=33))
        call("Signal", fence=now, id="inter", signal="SIGCHLD")
        called |= {"Attach", "Exec"}
        answers = stub.Exec(iter([pb.ExecRequest(start=pb.ExecStart(id="inter", command=["/bin/echo", "hi"]))]), timeout=30)
        answers = list(answers)
        equal(b"".join(a.stdout for a in answers), b"hi\n")
        equal(answers[-1].exit.kind, types.EXIT_CODE)
        attached = stub.Attach(iter([pb.AttachRequest(start=pb.AttachStart(id="inter")), pb.AttachRequest(stdin=b"out\n"),
                                     pb.AttachRequest(stdin_closed=True)]), timeout=30)
        equal(b"".join(a.stdout for a in attached), b"out\n")
        equal([e.reason for a in call("WatchEvents", id="inter", from_oldest=True, no_follow=True)
               for e in a.events][0], types.ACCEPTED)
        reports = call("StreamTelemetry", interval_ms=100)
        equal(next(reports).sequence, 1)
        reports.cancel()
        equal([line.text for a in call("ReadLogs", id="inter") for line in a.lines], [b"out"])
        equal(call("Stop", fence=now, id="inter").status.state, types.EXITED)
        ended = [e.sequence for a in call("WatchEvents", id="inter", from_oldest=True, no_follow=True)
                 for e in a.events if e.HasField("exit")]
        equal(call("AckRecords", fence=now, sequences=ended).records.unacknowledged, 0)
        equal(call("Delete", fence=now, id="inter").status.id, "inter")
        answer = call("Reconcile", fence=now, dry_run=True, desired=[pb.Desired(
            generation=host.generation + 1, spec=spec(host, "other", "/bin/true"))])
        equal([a.verb for a in answer.actions], [pb.RECONCILE_LAUNCH])
        equal(call("SetSchedulable", fence=now, schedulable=False).node.schedulable, False)
        equal(call("SetSchedulable", fence=now, schedulable=True).node.schedulable, True)
        equal((len(call("ListImages").images), call("ImageUsage").images, call("CollectImages").freed_bytes), (0, 0, 0))
        for name in ("GetImage", "RemoveImage", "VerifyImage"):
            equal(code_of(lambda: call(name, reference="nobody/has:this")), grpc.StatusCode.NOT_FOUND, name)
        equal(code_of(lambda: list(call("PullImage", reference="No Name"))), grpc.StatusCode.INVALID_ARGUMENT)
    return called


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


ALL = {method.name for method in pb.DESCRIPTOR.services_by_name["NodeAgent"].methods}


@story
def every_method_over_a_unix_socket(host):
    equal(call_all(host, "unix"), ALL)


@story
def every_method_over_tcp_with_certificates(host):
    equal(call_all(host, "tcp"), ALL)


@story
def health_is_told_and_watched(host):
    for transport in ("unix", "tcp"):
        with channel(host, transport) as link:
            stub = health_pb2_grpc.HealthStub(link)
            for name in ("", "berth.v1.NodeAgent"):
                equal(stub.Check(health.HealthCheckRequest(service=name), timeout=10).status, 1)
            try:
                stub.Check(health.HealthCheckRequest(service="what"), timeout=10)
            except grpc.RpcError as error:
                equal(error.code(), grpc.StatusCode.NOT_FOUND)
    with channel(host, "unix") as link:
        watch = health_pb2_grpc.HealthStub(link).Watch(health.HealthCheckRequest(), timeout=30)
        equal(next(watch).status, 1)
        host.stop_sandboxd()
        equal(next(watch).status, 2, "without its sandbox")
        host.start_again()
        equal(next(watch).status, 1)
        watch.cancel()


@story
def reflection_tells_the_contract(host):
    from google.protobuf import descriptor_pb2
    for messages, stubs in ((reflection_v1, reflection_v1_pb2_grpc), (reflection_v1alpha, reflection_v1alpha_pb2_grpc)):
        with channel(host, "unix") as link:
            ask = [messages.ServerReflectionRequest(list_services=""),
                   messages.ServerReflectionRequest(file_containing_symbol="berth.v1.NodeAgent.Launch"),
                   messages.ServerReflectionRequest(file_containing_symbol="berth.v1.Nothing")]
            answers = list(stubs.ServerReflectionStub(link).ServerReflectionInfo(iter(ask), timeout=10))
            has([s.name for s in answers[0].list_services_response.service], "berth.v1.NodeAgent", "grpc.health.v1.Health")
            files = [descriptor_pb2.FileDescriptorProto.FromString(f)
                     for f in answers[1].file_descriptor_response.file_descriptor_proto]
            has([f.name for f in files], "berth/v1/node_agent.proto", "berth/v1/types.proto")
            equal(answers[2].error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])


@story
def errors_have_their_details(host):
    with channel(host, "tcp") as link:
        stub = node_agent_pb2_grpc.NodeAgentStub(link)
        try:
            stub.Launch(pb.LaunchRequest(fence=fence(host), spec=spec(host, "Bad ✓", "/bin/true")), timeout=10)
        except grpc.RpcError as error:
            why = Refused(error)
        equal(why.code, "INVALID_ARGUMENT")
        has(why.fields, "spec.id")
        has(why.text, "spec.id")
        big = spec(host, "big", "/bin/true")
        big.containers[0].resources.cpu_request_millis = 900000
        try:
            stub.Launch(pb.LaunchRequest(fence=fence(host), spec=big), timeout=10)
        except grpc.RpcError as error:
            why = Refused(error)
        equal((why.code, why.reason), ("RESOURCE_EXHAUSTED", "NO_ROOM"))
        has(why.quotas["cpu"], "900000", "left")


@story
def a_caller_that_goes_does_not_undo_its_command(host):
    with channel(host, "unix") as link:
        stub = node_agent_pb2_grpc.NodeAgentStub(link)
        slow = spec(host, "slow", "/bin/sleep", "1000")
        slow.volumes.add(name="v", host_directory=types.HostDirectory(path=host.place + "/shared"))
        first = slow.containers.add()
        first.CopyFrom(slow.containers[0])
        first.name, first.role = "first", types.ROLE_INIT
        first.mounts.add(volume="v", target="/data", read_only=True)
        del first.command[:]
        first.command.extend(["/bin/sh", "-c", "until [ -e /data/go ]; do sleep 0.05; done"])
        waiting = stub.Launch.future(pb.LaunchRequest(fence=fence(host), spec=slow), timeout=2)
        equal(waiting.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        let_go(host, "slow")
        before = host.api.GetNode().node.event_sequence
        waiting = stub.Launch.future(pb.LaunchRequest(fence=fence(host), spec=slow), timeout=30)
        with host.api.WatchEvents(id="slow", after_sequence=before) as events:
            next(events)
        waiting.cancel()
        let_go(host, "slow")


def let_go(host, name):
    """Its init container waited for this."""
    go = host.place + "/shared/go"
    hosts.write(go, "")
    host.until(name, "RUNNING")
    os.unlink(go)
    host.remove(name)
    host.generation += 1


def from_node(host, target, *certificates):
    """client.js against `target`; `bootstrap test` puts what it needs into the build directory."""
    modules = {**os.environ, "NODE_PATH": BUILD + "/node/node_modules"}
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", "require('@grpc/grpc-js'), require('@grpc/proto-loader')"], env=modules,
                                  check=False, capture_output=True).returncode:
        raise Skip(f"node does not find @grpc/grpc-js in {modules['NODE_PATH']}" if node else "node is not installed")
    done = subprocess.run([node, os.path.join(HERE, "client.js"), os.path.join(TREE, "proto"), target, host.rootfs,
                           str(host.generation), *certificates], env=modules, check=False, capture_output=True,
                          text=True, timeout=60)
    equal(done.returncode, 0, done.stdout + done.stderr)
    equal(set(done.stdout.split()), ALL)


@story
def every_method_from_grpc_js_over_a_unix_socket(host):
    from_node(host, "unix://" + host.socket)


@story
def every_method_from_grpc_js_over_tcp_with_certificates(host):
    authority = test_access.authority_of(host)
    from_node(host, f"127.0.0.1:{host.tcp_port()}", authority.path("pem"), authority.path("pem", "ops.example"),
              authority.path("key", "ops.example"))


def main():
    with hosts.Host(**test_access.settings()) as berth:
        good = run_stories(berth, sys.argv[1:])
    left = berth.what_is_left()
    if left:
        print(f"not ok nothing-is-left: {left[0]} (and {len(left) - 1} more)")
    return 0 if good and not left else 1


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a host is cleared away
sys.exit(main())

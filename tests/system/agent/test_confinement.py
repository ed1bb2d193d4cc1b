"""What a container finds around it: volumes, identity, limits of a process, kernel settings, filters, policy."""
import json
import os

from host import read, reason_name, state_name
from story import equal, has, refused, story
from test_life import MIB


@story
def identity_environment_and_directory_are_as_asked(host):
    text = host.says("id -u; id -g; id -G; pwd; hostname; env", hostname="named.host", container={
        "identity": {"user": "app", "groups": ["audio", "77"]}, "working_dir": "/work",
        "env": {"ONE": "1 2", "EMPTY": ""}})
    lines = text.split("\n")
    equal((lines[0], lines[1], lines[3], lines[4]), ("1000", "1001", "/work", "named.host"))
    equal(sorted(lines[2].split(), key=int), ["29", "77", "1001"])
    has(text, "ONE=1 2\n", "EMPTY=\n", "PATH=/usr/local/sbin:")
    has(host.says("hostname"), "says-")
    equal(host.says("id -u; id -g", container={"identity": {"user": "1234:4321"}}), "1234\n4321\n")


@story
def a_user_that_the_image_does_not_have_fails_the_start(host):
    host.launch("who", "/bin/true", no_wait=True, container={"identity": {"user": "nobody-here"}})
    status = host.until("who", "EXITED")
    equal(reason_name(status), "START_FAILED")
    has(status.sentence, "nobody-here")


@story
def a_container_is_alone(host):
    text = host.says("ps; ip -o link; ls /proc/1/root > /dev/null && echo mine; cat /proc/self/mountinfo; ls /dev; "
                     "echo x > /etc/passwd; echo x > /proc/sys/kernel/hostname; mkdir /sys/x; true")
    has(text, "lo:", "mine", "null", "Read-only file system")
    equal(len([line for line in text.splitlines() if ": <" in line]), 1, "number of links")
    equal("sandboxd" in text, False)


@story
def rlimits_and_sysctls_are_set(host):
    text = host.says("cat /proc/self/limits; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
                     sysctls={"net.ipv4.ip_unprivileged_port_start": "80"},
                     container={"resources": {"rlimits": [{"name": "NOFILE", "soft": "64", "hard": "128"},
                                                          {"name": "CORE", "soft": "0", "hard": "0"}]}})
    row = next(line for line in text.splitlines() if line.startswith("Max open files"))
    equal(row.split()[3:5], ["64", "128"])
    has(text, "\n80\n")
    refused(lambda: host.launch("tuned", "/bin/true", sysctls={"net.ipv4.tcp_rmem": "1"}), "PERMISSION_DENIED",
            "net.ipv4.tcp_rmem")
    for name in ("kernel.core_pattern", "vm.swappiness"):
        refused(lambda: host.launch("tuned", "/bin/true", sysctls={name: "1"}), "INVALID_ARGUMENT", name,
                field=f'spec.sysctls["{name}"]')


@story
def host_directories_are_by_policy_and_read_only_to_the_bottom(host):
    shared, readonly = host.place + "/shared", host.place + "/readonly"
    os.makedirs(shared + "/deep/er", exist_ok=True)
    os.chmod(shared, 0o777)
    with open(readonly + "/file", "w", encoding="ascii") as file:
        file.write("content\n")

    def volumes(path):
        return [{"name": "v", "host_directory": {"path": path}}]

    def mounts(**fields):
        return {"mounts": [{"volume": "v", "target": "/data", **fields}]}
    host.says("echo hello > /data/said", volumes=volumes(shared), container=mounts())
    equal(read(shared + "/said"), "hello\n")
    text = host.says("cat /data/said; touch /data/no /data/deep/no; true", volumes=volumes(shared),
                     container=mounts(read_only=True))
    has(text, "hello", "/data/no: Read-only file system", "/data/deep/no: Read-only file system")
    equal(host.says("ls /data", volumes=volumes(shared), container=mounts(sub_path="deep")), "er\n")
    equal(host.says("cat /data/file", volumes=volumes(readonly), container=mounts(read_only=True)), "content\n")
    # What the policy gives read-only is not given to a writer, who would find out by itself.
    denied(host, "spec.containers[0].mounts[0].read_only", readonly, "AllowHostDirectories", volumes=volumes(readonly),
           container=mounts())
    for path in ("/etc", host.place, readonly + "-not", "/"):
        denied(host, "spec.volumes[0].host_directory.path", path, "AllowHostDirectories", volumes=volumes(path),
               container=mounts(read_only=True))
    os.symlink("/etc", shared + "/sly")
    fails_to_start(host, "sly", volumes=volumes(shared), container=mounts(sub_path="sly"))
    os.unlink(shared + "/sly")


def denied(host, field, *parts, **fields):
    """Refused by the host's policy at once, with the field; nothing is made."""
    why = refused(lambda: host.launch("denied", "/bin/true", **fields), "PERMISSION_DENIED", *parts, field=field)
    equal(why.reason, "POLICY")
    refused(lambda: host.status("denied"), "NOT_FOUND")


@story
def roots_are_by_policy_too(host):
    def root(**fields):
        return {"root": {"directory": host.rootfs, **fields}}
    denied(host, "spec.containers[0].root.directory", "/usr", "AllowRootDirectories", container=root(directory="/usr"))
    denied(host, "spec.containers[0].root.writable", host.rootfs, "AllowWritableRoot", container=root(writable=True))


@story
def what_the_policy_forbids_names_the_field(host):
    for field, fields in (("spec.network", {"network": "NETWORK_HOST"}),
                          ("spec.user_namespace", {"user_namespace": "USER_NAMESPACE_HOST"}),
                          ('spec.sysctls["net.ipv4.tcp_rmem"]', {"sysctls": {"net.ipv4.tcp_rmem": "1 2 3"}}),
                          ("spec.containers[0].identity.capabilities[0]",
                           {"container": {"identity": {"capabilities": ["SYS_ADMIN"]}}}),
                          ("spec.containers[0].sandbox.builtin", {"container": {"sandbox": {"builtin": "unconfined"}}})):
        denied(host, field, **fields)


def fails_to_start(host, *parts, command=("/bin/true",), **fields):
    """Refused at once, or ended as failed to start; the sentence has `parts`, and nothing is left."""
    from api import Refused
    try:
        host.launch("broken", *command, no_wait=True, **fields)
    except Refused as why:
        has(["PERMISSION_DENIED", "FAILED_PRECONDITION"], why.code)
        has(why.text, *parts)
        return
    status = host.until("broken", "EXITED")
    equal(reason_name(status), "START_FAILED")
    has(status.sentence, *parts)
    generation = status.generation
    equal([left for left in host.what_is_left() if "/broken." in left and "main" in left], [], "groups left")
    host.remove("broken", generation)
    host.generation += 1


@story
def what_cannot_start_says_why(host):
    fails_to_start(host, "/bin/nothing", "not", command=("/bin/nothing",))
    fails_to_start(host, "nothing", command=("nothing",))
    fails_to_start(host, "/bin/notes", "execut", command=("/bin/notes",))
    fails_to_start(host, "/bin/foreign", "mips", "architecture", command=("/bin/foreign",))
    fails_to_start(host, "/etc", command=("/etc",))
    container = host.container("/bin/true")
    container["root"] = {"directory": host.rootfs + "/not-there"}
    fails_to_start(host, "not-there", command=(), containers=[container])
    container["root"] = {"directory": "/usr"}
    fails_to_start(host, "/usr", command=(), containers=[container])
    fails_to_start(host, "/no/dir", container={"working_dir": "/no/dir"})


@story
def tmpfs_and_empty_directories_have_their_size(host):
    text = host.says("dd if=/dev/zero of=/data/big bs=1M count=9; stat -f -c '%b %S' /data",
                     volumes=[{"name": "v", "tmpfs": {"size_bytes": 4 * MIB}}],
                     container={"mounts": [{"volume": "v", "target": "/data"}]})
    has(text, "No space left")
    blocks, size = next(line for line in text.splitlines() if line.replace(" ", "").isdigit()).split()
    equal(int(blocks) * int(size), 4 * MIB)


@story
def an_empty_directory_is_shared_and_goes_with_the_workload(host):
    mounts = [{"volume": "v", "target": "/data"}]
    host.launch("couple", volumes=[{"name": "v", "empty_directory": {"size_bytes": 2 * MIB}}], containers=[
        host.container("/bin/sh", "-c", "echo gift > /data/box; sleep 1000", name="giver", mounts=mounts),
        host.container("/bin/sh", "-c", "until [ -s /data/box ]; do sleep 0.02; done; cat /data/box; sleep 1000",
                       name="taker", mounts=mounts)])
    host.until_output("couple", "gift", container="taker")


@story
def capabilities_are_none_unless_granted(host):
    show = "grep CapEff /proc/self/status | cut -f2"
    equal(host.says(show), "0" * 16 + "\n")
    equal(int(host.says(show, container={"identity": {"capabilities": ["NET_BIND_SERVICE", "CHOWN"]}}), 16),
          1 << 10 | 1 << 0)
    refused(lambda: host.launch("mighty", "/bin/true", container={"identity": {"capabilities": ["SYS_ADMIN"]}}),
            "PERMISSION_DENIED", "SYS_ADMIN")


@story
def a_seccomp_profile_of_the_workloads_own(host):
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
    text = host.says("mkdir /data/x; true", container={"sandbox": {"oci_seccomp_json": json.dumps(profile)},
                                                       "mounts": [{"volume": "v", "target": "/data"}]},
                     volumes=[{"name": "v", "tmpfs": {}}])
    has(text, "No space left on device")
    for document, *parts in (("{", "line 1", "malformed JSON"), ("[]", "no JSON object"),
                             ('{"defaultAction": "SCMP_ACT_SOME"}', "defaultAction", "SCMP_ACT_SOME"),
                             ('{"defaultAction": "SCMP_ACT_ERRNO"}', "execve"),
                             ('{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}', "listenerPath")):
        refused(lambda: host.launch("broken", "/bin/true", container={"sandbox": {"oci_seccomp_json": document}}),
                "INVALID_ARGUMENT", "seccomp profile", *parts, field="spec.containers[0].sandbox.oci_seccomp_json")
    # What includes and excludes leave out is not read: here by a capability that it has, or has not.
    allow_all = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "WRONG",
                                                                  "includes": {"caps": ["CAP_KILL"]}}]}
    sandbox = {"oci_seccomp_json": json.dumps(allow_all)}
    host.says("true", container={"sandbox": sandbox})
    refused(lambda: host.launch("broken", "/bin/true", container={"sandbox": sandbox, "identity": {"capabilities": ["KILL"]}}),
            "INVALID_ARGUMENT", "WRONG", field="spec.containers[0].sandbox.oci_seccomp_json")


@story
def policy_decides_on_the_host_network_and_unconfined(host):
    def hostly(**fields):
        return host.says("ip -o link | wc -l; grep Seccomp /proc/self/status", **fields)
    asks = ({"network": "NETWORK_HOST"}, {"container": {"sandbox": {"builtin": "unconfined"}}},
            {"user_namespace": "USER_NAMESPACE_HOST"})
    for fields, key in zip(asks, ("AllowHostNetwork", "AllowUnconfined", "AllowHostIds")):
        refused(lambda: host.launch("asks", "/bin/true", **fields), "PERMISSION_DENIED", key)
    host.write_policy(AllowHostNetwork="yes", AllowUnconfined="yes", AllowHostIds="yes")
    host.restart_sandboxd()
    try:
        links = len(os.listdir("/sys/class/net"))
        text = hostly(**asks[0])
        equal(int(text.split()[0]) >= links - 1, True, f"links {text!r}, the host has {links}")
        # berth-sandboxd's own filter, for native calls only, holds for all.
        equal(int(hostly().split()[-1]) - int(hostly(**asks[1]).split()[-1]), 1, "number of filters less")
        status = host.launch("asks", "/bin/sleep", "1000", **asks[2])
        equal(os.readlink(f"/proc/{status.containers[0].pid}/ns/user"), os.readlink("/proc/self/ns/user"))
    finally:
        host.clear()
        host.write_policy()
        host.restart_sandboxd()
    refused(lambda: host.launch("asks", "/bin/true", **asks[0]), "PERMISSION_DENIED", "AllowHostNetwork")


@story
def what_this_host_cannot_enforce_is_refused_by_name(host):
    features = {f.name: f for f in host.api.GetNode().node.features}
    wishes = {"cgroup.memory.high": {"memory_high_bytes": 8 * MIB}, "cgroup.memory.low": {"memory_low_bytes": MIB},
              "cgroup.io.weight": {"io_weight": 100}, "cgroup.cpu.burst": {"cpu_burst_us": 1000}}
    for name, resources in wishes.items():
        resources = {"memory_limit_bytes": 16 * MIB, "cpu_limit_millis": 500, **resources}
        if features[name].supported:
            equal(state_name(host.launch("wish", "/bin/sleep", "1000", container={"resources": resources})), "RUNNING")
            host.remove("wish")
            host.generation += 1
        else:
            field = next(key for key in wishes[name])
            refused(lambda: host.launch("wish", "/bin/true", container={"resources": resources}),
                    "FAILED_PRECONDITION", field)

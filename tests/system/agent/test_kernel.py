"""That what was asked for, and what is told, is what the kernel has: its own files beside it, on whichever layout."""
import contextlib
import os
import re
import subprocess
import time

from api import reports
from host import group_files, is_v2, limit, read
from story import equal, has, rounds, story
from test_life import MIB, NEVER_ENDS


def supported(host):
    return {feature.name for feature in host.api.GetNode().node.features if feature.supported}


def disk_below(path):
    """(name, "major:minor") of the whole disk that a path is on."""
    device = os.stat(path).st_dev
    node = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if os.path.exists(node + "/partition"):
        node = os.path.dirname(node)
    return os.path.basename(node), read(node + "/dev").strip()


def check_io(pid, disk):
    if is_v2(pid, "blkio"):
        has(limit(pid, "io.max", "blkio", ""), f"{disk} rbps=1048576 wbps=2097152 riops=300 wiops=400")
        return
    for name, value in (("read_bps", MIB), ("write_bps", 2 * MIB), ("read_iops", 300), ("write_iops", 400)):
        equal(limit(pid, "", "blkio", f"blkio.throttle.{name}_device"), f"{disk} {value}")


@story
def every_limit_stands_in_the_kernels_files(host):
    can = supported(host)
    name, disk = disk_below("/var/lib")
    cpus = read("/sys/devices/system/cpu/online").strip().split("-")[-1].split(",")[-1]
    wanted = {"cpu_limit_millis": 200, "cpu_weight": 250, "memory_limit_bytes": 64 * MIB, "pids_limit": 40,
              "cpuset_cpus": cpus, "cpuset_mems": "0"}
    if "cgroup.cpu.burst" in can:
        wanted["cpu_burst_us"] = 5000
    if "cgroup.memory.swap" in can:
        wanted["memory_swap_bytes"] = 8 * MIB
    if "cgroup.memory.high" in can:
        wanted["memory_high_bytes"] = 48 * MIB
    if "cgroup.memory.low" in can:
        wanted["memory_low_bytes"] = 16 * MIB
    if "cgroup.io.weight" in can:
        wanted["io_weight"] = 300
    if "cgroup.io.max" in can:
        wanted["io_limits"] = [{"device": f"/dev/{name}", "read_bytes_per_second": MIB,
                                "write_bytes_per_second": 2 * MIB, "read_ops_per_second": 300,
                                "write_ops_per_second": 400}]
    pid = host.shell("everything", NEVER_ENDS, container={"resources": wanted}).containers[0].pid
    equal(limit(pid, "pids.max", "pids", "pids.max"), "40")
    equal(limit(pid, "memory.max", "memory", "memory.limit_in_bytes"), str(64 * MIB))
    if is_v2(pid, "cpu"):
        equal((limit(pid, "cpu.max", "cpu", ""), limit(pid, "cpu.weight", "cpu", "")), ("20000 100000", "250"))
    else:
        equal((limit(pid, "", "cpu", "cpu.cfs_quota_us"), limit(pid, "", "cpu", "cpu.shares")), ("20000", "2560"))
    equal(limit(pid, "cpuset.cpus", "cpuset", "cpuset.cpus"), cpus)
    equal(limit(pid, "cpuset.mems", "cpuset", "cpuset.mems"), "0")
    status = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
    equal(status["Cpus_allowed_list"].strip(), cpus)
    if "cpu_burst_us" in wanted:
        equal(limit(pid, "cpu.max.burst", "cpu", "cpu.cfs_burst_us"), "5000")
    if "memory_swap_bytes" in wanted:
        equal(limit(pid, "memory.swap.max", "memory", "memory.memsw.limit_in_bytes"),
              str((8 if is_v2(pid, "memory") else 72) * MIB))
    if "memory_high_bytes" in wanted:
        equal(limit(pid, "memory.high", "memory", ""), str(48 * MIB))
    if "memory_low_bytes" in wanted:
        equal(limit(pid, "memory.low", "memory", ""), str(16 * MIB))
    if "io_weight" in wanted:
        has(limit(pid, "io.weight", "blkio", "blkio.bfq.weight"), "300")
    if "io_limits" in wanted:
        check_io(pid, disk)
    print(f"# everything: {' '.join(sorted(wanted))}")


@story
def a_container_that_asks_for_nothing_has_the_hosts_defaults(host):
    pid = host.shell("modest", NEVER_ENDS).containers[0].pid
    defaults = host.api.GetNode().node.default_limits
    equal(limit(pid, "memory.max", "memory", "memory.limit_in_bytes"), str(defaults.memory_limit_bytes))
    equal(limit(pid, "pids.max", "pids", "pids.max"), str(defaults.pids_limit))
    equal(defaults.memory_limit_bytes > 0 and defaults.pids_limit > 0, True)
    files = next(line for line in read(f"/proc/{pid}/limits").splitlines() if line.startswith("Max open files"))
    equal(files.split()[3:5], ["1024", "1024"], "descriptors, by DefaultOpenFiles")


@story
def a_band_is_a_group_with_its_weight(host):
    weights = {}
    for band in ("CRITICAL", "PRODUCTION", "BATCH", "BEST_EFFORT"):
        name = band.lower().replace("_", "-")
        pid = host.shell(f"of-{name}", NEVER_ENDS, band=band,
                         container={"resources": {"memory_limit_bytes": 16 * MIB}}).containers[0].pid
        groups = group_files(pid)
        path = groups.get("cpu") or groups[""]
        above = path.split(f"/of-{name}.")[0]
        equal(os.path.basename(above), name)
        weights[band] = int(read(above + ("/cpu.weight" if is_v2(pid, "cpu") else "/cpu.shares")))
    equal(sorted(weights, key=weights.get, reverse=True), list(weights), "bands by their weight")
    equal(len(set(weights.values())), 4)


@story
def a_read_only_volume_is_so_with_all_that_is_mounted_below_it(host):
    place = os.path.join(host.place, "shared")
    below, other = os.path.join(place, "below"), os.path.join(host.place, "other")
    os.makedirs(below, exist_ok=True)
    os.makedirs(other, exist_ok=True)
    os.chmod(place, 0o777)
    os.chmod(other, 0o777)
    subprocess.run(["mount", "--bind", other, below], check=True)
    try:
        for read_only in (False, True):
            said = host.says("(: > /data/a) 2> /dev/null && echo above; (: > /data/below/a) 2> /dev/null && echo below; echo done",
                             volumes=[{"name": "v", "host_directory": {"path": place}}],
                             container={"mounts": [{"volume": "v", "target": "/data", "read_only": read_only}]})
            equal(said.split(), ["done"] if read_only else ["above", "below", "done"])
    finally:
        subprocess.run(["umount", below], check=True)


# --- figures ---

def keyed(path):
    return {key: int(value) for key, value in (line.split() for line in read(path).splitlines())}


def kernel_figures(pid):
    """As the kernel has them now, of the container's group."""
    groups = group_files(pid)
    if is_v2(pid, "memory"):
        cpu, memory = keyed(groups[""] + "/cpu.stat"), keyed(groups[""] + "/memory.stat")
        return {"usage_ns": cpu["usage_usec"] * 1000, "user_ns": cpu["user_usec"] * 1000,
                "system_ns": cpu["system_usec"] * 1000, "periods": cpu["nr_periods"],
                "throttled_periods": cpu["nr_throttled"], "throttled_ns": cpu["throttled_usec"] * 1000,
                "current_bytes": int(read(groups[""] + "/memory.current")), "anon_bytes": memory["anon"],
                "file_bytes": memory["file"], "pids": int(read(groups[""] + "/pids.current")),
                "peak_bytes": int(read(groups[""] + "/memory.peak"))
                if os.path.exists(groups[""] + "/memory.peak") else None,
                "write_bytes": sum(int(n) for n in re.findall(r"wbytes=(\d+)", read(groups[""] + "/io.stat")))}
    cpu, memory = keyed(groups["cpu"] + "/cpu.stat"), keyed(groups["memory"] + "/memory.stat")
    acct = groups["cpuacct"]
    ticks = keyed(acct + "/cpuacct.stat")
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    written = read(groups["blkio"] + "/blkio.throttle.io_service_bytes_recursive")
    return {"usage_ns": int(read(acct + "/cpuacct.usage")), "user_ns": ticks["user"] * tick_ns,
            "system_ns": ticks["system"] * tick_ns, "periods": cpu["nr_periods"],
            "throttled_periods": cpu["nr_throttled"], "throttled_ns": cpu["throttled_time"],
            "current_bytes": int(read(groups["memory"] + "/memory.usage_in_bytes")),
            "anon_bytes": memory["total_rss"], "file_bytes": memory["total_cache"],
            "pids": int(read(groups["pids"] + "/pids.current")),
            "peak_bytes": int(read(groups["memory"] + "/memory.max_usage_in_bytes")),
            "write_bytes": sum(int(n) for n in re.findall(r"\d+:\d+ Write (\d+)", written))}


def told_figures(container):
    cpu, memory = container.cpu, container.memory
    return {"usage_ns": cpu.usage_ns, "user_ns": cpu.user_ns, "system_ns": cpu.system_ns, "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods, "throttled_ns": cpu.throttled_ns,
            "current_bytes": memory.current_bytes, "anon_bytes": memory.anon_bytes, "file_bytes": memory.file_bytes,
            "pids": container.pids, "peak_bytes": memory.peak_bytes, "write_bytes": container.io.write_bytes}


# It burns its quota, holds memory, writes past the page cache, is denied a call and says so; then nothing moves.
WORKS = ("dd if=/dev/zero of=/data/file bs=64k count=64 oflag=direct 2> /dev/null; mount -t tmpfs none /tmp 2> /dev/null;"
         f"i=0; while [ $i -lt {rounds(60000, 3000)} ]; do i=$((i+1)); done; echo worked; exec /bin/probe hold 24")


@story
def figures_are_the_kernels_own(host):
    place = os.path.join(host.place, "shared")
    os.chmod(place, 0o777)
    status = host.shell("works", WORKS, volumes=[{"name": "d", "host_directory": {"path": place}}],
                        container={"mounts": [{"volume": "d", "target": "/data"}],
                                   "resources": {"cpu_limit_millis": 100, "memory_limit_bytes": 64 * MIB}})
    pid = status.containers[0].pid
    host.until_output("works", "held", seconds=120)
    with host.api.StreamTelemetry(interval_ms=rounds(200, 1000), ids=["works"]) as stream:
        seen = []
        while len(seen) < 20:
            before = kernel_figures(pid)
            usage = next(w for part in reports(stream, 1)[0] for w in part.workloads)
            after = kernel_figures(pid)
            seen.append(wrong_figures(told_figures(usage.containers[0]), before, after))
            if not seen[-1]:
                break
    equal(seen[-1], [], f"figures that are not the kernel's, of {len(seen)} reports")
    container = usage.containers[0]
    told = told_figures(container)
    equal({key for key in ("usage_ns", "user_ns", "periods", "throttled_periods", "throttled_ns", "anon_bytes",
                           "pids") if not told[key]}, set(), "figures that are 0")
    equal(told["anon_bytes"] >= 24 * MIB, True)
    equal((container.memory.limit_bytes, container.denied_syscalls, container.attempt), (64 * MIB, 1, 1))
    equal(container.io.write_bytes >= 64 * 64 * 1024, True, f"bytes written: {container.io.write_bytes}")
    equal(container.log_bytes, len(host.output("works").replace("\n", "")), "bytes of its lines")
    equal((usage.denied_syscalls, usage.log_bytes, usage.pids, usage.restarts),
          (container.denied_syscalls, container.log_bytes, container.pids, 0))


def wrong_figures(told, before, after):
    """What was read between the two lies between them; the sample may be from before the first, where nothing moved."""
    return [f"{key} {told[key]}, kernel {before[key]} to {after[key]}" for key in told
            if before[key] is not None and not before[key] <= told[key] <= after[key]]


@story
def restarts_are_counted_where_they_are_told(host):
    host.shell("again", "if [ -e /data/second ]; then echo second; exec /bin/sleep 1000; fi; : > /data/second; exit 1",
               volumes=[{"name": "d", "empty_directory": {}}], no_wait=True,
               container={"mounts": [{"volume": "d", "target": "/data"}]},
               restart={"mode": "RESTART_ON_FAILURE", "initial_backoff_ms": 10})
    host.until_output("again", "second")
    with host.api.StreamTelemetry(interval_ms=rounds(200, 1000), ids=["again"]) as stream:
        for _ in range(20):
            usages = [w for part in reports(stream, 1)[0] for w in part.workloads if w.containers]
            if usages:
                break
    equal((usages[0].restarts, usages[0].containers[0].attempt), (1, 2))


@story
def the_node_is_as_the_kernel_says(host):
    node = host.api.GetNode().node
    memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in read("/proc/meminfo").splitlines()}
    equal((node.boot_id, node.kernel, node.hostname),
          (read("/proc/sys/kernel/random/boot_id").strip(), os.uname().release, os.uname().nodename))
    equal((node.capacity.memory_bytes, node.capacity.cpu_millis), (memory["MemTotal"], 1000 * os.cpu_count()))
    now_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
    equal(now_ms - 5000 <= node.uptime_ms <= now_ms, True, f"uptime {node.uptime_ms} at {now_ms:.0f}")
    v1 = any(" - cgroup " in line for line in read("/proc/self/mountinfo").splitlines())
    v2 = any(" - cgroup2 " in line for line in read("/proc/self/mountinfo").splitlines())
    equal(node.cgroup_layout, {(False, True): "unified", (True, True): "hybrid", (True, False): "legacy"}[v1, v2])
    near = memory["MemAvailable"] / 10
    equal(abs(node.usage.memory_available_bytes - memory["MemAvailable"]) < near, True, "available memory")
    equal(node.usage.memory_used_bytes + node.usage.memory_available_bytes, memory["MemTotal"])
    with contextlib.suppress(FileNotFoundError):
        for resource in ("cpu", "memory", "io"):
            total = int(re.search(r"some .* total=(\d+)", read(f"/proc/pressure/{resource}")).group(1))
            told = getattr(node.usage, resource + "_pressure").some_total_us
            equal(total - 10_000_000 <= told <= total, True, f"{resource} stalls of {told} us, kernel {total}")
    equal(node.allocatable.memory_bytes <= node.capacity.memory_bytes, True)
    before = node.requested
    host.shell("asks", NEVER_ENDS, container={"resources": {"cpu_request_millis": 150, "memory_request_bytes": 32 * MIB,
                                                            "memory_limit_bytes": 64 * MIB}})
    after = host.api.GetNode().node.requested
    equal((after.cpu_millis - before.cpu_millis, after.memory_bytes - before.memory_bytes), (150, 32 * MIB))

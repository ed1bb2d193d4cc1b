"""Exec, attach, terminals, logs."""
import os
import pty
import subprocess
import time

import changes
from api import types
from host import state_name
from session import Session
from story import equal, has, refused, rounds, story
from terminal import Terminal
from test_life import NEVER_ENDS


def start_box(host, name="box", **container):
    host.shell(name, NEVER_ENDS, container=container)
    host.until_output(name, "up")


def execute(host, name, *command, **start):
    return Session(host.api.Exec, {"id": name, "command": list(command), **start})


@story
def exec_tells_its_output_and_its_end(host):
    start_box(host, env={"GIVEN": "by the container"})
    session = execute(host, "box", "/bin/sh", "-c", "echo out; echo err >&2; echo $GIVEN $MORE; pwd; id -u; exit 17",
                      env={"MORE": "and by exec"}, working_dir="/tmp", identity={"user": "1000"})
    record = session.end()
    equal((record.kind, record.code), (types.EXIT_CODE, 17))
    equal(session.stdout, b"out\nby the container and by exec\n/tmp\n1000\n")
    equal(session.stderr, b"err\n")
    equal(session.started.pid > 0, True)
    session = execute(host, "box", "/bin/probe", "fault")
    equal(session.end().signal, 11)


@story
def exec_of_nothing_says_so(host):
    start_box(host)
    refused(lambda: execute(host, "box", "/no/such").end(), "FAILED_PRECONDITION", "/no/such")
    refused(lambda: execute(host, "box").end(), "INVALID_ARGUMENT", field="start.command")
    refused(lambda: execute(host, "nobody", "/bin/true").end(), "NOT_FOUND", "nobody")
    refused(lambda: Session(host.api.Exec, {"id": "box", "container": "other", "command": ["/bin/true"]}).end(),
            "NOT_FOUND", "other")
    host.api.Stop(fence=host.fence(), id="box", grace_ms=0)
    refused(lambda: execute(host, "box", "/bin/true").end(), "FAILED_PRECONDITION", "box")


@story
def exec_is_as_confined_as_its_container(host):
    status = host.shell("box", NEVER_ENDS)
    session = execute(host, "box", "/bin/sh", "-c", "cat /proc/self/status; /bin/probe mount 1; readlink /proc/self/ns/pid")
    session.end()
    text = session.stdout.decode()
    has(text, "NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000", "Operation not permitted",
        os.readlink(f"/proc/{status.containers[0].pid}/ns/pid"))
    equal({d.name: d.times for d in host.status("box").containers[0].denied}.get("mount"), 1)


@story
def exec_takes_stdin_and_signals(host):
    start_box(host)
    session = execute(host, "box", "/bin/cat", stdin=True)
    session.write(b"one\0two\xff\n")
    session.expect(b"one\0two\xff\n")
    session.close_stdin()
    equal(session.end().code, 0)
    session = execute(host, "box", "/bin/sh", "-c", "trap 'exit 21' INT; echo up; while :; do sleep 0.05; done")
    session.expect(b"up")
    session.say(signal="SIGINT")
    equal(session.end().code, 21)
    session = execute(host, "box", "/bin/cat")  # no stdin: end of file at once
    equal(session.end().code, 0)


@story
def exec_with_a_terminal_has_its_size_and_keys(host):
    start_box(host)
    session = execute(host, "box", "/bin/sh", "-i", tty=True, stdin=True, size={"rows": 33, "columns": 99})
    session.write(b"stty size; tty\n")
    session.expect(b"33 99")
    session.expect(b"/dev/pts/")
    session.say(resize={"rows": 44, "columns": 111})
    session.write(b"stty size\n")
    session.expect(b"44 111")
    session.write(b"sh -c 'echo g''o; sleep 1000'\n")
    session.expect(b"go\r\n")
    session.write(b"\x03")
    session.write(b"echo status $?\n")
    session.expect(b"status 130")
    session.write(b"exit 8\n")
    equal(session.end().code, 8)
    equal(session.stderr, b"")


@story
def exec_moves_many_bytes_both_ways_without_loss(host):
    size = rounds(50, 4) << 20
    start_box(host)
    done = host.ctl("exec", "box", "--", "/bin/probe", "bytes", str(size), text=False, seconds=120)
    pattern = b"".join(b"%015x\n" % at for at in range(0, size, 16))
    equal(len(done.stdout), size)
    equal(done.stdout == pattern, True, "every byte in its place")
    done = host.ctl("exec", "-i", "box", "--", "/bin/probe", "check", str(size), stdin=pattern, seconds=120)
    equal(done.stdout, f"{size} of {size}\n")


@story
def a_slow_reader_holds_the_program_not_the_agent(host):
    start_box(host)
    before = memory_of(host)
    session = execute(host, "box", "/bin/probe", "bytes", str(8 << 20))
    session.wait(lambda s: s.started, "started")
    session.reading.clear()
    began = time.monotonic()
    host.says("i=0; while [ $i -lt 10 ]; do sleep 0.05; i=$((i+1)); done")  # others are served meanwhile
    if time.monotonic() - began > rounds(10, 60):
        raise AssertionError("another workload waited for the slow reader")
    grown = memory_of(host) - before
    if grown > 16 << 10:
        raise AssertionError(f"berthd grew by {grown} KiB under a slow reader")
    session.reading.set()
    session.end()
    equal(len(session.stdout), 8 << 20)


def memory_of(host):
    if not host.berthd:
        return 0
    with open(f"/proc/{host.berthd.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


@story
def an_exec_that_nobody_waits_for_ends(host):
    start_box(host)
    session = execute(host, "box", "/bin/sh", "-c", "echo $$; exec sleep 1000")
    session.wait(lambda s: s.stdout and s.started, "its start")
    with host.api.WatchEvents(id="box", from_oldest=True) as events:
        session.cancel()
        for answer in events:
            if any(types.Reason.Name(event.reason) == "EXEC_ENDED" and event.generation == host.generation
                   for event in answer.events):  # earlier stories have a "box", too
                break
    if not changes.until_ended(session.started.pid):  # the event says that it is killed, not that it has ended
        raise AssertionError("the program runs on")
    equal("sleep 1000" in execute_and_read(host, "box", "ps"), False, "whether there is another one")


def execute_and_read(host, name, *command):
    session = execute(host, name, *command)
    session.end()
    return session.stdout.decode()


# --- terminals of berthctl ---

@story
def run_it_is_a_shell_on_this_terminal(host):
    with Terminal(host, "run", "-it", "--rm", "--name", "inter", "--root", host.rootfs, "--", "/bin/sh") as terminal:
        terminal.type(b"stty size; echo a-$((6*7))\n")
        terminal.expect(b"a-42")
        terminal.expect(b"30 100")
        terminal.resize(40, 90)
        terminal.type(b"stty size\n")
        terminal.expect(b"40 90")
        terminal.type(b"exit 5\n")
        equal(terminal.end(), 5)
    equal(len(host.api.List().workloads), 0, "workloads after --rm")


@story
def run_it_misses_nothing_that_was_written_before(host):
    """The first client of a container with an input gets what was written before it came."""
    host.launch("early", "/bin/sh", "-c", "echo first; echo second >&2; cat", container={"stdin": True})
    host.until_output("early", "second")
    session = Session(host.api.Attach, {"id": "early"})
    session.expect(b"first\n")
    session.wait(lambda s: s.stderr == b"second\n", "what was written before")
    session.close_stdin()
    equal(session.end().code, 0)
    with Terminal(host, "run", "-it", "--rm", "--name", "shortlived", "--root", host.rootfs, "--", "/bin/echo",
                  "over") as terminal:
        terminal.expect(b"over")
        equal(terminal.end(), 0)


@story
def exec_it_and_attach_on_this_terminal(host):
    host.launch("tty", "/bin/sh", container={"tty": True, "stdin": True})
    with Terminal(host, "attach", "tty") as terminal:
        terminal.type(b"echo b-$((6*7))\n")
        terminal.expect(b"b-42")
        terminal.process.terminate()
        terminal.process.wait(10)
    equal(state_name(host.status("tty")), "RUNNING")
    with Terminal(host, "exec", "-it", "tty", "/bin/sh") as terminal:
        terminal.type(b"tty; echo c-$((6*7)); exit 3\n")
        terminal.expect(b"c-42")
        equal(terminal.end(), 3)


@story
def attach_is_the_streams_of_the_first_process(host):
    host.launch("cat", "/bin/cat", container={"stdin": True})
    session = Session(host.api.Attach, {"id": "cat"})
    session.write(b"hello\n")
    session.expect(b"hello\n")
    session.cancel()
    equal(state_name(host.status("cat")), "RUNNING", "after the reader went")
    session = Session(host.api.Attach, {"id": "cat"})
    session.write(b"again\n")
    session.expect(b"again\n")
    session.close_stdin()
    equal(session.end().code, 0)
    has(host.output("cat"), "hello", "again")


@story
def run_follows_the_output_and_ends_as_the_program(host):
    done = host.ctl("run", "--rm", "--name", "fg", "--root", host.rootfs, "--", "/bin/sh", "-c",
                    "echo out; echo err >&2; exit 9", code=9)
    equal(done.stdout, "out\n")
    has(done.stderr, "err\n")
    host.ctl("run", "--rm", "--name", "sig", "--root", host.rootfs, "--", "/bin/probe", "fault", code=139)
    done = host.ctl("run", "--rm", "--name", "none", "--root", host.rootfs, "--", "/bin/nothing", code=125)
    has(done.stderr, "/bin/nothing")


# --- logs ---

@story
def logs_keep_both_streams_and_all_bytes(host):
    host.run_to_end("bytes", "/bin/sh", "-c", r"printf 'nul\000high\377\200\n'; echo err >&2; printf 'no newline'")
    lines = [line for answer in host.api.ReadLogs(id="bytes") for line in answer.lines]
    out = [line.text for line in lines if not line.is_stderr]
    equal([line.text for line in lines if line.is_stderr], [b"err"])
    equal(out[0], b"nul\0high\xff\x80")
    equal(out[-1], b"no newline")
    times = [line.time_unix_ns for line in lines]
    equal(times, sorted(times))
    if abs(times[0] / 1e9 - time.time()) > 60:
        raise AssertionError("the times are not of now")


@story
def berthctl_escapes_control_characters(host):
    host.run_to_end("evil", "/bin/sh", "-c", r"printf 'a\033[2Jb\007c\n'")
    master, slave = pty.openpty()
    subprocess.run([host.berthctl, "-a", "unix://" + host.socket, "logs", "evil"], check=True, stdout=slave)
    os.close(slave)
    shown = os.read(master, 4096)
    os.close(master)
    equal(b"\x1b" in shown or b"\x07" in shown, False, "control characters on the terminal")
    equal("\x1b" in host.ctl("why", "evil").stdout, False, "control characters in why")


@story
def a_line_of_a_megabyte_comes_in_parts(host):
    host.run_to_end("long", "/bin/sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' x; echo; echo short")
    lines = [line for answer in host.api.ReadLogs(id="long") for line in answer.lines]
    long_line = [line for line in lines if line.text.startswith(b"x")]
    equal(sum(len(line.text) for line in long_line), 1 << 20)
    equal(max(len(line.text) for line in lines) <= 16384, True)
    equal({line.partial for line in long_line[:-1]}, {True})
    equal(lines[-1].text, b"short")


@story
def logs_tail_since_and_follow(host):
    host.shell("talk", "for i in 1 2 3 4 5; do echo line $i; done; sleep 0.3; echo late; " + NEVER_ENDS)
    line = host.until_output("talk", "late")
    equal(host.output("talk", tail=2).splitlines()[-2:], host.output("talk").splitlines()[-2:])
    equal(len(host.output("talk", tail=3).splitlines()), 3)
    equal(host.output("talk", tail=0), "")
    has(host.output("talk", since_unix_ns=line.time_unix_ns), "late")
    equal("line 5" in host.output("talk", since_unix_ns=line.time_unix_ns), False)
    with host.api.ReadLogs(id="talk", follow=True, tail=0) as answers:
        host.api.Stop(fence=host.fence(), id="talk")
        for _ in answers:  # ends by itself when the workload has ended
            pass
    equal(host.ctl("logs", "-n", "1", "talk").stdout.count("\n"), 1)


@story
def logs_rotate_and_lose_only_the_oldest(host):
    host.run_to_end("rotate", "/bin/sh", "-c", "i=0; while [ $i -lt 4000 ]; do echo \"$i this line is some "
                    "one hundred bytes long, so that two files of sixty-four KiB do not hold them all $i\"; i=$((i+1)); done",
                    container={"log": {"max_file_bytes": 65536, "max_files": 2}})
    files = sorted(os.listdir(os.path.join(host.log_dir, "rotate/main")))
    equal(len(files) <= 2, True, f"whether at most two files are kept of {files}")
    for name in files:
        equal(os.path.getsize(os.path.join(host.log_dir, "rotate/main", name)) <= 65536 + 300, True)
    numbers = [int(line.split()[0]) for line in host.output("rotate").splitlines()]
    equal(numbers, list(range(numbers[0], 4000)))
    equal(0 < numbers[0], True)


@story
def following_through_rotation_sees_all(host):
    """A reader that keeps up misses nothing; one that did not would be told of the files."""
    host.shell("spin", "for f in 1 2 3 4 5 6; do i=0; while [ $i -lt 300 ]; do echo \"$f $i of a line that is made to be "
               "rather long, for the files are to rotate several times while somebody reads them\"; i=$((i+1)); done; "
               "sleep 0.1; done; echo last",
               no_wait=True, container={"log": {"max_file_bytes": 65536, "max_files": 3}})
    lines, missed = [], 0
    with host.api.ReadLogs(id="spin", follow=True) as answers:
        for answer in answers:
            missed += answer.missed_files
            lines += [line.text for line in answer.lines]
    equal(lines[-1], b"last")
    if missed == 0:
        equal(len(lines), 1801)


@story
def logs_of_containers_are_merged_in_the_order_of_time(host):
    host.launch("pair", no_wait=True, containers=[
        host.container("/bin/sh", "-c", f"for i in 1 2 3 4 5; do echo {n} $i; sleep 0.03; done; sleep 0.3", name=n)
        for n in ("left", "right")])
    host.until("pair", "EXITED")
    lines = [line for answer in host.api.ReadLogs(id="pair") for line in answer.lines]
    equal([line.time_unix_ns for line in lines], sorted(line.time_unix_ns for line in lines))
    equal({line.container for line in lines}, {"left", "right"})
    equal(len(lines) >= 9, True)
    equal({line.container for answer in host.api.ReadLogs(id="pair", container="left") for line in answer.lines}, {"left"})
    refused(lambda: list(host.api.ReadLogs(id="pair", container="middle")), "NOT_FOUND", "middle")
    refused(lambda: list(host.api.ReadLogs(id="nobody")), "NOT_FOUND", "nobody")

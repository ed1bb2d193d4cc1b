"""Messages that are made to cost more than they weigh (escape test E73), said to berthd as gRPC.

    bombs.py ADDRESS PID_OF_BERTHD
"""
import random
import sys

import grpc

ADDRESS, PID = sys.argv[1], int(sys.argv[2])
METHOD = "/berth.v1.NodeAgent/"
REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def nested(depth):
    message = b""
    while depth:
        message, depth = field(2, message), depth - 1
    return message


def peak_kib():
    with open(f"/proc/{PID}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])


def say(name, wrong):
    print(f"{name} {wrong or 'right'}")


def main():
    rng = random.Random(7)
    channel = grpc.insecure_channel(ADDRESS, options=[("grpc.max_send_message_length", 64 << 20)])

    def code_of(method, message):
        try:
            channel.unary_unary(METHOD + method)(message, timeout=30)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    before = peak_kib()
    bombs = {
        "depth": nested(6000),
        "many-containers": field(2, field(2, b"") * (200 << 10)),
        "many-labels": field(2, field(8, field(1, b"k") + field(2, b"v")) * (100 << 10)),
        "too-large": field(2, field(1, b"x" * (8 << 20))),
        "huge-varint": field(2, b"\x18" + b"\xff" * 11 + b"\x01"),
        "unknown-groups": b"\x9b\x06" * 5000 + b"\x9c\x06" * 5000,
        "length-beyond-the-end": b"\x12\xff\xff\xff\xff\x0f",
        "not-utf-8": field(2, field(1, b"\xff\xfe")),
    }
    for name, message in bombs.items():
        code = code_of("Launch", message)
        say(name, None if code in REFUSED else str(code))
    wrong = None
    methods = ("Launch", "Get", "List", "Stop", "Reconcile", "UpdateResources", "Delete", "Signal")
    good = field(1, b"\x08\x01") + field(2, field(1, b"w") + field(2, field(1, b"c") + field(4, b"/x")))
    for _ in range(1500):
        message = bytearray(good * rng.randrange(1, 4))
        for _ in range(rng.randrange(1, 8)):
            message[rng.randrange(len(message))] = rng.randrange(256)
        code = code_of(rng.choice(methods), bytes(message))
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL):
            wrong = f"{code} for {bytes(message).hex()}"
    say("random", wrong)
    say("memory", None if peak_kib() - before < 4 * 4096 else f"grew by {peak_kib() - before} KiB")
    code = code_of("GetNode", b"")
    say("control", None if code == grpc.StatusCode.OK else str(code))


main()

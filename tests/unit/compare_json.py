"""Our JSON mapping against Python's: compare_json.py JSON_FILTER DESCRIPTORS.

Random messages with every kind of field go both ways: what we print must be what MessageToJson prints
(as JSON: order and spacing are free), and what Python prints we must read as the same message.
"""
import json
import math
import random
import struct
import subprocess
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

filter_path, descriptors_path = sys.argv[1:]
files = descriptor_pb2.FileDescriptorSet.FromString(open(descriptors_path, "rb").read())
pool = descriptor_pool.DescriptorPool()
for file in files.file:
    pool.Add(file)
factory = message_factory.MessageFactory(pool)


def message_type(name):
    return factory.GetPrototype(pool.FindMessageTypeByName(name))


Everything = message_type("berth.test.Everything")
ErrorInfo = message_type("google.rpc.ErrorInfo")
BadRequest = message_type("google.rpc.BadRequest")
Duration = message_type("google.protobuf.Duration")
Timestamp = message_type("google.protobuf.Timestamp")

process = subprocess.Popen([filter_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(how, data):
    process.stdin.write(how + struct.pack("<I", len(data)) + data)
    process.stdin.flush()
    kind, length = struct.unpack("<cI", process.stdout.read(5))
    answer = process.stdout.read(length)
    return kind == b"=", answer


rng = random.Random(20)
TEXTS = ["", "x", "söme €uro \U0001f600", 'q"uo\\te/\n\t\r\b\f\x01\x7f\u2028', "a" * 300]
DOUBLES = [0.1, 1e300, 5e-324, 1 / 3, 123456789.0, -2.5, 1e21, 100000.0, 0.35]
FLOATS = [0.5, 0.1, 3e38, 1e-45, -7.25, 16777216.0, 1e10]


def edge(bits, signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return rng.choice([low, high, 0, 1, rng.randint(low, high), rng.randint(max(low, -1000), 1000)])


def scalar(field):
    t = field.type
    if t in (field.TYPE_INT32, field.TYPE_SINT32, field.TYPE_SFIXED32):
        return edge(32, True)
    if t in (field.TYPE_INT64, field.TYPE_SINT64, field.TYPE_SFIXED64):
        return edge(64, True)
    if t in (field.TYPE_UINT32, field.TYPE_FIXED32):
        return edge(32, False)
    if t in (field.TYPE_UINT64, field.TYPE_FIXED64):
        return edge(64, False)
    if t == field.TYPE_DOUBLE:
        return rng.choice(DOUBLES + [rng.uniform(-1e6, 1e6)])
    if t == field.TYPE_FLOAT:
        return struct.unpack("<f", struct.pack("<f", rng.choice(FLOATS + [rng.uniform(-9, 9)])))[0]
    if t == field.TYPE_BOOL:
        return rng.random() < 0.5
    if t == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if t == field.TYPE_BYTES:
        return rng.randbytes(rng.randint(0, 9))
    if t == field.TYPE_ENUM:
        return rng.choice([0, 1, 7, -3, 99, -1])
    raise AssertionError(t)


def fill_any(message):
    content = rng.choice([
        ErrorInfo(reason="WHY", domain="berth", metadata={"a": "b", "c": "€"}),
        BadRequest(field_violations=[{"field": "f", "description": "d"}]),
        ErrorInfo(), Duration(seconds=3, nanos=500000000), Timestamp(seconds=1700000000)])
    message.type_url = "type.googleapis.com/" + content.DESCRIPTOR.full_name
    message.value = content.SerializeToString()


def fill(message):
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = rng.choice([0, -62135596800, 253402300799, -1, 951782400, rng.randint(-10**10, 10**11)])
        message.nanos = rng.choice([0, 500000000, 1, 1000, 999999999, 100000])
    elif name == "google.protobuf.Duration":
        sign = rng.choice([1, -1])
        message.seconds = sign * rng.choice([0, 1, 86400, 315576000000 - 1])
        message.nanos = sign * rng.choice([0, 500000000, 1, 1000, 999999999, 100000])
    elif name == "google.protobuf.Any":
        fill_any(message)
    else:
        for field in message.DESCRIPTOR.fields:
            if rng.random() < 0.4:
                fill_field(message, field)
    return message


def fill_field(message, field):
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
        for _ in range(rng.randint(1, 4)):
            if value.message_type:
                fill(getattr(message, field.name)[scalar(key)])
            else:
                getattr(message, field.name)[scalar(key)] = scalar(value)
    elif field.label == field.LABEL_REPEATED:
        for _ in range(rng.randint(1, 5)):
            if field.message_type:
                fill(getattr(message, field.name).add())
            else:
                getattr(message, field.name).append(scalar(field))
    elif field.message_type:
        getattr(message, field.name).SetInParent()
        fill(getattr(message, field.name))
    else:
        setattr(message, field.name, scalar(field))


def loads(text):
    def pairs(items):
        names = [name for name, _ in items]
        assert len(names) == len(set(names)), "a name twice: %s" % names
        return dict(items)
    return json.loads(text, object_pairs_hook=pairs)


def check(what, condition, *facts):
    if not condition:
        print("FAILED:", what, *facts, sep="\n  ")
        process.kill()
        sys.exit(1)


def compare(message):
    data = message.SerializeToString()
    python = json_format.MessageToJson(message, descriptor_pool=pool, ensure_ascii=rng.random() < 0.5)
    for how in b"p", b"P":
        ok, ours = ask(how, data)
        check("prints", ok, ours, python)
        check("prints the same", loads(ours) == loads(python), ours.decode(), python)
        again = json_format.Parse(ours.decode(), Everything(), descriptor_pool=pool)
        check("python reads ours", again == message, ours.decode(), again)
    check("pretty has lines", b"\n" in ours or len(ours) == 2)
    ok, ours = ask(b"d", data)
    with_defaults = json_format.MessageToJson(message, including_default_value_fields=True, descriptor_pool=pool)
    check("defaults", ok and loads(ours) == loads(with_defaults), ours.decode(), with_defaults)
    for keep_names in False, True:
        text = json_format.MessageToJson(message, descriptor_pool=pool, preserving_proto_field_name=keep_names)
        ok, got = ask(b"r", text.encode())
        check("reads", ok, got.decode(errors="replace"), text)
        check("reads the same", Everything.FromString(got) == message, text, Everything.FromString(got))


for _ in range(300):
    compare(fill(Everything()))
compare(Everything())

for value in math.inf, -math.inf, math.nan:
    message = Everything(a_double=value, a_float=value, doubles=[value], double_by_bool={True: value})
    ok, ours = ask(b"p", message.SerializeToString())
    check("not finite", ok and loads(ours) == loads(json_format.MessageToJson(message)), ours)
    ok, got = ask(b"r", ours)
    check("not finite back", ok and str(Everything.FromString(got)) == str(message), got)

# What Python takes we take to the same effect; what Python refuses we refuse.
TEXTS = [
    '{}', '{"aBool": true}', '{"a_bool": true}', '{"aBool": null}', '{"anInt32": 1.0}', '{"anInt32": "7"}',
    '{"anInt64": 9007199254740993}', '{"anInt64": "-9223372036854775808"}', '{"aUint64": "18446744073709551615"}',
    '{"colour": "COLOUR_RED"}', '{"colour": 1}', '{"colour": 99}', '{"someBytes": "aGk="}', '{"someBytes": "aGk"}',
    '{"someBytes": "_-8="}', '{"someBytes": "/+8="}', '{"aDouble": "1.5"}', '{"aDouble": 1}', '{"aDouble": "-Infinity"}',
    '{"when": "2024-02-29T23:59:59.123456789Z"}', '{"when": "2024-01-01T00:00:00+01:30"}', '{"howLong": "-0.000000001s"}',
    '{"howLong": "3s"}', '{"labels": {}}', '{"strings": []}', '{"labels": {"": ""}}', '{"maybeInt32": 0}',
    '{"choiceNumber": "0"}', '{"choiceText": ""}', '{"inner": {}}', '{"inner": null}', '{"odd1Name": "x"}',
    '{"odd_1_name": "x"}', '{"trailing": "x"}', '{"twoUnderscores": "x"}', '{"innerByNumber": {"-5": {"name": "x"}}}',
    '{"doubleByBool": {"true": 1, "false": 2}}', '{"detail": {}}',
    '{"detail": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5s"}}',
    # refused by both
    '', '{', '{"aBool": 1}', '{"aBool": "true"}', '{"anInt32": 1.5}', '{"anInt32": 2147483648}',
    '{"anInt32": "x"}', '{"anInt32": ""}', '{"anInt32": true}', '{"aUint32": -1}', '{"aUint64": "-1"}',
    '{"aUint64": "18446744073709551616"}', '{"anInt64": "9223372036854775808"}', '{"aString": 1}',
    '{"colour": "MAUVE"}', '{"nosuch": 1}', '{"strings": "x"}', '{"strings": [null]}', '{"labels": []}',
    '{"labels": {"a": null}}', '{"labels": {"a": 1}}', '{"inner": 1}', '{"when": "yesterday"}',
    '{"when": "2024-02-30T00:00:00Z"}', '{"when": "2024-01-01T24:00:00Z"}', '{"when": "2024-01-01T00:00:00"}',
    '{"when": 1}', '{"howLong": "3"}', '{"howLong": "3m"}', '{"howLong": 3}',
    '{"howLong": "315576000001s"}', '{"choiceText": "a", "choiceNumber": "1"}', '{"doubleByBool": {"1": 1}}',
    '{"innerByNumber": {"x": {}}}', '{"aFloat": 1e39}', '{"aDouble": "x"}',
    '{"detail": {"@type": "type.googleapis.com/no.Such"}}', '{"detail": {"a": 1}}', '{"aBool": true} x',
    '{"aBool": true, "aBool": false}', '{"someBytes": 5}',
]
for text in TEXTS:
    try:
        expected = json_format.Parse(text, Everything(), descriptor_pool=pool)
    except (json_format.ParseError, ValueError):
        expected = None
    ok, got = ask(b"r", text.encode())
    check("both take it or neither", ok == (expected is not None), text, expected, got)
    if ok:
        check("the same message", Everything.FromString(got) == expected, text, expected, Everything.FromString(got))

process.stdin.close()
check("the filter ends well", process.wait() == 0)
print("ok")

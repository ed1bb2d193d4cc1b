"""No message of a contract may hold itself: check_nesting.py RECURSIVE_SET SET...

protobuf-c unpacks by recursion without a limit, so what can be nested without end must not exist; and the
deepest message must pass the check on the wire (WIRE_DEPTH_MAX in proto/wirecheck.h). RECURSIVE_SET holds a
message that breaks the rule, to see that it is noticed.
"""
import sys

from google.protobuf import descriptor_pb2

DEPTH_MAX = 32


def messages(files):
    found = {}

    def add(prefix, message):
        name = prefix + "." + message.name
        found[name] = [field.type_name for field in message.field if field.type == field.TYPE_MESSAGE]
        for nested in message.nested_type:
            add(name, nested)

    for file in files:
        for message in file.message_type:
            add("." + file.package, message)
    return found


def depth(name, types, above=()):
    """How deep the message goes; raises ValueError with the way round where that has no end."""
    if name in above:
        raise ValueError(" > ".join(above[above.index(name):] + (name,)))
    return 1 + max((depth(field, types, above + (name,)) for field in types[name]), default=0)


def deepest(path):
    types = messages(descriptor_pb2.FileDescriptorSet.FromString(open(path, "rb").read()).file)
    return max((depth(name, types), name) for name in types)


recursive, *contracts = sys.argv[1:]
try:
    deepest(recursive)
    sys.exit("FAILED: %s holds a recursive message, which was not noticed" % recursive)
except ValueError:
    pass
for path in contracts:
    try:
        levels, name = deepest(path)
    except ValueError as way:
        sys.exit("FAILED: a message holds itself: %s" % way)
    print("%s: the deepest is %s with %d levels" % (path, name, levels))
    if levels > DEPTH_MAX:
        sys.exit("FAILED: more than %d levels" % DEPTH_MAX)

"""Every field and every call of a contract says what it means: comments.py SET, a descriptor set with source
information. A comment is the field's own where it stands above it, or behind it on its line."""
import sys

from google.protobuf import descriptor_pb2

MESSAGE, SERVICE = 4, 6  # in FileDescriptorProto
FIELD, NESTED, METHOD = 2, 3, 2


def parts(file):
    """Each field and call with its path in the file's source information, which is how protoc finds its place."""

    def below(prefix, message, path):
        for i, field in enumerate(message.field):
            yield f"{prefix}{message.name}.{field.name}", (*path, FIELD, i)
        for i, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from below(f"{prefix}{message.name}.", nested, (*path, NESTED, i))

    for i, message in enumerate(file.message_type):
        yield from below("", message, (MESSAGE, i))
    for i, service in enumerate(file.service):
        for j, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", (SERVICE, i, METHOD, j)


bare = 0
for file in descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[1], "rb").read()).file:
    places = {tuple(place.path): place for place in file.source_code_info.location}
    for name, path in parts(file):
        place = places[path]
        if not (place.leading_comments or place.trailing_comments).strip():
            print(f"error: {file.name}:{place.span[0] + 1}: {name} has no comment")
            bare += 1
sys.exit(bare > 0)

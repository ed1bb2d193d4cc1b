"""berth.v1.NodeAgent for stories: requests as keywords, answers as messages, errors with their details."""
import os
import shutil
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.environ.get("BERTH_BUILD", os.path.join(TREE, "build"))

# google/rpc/error_details.proto, as much as our errors use; by hand, for Debian does not ship it.
_DETAILS = """
file { name: "story/details.proto" package: "google.rpc" syntax: "proto3"
  message_type { name: "Any" field { name: "type_url" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL } }
  message_type { name: "Status" field { name: "code" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: "message" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "details" number: 3 type: TYPE_MESSAGE type_name: ".google.rpc.Any" label: LABEL_REPEATED } }
  message_type { name: "Pair" field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "text" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
  message_type { name: "Pairs"
    field { name: "pairs" number: 1 type: TYPE_MESSAGE type_name: ".google.rpc.Pair" label: LABEL_REPEATED } }
  message_type { name: "ErrorInfo" field { name: "reason" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "domain" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "metadata" number: 3 type: TYPE_MESSAGE type_name: ".google.rpc.Entry" label: LABEL_REPEATED } }
  message_type { name: "Entry" field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
}
"""


def _details_messages():
    from google.protobuf import text_format
    files = text_format.Parse(_DETAILS, descriptor_pb2.FileDescriptorSet())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(files.file[0])
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName("google.rpc." + name))
            for name in ("Status", "Pairs", "ErrorInfo")}


DETAILS = _details_messages()


def _load_messages():
    """Python code of proto/berth/v1, made anew; where there is no protoc, what the build has beside it."""
    prepared = os.path.join(BUILD, "tests/system/agent/stubs")
    out = prepared
    if shutil.which("protoc"):
        out = tempfile.mkdtemp(prefix="story-stubs-")
        subprocess.run(["protoc", "-I", "proto", "--python_out", out, "berth/v1/types.proto",
                        "berth/v1/node_agent.proto"], check=True, cwd=TREE)
    sys.path.insert(0, out)
    try:
        from berth.v1 import node_agent_pb2, types_pb2
        return node_agent_pb2, types_pb2
    finally:
        sys.path.remove(out)
        if out != prepared:
            shutil.rmtree(out)


pb, types = _load_messages()
SERVICE = pb.DESCRIPTOR.services_by_name["NodeAgent"]


class Refused(Exception):
    """A call that ended with another code than OK."""

    def __init__(self, error):
        super().__init__(f"{error.code().name}: {error.details()}")
        self.code = error.code().name
        self.text = error.details()
        self.fields = {}
        self.quotas = {}
        self.reason = None
        self.numbers = {}
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._decode(value)

    def _decode(self, value):
        for detail in DETAILS["Status"].FromString(value).details:
            kind = detail.type_url.rpartition("/")[2]
            if kind in ("google.rpc.BadRequest", "google.rpc.QuotaFailure"):
                pairs = {p.name: p.text for p in DETAILS["Pairs"].FromString(detail.value).pairs}
                (self.fields if kind == "google.rpc.BadRequest" else self.quotas).update(pairs)
            elif kind == "google.rpc.ErrorInfo":
                info = DETAILS["ErrorInfo"].FromString(detail.value)
                self.reason = info.reason
                self.numbers = {entry.key: entry.value for entry in info.metadata}


def message(kind, fields):
    return json_format.ParseDict(fields, kind())


class Stream:
    """Messages of one streaming call; `with` ends it."""

    def __init__(self, call):
        self.call = call

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.call)
        except grpc.RpcError as error:
            raise Refused(error) from None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.call.cancel()


class Api:
    """api.Launch(spec={...}) and so on for every method of the contract."""

    def __init__(self, target, credentials=None, options=()):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1),
                   *options]
        if credentials:
            self.channel = grpc.secure_channel(target, credentials, options)
        else:
            self.channel = grpc.insecure_channel(target, options)

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __getattr__(self, name):
        if name not in SERVICE.methods_by_name:
            raise AttributeError(name)
        method = SERVICE.methods_by_name[name]
        request = getattr(pb, method.input_type.name)
        response = getattr(pb, method.output_type.name)
        proto = descriptor_pb2.MethodDescriptorProto()
        method.CopyToProto(proto)
        kind = ("stream_" if proto.client_streaming else "unary_") + \
            ("stream" if proto.server_streaming else "unary")
        call = getattr(self.channel, kind)(f"/{SERVICE.full_name}/{name}",
                                           request_serializer=request.SerializeToString,
                                           response_deserializer=response.FromString)

        def unary(timeout=20, **fields):
            try:
                return call(message(request, fields), timeout=timeout)
            except grpc.RpcError as error:
                raise Refused(error) from None

        def streaming(timeout=30, **fields):
            return Stream(call(message(request, fields), timeout=timeout))

        # gRPC takes the requests on a thread of its own: what is wrong with one has to be found before, or
        # it races with the answer.
        def both(requests, timeout=30):
            """`requests`: a list of fields, or an iterator of what both.message() made."""
            if isinstance(requests, list):
                requests = iter([both.message(fields) for fields in requests])
            return Stream(call(requests, timeout=timeout))
        both.message = lambda fields: message(request, fields)

        return {"unary_unary": unary, "unary_stream": streaming, "stream_stream": both}[kind]


def reports(stream, count):
    """Whole reports: parts of one sequence number put together."""
    found, parts = [], []
    for part in stream:
        parts.append(part)
        if not part.more:
            found.append(parts)
            parts = []
            if len(found) == count:
                return found
    raise AssertionError(f"the stream ended after {len(found)} reports")

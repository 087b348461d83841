"""A gRPC client that knows nothing but reflection, with the words of grpcurl: `[-plaintext] [-d JSON] ADDRESS WHAT`.

WHAT is `list`, `list SERVICE`, `describe NAME`, or SERVICE/METHOD, which is called with the message in `-d` (none: an
empty one) and prints each answer as JSON. It stands in for grpcurl where that cannot be had: the examples of the pages
are played with it.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PATIENCE_S = 60.0
FLAGS = ("-plaintext",)


class Reflected:
    """One server, known by what it says of itself."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool: Any = DescriptorPool(self._database)

    def services(self) -> list[str]:
        """Full names."""
        return sorted(self._database.get_services())

    def methods(self, service: str) -> list[str]:
        """Full names, in the order of the file."""
        return [method.full_name for method in self._pool.FindServiceByName(service).methods]

    def describe(self, name: str) -> str:
        """The kind of a symbol and its parts. Raises `KeyError` when there is none."""
        for find in (self._pool.FindServiceByName, self._pool.FindMessageTypeByName, self._pool.FindEnumTypeByName):
            try:
                found = find(name)
            except KeyError:
                continue
            return f"{type(found).__name__} {found.full_name}"
        return f"{self._pool.FindMethodByName(name).full_name}"

    def call(self, method: str, asked: str = "") -> Iterator[dict[str, Any]]:
        """Each answer to a message in JSON. Raises `grpc.RpcError`, and `json_format.ParseError` for other fields."""
        service, _, name = method.rpartition("/")
        found: MethodDescriptor = self._pool.FindServiceByName(service).methods_by_name[name]
        request = json_format.Parse(asked or "{}", GetMessageClass(found.input_type)(), descriptor_pool=self._pool)
        call: Any = self._channel.unary_stream(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(found.output_type).FromString,
        )
        for answer in call(request, timeout=PATIENCE_S):
            yield json_format.MessageToDict(answer, descriptor_pool=self._pool)


@contextmanager
def reflected(address: str) -> Iterator[Reflected]:
    """Connected."""
    with grpc.insecure_channel(address) as channel:
        yield Reflected(channel)


def play(line: str) -> list[Any]:
    """What a command line of grpcurl would print. Raises as `Reflected` does, and `ValueError` for another line."""
    program, *words = shlex.split(line)
    asked = ""
    while words and words[0].startswith("-"):
        flag = words.pop(0)
        if flag == "-d":
            asked = words.pop(0)
        elif flag not in FLAGS:
            raise ValueError(f"{flag} is not known here")
    if program != "grpcurl" or len(words) not in (2, 3):
        raise ValueError(f"not understood: {line}")
    address, what, *rest = words
    with reflected(address) as server:
        if what == "list":
            return server.methods(rest[0]) if rest else list(server.services())
        return [server.describe(rest[0])] if what == "describe" else list(server.call(what, asked))

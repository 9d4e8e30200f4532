"""KEDA's external scaler over gRPC: tells the autoscaler of Kubernetes how many replicas to have.

https://keda.sh/docs/latest/concepts/external-scalers/. The messages are declared here and made at run time, so that
neither a compiler of protocols nor generated code is needed. It does not know where the number comes from.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol

from trimtab.core.errors import InputError, OutsideError

try:
    import grpc
    import grpc.aio
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
except ImportError:
    raise InputError("gRPC is not installed", hint="pip install 'trimtab[keda]'") from None

SERVICE = "externalscaler.ExternalScaler"
METRIC = "replicas"
STREAM_SECONDS = 1.0
MOST_BYTES = 64 * 1024  # of a question
_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {"string": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL, "int64": _FIELD.TYPE_INT64,
          "double": _FIELD.TYPE_DOUBLE}  # fmt: skip
_MESSAGES = {
    "ScaledObjectRef": {"name": "string", "namespace": "string", "scalerMetadata": "repeated ScalerMetadataEntry"},
    "IsActiveResponse": {"result": "bool"},
    "GetMetricSpecResponse": {"metricSpecs": "repeated MetricSpec"},
    "MetricSpec": {"metricName": "string", "targetSize": "int64", "targetSizeFloat": "double"},
    "GetMetricsRequest": {"scaledObjectRef": "ScaledObjectRef", "metricName": "string"},
    "GetMetricsResponse": {"metricValues": "repeated MetricValue"},
    "MetricValue": {"metricName": "string", "metricValue": "int64", "metricValueFloat": "double"},
}
"""The protocol's messages: fields in the order of their numbers, from 1."""


class NotKnown(Exception):
    """There is no answer yet: KEDA then leaves the replicas as they are."""


class Answers(Protocol):
    """What KEDA is told."""

    def replicas(self) -> float:
        """How many to have. Raises NotKnown."""
        ...

    def is_active(self) -> bool:
        """Whether there must be any. Raises NotKnown."""
        ...


def messages() -> dict[str, Any]:
    """The classes of the protocol's messages by name."""
    pool = descriptor_pool.DescriptorPool()
    made = pool.Add(_file()) or pool.FindFileByName("externalscaler.proto")
    return {name: message_factory.GetMessageClass(made.message_types_by_name[name]) for name in _MESSAGES}


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="externalscaler.proto", package="externalscaler", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _declare(message, name, field, kind, number)
    entry = file.message_type[0].nested_type.add(name="ScalerMetadataEntry")  # a map is a list of these
    entry.options.map_entry = True
    for number, field in enumerate(("key", "value"), 1):
        _declare(entry, "", field, "string", number)
    return file


def _declare(message: Any, owner: str, field: str, kind: str, number: int) -> None:
    word = kind.removeprefix("repeated ")
    label = _FIELD.LABEL_REPEATED if word != kind else _FIELD.LABEL_OPTIONAL
    made = message.field.add(name=field, number=number, label=label, json_name=field)
    if word in _KINDS:
        made.type = _KINDS[word]
    else:
        made.type = _FIELD.TYPE_MESSAGE
        made.type_name = f".externalscaler.{owner}.{word}" if word.endswith("Entry") else f".externalscaler.{word}"


class Scaler:
    """The server. `start`, then `stop`."""

    def __init__(self, answers: Answers) -> None:
        self._answers, self._kinds = answers, messages()
        self._server: Any = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OutsideError when the port cannot be used."""
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MOST_BYTES), ("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._methods()),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise OutsideError(f"{address} cannot be used", hint="choose another --port or --host") from None
        await self._server.start()

    async def stop(self) -> None:
        """End what is under way within a second, then close."""
        await self._server.stop(1.0)

    def _methods(self) -> dict[str, Any]:
        kinds = self._kinds

        def read(kind: str, write: str, make: Any, wrap: Any = grpc.unary_unary_rpc_method_handler) -> Any:
            return wrap(make, kinds[kind].FromString, kinds[write].SerializeToString)

        return {
            "IsActive": read("ScaledObjectRef", "IsActiveResponse", self._is_active),
            "StreamIsActive": read(
                "ScaledObjectRef", "IsActiveResponse", self._stream, grpc.unary_stream_rpc_method_handler
            ),
            "GetMetricSpec": read("ScaledObjectRef", "GetMetricSpecResponse", self._spec),
            "GetMetrics": read("GetMetricsRequest", "GetMetricsResponse", self._metrics),
        }

    async def _is_active(self, asked: Any, context: Any) -> Any:
        try:
            return self._kinds["IsActiveResponse"](result=self._answers.is_active())
        except NotKnown as reason:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(reason))

    async def _stream(self, asked: Any, context: Any) -> AsyncIterator[Any]:
        """What is so now, then each change."""
        told: bool | None = None
        while True:
            with suppress(NotKnown):
                if (now := self._answers.is_active()) != told:
                    told = now
                    yield self._kinds["IsActiveResponse"](result=now)
            await asyncio.sleep(STREAM_SECONDS)

    async def _spec(self, asked: Any, context: Any) -> Any:
        """One metric whose value is the number of replicas: the target of each is 1."""
        spec = self._kinds["MetricSpec"](metricName=METRIC, targetSize=1, targetSizeFloat=1.0)
        return self._kinds["GetMetricSpecResponse"](metricSpecs=[spec])

    async def _metrics(self, asked: Any, context: Any) -> Any:
        try:
            count = self._answers.replicas()
        except NotKnown as reason:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(reason))
            return None
        value = self._kinds["MetricValue"](
            metricName=asked.metricName or METRIC, metricValue=math.ceil(count), metricValueFloat=count
        )
        return self._kinds["GetMetricsResponse"](metricValues=[value])

"""Messages of the SPIFFE Workload API that concern JWT-SVIDs (SPIFFE_Workload_API, section 6)."""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

SERVICE = "SpiffeWorkloadAPI"
_Field = descriptor_pb2.FieldDescriptorProto
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_TEXT, _BYTES = "string", "bytes"
#: Message -> field -> (number, label, type).
_MESSAGES: dict[str, dict[str, tuple[int, Any, str]]] = {
    "JWTSVIDRequest": {"audience": (1, _MANY, _TEXT), "spiffe_id": (2, _ONE, _TEXT)},
    "JWTSVID": {
        "spiffe_id": (1, _ONE, _TEXT),
        "svid": (2, _ONE, _TEXT),
        "hint": (3, _ONE, _TEXT),
    },
    "JWTSVIDResponse": {"svids": (1, _MANY, "JWTSVID")},
    "JWTBundlesRequest": {},
    # On the wire a map is a repeated message of key and value.
    "Bundle": {"key": (1, _ONE, _TEXT), "value": (2, _ONE, _BYTES)},
    "JWTBundlesResponse": {"bundles": (1, _MANY, "Bundle")},
}
_SCALARS = {_TEXT: _Field.TYPE_STRING, _BYTES: _Field.TYPE_BYTES}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="workload.proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, label, kind) in fields.items():
            added = message.field.add(name=field, number=number, label=label)
            if kind in _SCALARS:
                added.type = _SCALARS[kind]
            else:
                added.type = _Field.TYPE_MESSAGE
                added.type_name = f".{kind}"
    return file


# A pool of its own: another library in the process may know the same messages.
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


JWTSVIDRequest = _class("JWTSVIDRequest")
JWTSVIDResponse = _class("JWTSVIDResponse")
JWTBundlesRequest = _class("JWTBundlesRequest")
JWTBundlesResponse = _class("JWTBundlesResponse")

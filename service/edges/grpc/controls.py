"""Messages of log and trace settings ↔ their names and values. Nothing here knows of a call."""

from collections.abc import Mapping

from service.wire import grpc_inference_pb2 as pb

FIELDS: dict[type, str] = {bool: "bool_param", int: "uint32_param", str: "string_param"}
"""The field of a log setting's value, by its type."""
Document = dict[str, object]


def log_given(message: pb.LogSettingsRequest) -> dict[str, object]:
    """None for a setting without a value."""
    choices = {name: (value, value.WhichOneof("parameter_choice")) for name, value in message.settings.items()}
    return {name: None if choice is None else getattr(value, choice) for name, (value, choice) in choices.items()}


def log_told(settings: Mapping[str, object]) -> Document:
    """As a response."""
    return {"settings": {name: {FIELDS[type(value)]: value} for name, value in settings.items()}}


def trace_given(message: pb.TraceSettingRequest) -> dict[str, object]:
    """None for a setting without a value."""
    return {name: [*given.value] or None for name, given in message.settings.items()}


def trace_told(settings: Mapping[str, object]) -> Document:
    """As a response."""
    return {
        "settings": {name: {"value": value if isinstance(value, list) else [value]} for name, value in settings.items()}
    }

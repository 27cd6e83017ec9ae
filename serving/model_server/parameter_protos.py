"""TF Serving's messages of parameter files, which its Python package leaves out: batching and monitoring.

Field names and numbers are those of TF Serving's `session_bundle_config.proto` and `monitoring_config.proto`, so its files are
read as they are. The messages live in a pool of their own, where no other package can have put them before.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64_VALUE, _STRING_VALUE = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
_PACKAGE = "tensorflow.serving"

# By message, its fields as (name, type), in the order of their numbers from 1.
_FIELDS_BY_MESSAGE = {
    "BatchingParameters": (
        ("max_batch_size", _INT64_VALUE),
        ("batch_timeout_micros", _INT64_VALUE),
        ("max_enqueued_batches", _INT64_VALUE),
        ("num_batch_threads", _INT64_VALUE),
        ("thread_pool_name", _STRING_VALUE),
        ("allowed_batch_sizes", [_FIELD.TYPE_INT64]),
        ("pad_variable_length_inputs", _FIELD.TYPE_BOOL),
    ),
    "PrometheusConfig": (("enable", _FIELD.TYPE_BOOL), ("path", _FIELD.TYPE_STRING)),
    "MonitoringConfig": (("prometheus_config", f".{_PACKAGE}.PrometheusConfig"),),
}


def _add_field(message, number, name, kind):
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if isinstance(kind, list):
        field.label, kind = _FIELD.LABEL_REPEATED, kind[0]
    if isinstance(kind, str):
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
    else:
        field.type = kind


def _messages():
    """Message class by name."""
    wrappers = wrappers_pb2.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/parameters.proto", package=_PACKAGE, syntax="proto3", dependency=[wrappers.name]
    )
    for message_name, fields in _FIELDS_BY_MESSAGE.items():
        message = file.message_type.add(name=message_name)
        for number, (name, kind) in enumerate(fields, start=1):
            _add_field(message, number, name, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    # The function of protobuf 4 and later; the lane of Python 3.10 has version 3.
    to_class = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return {name: to_class(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS_BY_MESSAGE}


_MESSAGES = _messages()
BatchingParameters = _MESSAGES["BatchingParameters"]
MonitoringConfig = _MESSAGES["MonitoringConfig"]

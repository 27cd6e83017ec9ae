"""The generated modules are those of the protocols, read here by their grammar."""

import pathlib
import re

import pytest
from google.protobuf.descriptor import FieldDescriptor
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow_serving.apis import predict_pb2 as tensorflow_predict_pb2

from serving.protos import predict_pb2, ranker_pb2, ranker_pb2_grpc

TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def source_of(module):
    """The text that a module was generated from."""
    return pathlib.Path(module.__file__).with_name(pathlib.Path(module.DESCRIPTOR.name).name).read_text(encoding="utf-8")


def declared(source):
    """Fields by message as (type, name, number), and values by enum, from the text."""
    text = re.sub(r"//.*", "", source)
    text = re.sub(r"optional (\w+ \w+)", r"\1", text)
    text = re.sub(r"oneof \w+ \{([^}]*)\}", r"\1", text)
    messages = {
        name: {
            (" ".join(type_.split()), field, int(number))
            for type_, field, number in re.findall(r"([^;]+?)\s(\w+) = (\d+);", body)
        }
        for name, body in re.findall(r"message (\w+) \{([^}]*)\}", text)
    }
    enums = {
        name: {value: int(number) for value, number in re.findall(r"(\w+) = (\d+);", body)}
        for name, body in re.findall(r"enum (\w+) \{([^}]*)\}", text)
    }
    methods = re.findall(r"rpc (\w+)\((\w+)\) returns \((stream )?(\w+)\)", text)
    return messages, enums, methods


def type_of(field):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{type_of(key)}, {type_of(value)}>"
    name = TYPES.get(field.type) or (field.message_type or field.enum_type).name
    return f"repeated {name}" if field.label == FieldDescriptor.LABEL_REPEATED else name


@pytest.mark.parametrize("module", [predict_pb2, ranker_pb2])
def test_messages_and_enums(module):
    source, file = source_of(module), module.DESCRIPTOR
    messages, enums, _ = declared(source)
    assert file.package == re.search(r"package ([\w.]+);", source)[1]
    assert set(file.message_types_by_name) == set(messages)
    for name, message in file.message_types_by_name.items():
        assert {(type_of(field), field.name, field.number) for field in message.fields} == messages[name]
    assert {name: {v.name: v.number for v in enum.values} for name, enum in file.enum_types_by_name.items()} == enums


def test_kinds_of_a_value():
    assert ranker_pb2.Value.DESCRIPTOR.oneofs_by_name["kind"].fields[0].name == "text"


def test_the_shallow_request_is_that_of_tf_serving():
    for ours, theirs in (
        (predict_pb2.PredictRequest, tensorflow_predict_pb2.PredictRequest),
        (predict_pb2.Input, tensorflow_predict_pb2.PredictRequest.InputsEntry),
        (predict_pb2.TensorHead, tensor_pb2.TensorProto),
        (predict_pb2.TensorShape, tensor_shape_pb2.TensorShapeProto),
        (predict_pb2.Dim, tensor_shape_pb2.TensorShapeProto.Dim),
    ):
        for field in ours.DESCRIPTOR.fields:
            assert theirs.DESCRIPTOR.fields_by_name[field.name].number == field.number


def test_methods():
    _, _, methods = declared(source_of(ranker_pb2))
    service = ranker_pb2.DESCRIPTOR.services_by_name["Ranker"]
    assert [(each.name, each.input_type.name, each.output_type.name) for each in service.methods] == [
        (name, request, response) for name, request, _, response in methods
    ]
    source = pathlib.Path(ranker_pb2_grpc.__file__).read_text(encoding="utf-8")
    for name, _, stream, _ in methods:
        kind = "unary_stream" if stream else "unary_unary"
        assert f"self.{name} = channel.{kind}(\n                '/{ranker_pb2.DESCRIPTOR.package}.Ranker/{name}'" in source

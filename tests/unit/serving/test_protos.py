"""The generated modules are those of ranker.proto, read here by its grammar."""

import pathlib
import re

from google.protobuf.descriptor import FieldDescriptor

from serving.protos import ranker_pb2, ranker_pb2_grpc

PROTO = pathlib.Path(ranker_pb2.__file__).with_name("ranker.proto").read_text(encoding="utf-8")
TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BOOL: "bool",
}


def declared():
    """Fields by message as (type, name, number), and values by enum, from the text."""
    text = re.sub(r"//.*", "", PROTO)
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


def test_messages_and_enums():
    messages, enums, _ = declared()
    file = ranker_pb2.DESCRIPTOR
    assert file.package == re.search(r"package ([\w.]+);", PROTO)[1]
    assert set(file.message_types_by_name) == set(messages)
    for name, message in file.message_types_by_name.items():
        assert {(type_of(field), field.name, field.number) for field in message.fields} == messages[name]
    assert {name: {v.name: v.number for v in enum.values} for name, enum in file.enum_types_by_name.items()} == enums
    assert ranker_pb2.Value.DESCRIPTOR.oneofs_by_name["kind"].fields[0].name == "text"


def test_methods():
    _, _, methods = declared()
    service = ranker_pb2.DESCRIPTOR.services_by_name["Ranker"]
    assert [(each.name, each.input_type.name, each.output_type.name) for each in service.methods] == [
        (name, request, response) for name, request, _, response in methods
    ]
    source = pathlib.Path(ranker_pb2_grpc.__file__).read_text(encoding="utf-8")
    for name, _, stream, _ in methods:
        kind = "unary_stream" if stream else "unary_unary"
        assert f"self.{name} = channel.{kind}(\n                '/{ranker_pb2.DESCRIPTOR.package}.Ranker/{name}'" in source

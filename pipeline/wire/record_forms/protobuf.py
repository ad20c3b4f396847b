"""Records by the .proto file of a registry.

Protobuf finds fields by number and keeps those that it does not know. So a record is read by the output's message
straight away, where the two agree on what each number means.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pelton.pipeline.errors import SchemaMismatch, UnfitAnswer
from pelton.pipeline.wire.record_forms.framing import joined_indexes, split_indexes
from pelton.pipeline.wire.record_forms.protoc import compiled_files
from pelton.pipeline.wire.record_forms.schema import RegisteredSchema

if TYPE_CHECKING:  # of the extra pelton[schemas]
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

Indexes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProtobufSchema:
    """A `Schema`. `messages` are those of the schema's own file, by their way through it."""

    pool: "DescriptorPool"
    messages: "Mapping[Indexes, Descriptor]"

    @classmethod
    def of(cls, registered: RegisteredSchema) -> "ProtobufSchema":
        """Raises `UnusableSchema`."""
        from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415  # of the extra pelton[schemas]

        files = compiled_files(registered)
        pool = DescriptorPool()
        for file in files:
            pool.AddSerializedFile(file.SerializeToString())
        own = pool.FindFileByName(files[-1].name)
        # The order is that of the file; `message_types_by_name` need not keep it.
        tops = [own.message_types_by_name[message.name] for message in files[-1].message_type]
        return cls(pool, dict(_numbered(tops, ())))

    def values(self, payload: bytes) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict  # noqa: PLC0415  # as above

        message = self._read(payload)
        try:
            return MessageToDict(
                message,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
                descriptor_pool=self.pool,
            )
        except Exception as error:  # noqa: BLE001  # of values that Protobuf's JSON has none for, such as an unknown Any
            raise SchemaMismatch(f"The record has no form in JSON: {error}.") from None

    def lacking(self, names: Collection[str]) -> list[str]:
        """Those that no message has: which message a record is, the record says."""
        known = {field.name for message in self.messages.values() for field in message.fields}
        return [name for name in names if name not in known]

    def check(self, source: "ProtobufSchema", payload: bytes, names: Collection[str]) -> None:
        _, message = self._taken_over(source, payload)
        own = message.DESCRIPTOR.fields_by_name
        if lacking := [name for name in names if name not in own]:
            raise SchemaMismatch(
                f"The message {message.DESCRIPTOR.full_name} has no field {lacking[0]!r} for the answer: have "
                "output.subject of the map name a subject whose schema has it.",
                param=lacking[0],
            )

    def merged(self, source: "ProtobufSchema", payload: bytes, added: Mapping[str, Any]) -> bytes:
        from google.protobuf.json_format import ParseDict  # noqa: PLC0415  # as above

        indexes, message = self._taken_over(source, payload)
        own = message.DESCRIPTOR.fields_by_name
        for name in added:
            if name in own:
                message.ClearField(name)
        try:
            ParseDict(dict(added), message, descriptor_pool=self.pool)
            return joined_indexes(indexes) + message.SerializeToString()
        except Exception as error:  # noqa: BLE001  # ParseError for values, EncodeError for fields that are required
            raise UnfitAnswer(
                f"The answer does not fit the message {message.DESCRIPTOR.full_name}: {error}. Ask for its form by "
                "request.response_format of the map, or change the schema."
            ) from None

    def _taken_over(self, source: "ProtobufSchema", payload: bytes) -> "tuple[Indexes, Message]":
        """The record as a message of this schema: the one of its own name, or the first. Raises `SchemaMismatch`."""
        given = source._descriptor(payload)  # noqa: SLF001  # another of the same kind
        if source is self:
            indexes, descriptor = given, self.messages[given]
        else:
            name = source.messages[given].full_name
            alike = [(at, message) for at, message in self.messages.items() if message.full_name == name]
            indexes, descriptor = (alike or list(self.messages.items()))[0]
            _see_that_numbers_agree(source.messages[given], descriptor, set())
        return indexes, _parsed(descriptor, split_indexes(payload)[1])

    def _read(self, payload: bytes) -> "Message":
        return _parsed(self.messages[self._descriptor(payload)], split_indexes(payload)[1])

    def _descriptor(self, payload: bytes) -> Indexes:
        indexes, _ = split_indexes(payload)
        if indexes not in self.messages:
            raise SchemaMismatch(f"The record's schema has no message at {list(indexes)}.")
        return indexes


def _numbered(messages: "Iterable[Descriptor]", way: Indexes) -> "Iterable[tuple[Indexes, Descriptor]]":
    for at, message in enumerate(messages):
        yield (*way, at), message
        yield from _numbered(message.nested_types, (*way, at))


def _parsed(descriptor: "Descriptor", data: bytes) -> "Message":
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # of the extra pelton[schemas]
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415  # likewise

    try:
        return GetMessageClass(descriptor).FromString(data)
    except DecodeError:
        raise SchemaMismatch(f"The record's bytes are no message {descriptor.full_name}.") from None


def _see_that_numbers_agree(one: "Descriptor", other: "Descriptor", seen: set[tuple[str, str]]) -> None:
    """Raises `SchemaMismatch` where a number means one thing in one message and another in the other."""
    if (one.full_name, other.full_name) in seen:
        return
    seen.add((one.full_name, other.full_name))
    for field in one.fields:
        theirs = other.fields_by_number.get(field.number)
        if theirs is None:
            continue  # an unknown field, which is kept
        if _meaning(field) != _meaning(theirs):
            raise SchemaMismatch(
                f"The field number {field.number} is {field.name!r} in {one.full_name} and {theirs.name!r} in the "
                "output's schema, or of another type there: an output's schema adds fields, under new numbers.",
                param=field.name,
            )
        if field.message_type is not None and theirs.message_type is not None:
            _see_that_numbers_agree(field.message_type, theirs.message_type, seen)


def _meaning(field: "FieldDescriptor") -> tuple[str, int, bool]:
    return field.name, field.type, field.is_repeated

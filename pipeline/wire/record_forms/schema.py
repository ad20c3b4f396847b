"""Schemas: as a registry gives them, and as they are used."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self


class UnusableSchema(Exception):
    """A schema that no record can be read with here; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A schema that another one needs, under the name by which it does."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """`kind` is the registry's word: AVRO, PROTOBUF or JSON. A reference comes before those that need it."""

    id: int
    kind: str
    text: str
    references: tuple[Reference, ...] = ()


class Schema(Protocol):
    """A schema ready for use. Called from threads; shared between them.

    Payloads are values without the frame.
    """

    def values(self, payload: bytes) -> dict[str, Any]:
        """The fields, of JSON's types. Raises `SchemaMismatch`."""

    def lacking(self, names: Collection[str]) -> list[str]:
        """Which of these fields the schema does not have."""

    def check(self, source: Self, payload: bytes, names: Collection[str]) -> None:
        """See that what was written by `source` can be written by this schema, but for the fields of these names.

        Raises `SchemaMismatch`.
        """

    def merged(self, source: Self, payload: bytes, added: Mapping[str, Any]) -> bytes:
        """What was written by `source`, written by this schema with these fields in it.

        Raises `SchemaMismatch`, and `UnfitAnswer` for values that the schema does not allow.
        """

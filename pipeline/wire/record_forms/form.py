"""What a map needs of a record's form."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol


class RecordForm(Protocol):
    """How a record's value is read, and written with an answer in it. Called from threads; shared between them."""

    def values(self, value: bytes) -> dict[str, Any]:
        """The record's fields, of JSON's types, for templates. Raises `RequestError`."""

    def check(self, value: bytes, names: Collection[str]) -> None:
        """See that fields of these names can be added to the record. Raises `SchemaMismatch`."""

    def merged(self, value: bytes, added: Mapping[str, Any]) -> bytes:
        """The record with these fields. Raises `UnfitAnswer` for values that it cannot hold."""

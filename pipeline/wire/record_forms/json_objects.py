"""Records that are JSON objects."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from pelton.pipeline.errors import NotAnObject
from pelton.pipeline.wire.decoding import load_json


class JsonObjects:
    """A `RecordForm`. What is not replaced stays byte by byte as it was."""

    def values(self, value: bytes) -> dict[str, Any]:
        read = load_json(value, "record")
        if not isinstance(read, dict):
            raise NotAnObject("The record must be a JSON object: the answer becomes one of its fields.")
        return read

    def check(self, value: bytes, names: Collection[str]) -> None:
        """An object has room for any field."""

    def merged(self, value: bytes, added: Mapping[str, Any]) -> bytes:
        if self.values(value).keys().isdisjoint(added):
            head = value.strip(b" \t\r\n")[:-1].rstrip(b" \t\r\n")
            comma = b"" if head.endswith(b"{") or not added else b","
            return head + comma + orjson.dumps(added)[1:]
        replaced = {**json.loads(value), **added}  # its integers have no limit, unlike orjson's
        return json.dumps(replaced, ensure_ascii=False, separators=(",", ":")).encode()


JSON_OBJECTS = JsonObjects()

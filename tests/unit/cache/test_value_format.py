"""Stored values: what was put in comes out, and nothing else ever does."""

import struct
import zlib
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.cache import value_format
from pelton.cache.value_format import COMPRESS_FROM_BYTES, MAX_VALUE_BYTES, Damaged, decode, encode

KEY = "pelton:a1:model:tenant:00ff"
stored_values = st.binary(max_size=600) | st.binary(min_size=1, max_size=8).map(lambda part: part * 100)
moments = st.integers(0, 2**63)


@given(stored_values, moments)
def test_every_value_comes_back(value, expires_ms):
    """Byte for byte, with the moment its life ends."""
    assert decode(KEY, encode(KEY, value, expires_ms)) == (value, expires_ms)


def test_what_repeats_is_compressed():
    """From some size on; and what does not get shorter is left as it is."""
    repeated = b'{"role":"assistant"}' * 100
    assert len(encode(KEY, repeated, 0)) < len(repeated) / 10
    random = blake2b(b"").digest() * 4
    assert encode(KEY, random[: COMPRESS_FROM_BYTES - 1], 0).find(random[: COMPRESS_FROM_BYTES - 1]) > 0
    mixed = b"".join(blake2b(bytes([index])).digest() for index in range(20))
    assert len(encode(KEY, mixed, 0)) < len(mixed) + 30


@given(stored_values, st.data())
def test_any_flipped_bit_is_noticed(value, data):
    """Wherever it is: in the header, the value or the checksum."""
    stored = bytearray(encode(KEY, value, 1))
    place = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[place // 8] ^= 1 << place % 8
    with pytest.raises(Damaged):
        decode(KEY, bytes(stored))


@given(stored_values, st.data())
def test_a_missing_or_added_end_is_noticed(value, data):
    """A truncated value, an empty one, and one with something behind it."""
    stored = encode(KEY, value, 1)
    for wrong in (stored[: data.draw(st.integers(0, len(stored) - 1))], stored + data.draw(st.binary(min_size=1))):
        with pytest.raises(Damaged):
            decode(KEY, wrong)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_value(stored):
    """What somebody else wrote under our key."""
    with pytest.raises(Damaged):
        decode(KEY, stored)


@pytest.mark.parametrize("stored", [5, 1.5, [b"value"], "value", ValueError("an error among the values")])
def test_what_is_no_string_is_no_value(stored):
    """Whatever speaks Redis' protocol may answer with it."""
    with pytest.raises(Damaged):
        decode(KEY, stored)


def test_another_keys_value_is_no_value():
    """Even a perfect one, as of another tenant."""
    with pytest.raises(Damaged, match="checksum"):
        decode(KEY, encode(KEY.replace("tenant", "tenanu"), b"secret", 1))


@pytest.mark.parametrize(
    ("field", "value"), [("magic", b"XX"), ("version", value_format.VERSION + 1), ("kind", b"r1"), ("kind", b"a2")]
)
def test_another_version_or_kind_is_no_value(field, value):
    """Although its checksum is right: it was written by another version of this code."""
    header = {"magic": value_format.MAGIC, "version": value_format.VERSION, "kind": b"a1", field: value}
    with pytest.raises(Damaged, match="not what is stored"):
        decode(KEY, _signed(_header(**header, compressed=False, size=2) + b"ab"))


@pytest.mark.parametrize(
    ("packed", "size", "reason"),
    [
        (zlib.compress(bytes(100_000)), 10, "does not end"),
        (zlib.compress(bytes(10)), 11, "should be 11"),
        (zlib.compress(bytes(10)) + b"more", 10, "does not end"),
        (zlib.compress(bytes(100))[:-6], 100, "does not end"),
        (b"no zlib", 10, "cannot be unpacked"),
        (b"", MAX_VALUE_BYTES + 1, "claims to be"),
    ],
)
def test_a_false_length_is_no_value(packed, size, reason):
    """What unpacks to more than it says is not unpacked beyond that, nor is what says too much."""
    with pytest.raises(Damaged, match=reason):
        decode(KEY, _signed(_header(compressed=True, size=size) + packed))


def test_a_huge_value_is_refused():
    """It could not be read again."""
    with pytest.raises(ValueError, match="may have"):
        encode(KEY, bytes(MAX_VALUE_BYTES + 1), 0)


def _header(*, magic=value_format.MAGIC, version=value_format.VERSION, kind=b"a1", compressed, size):
    return struct.pack(">2sB2s?QI", magic, version, kind, compressed, 0, size)


def _signed(content):
    return content + blake2b(content + KEY.encode(), digest_size=8).digest()

"""Stored values: what was put in comes out, and nothing else ever does."""

import struct
import tracemalloc
import zlib
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.cache import value_format
from pelton.cache.value_format import COMPRESS_FROM_BYTES, PLAIN, Damaged, ValueFormat

MOST = 1_000_000
PLAINLY, SEALED = ValueFormat(MOST), ValueFormat(MOST, b"secret")
encode, decode = PLAINLY.encode, PLAINLY.decode
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


@pytest.mark.parametrize(("field", "value"), [("magic", b"XX"), ("version", 7), ("kind", b"r1"), ("kind", b"a2")])
def test_another_version_or_kind_is_no_value(field, value):
    """Although its checksum is right: it was written by another version of this code."""
    header = {"magic": value_format.MAGIC, "version": PLAIN, "kind": b"a1", field: value}
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
        (b"", MOST + 1, "claims to be"),
    ],
)
def test_a_false_length_is_no_value(packed, size, reason):
    """What unpacks to more than it says is not unpacked beyond that, nor is what says too much."""
    with pytest.raises(Damaged, match=reason):
        decode(KEY, _signed(_header(compressed=True, size=size) + packed))


def test_a_huge_value_is_refused():
    """It could not be read again."""
    with pytest.raises(ValueError, match="are kept under one key"):
        encode(KEY, bytes(MOST + 1), 0)


@given(stored_values, moments, st.binary(min_size=1), st.binary(min_size=1))
def test_a_sealed_value_is_read_with_its_secret_only(value, expires_ms, secret, other):
    """With another, or without one, it is damaged; so is a plain one where there is a secret."""
    sealed = ValueFormat(MOST, secret)
    stored = sealed.encode(KEY, value, expires_ms)
    assert sealed.decode(KEY, stored) == (value, expires_ms)
    for reader, written in ((PLAINLY, stored), (sealed, encode(KEY, value, expires_ms))):
        with pytest.raises(Damaged):
            reader.decode(KEY, written)
    if secret != other:
        with pytest.raises(Damaged, match="another secret"):
            ValueFormat(MOST, other).decode(KEY, stored)


def test_who_sets_a_secret_is_told_why_nothing_is_read():
    """By the version, so that the log of a session that ended says what was changed."""
    with pytest.raises(Damaged, match=r"without cache\.secret"):
        SEALED.decode(KEY, encode(KEY, b"value", 0))


@given(stored_values, st.data())
def test_any_flipped_bit_of_a_sealed_value_is_noticed(value, data):
    stored = bytearray(SEALED.encode(KEY, value, 1))
    place = data.draw(st.integers(0, len(stored) * 8 - 1))
    stored[place // 8] ^= 1 << place % 8
    with pytest.raises(Damaged):
        SEALED.decode(KEY, bytes(stored))


def test_readers_unpack_no_more_than_writers_store():
    """A value of just the bound comes back; a bomb with a right checksum is refused for a fraction of its size."""
    longest = bytes(MOST)
    assert decode(KEY, encode(KEY, longest, 0)) == (longest, 0)
    bomb = zlib.compress(bytes(64 * MOST))
    for size in (10, MOST, 64 * MOST, 2**32 - 1):
        stored = _signed(_header(compressed=True, size=size) + bomb)
        tracemalloc.start()
        with pytest.raises(Damaged):
            decode(KEY, stored)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * MOST
    with pytest.raises(Damaged, match="more than are ever stored"):
        decode(KEY, bytes(MOST + 100))


def _header(*, magic=value_format.MAGIC, version=PLAIN, kind=b"a1", compressed, size):
    return struct.pack(">2sB2s?QI", magic, version, kind, compressed, 0, size)


def _signed(content):
    return content + blake2b(content + KEY.encode(), digest_size=8).digest()

"""Inputs that are nearly right: good ones cut, joined, flipped and filled with what parsers stumble over."""

from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 4_096
"""Length is bounded elsewhere, and tested there: here many short inputs find more than few long ones."""

ODD = (
    *(b"", b"\x00", b"\xff", b"\x80", b"\n", b"\r\n", b"\x1b[2J", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u202e".encode()),
    *(b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b"{}", b"[]", b'""', b"[[[[", b'{"a":' * 8, b"9" * 40),
    *(b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x80\x00\x00\x00", b"2147483648", b"9223372036854775808"),
    *(b'"role"', b'"content"', b'"messages"', b'"type":"text"', b"\\ud800", b"\\u0000", b"acme", b"requests-0-0"),
    *(b"18446744073709551616", b"3:40"),
)  # fmt: skip


def mutated(rng: Random, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds` after a few changes, none among them too."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        rng.choice(_CHANGES)(rng, data, seeds)
    return bytes(data[:MAX_BYTES])


def _flip(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = rng.randint(0, len(data))
    del data[start : start + rng.choice((1, 2, 8, MAX_BYTES))]


def _insert(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.choice(ODD)


def _overwrite(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at, odd = rng.randint(0, len(data)), rng.choice(ODD)
    data[at : at + len(odd)] = odd


def _repeat(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = rng.randint(0, len(data))
    part = data[start : start + rng.choice((1, 4, 32))]
    data[start:start] = part * rng.choice((1, 2, 16))


def _splice(rng: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


_CHANGES: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    *(_flip, _cut, _insert, _overwrite, _repeat, _splice),
)

"""Decompression with a bound: the broker limits what is sent, not what it unpacks to."""

import struct
import zlib
from collections.abc import Callable

import cramjam

MAX_BATCH_BYTES = 32 * 1_048_576
"""No batch may unpack to more. Producers gather a megabyte or so to a batch before they compress it."""

_NONE, _GZIP, _SNAPPY, _LZ4, _ZSTD = range(5)
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_FIRST_GUESS = 8
"""A batch is given so many times its size to unpack into, and twice as much each time that is too little."""
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEAD = 16
"""Magic, version and compatible version: how Java's snappy begins a stream of blocks, each led by its length."""


class Unpackable(Exception):
    """What is compressed cannot be unpacked; the message says why."""


class TooMuch(Unpackable):
    """It unpacks to more than is allowed."""


def unpacked(codec: int, data: bytes, most: int = MAX_BATCH_BYTES) -> bytes:
    """The records of a batch, at most so many bytes of them. Raises `Unpackable`."""
    try:
        if codec == _NONE:
            return data
        if codec == _GZIP:
            return _gunzipped(data, most)
        if codec == _SNAPPY:
            return _unsnapped(data, most)
        if codec == _LZ4:
            return _grown(cramjam.lz4.decompress_into, data, most)
        if codec == _ZSTD:
            return _grown(cramjam.zstd.decompress_into, data, most)
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
        raise Unpackable(f"it cannot be decompressed ({error})") from None
    raise Unpackable(f"its compression, number {codec}, is unknown")


def _gunzipped(data: bytes, most: int) -> bytes:
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    out = decompressor.decompress(data, most + 1)
    if len(out) > most:
        raise _too_much(most)
    if not decompressor.eof:
        raise Unpackable("its compressed data is cut off")
    return out


def _unsnapped(data: bytes, most: int) -> bytes:
    if not data.startswith(_XERIAL):
        return _block(data, most)
    blocks: list[bytes] = []
    left, at = most, _XERIAL_HEAD
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        if size <= 0:
            raise Unpackable("its compressed data is damaged")
        blocks.append(_block(data[at + 4 : at + 4 + size], left))
        left -= len(blocks[-1])
        at += 4 + size
    return b"".join(blocks)


def _block(data: bytes, most: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > most:
        raise _too_much(most)
    return bytes(cramjam.snappy.decompress_raw(data))


def _grown(into: Callable[[bytes, bytearray], int], data: bytes, most: int) -> bytes:
    """Unpack into a buffer that is doubled until it suffices: neither format has to say its size beforehand."""
    size = min(most, _FIRST_GUESS * len(data))
    while True:
        out = bytearray(size)
        try:
            return bytes(memoryview(out)[: into(data, out)])
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):  # the one message that says that the buffer was too small
                raise
        if size == most:
            raise _too_much(most)
        size = min(most, 2 * size)


def _too_much(most: int) -> TooMuch:
    return TooMuch(f"it unpacks to more than {most:,} bytes")

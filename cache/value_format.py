"""How a value lies in Redis: a header that can be checked, then the value, compressed where that helps.

The checksum covers the key as well: a value that came to lie under another key is as damaged as one with a flipped bit.
"""

import struct
import time
import zlib
from hashlib import blake2b

from pelton.cache.keys import kind_of

MAGIC = b"Pe"
VERSION = 1
MAX_VALUE_BYTES = 64 * 1024 * 1024
"""Nothing longer is stored, nor unpacked: a few bytes of zlib can claim any size."""
COMPRESS_FROM_BYTES = 256
_LEVEL = 1
"""Of JSON with words in it, the higher levels save a few percent more and take several times as long."""
_HEADER = struct.Struct(">2sB2s?QI")
"""Magic, version, kind, whether compressed, end of life in Unix milliseconds, length once unpacked."""
_CHECKSUM_BYTES = 8


class Damaged(ValueError):
    """Bytes that are no value of the key they lay under; the message says why."""


def encode(key: str, value: bytes, expires_ms: int) -> bytes:
    """Raises `ValueError` for a value above `MAX_VALUE_BYTES`."""
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"{len(value)} bytes are more than the {MAX_VALUE_BYTES} that a cached value may have")
    packed = zlib.compress(value, _LEVEL) if len(value) >= COMPRESS_FROM_BYTES else value
    shorter = len(packed) < len(value)
    header = _HEADER.pack(MAGIC, VERSION, kind_of(key).encode(), shorter, expires_ms, len(value))
    content = header + (packed if shorter else value)
    return content + _checksum(key, content)


def decode(key: str, stored: object) -> tuple[bytes, int]:
    """The value and when its life ends (Unix milliseconds). Raises `Damaged`, whatever it is that Redis gave."""
    if not isinstance(stored, bytes):
        raise Damaged(f"{type(stored).__name__} is no string of bytes")
    content, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
    if len(content) < _HEADER.size:
        raise Damaged(f"{len(stored)} bytes are less than a header and a checksum")
    if checksum != _checksum(key, content):
        raise Damaged("the checksum is another value's")
    magic, version, kind, compressed, expires_ms, size = _HEADER.unpack_from(content)
    if (magic, version, kind) != (MAGIC, VERSION, kind_of(key).encode()):
        raise Damaged(f"{magic!r}, version {version}, kind {kind!r} is not what is stored under this key")
    if size > MAX_VALUE_BYTES:
        raise Damaged(f"it claims to be {size} bytes long")
    value = content[_HEADER.size :]
    if compressed:
        value = _unpack(value, size)
    if len(value) != size:
        raise Damaged(f"it is {len(value)} bytes long and should be {size}")
    return value, expires_ms


def now_ms() -> int:
    """The clock that `expires_ms` is read on: the wall's, since other machines read it too."""
    return time.time_ns() // 1_000_000


def _unpack(packed: bytes, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        value = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        raise Damaged(f"it cannot be unpacked: {error}") from None
    if not unpacker.eof or unpacker.unused_data:
        raise Damaged("what was compressed does not end where the value does")
    return value


def _checksum(key: str, content: bytes) -> bytes:
    digest = blake2b(content, digest_size=_CHECKSUM_BYTES)
    digest.update(key.encode())
    return digest.digest()

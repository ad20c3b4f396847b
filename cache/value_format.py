"""How a value lies in Redis: a header that can be checked, then the value, compressed where that helps.

The checksum covers the key as well: a value that came to lie under another key is as damaged as one with a flipped bit.
With a secret (`cache.secret`) nobody else can make it, so that what is read was written by a worker.
"""

import hmac
import struct
import time
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from pelton.cache.keys import kind_of
from pelton.pipeline.settings.cache import CacheSettings

MAGIC = b"Pe"
PLAIN, KEYED = 1, 2
"""Versions: with a checksum that anybody can make, and with one that takes the secret."""
COMPRESS_FROM_BYTES = 256
_LEVEL = 1
"""Of JSON with words in it, the higher levels save a few percent more and take several times as long."""
_HEADER = struct.Struct(">2sB2s?QI")
"""Magic, version, kind, whether compressed, end of life in Unix milliseconds, length once unpacked."""
_CHECKSUM_BYTES = {PLAIN: 8, KEYED: 16}
MAX_AROUND_BYTES = _HEADER.size + max(_CHECKSUM_BYTES.values())
"""What a value takes in Redis besides its own bytes."""


class Damaged(ValueError):
    """Bytes that are no value of the key they lay under; the message says why."""


@dataclass(frozen=True, slots=True)
class ValueFormat:
    """Values of at most `most` bytes, unpacked: no more is written, and no more is read.

    A few bytes of zlib can claim any size, so the bound holds for reading above all.
    """

    most: int
    secret: bytes | None = None

    @classmethod
    def of(cls, settings: CacheSettings, most: int) -> Self:
        secret = None if settings.secret is None else settings.secret.get_secret_value().encode()
        return cls(most, secret)

    @property
    def most_stored(self) -> int:
        """Bytes in Redis of the longest value: none is longer compressed than it is plain."""
        return self.most + MAX_AROUND_BYTES

    def encode(self, key: str, value: bytes, expires_ms: int) -> bytes:
        """Raises `ValueError` for a value that is too long."""
        if len(value) > self.most:
            raise ValueError(f"{len(value):,} bytes are more than the {self.most:,} that are kept under one key")
        packed = zlib.compress(value, _LEVEL) if len(value) >= COMPRESS_FROM_BYTES else value
        shorter = len(packed) < len(value)
        header = _HEADER.pack(MAGIC, self._version, kind_of(key).encode(), shorter, expires_ms, len(value))
        content = header + (packed if shorter else value)
        return content + self._checksum(key, content)

    def decode(self, key: str, stored: object) -> tuple[bytes, int]:
        """The value and when its life ends (Unix milliseconds). Raises `Damaged`, whatever it is that Redis gave."""
        if not isinstance(stored, bytes):
            raise Damaged(f"{type(stored).__name__} is no string of bytes")
        if len(stored) > self.most_stored:
            raise Damaged(f"{len(stored):,} bytes are more than are ever stored there")
        end = max(0, len(stored) - _CHECKSUM_BYTES[self._version])
        content, checksum = stored[:end], stored[end:]
        if not hmac.compare_digest(checksum, self._checksum(key, content)):
            raise Damaged(self._why_not_ours(stored))
        if len(content) < _HEADER.size:
            raise Damaged(f"{len(stored)} bytes are less than a header and a checksum")
        magic, version, kind, compressed, expires_ms, size = _HEADER.unpack_from(content)
        if (magic, version, kind) != (MAGIC, self._version, kind_of(key).encode()):
            raise Damaged(f"{magic!r}, version {version}, kind {kind!r} is not what is stored under this key")
        if size > self.most:
            raise Damaged(f"it claims to be {size:,} bytes long")
        value = content[_HEADER.size :]
        if compressed:
            value = _unpack(value, size)
        if len(value) != size:
            raise Damaged(f"it is {len(value)} bytes long and should be {size}")
        return value, expires_ms

    @property
    def _version(self) -> int:
        return PLAIN if self.secret is None else KEYED

    def _checksum(self, key: str, content: bytes) -> bytes:
        secret = b"" if self.secret is None else blake2b(self.secret).digest()
        digest = blake2b(content, digest_size=_CHECKSUM_BYTES[self._version], key=secret)
        digest.update(key.encode())
        return digest.digest()

    def _why_not_ours(self, stored: bytes) -> str:
        if self.secret is not None and stored.startswith(MAGIC + bytes([PLAIN])):
            return "it was written without cache.secret"
        if self.secret is None and stored.startswith(MAGIC + bytes([KEYED])):
            return "it was written with a cache.secret"
        return "the checksum is another value's, or made with another secret"


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

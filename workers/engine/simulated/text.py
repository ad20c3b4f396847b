"""The simulated engine's language: a reversible code between text and token ids, and how an answer begins."""

import hashlib
import struct
from collections.abc import Sequence

_BYTES_PER_TOKEN = 4
_FULL_TOKEN = 1 << 8 * _BYTES_PER_TOKEN
_WORD = _FULL_TOKEN - 1


def encode_text(text: str) -> list[int]:
    """Token ids of a text: 4 bytes of UTF-8 each, the last one up to 4. Ids are positive and below 2**33."""
    data = text.encode(errors="replace")
    full, rest = divmod(len(data), _BYTES_PER_TOKEN)
    tokens = [_FULL_TOKEN | word for word in struct.unpack_from(f">{full}I", data)]
    return [*tokens, int.from_bytes(b"\x01" + data[-rest:])] if rest else tokens


def decode_tokens(tokens: Sequence[int]) -> str:
    """The text of `encode_text`'s ids, and of concatenations of such; what is no character becomes U+FFFD."""
    # The highest byte of an id is a 1 that marks where its text begins; nearly all ids are full.
    if tokens and min(tokens) >= _FULL_TOKEN:
        words = [token & _WORD for token in tokens]
        return struct.pack(f">{len(words)}I", *words).decode(errors="replace")
    return b"".join(map(token_content, tokens)).decode(errors="replace")


def token_content(token: int) -> bytes:
    """The bytes of one id."""
    return token.to_bytes((token.bit_length() + 7) // 8)[1:]


def signature(prompt_text: str) -> str:
    """How the answer to this prompt begins: `sim:` and the first 16 hexadecimal digits of the prompt's SHA-256."""
    return f"sim:{hashlib.sha256(prompt_text.encode(errors='replace')).hexdigest()[:16]}"

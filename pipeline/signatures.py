"""Keyed checksums (HMAC-SHA256): what shows that bytes were written by somebody who has the secret."""

import hmac
from collections.abc import Iterable

from pelton.pipeline.settings.kafka import KafkaSettings

SIGNATURE = "pelton-signature"
"""The header with the signature of a record that only the group's workers and operators may write."""
_LENGTH_BYTES = 8


def group_secret(kafka: KafkaSettings) -> bytes | None:
    """What such records are signed with; None where they are not."""
    return None if kafka.group_secret is None else kafka.group_secret.get_secret_value().encode()


def sign(secret: bytes, purpose: str, fields: Iterable[bytes | None]) -> bytes:
    """The signature of `fields`, in order. One made for a `purpose` holds for no other.

    Each field goes in behind its length, so that no two lists of fields are the same bytes; None is not b"".
    """
    digest = hmac.new(secret, digestmod="sha256")
    for field in (purpose.encode(), *fields):
        digest.update((-1 if field is None else len(field)).to_bytes(_LENGTH_BYTES, "big", signed=True))
        digest.update(field or b"")
    return digest.digest()


def holds(signature: bytes | None, secret: bytes, purpose: str, fields: Iterable[bytes | None]) -> bool:
    """Whether it is the one that `sign` makes; takes as long for a nearly right one as for any."""
    return signature is not None and hmac.compare_digest(signature, sign(secret, purpose, fields))

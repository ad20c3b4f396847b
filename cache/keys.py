"""Names in Redis, and the digests that make them: two requests share a key only if they must get the same answer.

    pelton:a1:<model>:<tenant>:<digest>     an answer
    pelton:r1:<tenant>:<digest>             a whole reply, kept for a sender that sends its request again
    pelton:l1:<the answer's key>            the lease of whoever generates that answer

Model and tenant are percent-encoded, so that no name can act as a separator or as a pattern. The figure after a kind's
letter is the version of what is stored under it: a change there makes old values unreachable instead of misread.
"""

import functools
from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, unquote

import orjson

PREFIX = "pelton"
DIGEST_SIZE = 32
_LENGTH_BYTES = 8
_ANY = "*"


class Kind(StrEnum):
    """What is stored under a key; its second part."""

    ANSWER = "a1"
    RESEND = "r1"
    LEASE = "l1"


def answer_key(*, model: str, tenant: str, fingerprint: bytes, prompt: str, sampling: Mapping[str, Any]) -> str:
    """The key of a request's answer.

    `prompt` is the rendered one, history and template included. `fingerprint` stands for everything about engine and
    model that changes answers, `sampling` for everything about the request that does (JSON values). `tenant` is empty
    where answers are shared by all.
    """
    fields = (model.encode(), tenant.encode(), fingerprint, prompt.encode(), _canonical(sampling))
    return f"{PREFIX}:{Kind.ANSWER}:{_quoted(model)}:{_quoted(tenant)}:{_digest(Kind.ANSWER, fields)}"


def resend_key(  # noqa: PLR0913  # what makes two requests one, each by name
    *,
    tenant: str,
    reply_topic: str,
    reply_partition: int | None,
    correlation_id: bytes,
    body: bytes,
    session: str = "",
) -> str:
    """The key of a sender's own reply: the same body, under the same id, to be answered to the same place.

    In a conversation the same words come again as another turn: `session` keeps those of two sessions apart.
    """
    partition = b"" if reply_partition is None else str(reply_partition).encode()
    fields = (tenant.encode(), reply_topic.encode(), partition, correlation_id, body, session.encode())
    return f"{PREFIX}:{Kind.RESEND}:{_quoted(tenant)}:{_digest(Kind.RESEND, fields)}"


def lease_key(key: str) -> str:
    """The key of the lease on generating what belongs under `key`."""
    return f"{PREFIX}:{Kind.LEASE}:{key}"


def kind_of(key: str) -> str:
    """The second part of a key: one of `Kind`, if it was made here."""
    return key.split(":", 2)[1]


def owner_of(key: str) -> tuple[str | None, str] | None:
    """Model (None for a resend) and tenant of an answer's or a resend's key; None for any other string."""
    match key.split(":"):
        case [prefix, Kind.ANSWER, model, tenant, _] if prefix == PREFIX:
            return unquote(model), unquote(tenant)
        case [prefix, Kind.RESEND, tenant, _] if prefix == PREFIX:
            return None, unquote(tenant)
    return None


def pattern(kind: Kind, *, model: str | None = None, tenant: str | None = None) -> str:
    """What SCAN finds the keys of answers or resends by; None stands for all. A resend's key names no model."""
    whose = _ANY if tenant is None else _quoted(tenant)
    if kind is Kind.RESEND:
        return f"{PREFIX}:{kind}:{whose}:{_ANY}"
    return f"{PREFIX}:{kind}:{_ANY if model is None else _quoted(model)}:{whose}:{_ANY}"


@functools.lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return quote(name, safe="")


def _canonical(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(fields), option=orjson.OPT_SORT_KEYS)


def _digest(kind: Kind, fields: tuple[bytes, ...]) -> str:
    """Each field goes in behind its length, so that no two lists of fields run together into the same bytes."""
    digest = blake2b(digest_size=DIGEST_SIZE, person=f"{PREFIX}:{kind}".encode())
    for field in fields:
        digest.update(len(field).to_bytes(_LENGTH_BYTES, "big"))
        digest.update(field)
    return digest.hexdigest()

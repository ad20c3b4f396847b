"""Whose request it is. The header `pelton-tenant` is believed only as far as nothing binds a tenant to more than that.

Two ways to bind, both by setting, both optional. *By topic*: who may write to a topic is the broker's to say (ACLs), so
a topic of a tenant's own proves who wrote. *By key*: sender and workers share a secret for each tenant, with which the
sender signs what it sends. `SECURITY.md` says what a tenant could do without either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Literal

from pelton.pipeline.errors import TenantNotProven
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.records import Headers

Kind = Literal["request", "cancel"]


def signature(key: bytes, kind: Kind, headers: Mapping[str, bytes], value: bytes | None) -> bytes:
    """The value of the header `pelton-tenant-signature`: a lower-case hexadecimal HMAC-SHA256 over six lines.

    What the record is for, the tenant, the session, the correlation id in hexadecimal, the reply topic, and the SHA-256
    of the record's value in hexadecimal, with line feeds between them; what is not sent is an empty line.
    """
    identity = headers.get(contract.CORRELATION_ID) or headers.get(contract.CORRELATION_ID_ALIAS) or b""
    lines = (
        kind.encode(),
        headers.get(contract.TENANT, b""),
        headers.get(contract.SESSION, b""),
        identity.hex().encode(),
        headers.get(contract.REPLY_TOPIC, b""),
        sha256(value or b"").hexdigest().encode(),
    )
    return hmac_digest(key, b"\n".join(lines), "sha256").hex().encode()


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """`by_topic` names the tenant of a request topic, `keys` has the secrets of tenants."""

    by_topic: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, bytes] = field(default_factory=dict)

    def tenant_of_request(self, topic: str, claimed: str, headers: Mapping[str, bytes], value: bytes | None) -> str:
        """Whose a request is that claims to be of a tenant ("" where it claims nothing). Raises `TenantNotProven`."""
        owner = self.by_topic.get(topic)
        if owner is None:
            self.check("request", claimed, headers, value)
            return claimed
        if claimed not in ("", owner):
            raise TenantNotProven(
                f"Topic {topic!r} is that of tenant {owner!r}: leave header {contract.TENANT} out, or send the request "
                "to the topic of its tenant.",
                param=contract.TENANT,
            )
        return owner

    def check(self, kind: Kind, claimed: str, headers: Mapping[str, bytes], value: bytes | None) -> None:
        """Raises `TenantNotProven` for a claim that has to be proven and is not."""
        if not claimed or not self._must_prove(claimed):
            return
        key = self.keys.get(claimed)
        given = headers.get(contract.TENANT_SIGNATURE, b"")
        if key is None or not compare_digest(given, signature(key, kind, headers, value)):
            raise TenantNotProven(
                f"Header {contract.TENANT_SIGNATURE} does not prove that this is tenant {claimed[:128]!r}: sign with "
                "the tenant's key, or send to the tenant's own topic, as the operator of the workers has it.",
                param=contract.TENANT_SIGNATURE,
            )

    def signed(self, kind: Kind, headers: Headers, value: bytes | None) -> list[tuple[str, bytes | None]]:
        """The headers of a record that is to be sent, signed where the key of its tenant is known."""
        last = {name: given for name, given in dict(headers).items() if given is not None}
        key = self.keys.get(last.get(contract.TENANT, b"").decode("utf-8", "replace"))
        if key is None:
            return list(headers)
        others = [(name, given) for name, given in headers if name != contract.TENANT_SIGNATURE]
        return [*others, (contract.TENANT_SIGNATURE, signature(key, kind, last, value))]

    def _must_prove(self, tenant: str) -> bool:
        return bool(self.keys) or tenant in self.by_topic.values()

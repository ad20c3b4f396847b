"""API keys: who calls. The file has hashes only, so that reading it lets nobody in."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path

from pelton.producers.errors import ProducerError
from pelton.producers.http.errors import NoSuchKey

_SHA256_HEX = 64
_TENANT = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


class BadKeysFile(ProducerError):
    """The file of API keys cannot be used."""


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Tenant by hash of its key. Without any, everybody is let in as the same nameless tenant."""

    tenants: dict[bytes, str] = field(default_factory=dict)
    required: bool = False

    @classmethod
    def load(cls, path: Path | None) -> "ApiKeys":
        """Read lines of `tenant sha256-of-key`; blank lines and `#` comments are passed over. Raises `BadKeysFile`."""
        if path is None:
            return cls()
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadKeysFile(f"serve.keys_file {path} cannot be read: {error}.") from None
        tenants: dict[bytes, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.partition("#")[0].split()
            if words:
                digest, tenant = _entry(path, number, words)
                tenants[digest] = tenant
        return cls(tenants, required=True)

    def tenant(self, authorization: str | None) -> str:
        """The tenant of an `Authorization` header; "" where no keys are asked for. Raises `NoSuchKey`."""
        if not self.required:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise NoSuchKey("Send your API key as 'Authorization: Bearer KEY'.", code="missing_api_key")
        given = hashlib.sha256(key.strip().encode()).digest()
        found = ""
        for digest, tenant in self.tenants.items():  # all of them: the time taken tells nothing
            if hmac.compare_digest(digest, given):
                found = tenant
        if not found:
            raise NoSuchKey("This API key is not known here.", code="invalid_api_key")
        return found


def _entry(path: Path, number: int, words: list[str]) -> tuple[bytes, str]:
    tenant, digest = words[0], words[-1]
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        raw = b""
    if len(words) != 2 or len(digest) != _SHA256_HEX or not raw or not _TENANT.fullmatch(tenant):  # noqa: PLR2004  # a pair
        raise BadKeysFile(
            f"serve.keys_file {path}, line {number}: expected a tenant and the SHA-256 of its key in hex, "
            "as `printf %s KEY | sha256sum` prints it."
        )
    return raw, tenant

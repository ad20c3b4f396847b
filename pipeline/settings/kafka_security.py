"""The files by which Kafka's clients prove who they are: certificates, and tokens of OAuth 2."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

MAX_TOKEN_BYTES = 256 * 1024
"""Larger files are no token: Kafka itself takes no larger login."""


class TokenUnusable(OSError):
    """The token's file cannot be read or holds no token; the message names both. It may be written anew at any time."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the TLS of a client is made of, as the settings `kafka.ssl_...` name it."""

    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    keyfile_password: str | None = None

    def context(self) -> ssl.SSLContext:
        """A context that verifies the broker and shows the certificate. Raises `ValueError` that names the setting."""
        try:
            context = ssl.create_default_context(cafile=self.cafile)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"ssl_cafile: {self.cafile} holds no certificates in PEM ({_reason(error)})") from None
        if self.certfile is not None:
            self._show_certificate(context, self.certfile)
        return context

    def _show_certificate(self, context: ssl.SSLContext, certfile: Path) -> None:
        encrypted = False

        def password() -> str:
            nonlocal encrypted
            encrypted = True
            return self.keyfile_password or ""

        # Without a function to call, OpenSSL would ask for the password of an encrypted key on the terminal.
        try:
            context.load_cert_chain(certfile, self.keyfile, password)
        except (ssl.SSLError, OSError) as error:
            key = self.keyfile or certfile
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                raise ValueError(f"ssl_keyfile: {key} is not the key of ssl_certfile {certfile}") from None
            if encrypted and self.keyfile_password is None:
                raise ValueError(f"ssl_keyfile_password: {key} is encrypted, so its password is needed") from None
            if encrypted:
                raise ValueError(f"ssl_keyfile_password: it does not open {key}") from None
            raise ValueError(
                f"ssl_certfile and ssl_keyfile: {certfile} must hold a certificate and {key} its private key, both in "
                f"PEM ({_reason(error)})"
            ) from None


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token that something else keeps fresh, read again for each login. aiokafka takes it as a token provider."""

    path: Path

    async def token(self) -> str:
        """The token as it is now. Raises `TokenUnusable`."""
        return await asyncio.to_thread(self.read)

    def read(self) -> str:
        """As `token`, in this thread."""
        try:
            with self.path.open("rb") as file:
                token = file.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
        except OSError as error:
            raise TokenUnusable(f"{self.path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TokenUnusable(f"{self.path} holds no token: it is no text in ASCII") from None
        if not token or len(token) > MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
            raise TokenUnusable(f"{self.path} holds no token: it must be one word, such as a JWT")
        return token


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)

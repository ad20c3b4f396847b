"""Settings of the webhook that hears of the end of batches."""

import base64
import binascii
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, model_validator

from pelton.pipeline.settings.section import Seconds, Section

PREFIX = "whsec_"
LEAST_BYTES = 24


def is_web_address(url: str) -> str:
    """Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise ValueError("must be http:// or https:// with a host, and without a user")
    return url


def _is_signing_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        size = len(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except binascii.Error:
        size = 0
    if not text.startswith(PREFIX) or size < LEAST_BYTES:
        raise ValueError(
            f"must be {PREFIX} and at least {LEAST_BYTES} random bytes in base64: "
            f'echo "{PREFIX}$(head -c 32 /dev/urandom | base64)"'
        )
    return secret


class WebhookSettings(Section):
    """Who is notified when a batch has ended, by a request that is signed by the Standard Webhooks scheme."""

    url: Annotated[str, AfterValidator(is_web_address)] | None = None
    """Where `pelton serve` posts the end of each batch. `pelton submit` has an option of its own. Redirects are not
    followed."""
    secret: Annotated[SecretStr, AfterValidator(_is_signing_secret)] | None = None
    """Signs what is posted: `whsec_` and at least 24 random bytes in base64. The receiver has the same."""
    timeout_s: Seconds = 10.0
    """How long the receiver may take to answer."""
    patience_s: Seconds = 86_400.0
    """For so long it is tried again, less and less often, until the receiver answers with a status below 300."""

    @model_validator(mode="after")
    def _is_signed(self) -> "WebhookSettings":
        if self.url is not None and self.secret is None:
            raise ValueError("webhook.url needs webhook.secret: receivers believe nothing that is not signed")
        return self

"""The end of a batch, reported to a receiver over HTTP: signed by the Standard Webhooks scheme, in OpenAI's shape.

The address comes from settings or the command line, never from a request, and no redirect is followed: nobody who only
sends batches can have this process ask an address of theirs.
"""

import asyncio
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

import orjson
from standardwebhooks.webhooks import Webhook

from pelton.pipeline.backoff import Backoff
from pelton.pipeline.outside_text import shown
from pelton.pipeline.settings.webhook import WebhookSettings, is_web_address
from pelton.producers.errors import WebhookFailed

log = logging.getLogger(__name__)

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is the same for each attempt, so that a receiver knows what it has had. `created_at` is in Unix seconds."""

    id: str
    kind: str
    created_at: int
    data: Mapping[str, Any]

    def body(self) -> bytes:
        whole = {"id": self.id, "object": "event", "created_at": self.created_at, "type": self.kind, "data": self.data}
        return orjson.dumps(whole)


def batch_event(batch_id: str, status: str, at: int, counts: Mapping[str, int]) -> Event:
    """OpenAI's event of an ended batch, such as `batch.completed`; the counts are an addition."""
    return Event(f"evt_{batch_id}_{status}", f"batch.{status}", at, {"id": batch_id, "request_counts": dict(counts)})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: the redirect is the answer."""


class WebhookSender:
    """Calls block, so an event loop makes them on threads."""

    def __init__(self, settings: WebhookSettings, url: str | None = None) -> None:
        """`url` in place of the settings'. Raises `WebhookFailed` for one that cannot be used, or without a secret."""
        chosen = url or settings.url
        if chosen is None or settings.secret is None:
            raise WebhookFailed("The webhook needs an address, and webhook.secret to sign with.")
        try:
            self._url = is_web_address(chosen)
        except ValueError as error:
            raise WebhookFailed(f"The webhook's address {error}.") from None
        self._webhook = Webhook(settings.secret.get_secret_value())
        self._timeout_s = settings.timeout_s
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, event: Event) -> None:
        """Once. Raises `WebhookFailed`."""
        body, now = event.body(), datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": "pelton",
            "webhook-id": event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(event.id, now, body.decode()),
        }
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310  # http and https only
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                status = response.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        except (OSError, HTTPException) as error:
            raise WebhookFailed(f"The webhook {self._url} cannot be reached: {shown(str(error))}.") from None
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise WebhookFailed(f"The webhook {self._url} answers with status {status}.")


async def tell(sender: WebhookSender, event: Event, patience_s: float) -> None:
    """Send until it is taken, less and less often. Raises `WebhookFailed` `patience_s` after the event."""
    backoff = Backoff(RETRY_FIRST_S, RETRY_MAX_S)
    while True:
        try:
            await asyncio.to_thread(sender.send, event)
        except WebhookFailed as error:
            wait_s = backoff.next_s()
            if time.time() + wait_s > event.created_at + patience_s:
                raise
            log.warning("%s; again in %.0f s", error, wait_s)
            await asyncio.sleep(wait_s)
        else:
            return

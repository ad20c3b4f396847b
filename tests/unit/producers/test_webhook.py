"""What a receiver gets when a batch has ended, and what becomes of one that does not take it."""

import asyncio
import base64
import time
from collections.abc import Iterator

import openai
import pytest
from pydantic import ValidationError

from pelton.pipeline.settings.webhook import WebhookSettings
from pelton.producers import webhook
from pelton.producers.errors import WebhookFailed
from pelton.producers.webhook import WebhookSender, batch_event, tell
from tests.faulty.receiver import Receiver, receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SETTINGS = WebhookSettings(secret=SECRET, timeout_s=2.0)
COUNTS = {"total": 3, "completed": 2, "failed": 1}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def test_openais_own_client_believes_it(receiver):
    """Signature, headers and shape are as the client verifies and reads them; another secret or text is refused."""
    WebhookSender(SETTINGS, receiver.url).send(batch_event("batch_1", "completed", 1_700_000_000, COUNTS))
    _, headers, body = receiver.got[0]
    client = openai.OpenAI(api_key="none")
    event = client.webhooks.unwrap(body, headers, secret=SECRET)
    assert (event.type, event.data.id) == ("batch.completed", "batch_1")
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body, headers, secret="whsec_" + base64.b64encode(bytes(32)).decode())
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body.replace(b"batch_1", b"batch_2"), headers, secret=SECRET)


async def test_it_is_sent_again_until_it_is_taken(receiver, monkeypatch):
    """Under the same id, whatever status other than a success came before; a redirect is none."""
    monkeypatch.setattr(webhook, "RETRY_FIRST_S", 0.01)
    receiver.statuses = [500, 302, 404]
    event = batch_event("batch_1", "failed", int(time.time()), COUNTS)
    await tell(WebhookSender(SETTINGS, receiver.url), event, 60.0)
    assert len(receiver.got) == 4
    assert {(path, headers["webhook-id"]) for path, headers, _ in receiver.got} == {("/hook", event.id)}


async def test_nobody_there_is_given_up(receiver, monkeypatch):
    """When its time is up, counted from the end of the batch."""
    monkeypatch.setattr(webhook, "RETRY_FIRST_S", 0.01)
    receiver.statuses = [503] * 1_000
    async with asyncio.timeout(10):
        with pytest.raises(WebhookFailed, match="503"):
            await tell(
                WebhookSender(SETTINGS, receiver.url), batch_event("b", "expired", int(time.time()), COUNTS), 1.2
            )
    assert len(receiver.got) > 1


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("file:///etc/passwd", SECRET),
        ("http:///path", SECRET),
        ("http://user:password@host/", SECRET),
        ("https://host/", "not-a-secret"),
        ("https://host/", "whsec_c2hvcnQ="),
        ("https://host/", None),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(url, secret):
    """Other schemes, addresses without a host or with a user, secrets that are none or short, and none at all."""
    with pytest.raises(ValidationError):
        WebhookSettings(url=url, secret=secret)


def test_a_command_without_a_secret_says_so():
    """It names the setting."""
    with pytest.raises(WebhookFailed, match=r"webhook\.secret"):
        WebhookSender(WebhookSettings(), "https://host/")

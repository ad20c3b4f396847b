"""What goes wrong for those who publish requests and await replies.

    ProducerError
    ├── BrokerUnreachable    no Kafka at the address, or it does not let us in
    ├── TopicMissing         a topic that requests or replies go through does not exist
    ├── ClientNotOpen        a client is used outside of its `async with`
    ├── BodyInvalid          a body cannot be written as JSON
    ├── SendFailed           Kafka did not take a request; whether it holds it is not known
    ├── RepliesUnreadable    the reader of the reply partition stopped: nothing that waits will hear of its reply
    ├── ReplyError           the reply is an error
    ├── ReplyTimeout         no reply in time; it may still be on its way
    ├── BatchError           a batch cannot start or go on: its files, or what its journal says, do not fit
    ├── CapReached           a batch has used the tokens it may; run again with a higher cap, it goes on
    ├── NoProgress           a batch waited in vain; run again, it goes on where it stopped
    ├── RoutingUnusable      the settings of a router do not go together
    ├── ReplayFailed         a replay of dead letters cannot start or go on
    └── WebhookFailed        who is to hear of a batch's end does not take it

A body that is too large for Kafka is a `pelton.pipeline.errors.RequestTooLarge`, as a worker would call it.
"""

from typing import Any

from pelton.pipeline.error_codes import status_of


class ProducerError(Exception):
    """Base of them all; the message says what to do next."""


class BrokerUnreachable(ProducerError):
    pass


class TopicMissing(ProducerError):
    pass


class ClientNotOpen(ProducerError):
    """A mistake of the program; the message shows how it is written."""

    def __init__(self, client: str) -> None:
        super().__init__(f"The client is not open: use it inside `async with {client}(...) as client:`.")


class BodyInvalid(ProducerError):
    pass


class SendFailed(ProducerError):
    pass


class RepliesUnreadable(ProducerError):
    pass


class ReplyError(ProducerError):
    """An error reply. `body` is the reply as received, in OpenAI's error shape; `status` the HTTP status it stands for.

    `code` is one of the wire contract's (`pelton.pipeline.errors`), or `invalid_reply` for a reply that is no JSON of
    either shape.
    """

    def __init__(self, message: str, *, code: str | None, param: str | None, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.body = body
        self.status = status_of(code)


class ReplyTimeout(ProducerError):
    pass


class BatchError(ProducerError):
    pass


class CapReached(ProducerError):
    pass


class NoProgress(ProducerError):
    pass


class RoutingUnusable(ProducerError):
    pass


class ReplayFailed(ProducerError):
    """What the replay has sent is noted; another replay sends the rest."""


class WebhookFailed(ProducerError):
    pass

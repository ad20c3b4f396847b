"""What publishes requests and awaits their replies: the client, and batches from files."""

from pelton.producers.blocking import BlockingClient
from pelton.producers.client import InferenceClient, RequestItem
from pelton.producers.errors import ReplyError, ReplyTimeout
from pelton.producers.replies import Reply

__all__ = ["BlockingClient", "InferenceClient", "Reply", "ReplyError", "ReplyTimeout", "RequestItem"]

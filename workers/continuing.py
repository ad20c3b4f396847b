"""From a request and its session's history to a draft: as much of the conversation as the model may read."""

from collections.abc import Sequence
from dataclasses import dataclass

from cache.conversation import Conversation, fewest_dropped
from cache.history import History
from pipeline.errors import RequestError
from pipeline.messages import ChatRequest
from pipeline.settings import SessionSettings
from workers.codec import Codec
from workers.jobs import Draft, Refused, Ticket
from workers.keyring import Keyring
from workers.limits import Limits
from workers.preparing import decode


@dataclass(frozen=True, slots=True)
class Continuing:
    """Prepares requests of sessions; called on a thread.

    `most_context` is the longest prompt, in tokens, that a history may make; None for what the model holds.
    """

    codec: Codec
    limits: Limits
    keyring: Keyring
    most_context: int | None

    @classmethod
    def of(cls, session: SessionSettings, codec: Codec, limits: Limits, keyring: Keyring) -> "Continuing":
        return cls(codec, limits, keyring, session.max_context_tokens)

    def make_drafts(self, opened: Sequence[tuple[Ticket, History]]) -> tuple[list[Draft], list[Refused]]:
        """Decode, render and tokenise a batch; what is too long loses whole turns, the oldest first."""
        begun: list[tuple[Ticket, ChatRequest, Conversation, str]] = []
        refused: list[Refused] = []
        for ticket, history in opened:
            try:
                request = decode(ticket, self.limits)
                conversation = Conversation.of(history, request.messages)
                begun.append((ticket, request, conversation, self.codec.render(conversation.messages)))
            except RequestError as error:
                refused.append(Refused(ticket, error))
        prompts = self.codec.encode([text for *_, text in begun]) if begun else []
        drafts: list[Draft] = []
        for (ticket, request, conversation, text), prompt in zip(begun, prompts, strict=True):
            try:
                drafts.append(self._draft(ticket, request, conversation, text, prompt))
            except RequestError as error:
                refused.append(Refused(ticket, error))
        return drafts, refused

    def room(self, asked: int | None) -> int:
        """The longest prompt beside which there is room for as many new tokens as are `asked` for.

        Where nothing is asked the default is kept free, but no more than half of what the model holds.
        """
        most = self.limits.most_tokens
        free = asked or min(self.limits.default_max_new_tokens, most // 2)
        return most - free if self.most_context is None else min(self.most_context, most - free)

    def _draft(self, ticket: Ticket, request: ChatRequest, whole: Conversation, text: str, prompt: list[int]) -> Draft:
        """Where the request is too long without any history, that is for the limits on every request to judge."""
        room = self.room(request.new_tokens)
        told = {0: (whole, text, prompt)}

        def tell(dropped: int) -> tuple[Conversation, str, list[int]]:
            if dropped not in told:
                conversation = whole.without_oldest(dropped)
                rendered = self.codec.render(conversation.messages)
                told[dropped] = conversation, rendered, self.codec.encode([rendered])[0]
            return told[dropped]

        dropped = fewest_dropped(len(whole.history.turns), lambda dropped: len(tell(dropped)[-1]) <= room)
        conversation, text, prompt = tell(dropped)
        keys = self.keyring.keys(ticket, request, text)
        return Draft(ticket, request, text, keys, prompt=prompt, conversation=conversation)

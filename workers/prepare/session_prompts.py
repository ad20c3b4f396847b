"""From a request and its session's history to a draft: as much of the conversation as the model may read."""

from collections.abc import Sequence
from dataclasses import dataclass

from pelton.cache.sessions.conversation import Conversation, fewest_dropped
from pelton.cache.sessions.history import History
from pelton.pipeline.settings.cache import SessionSettings
from pelton.pipeline.wire.chat import ChatRequest
from pelton.workers.containment import each, together
from pelton.workers.prepare.cache_keys import CacheKeyBuilder
from pelton.workers.prepare.codec import Codec
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.prepare.prepare import decode
from pelton.workers.requests import Delivery, Failed, RenderedRequest


@dataclass(frozen=True, slots=True)
class _Begun:
    """A request with its whole history, rendered."""

    delivery: Delivery
    request: ChatRequest
    conversation: Conversation
    text: str


@dataclass(frozen=True, slots=True)
class SessionPrompts:
    """Prepares requests of sessions; called on a thread.

    `most_context` is the longest prompt, in tokens, that a history may make; None for what the model holds.
    """

    codec: Codec
    limits: RequestLimits
    key_builder: CacheKeyBuilder
    most_context: int | None

    @classmethod
    def of(
        cls, session: SessionSettings, codec: Codec, limits: RequestLimits, key_builder: CacheKeyBuilder
    ) -> "SessionPrompts":
        return cls(codec, limits, key_builder, session.max_context_tokens)

    def make_drafts(self, opened: Sequence[tuple[Delivery, History]]) -> tuple[list[RenderedRequest], list[Failed]]:
        """Decode, render and tokenise a batch; what is too long loses whole turns, the oldest first."""
        begun, malformed = each("prepare", opened, self._begin, lambda pair: pair[0])
        prompted, failed = together("tokenise", begun, self._prompted, lambda started: started.delivery)
        drafts, refused = each("prepare", prompted, lambda pair: self._draft(*pair), lambda pair: pair[0].delivery)
        return drafts, [*malformed, *failed, *refused]

    def _begin(self, opened: tuple[Delivery, History]) -> "_Begun":
        delivery, history = opened
        request = decode(delivery, self.limits)
        conversation = Conversation.of(history, request.messages)
        return _Begun(delivery, request, conversation, self.codec.render(conversation.messages, request))

    def _prompted(self, begun: Sequence["_Begun"]) -> list[tuple["_Begun", Sequence[int]]]:
        return list(zip(begun, self.codec.encode([one.text for one in begun]), strict=True))

    def room(self, asked: int | None) -> int:
        """The longest prompt beside which there is room for as many new tokens as are `asked` for.

        Where nothing is asked the default is kept free, but no more than half of what the model holds.
        """
        room = self.limits.prompt_room(asked)
        return room if self.most_context is None else min(self.most_context, room)

    def _draft(self, begun: "_Begun", prompt: Sequence[int]) -> RenderedRequest:
        """Where the request is too long without any history, that is for the limits on every request to judge."""
        delivery, request, whole = begun.delivery, begun.request, begun.conversation
        room = self.room(request.new_tokens)
        told = {0: (whole, begun.text, prompt)}

        def tell(dropped: int) -> tuple[Conversation, str, Sequence[int]]:
            if dropped not in told:
                conversation = whole.without_oldest(dropped)
                rendered = self.codec.render(conversation.messages, request)
                told[dropped] = conversation, rendered, self.codec.encode([rendered])[0]
            return told[dropped]

        dropped = fewest_dropped(len(whole.history.turns), lambda dropped: len(tell(dropped)[-1]) <= room)
        conversation, text, prompt = tell(dropped)
        keys = self.key_builder.keys(delivery, request, text)
        return RenderedRequest(delivery, request, text, keys, prompt=prompt, conversation=conversation)

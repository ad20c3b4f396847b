"""Prompts that are too long, cut as their sender or the operator chose; what is not cut stays as it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from pelton.cache.sessions.conversation import fewest_dropped
from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.pipeline.wire.contract import TruncationPolicy
from pelton.workers.prepare.codec import Codec
from pelton.workers.prepare.limits import RequestLimits
from pelton.workers.requests import Truncation

MARKER = "\n[... {:,} characters left out ...]\n"
_MAX_TRIALS = 8
"""Of lengths that are rendered and tokenised to find the longest text that fits."""
_NEAR = 0.01
"""A text that is shorter than the longest that fits by no more than this part of the whole is good enough."""
_SLACK_TOKENS = 64
"""What a tokenizer may add to as many tokens as a text has bytes."""
_WINDOW = 128
"""Characters on either side of a cut that are looked at for where one ends, with all its accents and joiners."""
_FLAG_LETTERS = frozenset(map(chr, range(0x1F1E6, 0x1F200)))
_CHARACTER = regex.compile(r"\X")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request with its rendered `text`; its `prompt` in tokens where that had to be counted."""

    request: ChatRequest
    text: str
    prompt: Sequence[int] | None = None
    truncation: Truncation | None = None


def fitted(
    request: ChatRequest, text: str, codec: Codec, limits: RequestLimits, wish: TruncationPolicy | None = None
) -> Fitted:
    """The request, cut if it must be and may: by the sender's `wish`, else by the worker's setting.

    One that no cut makes fit is left as it is, to be refused.
    """
    policy = wish or limits.truncation
    most = limits.most_tokens - (request.new_tokens or 1)
    if policy is TruncationPolicy.REFUSE or len(text.encode(errors="replace")) + _SLACK_TOKENS <= most:
        return Fitted(request, text)
    prompt = codec.encode([text])[0]
    if len(prompt) <= most:
        return Fitted(request, text, prompt)
    whole = Fitted(request, text, prompt)
    return _Cutting(whole, policy, codec, limits.prompt_room(request.new_tokens)).shortened() or whole


@dataclass(frozen=True, slots=True)
class _Cutting:
    """`room` is how many tokens the prompt may have."""

    whole: Fitted
    policy: TruncationPolicy
    codec: Codec
    room: int

    def shortened(self) -> Fitted | None:
        made = self._without_oldest() if self.policy is TruncationPolicy.OLDEST_TURNS else self._without_middle()
        return made if self._fits(made) else None

    def _fits(self, made: Fitted) -> bool:
        return made.prompt is not None and len(made.prompt) <= self.room

    def _of(self, messages: Sequence[Message]) -> Fitted:
        request = self.whole.request.model_copy(update={"messages": list(messages)})
        text = self.codec.render(messages, request)
        prompt = self.codec.encode([text])[0]
        cut = len(self.whole.prompt or ()) - len(prompt)
        return Fitted(request, text, prompt, Truncation(self.policy, cut))

    def _without_oldest(self) -> Fitted:
        """System messages and the last user's turn stay."""
        messages = self.whole.request.messages
        turns = _old_turns(messages)
        tried: dict[int, Fitted] = {}

        def without(dropped: int) -> Fitted:
            if dropped not in tried:
                gone = {index for turn in turns[:dropped] for index in turn}
                kept = [message for index, message in enumerate(messages) if index not in gone]
                tried[dropped] = self._of(kept)
            return tried[dropped]

        return without(fewest_dropped(len(turns), lambda dropped: self._fits(without(dropped))))

    def _without_middle(self) -> Fitted:
        """Of the longest text of a user, the middle is cut: as little of it as a few trials find."""
        messages = self.whole.request.messages
        texts = _user_texts(messages)
        if not texts:
            return self.whole
        text, put = max(texts, key=lambda pair: len(pair[0]))
        best = self._of(put(_around_middle(text, 0)))
        if not self._fits(best):
            return best
        low, high = 0, len(text)
        total, least = len(self.whole.prompt or ()), len(best.prompt or ())
        trial = int(high * (self.room - least) / max(1, total - least))
        for _ in range(_MAX_TRIALS):
            if high - low <= max(1, _NEAR * len(text)):
                break
            trial = min(max(trial, low + 1), high - 1)
            made = self._of(put(_around_middle(text, trial)))
            if self._fits(made):
                low, best = trial, made
            else:
                high = trial
            trial = (low + high) // 2
        return best


def _old_turns(messages: Sequence[Message]) -> list[list[int]]:
    """The turns before the last user's, as places of their messages. A turn begins with a user's message."""
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message.role in {"system", "developer"}:
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(index)
    return turns[:-1]


def _user_texts(messages: Sequence[Message]) -> list[tuple[str, Callable[[str], list[Message]]]]:
    """Each text of a user, and the messages with another one in its place."""

    def in_message(at: int) -> Callable[[str], list[Message]]:
        return lambda text: [*messages[:at], messages[at].model_copy(update={"content": text}), *messages[at + 1 :]]

    def in_part(at: int, place: int) -> Callable[[str], list[Message]]:
        parts = messages[at].content
        if not isinstance(parts, list):
            return in_message(at)
        return lambda text: [
            *messages[:at],
            messages[at].model_copy(
                update={
                    "content": [*parts[:place], parts[place].model_copy(update={"text": text}), *parts[place + 1 :]]
                }
            ),
            *messages[at + 1 :],
        ]

    found: list[tuple[str, Callable[[str], list[Message]]]] = []
    for at, message in enumerate(messages):
        if message.role != "user":
            continue
        if isinstance(message.content, list):
            found.extend((part.text, in_part(at, place)) for place, part in enumerate(message.content))
        else:
            found.append((message.text, in_message(at)))
    return found


def _around_middle(text: str, kept: int) -> str:
    """The text's beginning and end, no more than `kept` characters of it, with a mark between them."""
    begin, end = _boundary(text, (kept + 1) // 2, up=False), _boundary(text, len(text) - kept // 2, up=True)
    return text[:begin] + MARKER.format(end - begin) + text[end:]


def _boundary(text: str, at: int, *, up: bool) -> int:
    """Where a character ends as readers see it, at a place or the next one that way: accents stay with their letter."""
    start = max(0, at - _WINDOW)
    while start > 0 and text[start - 1] in _FLAG_LETTERS:  # two make a flag: which two shows only from the first on
        start -= 1
    ends = [start + found.end() for found in _CHARACTER.finditer(text[start : at + _WINDOW])]
    if up:
        return at if at == start else min((end for end in ends if end >= at), default=len(text))
    return max((end for end in ends if end <= at), default=start)

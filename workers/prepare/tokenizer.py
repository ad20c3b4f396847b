"""Between text and tokens, with a tokenizer of transformers: the one place that knows one."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from jinja2.exceptions import TemplateError

from pelton.pipeline.errors import InvalidValue, UnsupportedParameter
from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.pipeline.wire.tools import MAX_TOOLS
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.spec import GrammarError
from pelton.workers.engine.grammars.vocabulary import of_tokenizer
from pelton.workers.forms.answer_form import AnswerForm, compile_form
from pelton.workers.prepare.answer_grammar import grammar_spec
from pelton.workers.prepare.control_strings import ControlStrings
from pelton.workers.prepare.dialects import END_THINK, THINK, Dialect
from pelton.workers.prepare.message_parsing import ParsedAnswer, ParsedMessage, cut_at_stop, parse_message
from pelton.workers.prepare.template_input import reserved_names, template_tools, template_turns, template_variables

# Marks a place where the text is cut before it is tokenised. Unicode keeps this code point free for internal use; where
# a sender wrote it all the same, it becomes the replacement character.
_CUT = "\ufdd0"
_REPLACEMENT = "\ufffd"
_PIECES_AT_ONCE = 1_024
"""What the tokenizer gives for a piece takes a kilobyte besides its tokens, and a text may be all cuts."""
_PROMPT_TAIL = 8  # tokens; enough to see whether a prompt opens the model's reasoning


class TokenizerCodec:
    """Implements `Codec` with a transformers tokenizer and its chat template.

    What a message contains is text, even where it looks like a control token: such a string is cut after its first
    character, and the pieces are tokenised apart, so that no tokenizer can find it. Only the template makes control
    tokens.
    """

    def __init__(self, tokenizer: Any, grammars: GrammarCompiler | None = None, *, content_parts: bool = False) -> None:
        """With `content_parts` the template gets each text as a list of one part, as it finds none in a string."""
        self._tokenizer = tokenizer
        self._content_parts = content_parts
        self._grammars = grammars or GrammarCompiler(
            lambda: of_tokenizer(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
        )
        self._control = ControlStrings(_control_strings(tokenizer))
        self._template = str(tokenizer.chat_template or "")
        self._dialect = Dialect.of(self._template)
        self._reserved = reserved_names(tokenizer.apply_chat_template)
        self._marks = _known_ids(tokenizer, self._dialect.marks)
        self._dropped = frozenset(tokenizer.all_special_ids) - frozenset(self._marks.values())

    def render(self, messages: Sequence[Message], request: ChatRequest | None = None) -> str:
        """The conversation with cuts in it, for `encode`."""
        options: dict[str, Any] = {}
        if request is not None:
            check_tools(request, self._dialect)
            options = template_variables(request, self._template, self._reserved, self._defused)
            if tools := template_tools(request, self._defused):
                options["tools"] = tools
        turns = template_turns(messages, self._defused)
        if self._content_parts:
            turns = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **options
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise InvalidValue(
                f"The model's chat template refuses these messages: {error}.", param="messages"
            ) from None
        return self._begun(text, request)

    def identity(self, text: str) -> str:
        return text

    def shortened(self, text: str, most_new_tokens: int) -> str:  # noqa: ARG002 (it is no part of a prompt)
        return text

    def encode(self, texts: list[str]) -> list[list[int]]:
        pieces = [text.split(_CUT) for text in texts]
        encoded = self._encoded(chain.from_iterable(pieces))
        return [list(chain.from_iterable(islice(encoded, len(each)))) for each in pieces]

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text

    def token_bytes(self, token_id: int) -> bytes:
        try:
            return self._grammars.token_bytes(token_id)
        except GrammarError:  # a tokenizer of a kind that is not known: its own words are next best
            text: str = self._tokenizer.decode([token_id])
            return text.encode()

    def _encoded(self, pieces: Iterator[str]) -> Iterator[list[int]]:
        while batch := list(islice(pieces, _PIECES_AT_ONCE)):
            yield from self._tokenizer(batch, add_special_tokens=False)["input_ids"]

    def form(self, request: ChatRequest, prompt: str) -> AnswerForm | None:
        after = END_THINK if self._dialect.begins_thinking(prompt) else ""
        return compile_form(
            grammar_spec(request, self._dialect, self._marks, after), self._grammars, self._decode_marked
        )

    def parse(self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int]) -> ParsedAnswer:
        if not (self._dialect.thinks or request.offered_tools):
            return ParsedAnswer(ParsedMessage(cut_at_stop(self.decode(token_ids), request.stop_strings)))
        text = cut_at_stop(self._decode_marked(token_ids), request.stop_strings)
        thinking = self._dialect.begins_thinking(self._tokenizer.decode(list(prompt_ids[-_PROMPT_TAIL:])))
        most = 1 if request.parallel_tool_calls is False else MAX_TOOLS
        parsed = parse_message(text, self._dialect, thinking=thinking, tools=request.offered_tools, most_calls=most)
        return ParsedAnswer(parsed, self._reasoning_tokens(parsed, token_ids))

    def content(
        self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int], *, complete: bool
    ) -> str:
        """Nothing where calls may be found in it, or reasoning may still begin or end."""
        if not complete and request.offered_tools:
            return ""
        message = self.parse(token_ids, request, prompt_ids).message
        prompt = self._tokenizer.decode(list(prompt_ids[-_PROMPT_TAIL:]))
        undecided = message.reasoning is None and self._dialect.may_think(prompt)
        return "" if not complete and undecided else message.content

    def _begun(self, prompt: str, request: ChatRequest | None) -> str:
        """An answer of a form begins behind the model's reasoning; where that has an end, it must have a beginning."""
        if request is None or grammar_spec(request, self._dialect) is None:
            return prompt
        opens = self._dialect.may_think(prompt) and not self._dialect.begins_thinking(prompt)
        return f"{prompt}{THINK}\n" if opens else prompt

    def _decode_marked(self, token_ids: Sequence[int]) -> str:
        """The text with the marks of reasoning and calls in it, even where those are control tokens."""
        kept = [token for token in token_ids if token not in self._dropped]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False)
        return text

    def _reasoning_tokens(self, parsed: ParsedMessage, token_ids: Sequence[int]) -> int:
        if parsed.reasoning is None:
            return 0
        if not parsed.closed:
            return len(token_ids)
        end = self._marks.get(END_THINK)
        if end is not None and end in token_ids:
            return list(token_ids).index(end) + 1
        return min(len(token_ids), len(self.encode([f"{parsed.reasoning}{END_THINK}"])[0]))

    def _defused(self, content: str) -> str:
        return self._control.cut(content.replace(_CUT, _REPLACEMENT), _CUT)


def check_tools(request: ChatRequest, dialect: Dialect) -> None:
    """Raises `UnsupportedParameter` for tools where the model's calls could not be read."""
    if request.offered_tools and dialect.calls is None:
        raise UnsupportedParameter(
            "Parameter 'tools' is not supported with this model, whose chat template knows no calls of a kind that "
            "can be read: leave it out, or choose another model.",
            param="tools",
        )


def _known_ids(tokenizer: Any, marks: Sequence[str]) -> dict[str, int]:
    """Those of `marks` that are one token."""
    known = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
    return {mark: known[mark] for mark in marks if mark in known}


def _control_strings(tokenizer: Any) -> set[str]:
    """What the tokenizer would read as a control token."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)

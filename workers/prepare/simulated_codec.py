"""Between text and tokens for the simulated engine, which has no tokenizer."""

from collections.abc import Sequence

from pelton.pipeline.wire.chat import ChatRequest, Message
from pelton.pipeline.wire.tools import MAX_TOOLS
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.vocabulary import of_bytes
from pelton.workers.engine.simulated.text import decode_tokens, encode_text, token_content
from pelton.workers.forms.answer_form import AnswerForm, compile_form
from pelton.workers.prepare.answer_grammar import grammar_spec
from pelton.workers.prepare.dialects import CallStyle, Dialect
from pelton.workers.prepare.message_parsing import ParsedAnswer, cut_at_stop, parse_message

_SIMULATED = Dialect(thinks=False, calls=CallStyle.JSON)


class SimulatedCodec:
    """Implements `Codec`: a plain rendering, and a reversible toy code of about four bytes a token."""

    _grammars = GrammarCompiler(of_bytes)  # for all of them: it knows nothing of a model

    def render(self, messages: Sequence[Message], request: ChatRequest | None = None) -> str:
        """Tools come first, so that they are part of what the answer is made of."""
        tools = [] if request is None else [tool.function.name for tool in request.offered_tools]
        lines = [f"tools: {' '.join(tools)}"] if tools else []
        return "\n".join([*lines, *(f"{message.role}: {message.text}" for message in messages)])

    def identity(self, text: str) -> str:
        return text

    def shortened(self, text: str, most_new_tokens: int) -> str:  # noqa: ARG002 (it is no part of a prompt)
        return text

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [encode_text(text) for text in texts]

    def decode(self, token_ids: Sequence[int]) -> str:
        return decode_tokens(token_ids)

    def token_bytes(self, token_id: int) -> bytes:
        return token_content(token_id)

    def form(self, request: ChatRequest, prompt: str) -> AnswerForm | None:  # noqa: ARG002 (it never thinks)
        return compile_form(grammar_spec(request, _SIMULATED), self._grammars, self.decode)

    def parse(self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int]) -> ParsedAnswer:  # noqa: ARG002 (likewise)
        text = cut_at_stop(self.decode(token_ids), request.stop_strings)
        return ParsedAnswer(
            parse_message(text, _SIMULATED, thinking=False, tools=request.offered_tools, most_calls=MAX_TOOLS)
        )

    def content(
        self, token_ids: Sequence[int], request: ChatRequest, prompt_ids: Sequence[int], *, complete: bool
    ) -> str:
        return (
            "" if not complete and request.offered_tools else self.parse(token_ids, request, prompt_ids).message.content
        )

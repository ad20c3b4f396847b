"""The form that an answer is held to, compiled, and what is left to check when the answer is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pelton.pipeline.errors import InvalidValue
from pelton.workers.engine.grammars.compiler import GrammarCompiler
from pelton.workers.engine.grammars.matching import Grammar
from pelton.workers.engine.grammars.spec import GrammarError, GrammarKind, GrammarSpec, Strictness
from pelton.workers.forms.schema_check import schema_fault


@dataclass(frozen=True, slots=True, eq=False)
class AnswerForm:
    """`schema` is what a finished answer has to be compared with, where the grammar left some of it out."""

    grammar: Grammar
    decode: Callable[[Sequence[int]], str]
    after: str = ""
    schema: str | None = None

    @property
    def strictness(self) -> Strictness:
        return self.grammar.strictness

    def fault(self, token_ids: Sequence[int]) -> str | None:
        """What is wrong with a complete answer; None where nothing is."""
        if self.schema is None:
            return None
        text = self.decode(token_ids)
        return schema_fault(self.schema, text.rpartition(self.after)[2] if self.after else text)


def compile_form(
    asked: tuple[GrammarSpec, str] | None, compiler: GrammarCompiler, decode: Callable[[Sequence[int]], str]
) -> AnswerForm | None:
    """The form of what a request asks for in a parameter; slow for large grammars, so it is called on threads.

    Raises `InvalidValue` for what no grammar can be made of.
    """
    if asked is None:
        return None
    spec, param = asked
    try:
        grammar = compiler.compile(spec)
    except GrammarError as error:
        raise InvalidValue(f"No answer can be held to {param!r}: {error}.", param=param) from None
    to_check = grammar.strictness is Strictness.LENIENT and spec.kind is GrammarKind.JSON_SCHEMA
    return AnswerForm(grammar, decode, spec.after, spec.text if to_check else None)

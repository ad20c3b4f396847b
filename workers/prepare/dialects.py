"""How a model marks its reasoning and its calls of functions, as far as its chat template shows it."""

from dataclasses import dataclass
from enum import StrEnum

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
KEY, END_KEY, VALUE, END_VALUE = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"


class CallStyle(StrEnum):
    """What stands between the marks of a call: JSON (Qwen, Hermes), or a name and marked arguments (GLM)."""

    JSON = "json"
    MARKED = "marked"


@dataclass(frozen=True, slots=True)
class Dialect:
    """`calls` is None for a model whose calls cannot be read."""

    thinks: bool = False
    calls: CallStyle | None = None

    @classmethod
    def of(cls, template: str) -> "Dialect":
        calls = None
        if CALL in template:
            calls = CallStyle.MARKED if KEY in template else CallStyle.JSON
        return cls(END_THINK in template, calls)

    @property
    def marks(self) -> tuple[str, ...]:
        """What must not be dropped from an answer as a control token before it is read."""
        thinking = (THINK, END_THINK) if self.thinks else ()
        calling = () if self.calls is None else (CALL, END_CALL, KEY, END_KEY, VALUE, END_VALUE)
        return (*thinking, *calling)

    def begins_thinking(self, prompt: str) -> bool:
        """Whether the answer to a rendered prompt begins inside the model's reasoning: its template opened it."""
        return self.thinks and prompt.rstrip().endswith(THINK)

    def may_think(self, prompt: str) -> bool:
        """Whether the answer may have reasoning in it; templates that are to prevent it close it in the prompt."""
        return self.thinks and not prompt.rstrip().endswith(END_THINK)

"""The bodies on the wire: OpenAI's chat-completions request and reply."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pelton.pipeline.wire.formats import ResponseFormat, StructuredOutputs, TextFormat
from pelton.pipeline.wire.tools import MAX_TOOLS, NamedChoice, Tool, ToolCall, ToolChoice

MAX_STOP_STRINGS = 4
MAX_TOP_LOGPROBS = 20
MAX_METADATA = 16
"""As many pairs as OpenAI takes."""
MAX_MESSAGES = 4_096
MAX_PARTS = 4_096
"""Text parts of all messages together. A body of any size could hold hundreds of thousands, each an object to build."""
MAX_FIELDS = 64
"""Of one object; more than are known of any."""
MAX_CHOICES = 8
MAX_STOP_TOKENS = 64
MAX_BIASES = 1_024


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class Message(_Strict):
    """One turn of the conversation. `developer` is OpenAI's newer word for `system`.

    An assistant's turn may be calls of functions in place of `content`; their results are turns of the role `tool`.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1, fail_fast=True)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_its_parts(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing: send a string")
        if self.role != "assistant" and (self.tool_calls or self.reasoning_content is not None):
            raise ValueError("tool_calls and reasoning_content are an assistant's: leave them out")
        if (self.role == "tool") is not (self.tool_call_id is not None):
            raise ValueError("tool_call_id names the call that a message of role tool answers: set it there only")
        return self

    @property
    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "".join(part.text for part in self.content)


StopString = Annotated[str, Field(min_length=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TemplateValue = bool | int | float | Annotated[str, Field(max_length=1_000)] | None
# JSON's keys are strings: here of token ids.
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=MAX_BIASES),
]


_SHAPING = frozenset({"response_format", "structured_outputs", "tools", "tool_choice", "parallel_tool_calls"})
"""What changes how an answer is made or read, beyond what can be seen in its prompt."""


class ChatRequest(_Strict):
    """The supported part of `POST /v1/chat/completions`; `decoding` deals with the rest by name."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    logit_bias: LogitBias | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_TOKENS)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    chat_template_kwargs: dict[str, TemplateValue] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    prompt_cache_key: str | None = None  # a hint that costs nothing to have: beginnings are found without it
    safety_identifier: str | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        both = self.max_completion_tokens is not None and self.max_tokens is not None
        if both and self.max_completion_tokens != self.max_tokens:
            raise ValueError("max_completion_tokens and max_tokens differ: set only max_completion_tokens")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        if isinstance(self.tool_choice, NamedChoice) or self.tool_choice == "required":
            names = [tool.function.name for tool in self.tools or ()]
            if not names or (isinstance(self.tool_choice, NamedChoice) and self.tool_choice.function.name not in names):
                raise ValueError("tool_choice asks for a function that is not among tools: add it there")
            if self.structured_outputs is not None or not isinstance(self.response_format, TextFormat | None):
                raise ValueError("tool_choice and response_format both set the answer's form: send one of them")
        if self.min_tokens and self.new_tokens is not None and self.min_tokens > self.new_tokens:
            raise ValueError("min_tokens is above max_completion_tokens: lower it")
        if self.structured_outputs is not None and not isinstance(self.response_format, TextFormat | None):
            raise ValueError("response_format and structured_outputs both set the answer's form: send one of them")
        return self

    @property
    def shape(self) -> dict[str, Any]:
        """What was asked of the answer's form, for telling requests apart."""
        asked = self.model_dump(include=set(_SHAPING), by_alias=True, exclude_none=True)
        return {name: value for name, value in asked.items() if value != []}

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model may call."""
        return () if self.tool_choice == "none" else tuple(self.tools or ())

    @property
    def demanded_tools(self) -> tuple[Tool, ...]:
        """The tools of which the model must call one."""
        match self.tool_choice:
            case NamedChoice(function=named):
                return tuple(tool for tool in self.offered_tools if tool.function.name == named.name)
            case "required":
                return self.offered_tools
            case _:
                return ()

    @property
    def new_tokens(self) -> int | None:
        """Most tokens to generate, where the sender set it."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def stop_strings(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    content: list[TokenLogprob] | None
    refusal: None = None


class ReplyMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None

    @model_serializer(mode="wrap")
    def _without_what_there_is_not(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        message: dict[str, Any] = plain(self)
        for name in ("reasoning_content", "tool_calls"):
            if message[name] is None:
                del message[name]
        return message


class Choice(BaseModel):
    index: int = 0
    message: ReplyMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class PromptTokensDetails(BaseModel):
    """`cached_tokens` of the prompt were not computed, because an earlier one began with them."""

    cached_tokens: int = 0


class CompletionTokensDetails(BaseModel):
    """`reasoning_tokens` of the generated ones were the model's reasoning, its marks included."""

    reasoning_tokens: int = 0


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class Answer(BaseModel):
    """The part of a reply that does not say when and to whom: what equal requests share."""

    choices: list[Choice]
    usage: Usage


class ChatCompletion(Answer):
    """The reply value of an answered request. `created` is Unix seconds."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str

"""The form an answer is asked for in: OpenAI's `response_format`, and vLLM's `structured_outputs`."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_CHOICES = 20_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class TextFormat(_Strict):
    type: Literal["text"]


class JsonObjectFormat(_Strict):
    type: Literal["json_object"]


class NamedSchema(_Strict):
    """`strict` asks for nothing that is not done anyway: every answer is held to the schema as exactly as it can be."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(_Strict):
    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StructuredOutputs(_Strict):
    """Exactly one of the fields: the possible answers, a regular expression, a Lark grammar, or JSON."""

    choice: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MAX_CHOICES)] | None = (
        None
    )
    regex: Annotated[str, Field(min_length=1)] | None = None
    grammar: Annotated[str, Field(min_length=1)] | None = None
    json_: Annotated[str | dict[str, Any] | None, Field(alias="json")] = None
    json_object: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [each for each in (self.choice, self.regex, self.grammar, self.json_, self.json_object) if each]
        if len(given) != 1:
            raise ValueError("structured_outputs takes one of choice, regex, grammar, json and json_object")
        return self

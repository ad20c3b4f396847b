"""What the sections of the settings have in common: strictness, and types of values."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

MIN_SECRET_CHARS = 16
"""Of secrets that sign: a shorter one can be guessed from what is signed."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,245}")
"""Kafka takes 249 characters; the topic of dead letters has four more than the one of its requests."""

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


def _is_list(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError('a list is written as JSON: ["one", "two"]')  # noqa: TRY004  # pydantic's protocol
    return value


def _is_topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError(f"{name!r} cannot be a topic: 1 to 245 letters, digits or any of . _ -")
    return name


Secret = Annotated[SecretStr, Field(min_length=MIN_SECRET_CHARS)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_is_list)]
Topic = Annotated[str, AfterValidator(_is_topic)]
Topics = Annotated[tuple[Topic, ...], BeforeValidator(_is_list)]


class Section(BaseModel):
    """Frozen; an unknown name is a fault; a fault never quotes its value, which may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

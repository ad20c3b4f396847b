"""What a grammar is made from, and how exactly it could be."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class GrammarKind(StrEnum):
    """How to read a grammar's text.

    As a JSON Schema, a regular expression, a JSON array of the possible answers, or Lark in llguidance's dialect.
    """

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICE = "choice"
    LARK = "lark"


class Strictness(StrEnum):
    """What an answer's form is worth.

    STRICT: every answer is valid. COERCED: of a `oneOf` whose branches could not be told apart, several may match.
    LENIENT: keywords that no grammar is made of were left out; the finished answer has to be validated.
    """

    STRICT = "strict"
    COERCED = "coerced"
    LENIENT = "lenient"


class GrammarError(ValueError):
    """No grammar can be made of this; the message says which keyword or place is at fault."""


@dataclass(frozen=True, slots=True)
class GrammarSpec:
    """`text` is read as `kind` says.

    `after` is text that an answer says before the grammar begins to hold: the end of a model's reasoning.
    """

    kind: GrammarKind
    text: str
    after: str = ""

    @property
    def digest(self) -> bytes:
        digest = hashlib.sha256(f"{self.kind}\0{self.after}\0".encode())
        digest.update(self.text.encode(errors="surrogatepass"))
        return digest.digest()

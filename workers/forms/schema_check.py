"""Whether a finished answer matches its JSON Schema, found in bounded time whatever schema and answer are."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import regex
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_CHECK_S = 0.25
_SHOWN_CHARS = 200


class TooSlow(Exception):
    """Schema and answer take longer to compare than is allowed."""


def schema_fault(schema: str, text: str, max_s: float = MAX_CHECK_S) -> str | None:
    """What is wrong with an answer, in words for its sender; None for one that matches."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    deadline = time.monotonic() + max_s
    try:
        _validator(deadline)(json.loads(schema), registry=Registry()).validate(answer)
    except ValidationError as error:
        return f"{error.json_path}: {error.message[:_SHOWN_CHARS]}"
    except SchemaError as error:
        return f"the schema is not valid at {error.json_path}: {error.message[:_SHOWN_CHARS]}"
    except (TooSlow, TimeoutError, RecursionError):
        return "the schema is too complex to compare an answer with"
    except (Unresolvable, regex.error) as error:
        return f"the schema cannot be applied: {error}"
    return None


def _validator(deadline: float) -> Any:
    """The validator of jsonschema with a look at the clock before each keyword, and patterns that give up in time."""
    keywords = {name: _timed(check, deadline) for name, check in Draft202012Validator.VALIDATORS.items()}
    keywords["pattern"] = _timed(_pattern(deadline), deadline)
    keywords["patternProperties"] = _timed(_pattern_properties(deadline), deadline)
    return validators.extend(Draft202012Validator, keywords)


def _timed(check: Callable[..., Any], deadline: float) -> Callable[..., Iterator[ValidationError]]:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if time.monotonic() > deadline:
            raise TooSlow
        yield from check(validator, value, instance, schema) or ()

    return timed


def _pattern(deadline: float) -> Callable[..., Iterator[ValidationError]]:
    def pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _found(pattern, instance, deadline):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    return pattern


def _pattern_properties(deadline: float) -> Callable[..., Iterator[ValidationError]]:
    def pattern_properties(validator: Any, patterns: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if not isinstance(instance, dict):
            return
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _found(pattern, name, deadline):
                    yield from validator.descend(value, subschema, path=name, schema_path=pattern)

    return pattern_properties


def _found(pattern: str, text: str, deadline: float) -> bool:
    return regex.search(pattern, text, timeout=max(0.001, deadline - time.monotonic())) is not None

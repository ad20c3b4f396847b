"""What is wrong with a job file, in the words of who writes it: file, line, field, and what to write instead."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pelton.producers.reports.spec.yaml_lines import LinedDocument

MAX_FAULTS = 20
_WORDS = {
    "missing": "is missing",
    "tuple_type": "must be a list (`- …` on lines of their own, or `[…, …]`)",
    "dict_type": "must be fields (`name: value`)",
    "model_type": "must be fields (`name: value`)",
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}


def told(document: LinedDocument, model: type[BaseModel], error: ValidationError) -> str:
    """A line for each fault."""
    faults = error.errors()
    places = [tuple(fault["loc"]) for fault in faults]
    # A list that is too short because its items are at fault is no fault of its own.
    own = [
        fault
        for fault, place in zip(faults, places, strict=True)
        if fault["type"] != "too_short" or not any(other[: len(place)] == place != other for other in places)
    ]
    return "\n".join(_fault(document, model, fault) for fault in own[:MAX_FAULTS])


def _fault(document: LinedDocument, model: type[BaseModel], fault: Any) -> str:
    place: tuple[str | int, ...] = tuple(fault["loc"])
    if not place:
        return f"{document.name}: {_message(model, fault)}."
    field = ".".join(map(str, place))
    # Of what is missing the line says where it belongs; at the top that is nowhere in particular.
    where = "" if fault["type"] == "missing" and len(place) == 1 else f", line {document.line_of(place)}"
    return f"{document.name}{where}, {field}: {_message(model, fault)}"


def _message(model: type[BaseModel], fault: Any) -> str:
    kind, place = fault["type"], tuple(fault["loc"])
    if kind == "extra_forbidden":
        known = _fields_at(model, place[:-1])
        near = get_close_matches(str(place[-1]), known, 1)
        return "unknown; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")
    return str(_WORDS.get(kind, fault["msg"])).removeprefix("Value error, ")


def _fields_at(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """The names that may stand at a place: those of the model, or of what its fields hold."""
    for name in place:
        if isinstance(name, str) and name in model.model_fields:
            model = _model_in(model.model_fields[name].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of an annotation such as `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)

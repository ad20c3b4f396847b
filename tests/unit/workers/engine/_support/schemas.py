"""Sixty schemas of the kinds that batch jobs send,
each with documents that it admits and documents that it forbids."""

from typing import Any

Case = tuple[Any, list[Any], list[Any]]
"""A schema, documents it admits, documents it forbids."""


def thing(*, required: list[str] | None = None, more: bool = False, **properties: Any) -> dict[str, Any]:
    """An object of these properties, all required unless said otherwise."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": more,
    }


def among(*values: Any) -> dict[str, Any]:
    return {"enum": list(values)}


def many(of: Any, **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": of, **limits}


TEXT, WHOLE, NUMBER, YES_NO = ({"type": name} for name in ("string", "integer", "number", "boolean"))
_MONEY = thing(amount=NUMBER, currency=among("EUR", "USD", "CHF"))
_TREE: dict[str, Any] = {
    "$defs": {"node": thing(label=TEXT, children=many({"$ref": "#/$defs/node"}))},
    "$ref": "#/$defs/node",
}
_ADDRESS = thing(street=TEXT, zip={"type": "string", "pattern": "^[0-9]{4,5}$"}, required=["street"])

CASES: dict[str, Case] = {
    # values
    "text": (TEXT, ["", "a", 'é\n"\\'], [1, None, ["a"]]),
    "short text": ({"type": "string", "maxLength": 5}, ["", "abcde"], ["abcdef"]),
    "text of a length": ({"type": "string", "minLength": 3, "maxLength": 3}, ["abc"], ["ab", "abcd"]),
    "whole": (WHOLE, [0, -5, 12], [1.5, "1", True]),
    "whole in a range": ({"type": "integer", "minimum": 1, "maximum": 5}, [1, 5], [0, 6, 2.5]),
    "whole above": ({"type": "integer", "exclusiveMinimum": 0}, [1, 99], [0, -1]),
    "number": (NUMBER, [1, -2.5, 1e3], ["1", None]),
    "number in a range": ({"type": "number", "minimum": 0, "maximum": 1}, [0, 0.25, 1], [1.01, -0.1]),
    "tens": ({"type": "integer", "multipleOf": 10}, [10, 200], [15]),
    "yes or no": (YES_NO, [True, False], ["true", 0]),
    "nothing": ({"type": "null"}, [None], [0, ""]),
    "one value": ({"const": "only"}, ["only"], ["other", 1]),
    "one of some": (among("low", "medium", "high"), ["low"], ["LOW", ""]),
    "mixed values": (among(1, "one", None, True), [1, "one", None, True], [2, "two", False]),
    "text or nothing": ({"type": ["string", "null"]}, ["a", None], [1, False]),
    "anything": ({}, [1, "a", None, [], {"a": [1]}], []),
    "any object": ({"type": "object"}, [{}, {"a": 1}], [[], "a"]),
    # formats and patterns
    "date": ({"type": "string", "format": "date"}, ["2026-11-28"], ["28.11.2026", "2026-13-01"]),
    "time": ({"type": "string", "format": "time"}, ["10:20:30Z"], ["25:00:00Z", "noon"]),
    "moment": ({"type": "string", "format": "date-time"}, ["2026-11-28T10:20:30Z"], ["2026-11-28"]),
    "mail": ({"type": "string", "format": "email"}, ["a@example.com"], ["a at example"]),
    "uuid": ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
    "ticker": ({"type": "string", "pattern": "^[A-Z]{1,5}$"}, ["IBM"], ["ibm", "TOOLONG", ""]),
    "phone": ({"type": "string", "pattern": r"^\+[0-9]{6,12}$"}, ["+411234567"], ["0411234567", "+12"]),
    "inside": ({"type": "string", "pattern": "ab+c", "maxLength": 12}, ["xabbcx"], ["xac"]),
    "colour": ({"type": "string", "pattern": "^#(?:[0-9a-f]{3}|[0-9a-f]{6})$"}, ["#fff", "#a1b2c3"], ["#ff", "fff"]),
    # arrays
    "texts": (many(TEXT), [[], ["a", "b"]], [[1], "a"]),
    "few texts": (many(TEXT, minItems=1, maxItems=3), [["a"]], [[], ["a"] * 4]),
    "pairs": (many(many(NUMBER, minItems=2, maxItems=2)), [[], [[1, 2]]], [[[1]], [[1, 2, 3]]]),
    "a tuple": (
        {"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2}, [["a", 1]], [["a"],
            ["a", 1, 2], [1, "a"]],
    ),
    "tags": (many(among("new", "old")), [["new", "old"]], [["odd"]]),
    "rows": (many(thing(id=WHOLE, name=TEXT)), [[], [{"id": 1, "name": "a"}]], [[{"id": 1}],
        [{"id": "1", "name": "a"}]]),
    # objects
    "a person": (thing(name=TEXT, age=WHOLE), [{"name": "a", "age": 1}], [{"name": "a"}, {"name": "a", "age": "1"}]),
    "no more": (thing(a=WHOLE), [{"a": 1}], [{"a": 1, "b": 2}]),
    "some optional": (thing(a=WHOLE, b=TEXT, required=["a"]), [{"a": 1}, {"a": 1, "b": "x"}], [{}, {"b": "x"}]),
    "all optional": (thing(a=WHOLE, b=TEXT, required=[]), [{}, {"b": "x"}], [{"a": "x"}]),
    "with more": (thing(a=WHOLE, more=True), [{"a": 1}, {"a": 1, "z": []}], [{"z": 1}]),
    "a map": ({"type": "object", "additionalProperties": WHOLE}, [{}, {"x": 1}], [{"x": "1"}]),
    "by pattern": (
        {"type": "object", "patternProperties": {"^q[1-4]$": NUMBER}, "additionalProperties": False},
        [{}, {"q1": 1.5}], [{"q5": 1}, {"q1": "a"}],
    ),
    "nested": (thing(a=thing(b=thing(c=YES_NO))), [{"a": {"b": {"c": True}}}], [{"a": {"b": {}}}, {"a": True}]),
    "address": (_ADDRESS, [{"street": "a"}, {"street": "a", "zip": "8001"}],
        [{"zip": "8001"}, {"street": "a", "zip": "x"}]),
    # what jobs ask for
    "sentiment": (
        thing(label=among("positive", "neutral", "negative"), score={"type": "number", "minimum": 0, "maximum": 1}),
        [{"label": "neutral", "score": 0.5}], [{"label": "mixed", "score": 0.5}, {"label": "neutral", "score": 2}],
    ),
    "classification": (
        thing(labels=many(among("sport", "law", "art"), minItems=1), reason=TEXT),
        [{"labels": ["law"], "reason": "x"}], [{"labels": [], "reason": "x"}],
    ),
    "extraction": (
        thing(company=TEXT, revenue={"anyOf": [_MONEY, {"type": "null"}]}),
        [{"company": "a", "revenue": None}, {"company": "a", "revenue": {"amount": 1, "currency": "EUR"}}],
        [{"company": "a"}, {"company": "a", "revenue": {"amount": 1, "currency": "DM"}}],
    ),
    "invoice": (
        thing(number=TEXT, lines=many(thing(what=TEXT, cost=_MONEY)), due={"type": "string", "format": "date"}),
        [{"number": "1", "lines": [], "due": "2026-01-31"}], [{"number": "1", "lines": [{}], "due": "2026-01-31"}],
    ),
    "quiz": (
        thing(question=TEXT, options=many(TEXT, minItems=4, maxItems=4), answer={"type": "integer",
            "minimum": 0, "maximum": 3}),
        [{"question": "?", "options": ["a", "b", "c", "d"], "answer": 3}],
        [{"question": "?", "options": ["a"], "answer": 0}, {"question": "?", "options": ["a"] * 4, "answer": 4}],
    ),
    "grade": (thing(grade=among("A", "B", "C", "D", "F"), points=WHOLE), [{"grade": "A", "points": 9}],
        [{"grade": "E", "points": 1}]),
    "translation": (thing(language={"const": "de"}, text=TEXT), [{"language": "de", "text": "x"}],
        [{"language": "fr", "text": "x"}]),
    "event": (
        thing(what=TEXT, when={"type": "string", "format": "date-time"}, where=TEXT, required=["what", "when"]),
        [{"what": "x", "when": "2026-11-28T10:20:30Z"}], [{"what": "x", "when": "soon"}],
    ),
    "summary": (
        thing(title={"type": "string", "maxLength": 60}, points=many({"type": "string", "maxLength": 80},
            minItems=2, maxItems=5)),
        [{"title": "t", "points": ["a", "b"]}],
            [{"title": "t", "points": ["a"]}, {"title": "t" * 61, "points": ["a", "b"]}],
    ),
    "table": (
        thing(columns=many(TEXT), rows=many(many({"anyOf": [TEXT, NUMBER, {"type": "null"}]}))),
        [{"columns": ["a"], "rows": [[1], ["x"], [None]]}], [{"columns": ["a"], "rows": [[True]]}],
    ),
    "steps": (
        thing(steps=many(thing(explanation=TEXT, output=TEXT)), final_answer=TEXT),
        [{"steps": [{"explanation": "a", "output": "b"}], "final_answer": "c"}],
            [{"steps": [{"output": "b"}], "final_answer": "c"}],
    ),
    # composition
    "either": ({"anyOf": [WHOLE, TEXT]}, [1, "a"], [None, [1]]),
    "one kind each": (
        {"oneOf": [thing(kind={"const": "cat"}, lives=WHOLE), thing(kind={"const": "dog"}, barks=YES_NO)]},
        [{"kind": "cat", "lives": 9}, {"kind": "dog", "barks": True}],
            [{"kind": "cat", "barks": True}, {"kind": "cow"}],
    ),
    "both": (
        {"allOf": [thing(a=WHOLE, more=True), thing(b=TEXT, more=True)]}, [{"a": 1, "b": "x"}],
            [{"a": 1}, {"b": "x"}],
    ),
    "narrowed": ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 7}]}, [3, 7], [2, 8]),
    "by reference": (
        {"$defs": {"money": _MONEY}, **thing(net={"$ref": "#/$defs/money"}, gross={"$ref": "#/$defs/money"})},
        [{"net": {"amount": 1, "currency": "EUR"}, "gross": {"amount": 2, "currency": "EUR"}}],
        [{"net": {"amount": 1, "currency": "EUR"}, "gross": 2}],
    ),
    "old definitions": (
        {"definitions": {"id": {"type": "string", "pattern": "^[a-z]{2}[0-9]{2}$"}},
            **thing(id={"$ref": "#/definitions/id"})},
        [{"id": "ab12"}], [{"id": "a1"}],
    ),
    "a tree": (_TREE, [{"label": "a", "children": [{"label": "b", "children": []}]}],
        [{"label": "a"}, {"label": "a", "children": [1]}]),
    "a list of lists": (
        {"$defs": {"nest": many({"anyOf": [WHOLE, {"$ref": "#/$defs/nest"}]})}, "$ref": "#/$defs/nest"},
        [[], [1, [2, [3]]]], [["a"], 1],
    ),
}  # fmt: skip

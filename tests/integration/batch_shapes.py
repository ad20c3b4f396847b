"""Forty batch files as people build them: text only, in the shapes that their requests have, with words of our own."""

from typing import Any

MODEL = "gpt-4o-mini"
Body = dict[str, Any]


def said(words: Any, system: str | None = None, **fields: Any) -> Body:
    """A body whose model is the one that nearly every such file names."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    return {"model": MODEL, "messages": [*messages, {"role": "user", "content": words}], **fields}


def schema(name: str, properties: Body, **more: Any) -> Body:
    return {
        "type": "json_schema",
        "json_schema": {
            "name": name,
            "schema": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
            **more,
        },
    }


def tool(name: str, **properties: Any) -> Body:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
_SCORE = {"type": "integer", "minimum": 1, "maximum": 5}
_LOOKUP = tool("look_up_order", order_id=TEXT)
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up_order", "arguments": '{"order_id": "77"}'}}

RUN: dict[str, list[Body]] = {
    "plain": [said("Name three rivers."), said("Name three lakes.")],
    "with a system message": [said("Is soup a drink?", "Answer in one sentence.", max_tokens=40)],
    "no temperature": [said("Say hello.", temperature=0)],
    "a little warm": [said("Invent a town.", temperature=0.7, top_p=0.9, max_tokens=60)],
    "seeded": [said("Roll a die.", seed=11, temperature=1.0)],
    "newer length": [said("Explain tides.", max_completion_tokens=64)],
    "developer message": [{"model": MODEL, "messages": [
        {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Why?"}]}],
    "content in parts": [said([{"type": "text", "text": "Read this: "}, {"type": "text", "text": "it rains."}])],
    "a conversation": [{"model": MODEL, "messages": [
        {"role": "user", "content": "My cat is called Ink."}, {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "What is my cat called?"}]}],
    "stops": [said("Count to five, one a line.", stop=["\n6", "END"], max_tokens=30)],
    "one stop": [said("Write a line.", stop="\n", max_tokens=30)],
    "penalties": [said("Describe fog.", frequency_penalty=0.5, presence_penalty=0.2)],
    "log-probabilities": [said("Yes or no: is ice cold?", logprobs=True, top_logprobs=5, max_tokens=1)],
    "a user and metadata": [said("Hello.", user="desk-4", metadata={"job": "nightly", "part": "3"})],
    "said defaults": [said("Hello.", n=1, stream=False, store=False, service_tier="auto", logit_bias={})],
    "some object": [said("Give me JSON about a bridge.", response_format={"type": "json_object"})],
    "text as a format": [said("Hello.", response_format={"type": "text"})],
    "sentiment": [said("I liked the second act.", "Label it.", response_format=schema("label", {
        "label": {"type": "string", "enum": ["good", "bad", "mixed"]}, "score": NUMBER}, strict=True), temperature=0)],
    "extraction": [said("Ann paid 40 francs on 3 May.", response_format=schema("payment", {
        "who": TEXT, "amount": NUMBER, "day": {"type": "string", "format": "date"}}, strict=True))],
    "nullable": [said("No phone given.", response_format=schema("contact", {"phone": {"type": ["string", "null"]}}))],
    "lists of things": [said("Two books.", response_format=schema("shelf", {"books": {"type": "array", "items": {
        "type": "object", "properties": {"title": TEXT, "year": {"type": "integer"}}, "required": ["title", "year"],
        "additionalProperties": False}}}, strict=True))],
    "from a class": [said("One order.", response_format={"type": "json_schema", "json_schema": {
        "name": "Order", "strict": True, "schema": {
        "$defs": {"Size": {"enum": ["S", "M"], "title": "Size", "type": "string"}},
        "properties": {"size": {"$ref": "#/$defs/Size"}, "count": {"title": "Count", "type": "integer"}},
        "required": ["size", "count"], "title": "Order", "type": "object", "additionalProperties": False}}})],
    "a judge": [said("A: four. B: five.", "Which is better?", temperature=0, response_format=schema("verdict", {
        "reasoning": TEXT, "winner": {"enum": ["A", "B", "tie"]}}, strict=True))],
    "a rubric": [said("Grade: the sea is wet.", response_format=schema("grades", {
        "clarity": _SCORE, "depth": _SCORE}))],
    "unions": [said("A cat or a dog.", response_format=schema("pet", {"pet": {"anyOf": [
        {"type": "object", "properties": {sound: {"type": "null"}}, "required": [sound], "additionalProperties": False}
        for sound in ("meows", "barks")]}}))],
    "loose keywords": [said("Three tags.", response_format=schema("tags", {
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 1, "uniqueItems": True}}))],
    "a description in the schema": [said("A title.", response_format=schema("title", {
        "title": {"type": "string", "description": "At most ten words", "maxLength": 80}},
        description="A headline", strict=True))],
    "synthetic questions": [said(f"A question about chapter {n}.", temperature=1, max_tokens=80) for n in range(4)],
    "translation": [said("Guten Morgen.", "To English.", temperature=0.3), said("Bis bald.", "To English.")],
    "summaries": [said("The board met twice. " * 30, "Summarise in a sentence.", max_tokens=50)],
    "several answers": [said("Name a colour.", n=3, temperature=1.0, max_tokens=10)],
    "biased": [said("Yes or no?", logit_bias={"17": 5, "18": -100}, max_tokens=1)],
    "tools": [said("Where is order 77?", tools=[_LOOKUP], tool_choice="auto")],
    "a demanded tool": [said("Where is order 77?", tools=[_LOOKUP], tool_choice="required", parallel_tool_calls=False)],
    "a named tool": [said("Extract it.", tools=[tool("save", who=TEXT, age={"type": "integer"})],
                          tool_choice={"type": "function", "function": {"name": "save"}})],
    "tool results": [{"model": MODEL, "tools": [_LOOKUP], "messages": [
        {"role": "user", "content": "Where is order 77?"},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"state": "sent"}'}]}],
    "an effort": [said("Think about doors.", reasoning_effort="low", max_completion_tokens=200)],
    "names": [{"model": MODEL, "messages": [
        {"role": "user", "name": "ann", "content": "Hi."}, {"role": "user", "name": "bo", "content": "Ho."}]}],
    "a cached beginning": [said("Part 1.", "A long preface.", prompt_cache_key="preface", verbosity="medium")],
}  # fmt: skip

REFUSED: dict[str, tuple[Body, str]] = {
    "a web search": (said("News?", web_search_options={}), "web_search_options"),
}
"""Files that ask for what there is not, and the parameter that the error names."""

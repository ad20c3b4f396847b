"""Text-only batch files in the shapes that people build run unchanged; what cannot is refused by name."""

import asyncio
import functools

import orjson
from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletion

from pelton.producers.batch import submit as submitting
from tests.integration.batch_shapes import MODEL, REFUSED, RUN

submit = functools.partial(submitting.submit, timeout_s=60)


def write(path, bodies):
    lines = [
        {"custom_id": f"{path.stem}-{index}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for index, body in enumerate(bodies)
    ]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def replies(out):
    return {line["custom_id"]: line for line in map(orjson.loads, out.read_bytes().splitlines())}


def check(body, completion):
    """The reply is one that OpenAI's client reads, and has the form that was asked for."""
    assert len(completion.choices) == body.get("n", 1)
    asked = body.get("response_format", {})
    for choice in completion.choices:
        if choice.finish_reason == "length":
            continue
        if asked.get("type") == "json_schema":
            Draft202012Validator(asked["json_schema"]["schema"]).validate(orjson.loads(choice.message.content))
        elif asked.get("type") == "json_object":
            assert isinstance(orjson.loads(choice.message.content), dict)
        if body.get("tool_choice") not in (None, "auto", "none"):
            assert choice.finish_reason == "tool_calls"
            assert choice.message.tool_calls


async def test_forty_files_of_which_nearly_all_run(place, tmp_path):
    """Thirty-nine run to their last line; the one that asks for a web search is refused naming the field."""
    at = await place(model={"served_name": MODEL}, simulated={"max_output_tokens": 300, "context_length": 100_000})
    assert len(RUN) + len(REFUSED) == 40
    files = {**RUN, **{name: [body] for name, (body, _) in REFUSED.items()}}
    async with at.worker():
        for name, bodies in files.items():
            source, out = write(tmp_path / f"{name}.jsonl", bodies), tmp_path / f"{name}.out"
            await asyncio.wait_for(submit(at.settings.kafka, source, out), 60)
            found = replies(out)
            assert len(found) == len(bodies)
            for index, body in enumerate(bodies):
                line = found[f"{name}-{index}"]
                if name in REFUSED:
                    assert line["response"]["body"]["error"]["param"] == REFUSED[name][1]
                else:
                    assert line["response"]["status_code"] == 200, (name, line)
                    check(body, ChatCompletion.model_validate(line["response"]["body"]))

"""A prompt that is too long for the engine, on a real broker: cut where that was asked for, and said in the reply."""

import orjson

LONG = "word " * 20_000


async def test_a_long_prompt_is_cut_where_it_was_asked_for(place, client, chat_body):
    """The reply says how, also the one from the cache; without the wish it is refused as ever."""
    at = await place(partitions=1)
    bodies = {
        b"refused": chat_body(LONG),
        b"cut": chat_body(LONG, temperature=0),
        b"again": chat_body(LONG, temperature=0),
    }
    async with at.worker():
        for count, (name, body) in enumerate(bodies.items(), 1):
            wish = [] if name == b"refused" else [("pelton-truncation", b"middle")]
            await client.send(at.requests, body, headers=[("kafka_correlationId", name), *wish])
            replies = await client.read(at.replies, count)
    by_id = {dict(reply.headers)["kafka_correlationId"]: reply for reply in replies}
    assert orjson.loads(by_id[b"refused"].value)["error"]["code"] == "request_too_large"
    cut, again = by_id[b"cut"], by_id[b"again"]
    told = dict(cut.headers)["pelton-truncated"]
    assert told.startswith(b"middle;tokens=")
    assert dict(again.headers)["pelton-truncated"] == told
    assert dict(again.headers)["pelton-cache"] == b"hit-local"
    usage = orjson.loads(cut.value)["usage"]
    assert usage["prompt_tokens"] + int(told.partition(b"=")[2]) > 20_000
    assert usage["total_tokens"] <= at.settings.engine.simulated.context_length

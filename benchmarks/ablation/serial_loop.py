"""Where most begin: one loop that takes a record, generates, waits for the reply to be stored, and commits.

transformers' own `generate`, one request at a time, and nothing else goes on meanwhile.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import orjson
import torch
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from pelton.pipeline.paths import cache_dir
from pelton.pipeline.settings.engine import ModelSettings
from pelton.workers.engine.model.loading import read
from pelton.workers.engine.model.spec import ModelSpec


def answer(model: Any, tokenizer: Any, body: Mapping[str, Any]) -> bytes:
    """Its reply: the text, and how many tokens were generated."""
    prompt = tokenizer.apply_chat_template(
        body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    length = prompt["input_ids"].shape[1]
    with torch.inference_mode():
        tokens = model.generate(**prompt, max_new_tokens=body["max_completion_tokens"], do_sample=False)[0, length:]
    choices = [{"message": {"role": "assistant", "content": tokenizer.decode(tokens, skip_special_tokens=True)}}]
    return orjson.dumps({"choices": choices, "usage": {"completion_tokens": len(tokens)}})


async def serve(bootstrap: str, requests: str, replies: str) -> None:
    """Answer until ended by a signal."""
    loaded = read(ModelSpec(ModelSettings().path, dtype="float32"), cache_dir() / "models")
    consumer = AIOKafkaConsumer(
        requests,
        bootstrap_servers=bootstrap,
        group_id=f"{requests}-serial",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_interval_ms=600_000,
    )
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer, consumer:
        async for record in consumer:
            reply = answer(loaded.model, loaded.tokenizer, orjson.loads(record.value))
            await producer.send_and_wait(replies, reply, headers=list(record.headers))
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:4]))

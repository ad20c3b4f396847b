"""What a batch file will cost, counted with a model's tokenizer and timed by what workers say of their speed."""

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

from pelton.commands.common import Exit, fail
from pelton.pipeline.wire.chat import ChatRequest

SPEED = "pelton_tokens_per_second"
LOOK_S = 5.0


def token_counter(model: str) -> Callable[[ChatRequest], int]:
    """Counts the tokens of a prompt as a worker would, with the chat template. `model` is a folder or a hub's name."""
    from pelton.workers.engine.errors import ModelLoadError  # noqa: PLC0415 (imports torch, an extra)
    from pelton.workers.engine.model.chat_template import wants_parts  # noqa: PLC0415 (likewise)
    from pelton.workers.engine.model.tokenizer import read_tokenizer  # noqa: PLC0415 (likewise)
    from pelton.workers.prepare.tokenizer import TokenizerCodec  # noqa: PLC0415 (likewise)

    try:
        tokenizer = read_tokenizer(model)
    except ModelLoadError as error:
        fail(f"--tokenizer: {error}", Exit.UNUSABLE)
    codec = TokenizerCodec(tokenizer, content_parts=wants_parts(tokenizer))
    return lambda request: len(codec.encode([codec.render(request.messages, request)])[0])


def measured_speed(metrics: Sequence[str]) -> float:
    """Tokens a second of all workers together, as their metrics have it. Ends the command where they tell nothing."""
    total = 0.0
    for url in metrics:
        if not re.match(r"https?://", url):
            fail(f"--metrics: {url} is no http:// address of a worker's metrics.", Exit.UNUSABLE)
        try:
            with urllib.request.urlopen(url, timeout=LOOK_S) as response:  # noqa: S310  # http, as was just checked
                text = response.read().decode()
        except (OSError, HTTPException, ValueError) as error:
            fail(f"--metrics: {url} cannot be read: {error}.", Exit.UNUSABLE)
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        total += sum(each.value for each in samples if each.name == SPEED and each.value > 0)
    if not total:
        fail(f"--metrics: no worker there has measured a speed yet ({SPEED}).", Exit.UNUSABLE)
    return total

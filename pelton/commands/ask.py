"""`pelton ask`: one question, one answer, over Kafka."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pelton.commands.common import Config, Exit, fail, quiet_libraries, run_async, say
from pelton.commands.waiting import spoken, waiting
from pelton.pipeline.settings.loading import load_settings
from pelton.pipeline.wire.chat import ChatCompletion
from pelton.pipeline.wire.contract import Lane
from pelton.producers.client import DEFAULT_TIMEOUT_S, InferenceClient
from pelton.telemetry import traces


def ask(  # noqa: PLR0913, PLR0917  # the command's options, each by name
    question: Annotated[str, typer.Argument(help="The question; - reads it from standard input.")],
    system: Annotated[str | None, typer.Option(help="Instructions that come before the question.")] = None,
    session: Annotated[
        str | None, typer.Option(help="A conversation's name; what was said in it before is remembered.")
    ] = None,
    model: Annotated[str, typer.Option(help="A model some worker serves.")] = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of the answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 for the likeliest answer.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print the whole chat.completion object.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = DEFAULT_TIMEOUT_S,
    config: Config = None,
) -> None:
    """Ask one question and print the answer.

    It goes to the request topic, and a worker's reply comes back on the reply
    topic. After --timeout seconds the worker drops the question as well.

    With --session the worker knows the questions and answers before this
    one, if it has a Redis or Valkey. Without, every question stands alone.

    Example: pelton ask "Why is the sky blue?" --max-tokens 60

    Exit codes: 0 answered; 1 the reply is an error; 2 bad arguments or
    settings, or no Kafka; 3 no reply in time; 130 interrupted.
    """
    quiet_libraries()
    text = _standard_input() if question == "-" else question
    for name, given in (("question", text), ("--system", system), ("--session", session), ("--model", model)):
        if given is not None and given.encode(errors="replace").decode() != given:
            fail(f"The {name} is no text in UTF-8.", Exit.UNUSABLE)
    if not text:
        fail("The question is empty.", Exit.UNUSABLE)
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    limits = {"max_completion_tokens": max_tokens, "temperature": temperature}
    body = {name: value for name, value in limits.items() if value is not None}
    completion = run_async(_ask(config, messages, model, timeout, {"session": session, **body}))
    say(completion.model_dump_json(indent=2) if as_json else completion.choices[0].message.content or "")


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError:
        fail("What standard input holds is no text in UTF-8.", Exit.UNUSABLE)


async def _ask(
    config: Path | None, messages: list[dict[str, str]], model: str, timeout_s: float, body: dict[str, Any]
) -> ChatCompletion:
    settings = load_settings(config)
    kafka = settings.kafka
    with spoken("Waiting for an answer") as say_waiting, traces(settings.traces, "pelton-ask") as kept:
        async with InferenceClient(kafka, traces=kept) as client, waiting(kafka, say_waiting):
            deadline_ms = int((time.time() + timeout_s) * 1000)
            return await client.complete(
                messages, model, timeout_s=timeout_s, deadline_ms=deadline_ms, priority=Lane.INTERACTIVE, **body
            )

"""`pelton demo`: the main job on this machine, from an empty folder to answers."""

from typing import Annotated

import orjson
import typer
from rich.console import Console

from pelton.commands.common import Exit, clear_errors, fail, quiet_libraries, say, stderr
from pelton.demo.run import run_demo
from pelton.stack.errors import StackError


def demo(
    requests: Annotated[int, typer.Option(min=1, help="How many questions to ask.")] = 24,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print answers and measurements as JSON.")
    ] = False,
) -> None:
    """Ask a real model real questions through a real Kafka, all on this machine.

    Starts Kafka, Valkey and one worker with SmolLM2-135M-Instruct, asks
    questions over tables of financial reports (TAT-QA), shows the answers
    beside the gold answers and what was measured, and stops everything.
    The model is small: expect it to be wrong often.

    Exit codes: 0 every question was answered; 1 some were not; 2 something
    could not be started; 130 interrupted.
    """
    quiet_libraries()
    with clear_errors():
        try:
            result = run_demo(requests, stderr)
        except StackError as error:
            fail(str(error), Exit.UNUSABLE)
    if as_json:
        say(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2))
    else:
        Console().print(result.as_text())
    if result.unanswered:
        fail(f"{result.unanswered} of {requests} questions were not answered.", Exit.FAILED)

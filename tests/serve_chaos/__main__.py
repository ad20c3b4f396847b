"""Kill `pelton serve` at every point of a batch's life and weigh what the next server makes of it.

    python -m tests.serve_chaos [--lines N] [--points NUMBER ...] [--parallel N] [--list]

Real Kafka, real server processes, a simulated engine. Prints a table to stderr and the same as JSON to stdout. Exit
codes: 0 every line of every batch has one result and was sent once; 1 not so. Logs are kept when it was not so.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from pelton.stack.stack import LocalStack, StackConfig
from tests.serve_chaos.case import Case
from tests.serve_chaos.points import POINTS, chosen
from tests.serve_chaos.rig import run_all


def main(arguments: Sequence[str]) -> int:
    """Do one run; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    if options.list:
        for number, point in enumerate(POINTS, start=1):
            console.print(f"{number:3} {point.name}", highlight=False)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="pelton-serve-chaos-"))
    with LocalStack(StackConfig()) as stack:
        points = list(chosen(options.points))
        running = run_all(
            *(stack.env, points, folder),
            lines=options.lines,
            parallel=options.parallel,
            on_end=lambda case: console.print(f"{case.point.name}: {case.wrong or 'ended as it should'}"),
        )
        cases = asyncio.run(running)
    console.print(_table(cases, options.lines))
    sys.stdout.write(orjson.dumps([_as_json(case) for case in cases], option=orjson.OPT_INDENT_2).decode() + "\n")
    if any(case.wrong for case in cases):
        console.print(f"Logs: {folder}", soft_wrap=True)
        return 1
    shutil.rmtree(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.serve_chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=5_000, help="requests of each batch (default: 5000)")
    parser.add_argument("--points", type=int, nargs="+", default=[], metavar="NUMBER", help="only these (default: all)")
    parser.add_argument("--parallel", type=int, default=3, help="batches at a time (default: 3)")
    parser.add_argument("--list", action="store_true", help="show the points and their numbers")
    return parser


def _as_json(case: Case) -> dict[str, object]:
    return {"point": case.point.name, "took_s": round(case.took_s, 1), "wrong": case.wrong}


def _table(cases: Sequence[Case], lines: int) -> Table:
    table = Table("the server", "ended after, s", "wrong", title=f"Batches of {lines:,} lines")
    for case in cases:
        what = "freezes" if case.point.freezes else "dies"
        table.add_row(f"{what}: {case.point.name}", f"{case.took_s:.1f}", "\n".join(case.wrong) or "nothing")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

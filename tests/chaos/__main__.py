"""Break a queue on purpose and weigh what is left: real Kafka, real worker processes, faults drawn from a seed.

    python -m tests.chaos --seed 7

Prints a table to stderr and the verdict as JSON to stdout, or to --json. Exit codes: 0 nothing lost, twice or corrupt;
1 something was; 2 it could not be tried. The workers' logs are kept when the verdict is bad.
"""

import argparse
import asyncio
import logging
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pelton.logs import FORMAT
from pelton.stack.errors import StackError
from tests.chaos.checker import Wrong
from tests.chaos.logs import LogStuck
from tests.chaos.rig import SESSION_S, Outcome, Progress, Rig, Run
from tests.chaos.schedule import Fault, Storm

CLEAN, BAD, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
EVERY_FAULT = tuple(fault for fault in Fault if fault is not Fault.POISON)


def main(arguments: Sequence[str]) -> int:
    """Do one run; returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    folder = options.logs or Path(tempfile.mkdtemp(prefix="pelton-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=folder / "rig.log", format=FORMAT, level=logging.INFO)
    code = UNUSABLE
    try:
        rig = Rig(_run(options), folder)
        with Live(get_renderable=lambda: _line(rig.progress), console=console, refresh_per_second=2, transient=True):
            outcome = asyncio.run(rig.carry_out())
        _publish(outcome, options, console)
        code = CLEAN if outcome.verdict.valid else BAD
    except* (StackError, LogStuck) as group:
        for error in group.exceptions:
            console.print(f"chaos: {error}", style="red", markup=False)
        code = BAD if group.subgroup(LogStuck) else UNUSABLE
    except* KeyboardInterrupt:
        code = INTERRUPTED
    if code in (CLEAN, INTERRUPTED) and options.logs is None:
        shutil.rmtree(folder)
    else:
        console.print(f"Logs: {folder}", soft_wrap=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="decides the requests and the faults (default: 1)")
    parser.add_argument("--minutes", type=float, default=6.0, help="how long requests are sent (default: 6)")
    parser.add_argument("--requests", type=int, default=18_000, help="how many, at a steady rate (default: 18000)")
    parser.add_argument("--faults", type=int, default=39, help="how many, of all kinds (default: 39)")
    parser.add_argument("--only", nargs="+", type=Fault, choices=EVERY_FAULT, default=EVERY_FAULT, metavar="FAULT")
    parser.add_argument("--lead", type=float, default=2.0, metavar="SECONDS", help="peace before them (default: 2)")
    parser.add_argument("--lasts", type=float, metavar="SECONDS", help="how long each fault lasts (default: drawn)")
    parser.add_argument("--poison", type=int, default=2, help="requests that kill their worker (default: 2)")
    parser.add_argument("--workers", type=int, default=3, help="worker processes (default: 3)")
    parser.add_argument("--engine", choices=("simulated", "openai"), default="simulated", help="what answers")
    parser.add_argument("--mutant", help="run workers with a known fault in them: see tests/chaos/mutant.py")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the processes' logs there in any case")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the verdict goes instead of stdout")
    return parser


def _run(options: argparse.Namespace) -> Run:
    storm = Storm(
        seconds=options.minutes * 60,
        strikes=options.faults,
        workers=options.workers,
        session_s=SESSION_S,
        kinds=tuple(options.only),
        poison=options.poison,
        lead_s=options.lead,
        lasts_s=options.lasts,
    )
    if options.mutant is None:
        return Run(options.seed, options.requests, storm, engine=options.engine)
    return Run(options.seed, options.requests, storm, ("-m", "tests.chaos.mutant", options.mutant), options.engine)


def _line(progress: Progress) -> str:
    current = ", ".join(strike.fault.value for strike in progress.current)
    return (
        f"{progress.elapsed_s:4.0f} s  {progress.phase}: {progress.sent:,} sent, {progress.answered:,} answered, "
        f"{progress.repeated:,} repeated, {progress.struck} faults{f' (now: {current})' if current else ''}"
    )


def _publish(outcome: Outcome, options: argparse.Namespace, console: Console) -> None:
    replay = f"python -m tests.chaos {shlex.join(sys.argv[1:])}"
    verdict = orjson.dumps({"seed": options.seed, **outcome.as_json(), "replay": replay}, option=orjson.OPT_INDENT_2)
    if options.json is None:
        sys.stdout.write(verdict.decode() + "\n")
    else:
        options.json.write_bytes(verdict)
    console.print(_table(outcome))
    console.print(f"Replay: {replay}", soft_wrap=True, markup=False, highlight=False)


def _table(outcome: Outcome) -> Table:
    verdict = outcome.verdict
    table = Table(title="clean" if verdict.valid else "NOT CLEAN", title_style="green" if verdict.valid else "bold red")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, count in (
        ("requests stored", verdict.stored),
        ("committed replies", verdict.replies),
        ("dead letters", verdict.letters),
        *((wrong.value.replace("_", " "), verdict.count(wrong)) for wrong in Wrong),
        *((f"cache: {told}", times) for told, times in sorted(verdict.outcomes.items())),
        *((f"error: {code}", times) for code, times in sorted(verdict.errors.items())),
        *((f"fault: {fault}", times) for fault, times in sorted(outcome.struck.items())),
        *((f"latency {name}, ms", value) for name, value in verdict.latency_ms.items()),
    ):
        table.add_row(name, f"{count:,}")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Traffic as a cloud saw it, or like it."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from benchmarks.fairness.simulation import Machine, Request

FILES = {1: "azure_llm_trace_2023_conv.csv", 0: "azure_llm_trace_2023_code.csv"}
"""By priority: conversations, for which somebody waits, and code."""
DEADLINES_S = {1: 15.0, 0: 120.0}
LONGEST = 2_000
MOST = 800
"""Requests of each file."""


@dataclass(frozen=True, slots=True)
class TraceFile:
    """Arrival (seconds), prompt and generated tokens of each request."""

    priority: int
    rows: Sequence[tuple[float, int, int]]


def read(folder: Path) -> list[TraceFile]:
    """The Azure LLM inference trace of 2023, where its files are there; else arrivals and lengths like its."""
    if all((folder / name).exists() for name in FILES.values()):
        return [TraceFile(priority, _rows(folder / name)) for priority, name in FILES.items()]
    return [TraceFile(1, _made(1_000, 200, seed=1)), TraceFile(0, _made(2_000, 30, seed=2))]


def azure_like(files: Sequence[TraceFile], machine: Machine, *, load: float) -> list[Request]:
    """Their requests, in as short a time as makes `load` times what the machine can do."""
    requests = [
        Request(at, prompt, new, FILES[each.priority], each.priority, DEADLINES_S[each.priority])
        for each in files
        for at, prompt, new in _stretched(each.rows)
    ]
    seconds = sum(_engine_s(each, machine) for each in requests) / load
    return [replace(each, since=each.since * seconds) for each in requests]


def _engine_s(request: Request, machine: Machine) -> float:
    """Its part of the engine's time when all rows are taken."""
    return request.max_new_tokens * machine.step_s / machine.rows + request.tokens * machine.token_s


def _stretched(rows: Sequence[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """With arrivals from 0 to 1."""
    begin, end = rows[0][0], rows[-1][0]
    return [((at - begin) / (end - begin), prompt, new) for at, prompt, new in rows]


def _rows(path: Path) -> list[tuple[float, int, int]]:
    with path.open() as file:
        rows = [
            (datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp(), int(row["ContextTokens"]),
             int(row["GeneratedTokens"]))
            for row in csv.DictReader(file)
        ]  # fmt: skip
    return [(at, min(prompt, LONGEST), max(1, new)) for at, prompt, new in rows[:MOST]]


def _made(prompt: int, answer: int, seed: int) -> list[tuple[float, int, int]]:
    """Poisson arrivals and log-normal lengths."""
    draw, now = random.Random(seed), 0.0
    rows: list[tuple[float, int, int]] = []
    for _ in range(MOST):
        now += draw.expovariate(1.0)
        lengths = [max(1, int(mean * draw.lognormvariate(-0.32, 0.8))) for mean in (prompt, answer)]
        rows.append((now, min(lengths[0], LONGEST), lengths[1]))
    return rows

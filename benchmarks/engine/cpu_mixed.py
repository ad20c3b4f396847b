"""The mixed workload on a CPU: engine, bound and peers, each in a process of its own, in turns of a second."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.engine.cpu_peers import (
    MODELS,
    Contender,
    Seconds,
    bound_run,
    padded_run,
    report,
    transformers_run,
    warm_engine_run,
)
from benchmarks.engine.workloads import Request, joined, mixed_sets, mixed_sizes
from benchmarks.support.interleaved import Contender as Process
from benchmarks.support.interleaved import begin, rates_in_turns, unwind_on_sigterm
from pelton.workers.engine.model.loading import LoadedModel, load, prepare, read
from pelton.workers.engine.model.spec import ModelSpec

Sets = Sequence[list[Request]]
TOKENS = sum(new for _, new in mixed_sizes())


def _engine(plain: LoadedModel, _: ModelSpec, sets: Sets) -> Contender:
    prepare(plain)
    return warm_engine_run(plain, joined(sets[:2]), sets[2:])


def _int8(plain: LoadedModel, _: ModelSpec, sets: Sets) -> Contender:
    return warm_engine_run(prepare(plain, "int8"), joined(sets[:2]), sets[2:])


def _int8_kv(plain: LoadedModel, _: ModelSpec, sets: Sets) -> Contender:
    return warm_engine_run(prepare(plain), joined(sets[:2]), sets[2:], kv_dtype="int8")


def _bound(plain: LoadedModel, spec: ModelSpec, sets: Sets) -> Contender:
    return bound_run(load(spec, MODELS), plain, sets[0])


def _own_bound(plain: LoadedModel, _: ModelSpec, sets: Sets) -> Contender:
    prepare(plain)
    return bound_run(plain, plain, sets[0])


def _padded(plain: LoadedModel, _: ModelSpec, sets: Sets) -> Contender:
    return padded_run(plain, sets[0])


def _transformers(plain: LoadedModel, _: ModelSpec, sets: Sets) -> Contender:
    return transformers_run(plain, sets[0])


CONTENDERS: dict[str, Callable[[LoadedModel, ModelSpec, Sets], Contender]] = {
    "engine": _engine,
    "engine with int8 weights": _int8,
    "engine with int8 keys and values": _int8_kv,
    "bound: transformers' body alone": _bound,
    "the same with the engine's layers": _own_bound,
    "padded generate of 16": _padded,
    "transformers continuous": _transformers,
}


def contend(connection: Connection, name: str, spec: ModelSpec, runs: int, threads: int) -> None:
    """One of the contenders; achieves the generated tokens of 48 requests, `runs` times after one that is not seen."""
    torch.set_num_threads(threads)
    plain = read(spec, MODELS)
    contender = CONTENDERS[name](plain, spec, mixed_sets(plain.model.config.vocab_size, runs + 3))
    contender()
    for _ in range(runs):
        begin(connection)
        contender()
        connection.send(TOKENS)
    connection.recv()


def run_mixed(spec: ModelSpec, runs: int, contenders: Sequence[str] | None = None) -> None:
    """The engine beside `contenders`, or all of them."""
    console = Console(stderr=True)
    unwind_on_sigterm()
    names = [name for name in CONTENDERS if contenders is None or name in ("engine", *contenders)]
    measured: dict[str, list[Seconds]] = {name: [] for name in names}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(contend, name, spec, runs, torch.get_num_threads()))
            for name in track(names, "Preparing the contenders", console=console)
        }
        for run in track(range(runs), "Running them in turns", console=console):
            before = {name: process.cpu_seconds for name, process in processes.items()}
            rates = rates_in_turns(processes)
            for name, process in processes.items():
                measured[name].append(Seconds(TOKENS / rates[name], process.cpu_seconds - before[name]))
            if run + 1 < runs:
                for process in processes.values():
                    process.again()
    report("48 mixed requests", dict.fromkeys(measured, TOKENS), measured)

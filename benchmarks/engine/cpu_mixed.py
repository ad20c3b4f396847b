"""The mixed workload on a CPU: engine, bound and peers, each in a process of its own, in turns of a second.

With neighbours each is measured twice in every run: alone, and beside loops of arithmetic that keep the cores busy.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.engine.cpu_peers import (
    MODELS,
    Contender,
    Seconds,
    bound_run,
    kept,
    padded_run,
    report,
    transformers_run,
    warm_engine_run,
)
from benchmarks.engine.peers import llama, openvino
from benchmarks.engine.workloads import Request, joined, mixed_sets, mixed_sizes
from benchmarks.support.interleaved import Contender as Process
from benchmarks.support.interleaved import begin, rates_in_turns, unwind_on_sigterm
from benchmarks.support.neighbours import Neighbours
from pelton.workers.engine.model.files.source import locate
from pelton.workers.engine.model.loading import LoadedModel, load, prepare, read
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.supervisor.wait_policy import wait_policy

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


def _gguf(spec: ModelSpec) -> Path:
    file = locate(spec.path_or_id, spec.gguf_file).local_gguf
    if file is None:
        raise SystemExit(f"{spec.path_or_id} is no GGUF file, which OpenVINO GenAI and llama.cpp are given here")
    return file


def _openvino(_: LoadedModel, spec: ModelSpec, sets: Sets) -> Contender:
    return openvino.openvino_run(_gguf(spec), torch.get_num_threads(), joined(sets[:2]), sets[2:])


def _llama(_: LoadedModel, spec: ModelSpec, sets: Sets) -> Contender:
    return llama.llama_run(_gguf(spec), torch.get_num_threads(), sets[0], sets[2:])


CONTENDERS: dict[str, Callable[[LoadedModel, ModelSpec, Sets], Contender]] = {
    "engine": _engine,
    "engine with int8 weights": _int8,
    "engine with int8 keys and values": _int8_kv,
    "bound: transformers' body alone": _bound,
    "the same with the engine's layers": _own_bound,
    "padded generate of 16": _padded,
    "transformers continuous": _transformers,
    "OpenVINO GenAI": _openvino,
    "llama.cpp": _llama,
}

MISSING = {"OpenVINO GenAI": openvino.missing, "llama.cpp": llama.missing}


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


def chosen(contenders: Sequence[str] | None) -> list[str]:
    """The engine and `contenders`, or all that are installed; raises `SystemExit` for one by name that is not."""
    names = [name for name in CONTENDERS if contenders is None or name in ("engine", *contenders)]
    reasons = {name: reason for name in names if name in MISSING and (reason := MISSING[name]())}
    for name, reason in reasons.items():
        if contenders is not None:
            raise SystemExit(f"{name}: {reason}")
        Console(stderr=True).print(f"Without {name}, as {reason}")
    return [name for name in names if name not in reasons]


Measured = dict[str, list[Seconds]]


def run_mixed(spec: ModelSpec, runs: int, contenders: Sequence[str] | None = None, neighbours: int = 0) -> None:
    """The engine beside `contenders`, or all of them; with `neighbours` once more beside as many busy loops."""
    unwind_on_sigterm()
    names = chosen(contenders)
    os.environ.update(wait_policy())  # as a worker has it; for the peers that are computed by PyTorch too
    quiet: Measured = {name: [] for name in names}
    beside: Measured = {name: [] for name in names}
    with ExitStack() as stack:
        others = stack.enter_context(Neighbours(neighbours))
        settings = spec, runs * (2 if neighbours else 1), torch.get_num_threads()
        processes = {
            name: stack.enter_context(Process(contend, name, *settings))
            for name in track(names, "Preparing the contenders", console=Console(stderr=True))
        }
        for run in track(range(runs), "Running them in turns", console=Console(stderr=True)):
            for measured in (quiet, beside) if neighbours else (quiet,):
                if run or measured is beside:
                    _again(processes)
                with others.busy() if measured is beside else nullcontext():
                    _measure(processes, measured)
    tokens = dict.fromkeys(names, TOKENS)
    report("48 mixed requests", tokens, quiet)
    if neighbours:
        report(f"48 mixed requests beside {neighbours} busy loops", tokens, beside, kept=kept(quiet, beside))


def _again(processes: dict[str, Process]) -> None:
    for process in processes.values():
        process.again()


def _measure(processes: dict[str, Process], measured: Measured) -> None:
    before = {name: process.cpu_seconds for name, process in processes.items()}
    rates = rates_in_turns(processes)
    for name, process in processes.items():
        measured[name].append(Seconds(TOKENS / rates[name], process.cpu_seconds - before[name]))

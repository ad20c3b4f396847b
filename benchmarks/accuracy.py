"""What each precision of weights, keys and values costs in accuracy, beside float32 on the same model.

    python -m benchmarks.accuracy [--model NAME] [--contexts N] [--questions N] [--precision NAME ...]

perplexity     of the paragraphs of real financial reports (TAT-QA, `benchmarks/data`), up to 256 tokens of each context
KL             of the precision's next-token distributions from those of float32, in hundredths of a nat for each token:
               it sees a change that perplexity's chance would hide
exact match    greedy answers to questions of TAT-QA whose answer is one figure or span, after one example; the figure
               or span must stand in the answer's first line. A small model answers few rightly: what counts is whether
               a precision answers differently, so agreement with float32's texts is shown too

The engine computes all of it; texts are read in one chunk each, through its pages. bfloat16 is left out where the
processor would emulate it, unless it is named, and so is fp8, which a CPU computes slowly.
Prints a table and the same as JSON.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.support.data import TATQA
from pelton.pipeline.paths import cache_dir
from pelton.workers.engine.api import SamplingParams
from pelton.workers.engine.attention.packed_batch import PackedBatch, RowSpan
from pelton.workers.engine.attention.paged import TorchAttention
from pelton.workers.engine.attention.quantised_kv import kv_cache
from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.model_runner import PackedRunner
from pelton.workers.engine.layers.packed_linear import can_pack
from pelton.workers.engine.model.loading import LoadedModel, load
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.model.supported import kv_shape
from pelton.workers.engine.offline import Engine

CONTEXT_TOKENS, LEAST_TOKENS, ANSWER_TOKENS, MAX_PROMPT_TOKENS = 256, 64, 24, 900
PAGE = 64


@dataclass(frozen=True, slots=True)
class Precision:
    dtype: Literal["float32", "bfloat16"] = "float32"
    weights: Literal["auto", "int8", "fp8"] = "auto"
    kv_dtype: Literal["auto", "int8"] = "auto"


PRECISIONS = {
    "float32": Precision(),
    "bfloat16": Precision("bfloat16"),
    "int8 weights": Precision(weights="int8"),
    "int8 keys and values": Precision(kv_dtype="int8"),
    "int8 weights, keys and values": Precision(weights="int8", kv_dtype="int8"),
    "fp8 weights": Precision(weights="fp8"),
    "bfloat16, int8 weights": Precision("bfloat16", weights="int8"),
    "bfloat16, int8 keys and values": Precision("bfloat16", kv_dtype="int8"),
}


@dataclass(frozen=True, slots=True)
class Question:
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Result:
    """`exact` of the questions were answered rightly, `agreed` as float32 did to the letter."""

    perplexity: float
    kl_percent: float
    tokens: int
    exact: int
    agreed: int
    questions: int
    seconds: float


class Measurement:
    """The same texts and questions for each precision; the first one measured is what others are compared with."""

    def __init__(self, records: Sequence[dict[str, Any]], contexts: int, questions: int) -> None:
        self._texts = [" ".join(record["paragraphs"]) for record in records]
        self._contexts = contexts
        self._questions = list(_questions(records))[:questions]
        self._distributions: list[Tensor] = []
        self._answers: list[str] = []

    def of(self, loaded: LoadedModel, kv_dtype: Literal["auto", "int8"]) -> Result:
        started = time.perf_counter()
        loss, divergence, tokens = self._read(loaded, kv_dtype)
        answers = self._ask(loaded, kv_dtype)
        self._answers = self._answers or answers
        return Result(
            perplexity=math.exp(loss / tokens),
            kl_percent=100 * divergence / tokens,
            tokens=tokens,
            exact=sum(question.answer in answer for question, answer in zip(self._questions, answers, strict=True)),
            agreed=sum(mine == first for mine, first in zip(answers, self._answers, strict=True)),
            questions=len(answers),
            seconds=round(time.perf_counter() - started, 1),
        )

    @torch.inference_mode()
    def _read(self, loaded: LoadedModel, kv_dtype: Literal["auto", "int8"]) -> tuple[float, float, int]:
        """Loss and divergence in nats over all tokens but each context's first, and how many those are."""
        ids = [loaded.tokenizer(text)["input_ids"][:CONTEXT_TOKENS] for text in self._texts]
        chosen = [each for each in ids if len(each) >= LEAST_TOKENS][: self._contexts]
        reader = _Reader(loaded, kv_dtype)
        loss = divergence = 0.0
        first = not self._distributions
        for index, each in enumerate(chosen):
            distribution = reader.logits(each)[:-1].log_softmax(dim=-1)
            if first:
                self._distributions.append(distribution.half())
            expected = self._distributions[index].float()
            divergence += torch.sum(expected.exp() * (expected - distribution)).item()
            loss -= distribution.gather(1, torch.tensor(each)[1:, None]).sum().item()
        return loss, divergence, sum(len(each) - 1 for each in chosen)

    def _ask(self, loaded: LoadedModel, kv_dtype: Literal["auto", "int8"]) -> list[str]:
        prompts = [_tokens(loaded, question.prompt) for question in self._questions]
        engine = Engine(loaded, ContinuousConfig(kv_memory_gib=0.25, max_running=16, kv_dtype=kv_dtype))
        completions = engine.generate(prompts, SamplingParams(ANSWER_TOKENS, temperature=0.0))
        texts = [loaded.tokenizer.decode(each.token_ids, skip_special_tokens=True) for each in completions]
        return [text.strip().splitlines()[0] if text.strip() else "" for text in texts]


class _Reader:
    """Logits of all tokens of a text, through pages as the engine's."""

    def __init__(self, loaded: LoadedModel, kv_dtype: Literal["auto", "int8"]) -> None:
        shape = kv_shape(loaded.model.config, kv_dtype)
        self._pages = np.arange(CONTEXT_TOKENS // PAGE)
        self._store = kv_cache(shape, len(self._pages), PAGE, dtype=loaded.dtype, device=loaded.device)
        self._runner = PackedRunner(loaded.model, self._store)

    def logits(self, ids: Sequence[int]) -> Tensor:
        """Float32 [tokens, vocab]."""
        rows = RowSpan(0, 0, len(ids), self._pages[: -(-len(ids) // PAGE)])
        batch = PackedBatch.pack(np.array(ids), [rows], np.arange(len(ids)), self._store)
        return self._runner.forward(batch, TorchAttention(batch, self._store))


def _questions(records: Sequence[dict[str, Any]]) -> Iterator[Question]:
    """One of each context that has one to be answered from its paragraphs by a short span."""
    for record in records:
        text = " ".join(record["paragraphs"])
        for question in record["questions"]:
            answers = question["answer"] if isinstance(question["answer"], list) else [question["answer"]]
            span = str(answers[0])
            if len(answers) == 1 and 0 < len(span.split()) <= 4 and span in text:
                yield Question(f"{text[:2500]}\n\nQuestion: {question['question']} Answer in a few words.", span)
                break


def _tokens(loaded: LoadedModel, prompt: str) -> list[int]:
    chat = [{"role": "user", "content": prompt}]
    ids: list[int] = loaded.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    return ids[-MAX_PROMPT_TOKENS:]


def _report(results: dict[str, Result]) -> None:
    base = results["float32"]
    columns = ("perplexity", "beside float32", "KL (nats/100)", "exact match", "as float32", "seconds")
    table = Table("precision", *columns, title=f"{base.tokens} tokens, {base.questions} questions")
    for name, each in results.items():
        change = f"{100 * (each.perplexity / base.perplexity - 1):+.2f} %"
        found = f"{each.exact}/{each.questions}", f"{each.agreed}/{each.questions}"
        table.add_row(name, f"{each.perplexity:.3f}", change, f"{each.kl_percent:.2f}", *found, f"{each.seconds:.0f}")
    Console().print(table)
    print(json.dumps({name: asdict(each) for name, each in results.items()}))


def _is_fast(how: Precision) -> bool:
    return how.weights != "fp8" and (how.dtype == "float32" or can_pack(torch.bfloat16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--contexts", type=int, default=40)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--precision", nargs="*", choices=list(PRECISIONS)[1:], help="besides float32; default: all")
    asked = parser.parse_args()
    records = [json.loads(line) for line in TATQA.read_text(encoding="utf-8").splitlines()]
    measurement = Measurement(records, asked.contexts, asked.questions)
    fast = [name for name, how in PRECISIONS.items() if _is_fast(how)]
    results = {}
    for name in ["float32", *(asked.precision if asked.precision is not None else fast[1:])]:
        how = PRECISIONS[name]
        spec = ModelSpec(asked.model, device="cpu", dtype=how.dtype, weights=how.weights)
        results[name] = measurement.of(load(spec, cache_dir() / "models"), how.kv_dtype)
    _report(results)


if __name__ == "__main__":
    main()

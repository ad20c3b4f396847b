"""A body that compiles as one graph, or runs as it is."""

import copy
import warnings
from typing import Any

import pytest
import torch

from pelton.workers.engine.cuda.compiling import compile_body
from pelton.workers.engine.cuda.paged_op import attending, paged_attention
from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.faults import memory_lasts
from pelton.workers.engine.layers.fused_linear import fuse_linears
from pelton.workers.engine.model.loading import wrap
from tests.unit.workers.engine._support.plain_attention import late_engine
from tests.unit.workers.engine._support.reference import PAGE, pristine, run

REQUESTS = [(1, 4), (23, 1), (5, 2), (40, 7)]


@pytest.mark.parametrize("family", ["llama", "qwen3", "glm4", "phi3-windowed", "gemma2", "gemma3"])
def test_one_graph_serves_every_step(family: str) -> None:
    """The body is traced whole, without a break, and once: no number of rows, slot or page compiles it again."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = copy.deepcopy(pristine(family))
    fuse_linears(model)
    engine = late_engine(wrap(model), page_size=PAGE, max_batch_tokens=13, max_running=6)
    model.base_model.compile(backend="eager", fullgraph=True, dynamic=True)
    run(engine, family, REQUESTS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


class Body(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows + 1


class Model:
    def __init__(self) -> None:
        self.base_model = Body()


def test_a_model_that_does_not_compile_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning, and the plain body again; memory that runs out is no fault of the compiler's and is raised."""
    model = Model()

    def fails(*_: Any) -> None:
        raise RuntimeError("this cannot be compiled")

    monkeypatch.setattr(Body, "compile", lambda self, **_: setattr(self, "_compiled_call_impl", fails))
    compile_body(model, None, lambda: model.base_model(torch.zeros(2)))
    assert "could not be compiled" in caplog.text
    assert model.base_model(torch.zeros(2)).tolist() == [1, 1]

    def out_of_memory() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelLoadError, match=r"lower this.*CUDA out of memory"), memory_lasts("lower this"):
        compile_body(Model(), None, out_of_memory)


def test_advice_on_float32_is_no_failure(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Inductor warns that products of float32 could be less exact and faster: no reason to run uncompiled."""
    model = Model()
    monkeypatch.setattr(Body, "compile", lambda *_, **__: None)

    def advised() -> None:
        warnings.warn("TensorFloat32 tensor cores for float32 matrix multiplication available", stacklevel=1)

    compile_body(model, None, advised)
    assert "could not be compiled" not in caplog.text


def test_the_operator_is_what_it_says() -> None:
    """Its shape is known without computing it; outside of a step it is an error."""

    class Doubled:
        def attend(self, _layer: int, queries: torch.Tensor, *_: Any) -> torch.Tensor:
            return queries * 2

    arguments = torch.ones(3, 4, 8), torch.ones(3, 2, 8), torch.ones(3, 2, 8), 0, 0.5, 0, 0.0
    with attending(Doubled()):
        torch.library.opcheck(paged_attention, arguments, test_utils=("test_schema", "test_faketensor"))
    with pytest.raises(RuntimeError, match="outside of a step"):
        paged_attention(*arguments)

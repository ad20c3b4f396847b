"""What the first rank says to the others over their pipes, and what they answer."""

from dataclasses import dataclass
from pathlib import Path

from pelton.workers.engine.attention.packed_batch import Ints, PackedBatch, RowSpan
from pelton.workers.engine.config import EngineLimits
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.parallel.process_group import Group


@dataclass(frozen=True, slots=True)
class Join:
    """Join the process group; answered when all have."""

    group: Group


@dataclass(frozen=True, slots=True)
class Load:
    """Read this rank's part of a model; answered when it is there."""

    spec: ModelSpec
    cache_dir: Path | None


@dataclass(frozen=True, slots=True)
class Begin:
    """Make room for `pages` of keys and values, and forget those of an engine before; answered when it is there."""

    limits: EngineLimits
    pages: int


@dataclass(frozen=True, slots=True, eq=False)
class StepInput:
    """Compute these rows; the answer is this rank's part in the exchange between layers."""

    tokens: Ints
    spans: tuple[RowSpan, ...]
    logit_rows: Ints

    @classmethod
    def of(cls, batch: PackedBatch) -> "StepInput":
        """What `PackedBatch.pack` makes the same batch of, on any rank."""
        tokens, rows = batch.tokens.cpu().numpy(), batch.logit_rows.cpu().numpy()
        return cls(tokens, (*batch.decodes, *batch.chunks), rows)


@dataclass(frozen=True, slots=True)
class Wipe:
    """Zero pages that may hold NaN; not answered."""

    pages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Leave; not answered."""


Message = Join | Load | Begin | StepInput | Wipe | End


@dataclass(frozen=True, slots=True)
class Done:
    """A message was dealt with; `digest` is that of the weights which it loaded, if it did."""

    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Failed:
    """The rank ends, for a reason in words; `by_settings` where those name the setting and the fix."""

    reason: str
    by_settings: bool


Reply = Done | Failed

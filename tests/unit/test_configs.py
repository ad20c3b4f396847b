"""The example configuration is complete and true."""

import tomllib
from pathlib import Path

from pelton.pipeline.settings.loading import Settings, load_settings

CONFIG = Path(__file__).parents[2] / "configs" / "pelton.toml"


def test_the_example_states_every_default():
    """configs/pelton.toml loads, and what it sets is what an empty file would give."""
    assert load_settings(CONFIG) == Settings()


def test_the_example_names_every_setting():
    """No setting is missing from the file: what has no default stands there commented out."""
    text = CONFIG.read_text()
    tables = tomllib.loads(text)
    for section, field in Settings.model_fields.items():
        for name in field.annotation.model_fields:
            assert name in tables[section] or f"# {name} = " in text, f"{section}.{name}"

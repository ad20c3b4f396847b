"""What other programs import."""

import pytest

import pelton


@pytest.mark.parametrize("name", pelton.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    """They are loaded when they are asked for, so that only asking shows that they are there."""
    assert getattr(pelton, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    assert not hasattr(pelton, "nonsense")

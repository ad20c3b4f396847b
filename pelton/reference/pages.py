"""Which generated pages there are, by their path below the folder of the documentation."""

from pelton.reference import asyncapi, commands, errors, metrics, settings


def pages() -> dict[str, str]:
    """The text of every page by its path."""
    return {
        "operations/settings.md": settings.page(),
        "operations/metrics.md": metrics.page(),
        "operations/errors.md": errors.page(),
        "reference/commands.md": commands.page(),
        "reference/asyncapi.yaml": asyncapi.document(),
    }

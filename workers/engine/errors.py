"""Errors of the engine."""


class ModelLoadError(ValueError):
    """The model cannot be loaded as it is set; the message names the setting and the fix."""

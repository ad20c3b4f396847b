"""Errors of the engine."""


class ModelLoadError(ValueError):
    """The model cannot be loaded as it is set; the message names the setting and the fix."""


class EngineLostError(RuntimeError):
    """Part of the engine is gone, and no further step can be computed: the process has to be started anew."""

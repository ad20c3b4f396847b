"""Attributes are named as OpenTelemetry names them."""

from importlib import import_module
from pkgutil import iter_modules

from opentelemetry.semconv._incubating import attributes

from pelton.pipeline.tracing import names


def test_every_attribute_is_of_the_conventions() -> None:
    """Those that are not Pelton's own: a name that the conventions gave up is found here, and mended in one file."""
    modules = [import_module(f"{attributes.__name__}.{module.name}") for module in iter_modules(attributes.__path__)]
    known = {
        value for module in modules for name, value in vars(module).items() if name.isupper() and isinstance(value, str)
    }
    ours = {value for name, value in vars(names).items() if name.isupper() and "." in str(value)}
    assert {value for value in ours if not value.startswith("pelton.")} <= known
    assert len(ours) > 25

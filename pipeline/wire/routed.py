"""What a router says of a request that it has assigned to a variant, in three headers that go back with the reply.

Anybody who may write to the topic can write them; they decide which metrics and which line of a report count a request,
and that its model's name is not looked at, and nothing else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pelton.pipeline.errors import InvalidHeader
from pelton.pipeline.wire import contract
from pelton.pipeline.wire.contract import Route

NAME = r"[A-Za-z0-9._-]{1,64}"
"""Of an experiment, and of a variant."""
UNIT_BYTES = 8

_VARIANT = re.compile(rf"({NAME})/({NAME})")
_UNIT = re.compile(rf"[0-9a-f]{{{2 * UNIT_BYTES}}}")


@dataclass(frozen=True, slots=True)
class Routed:
    """An experiment's request. `unit` is a hash in hexadecimal, empty where nothing is known of it."""

    experiment: str
    variant: str
    route: Route
    unit: str = ""

    def headers(self) -> list[tuple[str, bytes]]:
        """As `read` reads them."""
        headers = [
            (contract.VARIANT, f"{self.experiment}/{self.variant}".encode()),
            (contract.ROUTE, self.route.encode()),
        ]
        return [*headers, (contract.UNIT, self.unit.encode())] if self.unit else headers

    @classmethod
    def read(cls, headers: Mapping[str, bytes]) -> "Routed | None":
        """None where no variant is named. Raises `InvalidHeader`."""
        if contract.VARIANT not in headers:
            return None
        found = _VARIANT.fullmatch(_text(headers, contract.VARIANT))
        if found is None:
            raise InvalidHeader(
                f"Header {contract.VARIANT} must be an experiment, a slash and a variant, each 1 to 64 letters, "
                f"digits or any of . _ -, got {_text(headers, contract.VARIANT)[:64]!r}.",
                param=contract.VARIANT,
            )
        unit = _text(headers, contract.UNIT)
        if unit and not _UNIT.fullmatch(unit):
            raise InvalidHeader(
                f"Header {contract.UNIT} must be {2 * UNIT_BYTES} hexadecimal digits in small letters, "
                f"got {unit[:64]!r}.",
                param=contract.UNIT,
            )
        return cls(found[1], found[2], _route(_text(headers, contract.ROUTE)), unit)


def _route(text: str) -> Route:
    try:
        return Route(text or Route.WEIGHT)
    except ValueError:
        message = f"Header {contract.ROUTE} must be {', '.join(Route)}, got {text[:32]!r}."
        raise InvalidHeader(message, param=contract.ROUTE) from None


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode("utf-8", "replace")

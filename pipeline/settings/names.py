"""Names of settings: `section.name`, the variables that set them, and what a misspelt one was probably meant to be."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from pydantic import BaseModel

PREFIX = "PELTON_"
DELIMITER = "__"


def variable_of(name: str) -> str:
    """The variable that sets `section.name`."""
    return PREFIX + name.replace(".", DELIMITER).upper()


def walk(section: type[BaseModel], within: str = "") -> Iterator[tuple[str, bool]]:
    """Every name below `section` in the order of the code, dotted, and whether it is a section itself."""
    for field, info in section.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield within + field, True
            yield from walk(kind, f"{within}{field}.")
        else:
            yield within + field, False


class SettingNames:
    """The names below one settings class, and the nearest of them to one that is not among them."""

    __slots__ = ("_leaves", "_sections")

    def __init__(self, root: type[BaseModel]) -> None:
        self._sections = tuple(name for name, is_section in walk(root) if is_section)
        self._leaves = tuple(name for name, is_section in walk(root) if not is_section)

    @property
    def leaves(self) -> tuple[str, ...]:
        """All that have a value of their own, such as `engine.simulated.seed`."""
        return self._leaves

    def nearest(self, name: str) -> str | None:
        """A known setting or section that resembles `name`; None where nothing does.

        The section is believed first, misspelt or not; then a setting of the same name may be in another section.
        """
        section, _, last = name.lower().rpartition(".")
        if section:
            home = section if section in self._sections else _closest(section, self._sections)
            inside = [known for known in (*self._leaves, *self._sections) if known.rpartition(".")[0] == home]
            if found := _closest_last(last, inside):
                return found
        elsewhere = [known for known in self._leaves if known.rpartition(".")[2] == last]
        if elsewhere:
            return elsewhere[0]
        if section:
            return _closest_last(last, self._leaves)
        return _closest(last, self._sections) or _closest_last(last, self._leaves)

    def hint(self, name: str) -> str:
        """What to say after "unknown setting": the nearest name, else all that could stand in its place."""
        if found := self.nearest(name):
            return f"did you mean {found}?"
        section = name.rpartition(".")[0]
        names = (*self._sections, *self._leaves)
        places = [last for parent, _, last in (known.rpartition(".") for known in names) if parent == section]
        return f"known here: {', '.join(sorted(places))}"

    def strange_variables(self, environment: Iterable[str]) -> dict[str, str]:
        """Faults by variable: those that are written as a setting's and whose section does not exist.

        Names without `__` are nobody's setting (`PELTON_CONFIG`, and what an operator's own scripts use).
        """
        faults = {}
        for variable in sorted(environment):
            section, delimiter, rest = _bare(variable).partition(DELIMITER)
            if delimiter and section not in self._sections:
                found = self.nearest(f"{section}.{rest}".replace(DELIMITER, "."))
                meant = f"did you mean {variable_of(found)} ({found})?" if found else self.hint(section)
                faults[variable] = f"there is no section {section!r}; {meant}"
        return faults

    def half_written_variables(self, environment: Iterable[str]) -> dict[str, str]:
        """Variables that are not read, by what was probably meant: `PELTON_KAFKA_GROUP_ID` has one `_` too few.

        They are no fault: Kubernetes makes `PELTON_SERVE_PORT` itself beside a service that is called `pelton-serve`.
        """
        meant = {name.replace(".", "_"): variable_of(name) for name in self._leaves}
        return {name: meant[_bare(name)] for name in sorted(environment) if _bare(name) in meant}


def setting_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Values by variable, of those that begin as Pelton's do; names in capitals, as either case is read."""
    return {name.upper(): value for name, value in environment.items() if name.upper().startswith(PREFIX)}


def _bare(variable: str) -> str:
    """The name without its prefix, in small letters; empty where the variable is not Pelton's."""
    name = variable.upper()
    return name.removeprefix(PREFIX).lower() if name.startswith(PREFIX) else ""


def _closest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def _closest_last(last: str, known: Iterable[str]) -> str | None:
    """The dotted name whose last part resembles `last` most."""
    by_last: dict[str, str] = {}
    for name in known:
        by_last.setdefault(name.rpartition(".")[2], name)
    found = _closest(last, by_last)
    return by_last[found] if found else None

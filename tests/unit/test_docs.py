"""The documents say what the tree holds: paths and links lead somewhere, examples can be parsed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pelton.pipeline.settings.loading import Settings
from pelton.pipeline.wire import contract

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "ARCHITECTURE.md", *sorted(DOCS.rglob("*.md"))]
GENERATED = {
    DOCS / "operations" / "settings.md",
    DOCS / "operations" / "metrics.md",
    DOCS / "operations" / "errors.md",
    DOCS / "reference" / "commands.md",
}
"""Made from the code by `make docs`; links to them hold before they are there."""

FOLDERS = "benchmarks|cache|configs|docs|pelton|pipeline|producers|tests|workers"
PATH = re.compile(rf"(?<![\w/.~-])(?:{FOLDERS})(?:/[\w.-]+)+/?")
MODULE = re.compile(r"[\w./-]+\.py")
SETTING = re.compile(rf"((?:{'|'.join(Settings.model_fields)})\.[a-z_.]+)(?: =.*)?$")
INLINE_CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

FRONT = [page for page in ROOT.glob("*.md") if page not in PAGES]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(text: str) -> str:
    return FENCE.sub("", text)


def missing_paths(text: str) -> list[str]:
    """Paths of the tree in inline code that do not exist, and modules that are not named from the root on."""
    codes = INLINE_CODE.findall(prose(text))
    named = {path for code in codes for path in PATH.findall(code)}
    named |= {code for code in codes if MODULE.fullmatch(code)}
    return sorted(path for path in named if not (ROOT / path).exists())


def unknown_settings(text: str) -> list[str]:
    """Settings in inline code that do not exist."""
    codes = [match[1] for code in INLINE_CODE.findall(prose(text)) if (match := SETTING.match(code))]
    topics = {value for name, value in vars(contract).items() if name.endswith("_TOPIC")}
    return sorted({code for code in codes if not is_setting(code)} - topics)


def is_setting(name: str) -> bool:
    model: Any = Settings
    for part in name.split("."):
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return False
        model = fields[part].annotation
    return True


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links that lead nowhere, or from `docs/` to what is not built with it."""
    targets = [link for link in LINK.findall(prose(text)) if "://" not in link and not link.startswith("#")]
    return [link for link in targets if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve()
    if target in GENERATED:
        return True
    if not target.exists() or (page.is_relative_to(DOCS) and not target.is_relative_to(DOCS)):
        return False
    return not anchor or anchor in anchors(target.read_text())


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def faulty_examples(text: str) -> Iterator[str]:
    """Blocks of Python that do not compile, and of JSON that do not parse."""
    readers: dict[str, Callable[[str], object]] = {
        "python": lambda code: compile(code, "example", "exec"),
        "json": json.loads,
    }
    for language, code in FENCE.findall(text):
        try:
            readers.get(language, str)(code)
        except (SyntaxError, ValueError) as error:
            yield f"{error} in:\n{code}"


@each_page
def test_paths_exist(page: Path) -> None:
    """Every path of the tree that a page names is there."""
    assert missing_paths(page.read_text()) == []


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_exist(page: Path) -> None:
    """Every setting that a page names can be set."""
    if page.name != "CHANGELOG.md":  # which also names those that are gone
        assert unknown_settings(page.read_text()) == []


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a page, and to a title of it where it names one."""
    assert broken_links(page, page.read_text()) == []


@each_page
def test_examples_parse(page: Path) -> None:
    """Examples in Python compile, those in JSON parse."""
    assert list(faulty_examples(page.read_text())) == []


@each_page
def test_paragraphs_are_short(page: Path) -> None:
    """No paragraph that somebody wrote has more than 100 words; tables and pictures are none."""
    if page in GENERATED:
        return
    paragraphs = [part for part in re.split(r"\n\s*\n", prose(page.read_text())) if not part.lstrip().startswith("|")]
    assert [part for part in paragraphs if len(part.split()) > 100 and not part.lstrip().startswith("- ")] == []


def test_every_page_is_reachable() -> None:
    """Each page is linked from the index, or from the list of decisions."""
    indexes = (DOCS / "index.md", DOCS / "decisions" / "index.md")
    linked = {(index.parent / link).resolve() for index in indexes for link in LINK.findall(index.read_text())}
    assert set(DOCS.rglob("*.md")) - linked - {DOCS / "index.md"} == set()


def test_the_checks_can_fail() -> None:
    """A page with a wrong path, link and example is found out."""
    page = DOCS / "index.md"
    assert unknown_settings("`engine.nowhere` `engine.kind` `kafka.partitions = 3`") == ["engine.nowhere"]
    text = "`workers/nowhere.py` `slots.py` [a](nowhere.md) [b](index.md#nowhere) [c](../README.md)\n\n"
    text += "```python\nif:\n```\n\n```json\n{]\n```\n"
    assert missing_paths(text) == ["slots.py", "workers/nowhere.py"]
    assert broken_links(page, text) == ["nowhere.md", "index.md#nowhere", "../README.md"]
    assert len(list(faulty_examples(text))) == 2

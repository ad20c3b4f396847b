"""Jobs and templates from files: read, checked, filled with their template and their sources, ready to be sent."""

from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pelton.producers.reports.errors import JobInvalid, SourceUnusable
from pelton.producers.reports.spec.faults import told
from pelton.producers.reports.spec.model import JobSpec, ReportTemplate, SourceFormat, SourceSpec, check_sections
from pelton.producers.reports.spec.yaml_lines import LinedDocument, read_lined

MAX_SOURCE_BYTES = 4_000_000

M = TypeVar("M", bound=BaseModel)

_FORMATS = {
    ".csv": SourceFormat.CSV,
    ".json": SourceFormat.JSON,
    ".md": SourceFormat.MARKDOWN,
    ".markdown": SourceFormat.MARKDOWN,
    ".html": SourceFormat.HTML,
    ".htm": SourceFormat.HTML,
    ".xhtml": SourceFormat.IXBRL,
    ".txt": SourceFormat.TEXT,
}
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd", b"Rar!")


def read_job(path: Path, *, templates: Path | None = None) -> JobSpec:
    """A job from a YAML or JSON file, with the sections of its template and the contents of its source files in it.

    Paths in the file are relative to it and may not lead out of its folder. `templates` is a folder with the user's
    own templates. Raises `JobInvalid` or `SourceUnusable`.
    """
    job = validated(read_lined(_text(path), str(path)), JobSpec)
    return with_sources(with_template(job, path.parent, templates), path.parent)


def with_template(job: JobSpec, folder: Path, templates: Path | None = None) -> JobSpec:
    """Put the template's sections into the job. Raises `JobInvalid` for one that is not there or does not fit."""
    if job.report is None:
        return job
    template = find_template(job.report, folder, templates)
    try:
        check_sections(template.sections, {source.name for source in job.sources})
    except ValueError as error:
        raise JobInvalid(f"Report template {template.name}: {error}.") from None
    filled = {
        "report": None,
        "id": job.identity,
        "title": job.title or template.title,
        "sections": template.sections,
        "system": job.system or template.system,
        "model": job.model or template.model,
    }
    return job.model_copy(update=filled)


def with_sources(job: JobSpec, folder: Path) -> JobSpec:
    """Put the contents of source files into the job. Raises `SourceUnusable`."""
    return job.model_copy(update={"sources": tuple(_filled(source, folder) for source in job.sources)})


def find_template(name: str, folder: Path, templates: Path | None = None) -> ReportTemplate:
    """A template file beside the job, of the user's folder, or a built-in one, in this order."""
    for place in (folder / name, *((templates / f"{name}.yaml",) if templates else ())):
        if place.is_file():
            return validated(read_lined(_text(place), str(place)), ReportTemplate)
    built_in = resources.files("pelton.producers.reports.spec").joinpath("builtin")
    if name in built_in_names():
        text = built_in.joinpath(f"{name}.yaml").read_text("utf-8")
        return validated(read_lined(text, f"{name}.yaml"), ReportTemplate)
    own = f", a file in {templates}" if templates else ""
    raise JobInvalid(
        f"There is no report template {name!r}: name {', '.join(built_in_names())}{own}, or a file beside the job."
    )


def built_in_names() -> list[str]:
    """Templates that come with Pelton."""
    files = resources.files("pelton.producers.reports.spec").joinpath("builtin").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def validated(document: LinedDocument, model: type[M]) -> M:
    """The document as a model. Raises `JobInvalid`, naming line, field and fault of each error."""
    if not isinstance(document.value, dict):
        raise JobInvalid(f"{document.name}, line 1: expected fields (`name: value`), found something else.")
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise JobInvalid(told(document, model, error)) from None


def _filled(source: SourceSpec, folder: Path) -> SourceSpec:
    if source.path is None:
        return source
    path = (folder / source.path).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SourceUnusable(f"Source {source.name!r}: {source.path} lies outside of the job's folder; copy it there.")
    kind = source.format or _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise SourceUnusable(
            f"Source {source.name!r}: {path.name} is none of {', '.join(_FORMATS)}: export it as one of these, or set "
            "`format` where it is one under another name."
        )
    return source.model_copy(update={"path": None, "content": _source_text(source.name, path), "format": kind})


def _source_text(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise SourceUnusable(f"Source {name!r}: {path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_SOURCE_BYTES:
        raise SourceUnusable(
            f"Source {name!r}: {path.name} has more than {MAX_SOURCE_BYTES:,} bytes; keep only the parts needed."
        )
    if data.startswith(_ARCHIVES):
        raise SourceUnusable(f"Source {name!r}: {path.name} is an archive; unpack it first.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceUnusable(
            f"Source {name!r}: {path.name} is not UTF-8 text (byte {error.start}): save it as UTF-8."
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise JobInvalid(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise JobInvalid(f"{path} is not UTF-8 text (byte {error.start}).") from None

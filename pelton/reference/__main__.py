"""`python -m pelton.reference [FOLDER]`: write every generated page below FOLDER (`docs` where none is named)."""

from pathlib import Path
from typing import Annotated

import typer

from pelton.reference.pages import pages


def main(folder: Annotated[Path, typer.Argument(help="Where the pages go.")] = Path("docs")) -> None:
    """Write the pages that are generated from the code."""
    for name, text in pages().items():
        page = folder / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    typer.run(main)

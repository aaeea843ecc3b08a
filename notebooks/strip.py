"""Take outputs, counts and what a kernel left behind out of the notebooks: `python notebooks/strip.py`, before a commit."""

from __future__ import annotations

from pathlib import Path

import nbformat

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def stripped(text: str) -> str:
    """The text of a notebook as it stands in git."""
    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return str(nbformat.writes(notebook)) + "\n"


if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        after = stripped(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(path.name)

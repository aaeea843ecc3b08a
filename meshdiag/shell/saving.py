"""Writes what a shell knows to files: reports, captures, the output of a command."""

from __future__ import annotations

import shutil
from pathlib import Path

from meshdiag.model import MeshdiagError
from meshdiag.shell.state import State

KINDS = ("html", "markdown", "json", "text", "capture")


def save(state: State, kind: str, name: str) -> str:
    """Writes a report of everything (the filters apply), or a copy of what was followed; a sentence that says so.

    Raises MeshdiagError when it cannot be written, or would be written over something.
    """
    path = Path(name).expanduser()
    if path.exists():
        raise MeshdiagError(f"{path} is there already: name another path")
    if kind == "capture":
        return _capture(state, path)
    diagnosis, redacted = state.diagnosis(), state.settings.redact
    match kind:
        case "html":
            from meshdiag.views.html import render as html

            text = html(diagnosis, redacted=redacted, notes=state.notes)
        case "json":
            text = diagnosis.to_json(redacted=redacted) + "\n"
        case "markdown":
            from meshdiag.views.markdown import render as markdown

            text = markdown(diagnosis, redacted=redacted) + "\n" + _notes(state)
        case _:
            from meshdiag.views.text import render

            text = render(diagnosis, redacted=redacted, limit=1_000_000)
    write(path, text)
    return f"saved to {path}"


def write(path: Path, text: str, append: bool = False) -> None:
    """Writes a text to a file. Raises MeshdiagError when that cannot be done."""
    try:
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as e:
        raise MeshdiagError(f"cannot write to {path}: {e.strerror or e}") from None


def _capture(state: State, path: Path) -> str:
    live = state.work.live_folder
    if live is None:
        raise MeshdiagError(
            "nothing was followed: save capture keeps the lines of a live mesh; captures that were opened are files already"
        )
    try:
        shutil.copytree(live, path)
    except OSError as e:
        raise MeshdiagError(f"cannot write to {path}: {e.strerror or e}") from None
    return f"saved to {path}: meshdiag diagnose {path}"


def _notes(state: State) -> str:
    if not state.notes:
        return ""
    from meshdiag.views.markdown import cell

    lines = "\n".join(f"- {when:%Y-%m-%d %H:%M:%S} UTC: {cell(text)}" for when, text in state.notes)
    return f"\n## Notes\n\n{lines}\n"

"""Writes what a shell knows to files: reports, captures, the output of a command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from meshdiag.model import MeshdiagError
from meshdiag.shell.inputs import home
from meshdiag.shell.state import State
from meshdiag.views.safe import one_line

KINDS = ("html", "markdown", "json", "text", "capture")


def save(state: State, kind: str, name: str) -> str:
    """Writes a report of everything (the filters apply), or a copy of what was followed; a sentence that says so.

    Raises MeshdiagError when it cannot be written, or would be written over something.
    """
    path = path_of(name)
    if os.path.lexists(path):
        raise MeshdiagError(f"{path} is there already: name another path")
    if kind == "capture":
        return _capture(state, path)
    if not state.is_open:
        raise MeshdiagError(state.nothing())
    diagnosis, redacted = state.diagnosis(), state.settings.redact
    match kind:
        case "html":
            from meshdiag.report import render as html

            text = html(diagnosis, redacted=redacted, notes=state.notes)
        case "json":
            text = diagnosis.to_json(redacted=redacted) + "\n"
        case "markdown":
            from meshdiag.views.markdown import render as markdown

            text = markdown(diagnosis, redacted=redacted) + "\n" + _notes(state)
        case _:
            from meshdiag.views.text import render

            text = render(diagnosis, redacted=redacted, limit=1_000_000)
            text += "".join(f"\n{when:%Y-%m-%d %H:%M:%S} UTC: {one_line(note)}" for when, note in state.notes)
    write(path, text)
    left = "; still reading" if any(not r.finished for r in state.work.readings) else ""
    return f"saved to {path}" + (f" (only {state.filtered})" if state.filters else "") + left


def path_of(name: str) -> Path:
    """The path of a name, `~` being the home folder. Raises MeshdiagError for what can be none."""
    if not name or "\0" in name:
        raise MeshdiagError(f"{name[:80]!r} is no path")
    path = Path(home(name))
    try:
        path.exists()
    except OSError as e:  # its name is too long, a folder may not be looked into
        raise MeshdiagError(f"cannot write to {name[:80]}: {e.strerror or e}") from None
    return path


def write(path: Path, text: str, append: bool = False) -> None:
    """Writes a text to a new file, or to the end of one. Raises MeshdiagError when that cannot be done."""
    try:
        with path.open("a" if append else "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError:
        raise MeshdiagError(f"{path} is there already: name another path") from None
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
    except OSError as e:  # shutil.Error, too
        raise MeshdiagError(f"cannot write to {path}: {e.strerror or e}") from None
    return f"saved to {path}: meshdiag diagnose {path}"


def _notes(state: State) -> str:
    if not state.notes:
        return ""
    from meshdiag.views.markdown import cell

    lines = "\n".join(f"- {when:%Y-%m-%d %H:%M:%S} UTC: {cell(text)}" for when, text in state.notes)
    return f"\n## Notes\n\n{lines}\n"

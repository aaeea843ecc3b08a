"""Writes the commands into docs/shell.md from their table: `python docs/make_shell.py`. A test says when that is due."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meshdiag.shell.commands import ALIASES, COMMANDS
from meshdiag.shell.commands.table import GROUPS

PAGE = Path(__file__).with_name("shell.md")
BEGIN, END = "<!-- commands: made by docs/make_shell.py -->", "<!-- end of commands -->"

TITLES = {
    "sources": "Open and follow",
    "findings": "What is wrong",
    "view": "What is shown",
    "fix": "Before and after a fix",
    "tool": "The shell itself",
}


def render(page: str) -> str:
    """The page with the table of now between the marks."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no marks")
    return f"{head}{BEGIN}\n\n" + "\n".join(_tables()) + f"\n{END}{tail}"


def _tables() -> Iterator[str]:
    for group in GROUPS:
        yield f"| {TITLES[group]} | |"
        yield "| --- | --- |"
        for command in COMMANDS.values():
            if command.group == group:
                also = [f"`{alias}`" for alias, name in sorted(ALIASES.items()) if name == command.name]
                more = f" (also {', '.join(also)})" if also else ""
                yield f"| `{_cell(command.usage)}` | {_cell(command.help)}{more} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {PAGE}")

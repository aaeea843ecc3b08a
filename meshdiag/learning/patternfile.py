"""The draft as text: YAML that is plain ASCII, with comments that say what is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from meshdiag.catalogue import NONE
from meshdiag.learning.unknown import Group, Skipped, count_of
from meshdiag.views.safe import one_line

PRIORITY = -1000
"""Behind every other pattern: a draft takes no line from one that is known."""

SHOWN_SKIPPED = 50


class _Dumper(yaml.SafeDumper):
    """Block style, one line a text: quoted with escapes where it holds line ends."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _str(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    style = '"' if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _str)


def entry_text(entry: Mapping[str, Any], note: str = "") -> str:
    """One pattern as an item of the list, with what is left to do in comments."""
    # ASCII only: no character of a log can hide or reorder what stands in the file
    body = yaml.dump([entry], Dumper=_Dumper, sort_keys=False, width=1 << 30, allow_unicode=False)
    lines = ["  " + line for line in body.rstrip("\n").split("\n")]
    for i, line in enumerate(lines):
        if line == f"    cause: {NONE}":
            lines[i] += "  # TODO which cause? `none` hides these lines as harmless"
        elif line == f"    priority: {PRIORITY}":
            lines[i] += "  # behind all that is known; leave it out when the pattern is complete"
    return (f"  # {note}\n" if note else "") + "\n".join(lines) + "\n"


_HEAD = """\
# A draft of `meshdiag learn`. For each pattern: name its cause (docs/causes.md, or one of your own), widen or narrow its
# conditions, write near misses of your own; then run `meshdiag patterns test --patterns FOLDER FILE`.
"""


def file_text(entries: Sequence[tuple[Mapping[str, Any], Group]], skipped: Sequence[Skipped]) -> str:
    """The whole file: what is left to do, what became no pattern, and the patterns."""
    out = [_HEAD]
    if skipped:
        out.append("#\n# Not drafted:\n")
        out += [f"#   {ascii_text(str(s))}\n" for s in skipped[:SHOWN_SKIPPED]]
        if len(skipped) > SHOWN_SKIPPED:
            out.append(f"#   and {len(skipped) - SHOWN_SKIPPED} more\n")
    if not entries:
        return "".join(out) + "patterns: []\n"
    return "".join(out) + "patterns:\n" + "\n".join(entry_text(e, note_of(g)) for e, g in entries)


def note_of(group: Group) -> str:
    return ascii_text(f"{count_of(group)} lines, the first at {one_line(group[0].place, 200)}")


def ascii_text(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()

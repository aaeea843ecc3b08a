"""The history file: what was typed, without secrets, for nobody but its owner."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from prompt_toolkit.history import FileHistory

from meshdiag.redact import redact

ENTRIES = 5_000
"""The latest entries are all that is loaded."""

FILE_BYTES = 4 << 20
"""A larger file is cut to its latest entries."""

ENTRY_CHARS = 10_000
"""A longer text (a pasted log) is not kept."""


def default_path() -> Path:
    """Where the history is: in the user's folder for state."""
    import platformdirs

    return Path(platformdirs.user_state_dir("meshdiag")) / "history"


class History(FileHistory):
    """A history file. What cannot be read or written is not kept; nothing is raised.

    Not kept: texts that begin with a blank, and very long ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(str(path))

    def load_history_strings(self) -> Iterable[str]:
        """The entries, the latest first."""
        try:
            return list(islice(super().load_history_strings(), ENTRIES))
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Adds an entry to the file."""
        if string.startswith((" ", "\t")) or len(string) > ENTRY_CHARS or not string.strip():
            return
        try:
            self._prepare()
            super().store_string(redact(string))
        except OSError:
            pass

    def _prepare(self) -> None:
        """Makes the file, readable for its owner alone, and short enough."""
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        status = path.stat()
        if status.st_mode & 0o077:
            path.chmod(0o600)
        if status.st_size > FILE_BYTES:
            entries = list(self.load_history_strings())
            path.write_bytes(b"")
            for entry in reversed(entries[: ENTRIES // 2]):
                super().store_string(entry)

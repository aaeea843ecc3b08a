"""Keys beside those of prompt_toolkit."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import completion_is_selected, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

HINT = "Ctrl-D leaves; stop ends what is read or followed"


def bindings(hint: Callable[[str], None]) -> KeyBindings:
    """Ctrl-C clears the line (on an empty one `hint` tells what to press); Enter takes what is chosen in the menu and stays."""
    keys = KeyBindings()

    @keys.add("c-c", filter=has_focus(DEFAULT_BUFFER))
    def _clear(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not buffer.text:
            hint(HINT)
        buffer.reset()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER) & completion_is_selected)
    def _take(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        buffer.complete_state = None
        if buffer.document.text_before_cursor.endswith(("/", '/"')):
            buffer.start_completion(select_first=False)
        get_app().invalidate()

    return keys

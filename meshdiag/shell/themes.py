"""Colours of the prompt, for dark and light terminals."""

from __future__ import annotations

from functools import lru_cache

from prompt_toolkit.styles import Style

COLOURS: dict[str, tuple[str, str]] = {
    "command": ("ansibrightcyan bold", "#005f87 bold"),
    "argument": ("", ""),
    "number": ("ansibrightmagenta", "#87005f"),
    "option": ("ansiyellow", "#875f00"),
    "string": ("ansigreen", "#005f00"),
    "operator": ("ansibrightblack bold", "#585858 bold"),
    "program": ("ansiyellow", "#875f00"),
    "comment": ("ansibrightblack italic", "#767676 italic"),
    "bad": ("ansired bold", "#af0000 bold"),
    "warn": ("ansiyellow", "#875f00"),
    "good": ("ansigreen", "#005f00"),
    "dim": ("ansibrightblack", "#767676"),
    "name": ("ansicyan", "#005f87"),
    "address": ("ansiblue", "#00005f"),
}
"""A kind of piece (see `syntax` and `status`): its style on dark, on light."""

_DARK = {
    "prompt": "ansicyan bold",
    "auto-suggestion": "ansibrightblack",
    "bottom-toolbar": "noreverse bg:#303030 #d0d0d0",
    "bar.source": "bold #ffffff",
    "bar.bad": "bold #ff8787",
    "bar.good": "#87d787",
    "bar.warn": "#ffd75f",
    "bar.filter": "#ffd75f",
    "bar.progress": "#87d7ff",
    "bar.hint": "#ffd75f",
    "completion-menu": "bg:#303030 #d0d0d0",
    "completion-menu.completion.current": "noreverse bg:#005f87 #ffffff",
    "completion-menu.meta.completion": "bg:#262626 #a8a8a8",
    "completion-menu.meta.completion.current": "bg:#005f87 #ffffff",
    "scrollbar.background": "bg:#444444",
    "scrollbar.button": "bg:#8a8a8a",
}
_LIGHT = {
    "prompt": "#005f87 bold",
    "auto-suggestion": "#8a8a8a",
    "bottom-toolbar": "noreverse bg:#e4e4e4 #303030",
    "bar.source": "bold #000000",
    "bar.bad": "bold #af0000",
    "bar.good": "#005f00",
    "bar.warn": "#875f00",
    "bar.filter": "#875f00",
    "bar.progress": "#005f87",
    "bar.hint": "#875f00",
    "completion-menu": "bg:#e4e4e4 #303030",
    "completion-menu.completion.current": "noreverse bg:#005f87 #ffffff",
    "completion-menu.meta.completion": "bg:#eeeeee #585858",
    "completion-menu.meta.completion.current": "bg:#005f87 #ffffff",
    "scrollbar.background": "bg:#d0d0d0",
    "scrollbar.button": "bg:#8a8a8a",
}
_NONE = {
    "bottom-toolbar": "reverse",
    "completion-menu": "noreverse",
    "completion-menu.completion": "noreverse",
    "completion-menu.completion.current": "reverse",
    "completion-menu.meta.completion": "noreverse",
    "completion-menu.meta.completion.current": "reverse",
}


@lru_cache(maxsize=4)
def style_of(theme: str) -> Style:
    """The style of a theme: `dark`, `light`, `none`."""
    if theme == "none":
        return Style.from_dict(_NONE)
    own = _LIGHT if theme == "light" else _DARK
    return Style.from_dict({**own, **{f"piece.{k}": v[theme == "light"] for k, v in COLOURS.items()}})

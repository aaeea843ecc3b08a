"""The interactive shell: read (`parse`), execute (`commands`), render (`render`) and the terminal (`app`) are separate.

`execute(text, state)` gives data back and touches no terminal. prompt_toolkit is imported only in `app` and its parts.
"""

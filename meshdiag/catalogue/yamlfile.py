"""Strict YAML: safe, no duplicate keys, and every value knows its line, so that a fault can be named by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path_ = tuple[str | int, ...]


class YamlFault(Exception):
    """A file that is no YAML or has a duplicate key; `line` counts from 1."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class YamlFile:
    """A parsed file: `data`, and `line(path)` for the line of the value at a path of keys and indexes."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines: dict[Path_, int] = {}
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            self.data: Any = None if node is None else self._value(loader, node, ())
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            raise YamlFault(mark.line + 1 if mark else 1, e.problem or str(e)) from None
        except (yaml.YAMLError, RecursionError, ValueError) as e:
            raise YamlFault(1, str(e) or type(e).__name__) from None
        finally:
            loader.dispose()

    def line(self, path: Path_) -> int:
        """The line of the value at `path`, or of the nearest value around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _value(self, loader: Any, node: yaml.Node, path: Path_) -> Any:
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            out: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = loader.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    raise YamlFault(key_node.start_mark.line + 1, f"key {key!r} is not a text")
                if key in out:
                    raise YamlFault(key_node.start_mark.line + 1, f"key {key!r} stands twice")
                out[key] = self._value(loader, value_node, (*path, key))
            return out
        if isinstance(node, yaml.SequenceNode):
            return [self._value(loader, n, (*path, i)) for i, n in enumerate(node.value)]
        return loader.construct_object(node, deep=True)

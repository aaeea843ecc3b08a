"""Label and field selectors: parsed with the messages that a kube-apiserver has for what it cannot parse."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.live.objects import ApiError, Json, bad_request

Match = Callable[[Json], bool]
"""Says whether an object is selected."""

_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|[=!<>(),])|(?P<word>[^\s=!<>(),]+))")
_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")


def label_selector(text: str) -> Match:
    """What matches a label selector; raises ApiError 400 for one that cannot be parsed."""
    requirements = _Parser(text).parse()
    return lambda data: all(holds(data["metadata"].get("labels") or {}) for holds in requirements)


class _Parser:
    """Kubernetes' grammar of label selectors: one requirement after another, separated by commas."""

    def __init__(self, text: str) -> None:
        self.tokens = [match["op"] or match["word"] for match in _TOKEN.finditer(text)]
        self.at = 0

    def parse(self) -> list[Callable[[Mapping[str, str]], bool]]:
        out = []
        while self.look() is not None:
            try:
                out.append(self.requirement())
            except ValueError as error:
                raise bad_request(f"unable to parse requirement: {error}") from None
            token = self.take()
            if token is None:
                break
            if token != ",":
                raise bad_request(f"found '{token}', expected: ',' or 'end of string'")
            if self.look() is None:
                raise bad_request("found '', expected: identifier after ','")
        return out

    def look(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self) -> str | None:
        token = self.look()
        self.at += 1
        return token

    def requirement(self) -> Callable[[Mapping[str, str]], bool]:
        absent = self.look() == "!"
        if absent:
            self.take()
        name = self.take()
        if name is None or not _is_word(name):
            raise ValueError(f"found '{name or ''}', expected: identifier")
        if absent:
            return lambda labels: name not in labels
        if self.look() in (None, ","):
            return lambda labels: name in labels
        operator = self.take()
        if operator in ("in", "notin"):
            values = self.values()
            # As in Kubernetes, `notin` and `!=` also select what does not have the label.
            if operator == "in":
                return lambda labels: labels.get(name) in values
            return lambda labels: labels.get(name) not in values
        if operator in ("=", "==", "!="):
            value = self.take() if self.look() is not None and _is_word(str(self.look())) else ""
            if operator == "!=":
                return lambda labels: labels.get(name) != value
            return lambda labels: labels.get(name) == value
        raise ValueError(f"found '{operator}', expected: {', '.join(_OPERATORS)}")

    def values(self) -> frozenset[str]:
        token = self.take()
        if token != "(":
            raise ValueError(f"found '{token or ''}' expected: '('")
        out = set()
        word = ""
        while (token := self.take()) not in (")", None):
            if token == ",":
                out.add(word)
                word = ""
            elif token is not None and _is_word(token):
                word = token
            else:
                raise ValueError(f"found '{token}', expected: ',', or identifier")
        if token is None:
            raise ValueError("found '', expected: ',' or ')'")
        return frozenset({*out, word})


def _is_word(token: str) -> bool:
    return token[0] not in "=!<>(),"


_FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "pods": {
        "metadata.name": ("metadata", "name"),
        "metadata.namespace": ("metadata", "namespace"),
        "spec.nodeName": ("spec", "nodeName"),
        "spec.restartPolicy": ("spec", "restartPolicy"),
        "spec.schedulerName": ("spec", "schedulerName"),
        "spec.serviceAccountName": ("spec", "serviceAccountName"),
        "status.phase": ("status", "phase"),
        "status.podIP": ("status", "podIP"),
    },
    "namespaces": {"metadata.name": ("metadata", "name"), "status.phase": ("status", "phase")},
    "secrets": {
        "metadata.name": ("metadata", "name"),
        "metadata.namespace": ("metadata", "namespace"),
        "type": ("type",),
    },
    "events": {
        "metadata.name": ("metadata", "name"),
        "metadata.namespace": ("metadata", "namespace"),
        "type": ("type",),
    },
}
_OF_ALL: Mapping[str, tuple[str, ...]] = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
}

_TERM = re.compile(r"(?P<field>[^=!]+)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)


def field_terms(text: str) -> list[tuple[str, str, str]]:
    """The terms of a field selector: field, operator (`=` or `!=`), value. Raises ApiError 400."""
    out = []
    for term in filter(None, re.split(r"(?<!\\),", text)):
        match = _TERM.fullmatch(term)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        value = re.sub(r"\\([\\,=])", r"\1", match["value"])
        out.append((match["field"], "!=" if match["operator"] == "!=" else "=", value))
    return out


def field_selector(text: str, resource: str) -> Match:
    """What matches a field selector of a resource; raises ApiError 400."""
    known = _FIELDS.get(resource, _OF_ALL)
    checks: list[Match] = []
    for field, operator, value in field_terms(text):
        if field not in known:
            raise bad_request(f"field label not supported: {field}")
        checks.append(functools.partial(_check, known[field], operator == "=", value))
    return lambda data: all(check(data) for check in checks)


def _check(path: tuple[str, ...], equal: bool, value: str, data: Json) -> bool:
    found: Any = data
    for part in path:
        found = found.get(part, {})
    # A field that an object does not have is empty.
    return ((found or "") == value) is equal


def named(text: str) -> str:
    """The name that a field selector asks for, or "" (the server treats such a list as one of that object)."""
    try:
        return next((value for field, op, value in field_terms(text) if field == "metadata.name" and op == "="), "")
    except ApiError:
        return ""

"""How a component writes a message: every shape of every version, and the wrappers around it.

The shapes are those of Istio 1.6 to 1.31 and Envoy 1.13 to 1.40; formats/ documents the sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

TIME = "2026-11-22T10:11:12.123456Z"
_JSON: Any = {"separators": (",", ":")}


def lines_of(example: Mapping[str, Any], formats: tuple[str, ...], component: str) -> Iterator[tuple[str, str]]:
    """(name of the encoding, lines as they stand in a file) for an example of a pattern."""
    if "line" in example:
        written = [("as written", example["line"])]
        if formats == ("access-log",):
            written += _access_json(example["line"])
    else:
        named = example.get("format")
        wanted = (named,) if named else _natural(formats, component)
        written = [pair for f in wanted for pair in _written(f, example)]
    for name, text in written:
        yield name, text
        yield f"{name}, under CRI", "\n".join(f"{TIME} stdout F {t}" for t in text.split("\n"))
        if not example.get("line", "").startswith("["):
            yield f"{name}, in docker JSON", "\n".join(_docker(t) for t in text.split("\n"))
        yield (
            f"{name}, with --prefix",
            "\n".join(f"[pod/reviews-v1-7f8b9c6d5-x2x4z/istio-proxy] {t}" for t in text.split("\n")),
        )


def _natural(formats: tuple[str, ...], component: str) -> tuple[str, ...]:
    own = {"envoy": "envoy-log", "ztunnel": "ztunnel-log"}.get(component)
    if own in formats:
        return (own,)
    known = [f for f in formats if f in ("istio-log", "envoy-log", "klog", "ztunnel-log", "text", "event")]
    if component and component != "kubernetes":
        known = [f for f in known if f not in ("envoy-log", "ztunnel-log")] or known
    return tuple(known) or formats


def _docker(text: str) -> str:
    # Go escapes <, > and & in JSON
    log = json.dumps(text + "\n").replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'{{"log":{log},"stream":"stdout","time":"{TIME}"}}'


def _access_json(line: str) -> list[tuple[str, str]]:
    from meshdiag.formats import detect

    record = detect(line)
    if record.format != "access-log" or record.encoding != "text" or "unparsed" in record.fields:
        return []
    derived = {"traffic", "direction", "destination_port", "destination_subset", "destination_host", "sni"}
    raw = {
        k: v
        for k, v in record.fields.items()
        if k not in derived and k not in ("upstream_chosen", "upstream_connected")
    }
    numbers = {"response_code", "bytes_received", "bytes_sent", "duration"}
    values = {k: int(v) if k in numbers and v.isdigit() else v for k, v in raw.items()}
    return [("JSON", json.dumps(values, **_JSON))]


def _written(format: str, example: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    message: str = example["message"].rstrip("\n")
    scope = example.get("scope", "")
    labels: Mapping[str, Any] = example.get("labels", {})
    level = {"warning": "warn", "critical": "fatal"}.get(example.get("level", ""), example.get("level", "error"))
    match format:
        case "istio-log":
            tail = "\t" + " ".join(f"{k}={v}" for k, v in labels.items()) if labels else ""
            columns = [TIME, level, *([scope] if scope else []), message + tail]
            yield "istio text", "\t".join(columns)
            yield "istio text, blanks for tabs", "    ".join(columns).replace("\t", "    ")
            named = {"scope": scope} if scope else {}
            yield "istio JSON", json.dumps({"level": level, "time": TIME, **named, "msg": message, **labels}, **_JSON)
        case "envoy-log":
            logger, severity = scope or "config", {"warn": "warning", "fatal": "critical"}.get(level, level)
            if "level" not in example:
                severity = "warning"
            where = "external/envoy/source/common/config/grpc_stream.h:191"
            yield "envoy text", f"{TIME}\t{severity}\tenvoy {logger} {where}\t{message}\tthread=15"
            yield (
                "envoy text, blanks for tabs",
                f"{TIME}    {severity}    envoy {logger} {where}    {message}    thread=15",
            )
            yield "envoy text up to 1.16", f"{TIME}\t{severity}\tenvoy {logger}\t{message}"
            yield "envoy default", f"[2026-11-22 10:11:12.123][15][{severity}][{logger}] [source/x/y.cc:1] {message}"
            yield "envoy 1.4", f"[Envoy (Epoch 0)] [2026-11-22 10:11:12.123][15][{severity}][{logger}] {message}"
            row = {"level": severity, "time": TIME, "scope": f"envoy {logger}", "msg": message, "caller": where}
            yield "envoy JSON", json.dumps({**row, "thread": "15"}, **_JSON)
        case "ztunnel-log":
            severity = example.get("level", "warn").replace("warning", "warn")
            fields = " ".join(f"{k}={_rust(v)}" for k, v in labels.items())
            target = scope or "xds::client:xds{id=24}"
            yield "ztunnel text", f"{TIME}\t{severity}\t{target}\t{message}\t{fields}"
            yield "ztunnel text, blanks for tabs", f"{TIME}    {severity}    {target}    {message}    {fields}".rstrip()
            row = {
                "level": severity,
                "time": TIME,
                "scope": f"ztunnel::{target.partition(':xds{')[0]}",
                "message": message,
            }
            yield "ztunnel JSON", json.dumps({**row, **labels}, **_JSON)
        case "klog":
            letter = {"warn": "W", "fatal": "F", "info": "I"}.get(level, "E")
            yield "klog", f"{letter}1122 10:11:12.123456       1 reflector.go:138] {message}"
        case "event":
            first = message.replace("\n", " ")
            yield "event row", f"12s         Warning   Failed      pod/reviews-v1-7f8b9c6d5-x2x4z   {first}"
        case _:
            yield "text", message


def _rust(value: Any) -> str:
    return str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)

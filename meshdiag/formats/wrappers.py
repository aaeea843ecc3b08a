"""What stands around a line: the container runtime's, kubectl's, stern's and the collectors' own.

`strip(line)` takes wrappers off until the line itself is left. It never raises; a line without one comes back as it is.
Wrappers may be nested (a Loki export of CRI lines): at most four. What the outermost says about namespace, pod and
container counts, for the inner ones may be written by whoever writes the log; the innermost time is the most exact one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from meshdiag.formats._common import TIME, is_own_json, json_object, names, parse_time, to_text
from meshdiag.lazyre import lazy

MAX_NESTED = 4
MAX_JSON = 1024 * 1024
"""Characters: a longer JSON document is left as it is."""


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """A line without its wrappers and what they said; unknown parts are "".

    `partial`: the runtime cut the line here, the next one of the same stream goes on. `wrappers`: outermost first.
    """

    text: str
    time: datetime | None = None
    namespace: str = ""
    pod: str = ""
    container: str = ""
    stream: str = ""
    partial: bool = False
    wrappers: tuple[str, ...] = ()


_ANSI = lazy(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)|[@-Z\\^_])")
_LEVEL = r"(?:trace|debug|info|warn|warning|error|fatal|critical|TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL)"
_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_VALID_NAME = lazy(rf"{_NAME}\Z")

# What begins a line of a mesh component for sure: a time and a level, an access log's or Envoy's brackets, klog.
_HEAD = (
    rf"(?:{TIME}[\t ]+{_LEVEL}[\t ]"
    r"|\[\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\]\s]{0,12}\](?: \"|\[\d)"
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ )"
)
# The JSON of an Istio component or of an access log, behind something else.
_JSON_HEAD = (
    r'\{ ?"(?:(?:level|time|msg)" ?:'
    r'|(?=[^\r\n]{0,3000}?"(?:response_flags|response_code|upstream_cluster)" ?:))'
)
_IS_HEAD = lazy(_HEAD)
_OWN = lazy(rf" *{_LEVEL}[\t ]")
_TIMED = lazy(rf"({TIME}) ?")
_CRI = lazy(r"(stdout|stderr) ([FP])(?::\S{0,40})?(?: |\Z)")
_LOKI = lazy(r' *\{((?:[A-Za-z_]\w*="(?:[^"\\]|\\.)*+"(?:, ?)?)*+)\} ?')
_LOKI_LABEL = lazy(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*+)"')
_ISO_SYSLOG = lazy(r"\S{1,253} [\w./@-]{1,128}\[\d{1,10}\]: ?")
_BSD_SYSLOG = lazy(
    r"(?:<\d{1,3}>)?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (\S{1,253}) [\w./@-]{1,128}(?:\[\d{1,10}\])?: ?"
)
# A log viewer's columns: the time and the TABs of the line are gone, its level is a column.
_VIEWER = lazy(
    r"[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d(?:\.\d{1,9})? (\S{1,253}) "
    r"(istio-proxy|ingress-sds|discovery|istio-init|install-cni) "
    r"(debug|info|warn|warning|error|fatal|critical) "
)
_RFC5424 = lazy(rf"<\d{{1,3}}>1 ({TIME}|-) \S{{1,253}} \S{{1,48}} \S{{1,128}} \S{{1,32}} (?:-|(?:\[[^\]]*+\])+) ?")
_KUBECTL = lazy(rf"\[pod/({_NAME})/({_NAME})\] ?")
_COMPOSE = lazy(r"([A-Za-z0-9][\w.-]{0,127})( +)\| ?")
_NUMBERED = lazy(r"[\w.-]*[-_]\d{1,4}\Z")
_PREFIX = lazy(rf"((?:[\w.*#>()/:-]{{1,253}}[\t ]{{1,16}}){{1,4}}?)(?={_HEAD}|{_JSON_HEAD})")
_KUBETAIL = lazy(rf"\[({_NAME})(?:[ /]({_NAME}))?\] (?={_HEAD}|{_JSON_HEAD})")
_STERN = lazy(
    rf"(?:({_NAME}) )?({_NAME}) "
    r"(istio-proxy|istio-init|istio-validation|discovery|install-cni|ztunnel|istio-cni) "
)
_COLOUR = r"\x1b\[[\d;]{0,24}m"
_STERN_COLOUR = lazy(rf"(?:{_COLOUR}({_NAME}){_COLOUR} )?{_COLOUR}({_NAME}){_COLOUR} {_COLOUR}({_NAME}){_COLOUR} ")
_POD = lazy(r"[a-z0-9.-]{1,240}-(?:[a-z0-9]{5,10}|\d{1,5})\Z")
_DECORATION = lazy(rf"(?:[ \t]+|[ \t>*#`|│┃-]{{1,16}}+)(?={_HEAD}|{_JSON_HEAD})")
# The columns of web consoles: Rancher's `Sun, Nov 22 2026 10:15:10 pm | `, Kibana's `Nov 22, 2026 @ 22:15:10.345 | `.
_CONSOLE = lazy(
    r"[ |]{0,8}[A-Z][a-z]{2}(?:, [A-Z][a-z]{2} \d{1,2} \d{4} \d{1,2}:\d\d:\d\d [ap]m"
    rf"| \d{{1,2}}, \d{{4}} @ \d\d:\d\d:\d\d(?:\.\d{{1,9}})?)[ |\t]{{1,16}}(?={_HEAD}|{_JSON_HEAD})"
)
_GREP = lazy(rf"[\w./@+-]{{1,200}}[:-](?:\d{{1,7}}[:-])?(?={_HEAD}|{_JSON_HEAD})")  # FILE:, FILE:12:, FILE-12-
WEB_BLANKS: Final = ("\xa0", "\u3000")
"""Blanks of web pages, no-break and ideographic: read as plain ones."""

_QUOTED = lazy(rf"[\"'](?={_HEAD}|{TIME}\\t)")
_ESCAPED_TABS = lazy(rf"{TIME}\\t{_LEVEL}\\t")
_RSYSLOG_TABS = lazy(rf"{TIME}#011{_LEVEL}#011")  # rsyslog writes control characters in octal
_MEMBER = lazy(
    r'\s{0,64}(?:"(?:textPayload|log|message|msg|line|body|MESSAGE)"\s{0,8}:\s{0,8})?("(?:[^"\\]|\\.)*+")\s*+,?\s*+\Z'
)
_CSV = lazy(rf'"({TIME})",\s?"(.*)"\s*\Z', re.DOTALL)
_LAST_CELL = lazy(rf'","(?={_HEAD}|{{ ?"")')
# A row of CloudWatch's exports: the time in milliseconds or without T and zone, a cell in quotes only where it needs them.
_ROW = lazy(
    r"(\d{13}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?),"
    rf'(?:(?={_HEAD}|{_JSON_HEAD})|"(?={_HEAD}|{{ ?""))'
)


def strip(line: str, known: Callable[[str], object] | None = None) -> Unwrapped:
    """The line without wrappers, terminal colours and its end of line, and what the wrappers said.

    A line that is a record of a mesh component is never taken apart, also when it looks like a wrapper: Istio's own
    `time level` with blanks, Istio's and ztunnel's JSON, a JSON access log. `known` says the same of a text (by anything
    but None): a format of the user's may begin like a wrapper.
    """
    if line.startswith("\ufeff"):
        line = line[1:]
    found = _coloured(line) if line.startswith("\x1b") else None
    if found is None:
        line = _plain(line)
        found = None if known is not None and known(line) is not None else unwrap(line)
    if found is None:
        return Unwrapped(line)
    for _ in range(MAX_NESTED - 1):
        text = _plain(found.text)  # colours may be escaped in JSON
        if text != found.text:
            found = replace(found, text=text)
        inner = None if found.partial or (known is not None and known(text) is not None) else unwrap(text)
        if inner is None:
            break
        found = Unwrapped(
            inner.text,
            inner.time or found.time,
            found.namespace or inner.namespace,
            found.pod or inner.pod,
            found.container or inner.container,
            found.stream or inner.stream,
            inner.partial,
            found.wrappers + inner.wrappers,
        )
    return found


def _coloured(line: str) -> Unwrapped | None:
    """stern on a terminal: `[namespace] pod container `, each in its colour."""
    names = _STERN_COLOUR.match(line)
    if names is None:
        return None
    return Unwrapped(line[names.end() :], None, names[1] or "", names[2], names[3], wrappers=("stern",))


def _plain(line: str) -> str:
    """Without its end and without terminal colours, and with plain blanks: a web page's are no-break or ideographic ones."""
    line = line.rstrip("\r\n")
    if not line.isascii():
        for blank in WEB_BLANKS:
            line = line.replace(blank, " ")
    return _ANSI.sub("", line) if "\x1b" in line else line


def unwrap(line: str) -> Unwrapped | None:
    """Takes one wrapper off; None when there is none."""
    first = line[:1]
    if first.isdigit():
        if row := _ROW.match(line):
            return _cell(line[row.end() - 1 :], row.group(1))
        return _timed(line, head) if (head := _TIMED.match(line)) else _named(line)
    if first == "{":
        return _json_document(line)
    if first == "[":
        return _kubectl_prefix(line) if line.startswith("[pod/") else _kubetail(line)
    if first == "<":
        return _syslog(line)
    if first in "\"'":
        return _quoted(line) if first else None
    if first in " \t>*#`|-│┃":
        return _decorated(line)
    return (_syslog(line) if first.isupper() else None) or _named(line)


def _timed(line: str, head: re.Match[str]) -> Unwrapped | None:
    """What begins with an RFC 3339 time: CRI, `kubectl logs --timestamps`, logcli, journalctl -o short-iso."""
    at, time = head.end(), head.group(1)
    if at == head.end(1) and at < len(line):  # no blank: Istio's TAB, or the two characters \\t
        if line.startswith("\\t", at) and _ESCAPED_TABS.match(line):
            return Unwrapped(line.replace("\\t", "\t").removesuffix("\\n"), wrappers=("escaped",))
        if line.startswith("#011", at) and _RSYSLOG_TABS.match(line):
            return Unwrapped(line.replace("#011", "\t").removesuffix("#012"), wrappers=("escaped",))
        return None
    if cri := _CRI.match(line, at):
        partial = cri.group(2) == "P"
        return Unwrapped(line[cri.end() :], parse_time(time), "", "", "", cri.group(1), partial, ("cri",))
    if _OWN.match(line, at):
        return None
    if loki := _LOKI.match(line, at):
        labels = dict(_LOKI_LABEL.findall(loki.group(1)))
        return _located(line[loki.end() :], "loki", parse_time(time), labels)
    if syslog := _ISO_SYSLOG.match(line, at):
        return Unwrapped(line[syslog.end() :], parse_time(time), wrappers=("syslog",))
    return Unwrapped(line[at:], parse_time(time), wrappers=("timestamp",))


def _kubectl_prefix(line: str) -> Unwrapped | None:
    """`kubectl logs --prefix`: `[pod/NAME/CONTAINER] `."""
    match = _KUBECTL.match(line)
    if match is None:
        return None
    return Unwrapped(line[match.end() :], pod=match.group(1), container=match.group(2), wrappers=("kubectl-prefix",))


def _kubetail(line: str) -> Unwrapped | None:
    """kubetail and kail: `[POD] `, `[POD CONTAINER] ` before what is certainly a record."""
    match = _KUBETAIL.match(line)
    if match is None:
        return None
    return _prefixed(line[match.end() :], [word for word in match.groups() if word])


def _syslog(line: str) -> Unwrapped | None:
    """Syslog and journald: RFC 3164 (its time has no year and is left out), RFC 5424; the columns of a viewer."""
    if match := _BSD_SYSLOG.match(line):
        return Unwrapped(line[match.end() :], wrappers=("syslog",))
    if match := _VIEWER.match(line):
        pod, container, level = match.groups()
        pod = pod if _POD.match(pod) else ""
        return Unwrapped(f"{level}\t{line[match.end() :]}", pod=pod, container=container, wrappers=("viewer",))
    if match := _RFC5424.match(line):
        return Unwrapped(line[match.end() :].removeprefix("\ufeff"), parse_time(match.group(1)), wrappers=("syslog",))
    return None


def _named(line: str) -> Unwrapped | None:
    """Names before the line: docker compose's `name  | `, stern's `[namespace] pod container `, and pasted remarks.

    Names alone prove nothing, so what follows must begin like a record, or the container be one of Istio's.
    """
    if (compose := _COMPOSE.match(line)) and (
        compose.group(2) != " " or _NUMBERED.match(compose.group(1)) or _begins_record(line, compose.end())
    ):
        return Unwrapped(line[compose.end() :], container=compose.group(1), wrappers=("compose",))
    if prefix := _PREFIX.match(line):
        return _prefixed(line[prefix.end() :], prefix.group(1).split())
    if (stern := _STERN.match(line)) and _POD.match(stern.group(2)):
        namespace, pod, container = stern.groups()
        return Unwrapped(line[stern.end() :], None, namespace or "", pod, container, wrappers=("stern",))
    if front := _CONSOLE.match(line):
        return Unwrapped(line[front.end() :], wrappers=("viewer",))
    if front := _GREP.match(line):
        return Unwrapped(line[front.end() :], wrappers=("prefix",))
    return None


def _begins_record(line: str, at: int) -> bool:
    return line.startswith("{", at) or _IS_HEAD.match(line, at) is not None


def _prefixed(text: str, words: list[str]) -> Unwrapped:
    if not all(_VALID_NAME.match(w) for w in words) or len(words) > 3:
        return Unwrapped(text, wrappers=("prefix",))
    if len(words) == 1:
        pod = words[0] if _POD.match(words[0]) else ""
        return Unwrapped(text, pod=pod, wrappers=("prefix",))
    namespace = words[0] if len(words) == 3 else ""
    return Unwrapped(text, None, namespace, words[-2], words[-1], wrappers=("stern",))


def _decorated(line: str) -> Unwrapped | None:
    """Indentation and the marks of a quote or list before a line that is certainly a record."""
    match = _DECORATION.match(line)
    if match is None:
        front = _CONSOLE.match(line)
        return _member(line) if front is None else Unwrapped(line[front.end() :], wrappers=("viewer",))
    text = line[match.end() :].rstrip("*`")
    return Unwrapped(text.rstrip(" │┃") if text.endswith(("│", "┃")) else text, wrappers=("quote",))


def _quoted(line: str) -> Unwrapped | None:
    """A row of a CSV export, a member of a pretty-printed document, a line in quotes."""
    if row := _CSV.match(line):
        cell = row.group(2)
        if last := _LAST_CELL.search(cell):  # the pod and the like stand between
            cell = cell[last.end() :]
        return Unwrapped(cell.replace('""', '"'), parse_time(row.group(1)), wrappers=("csv",))
    if line.startswith(('"{""', '"{ ""')) and (end := line.rfind('}"')) > 0:
        return Unwrapped(line[1 : end + 1].replace('""', '"'), wrappers=("csv",))
    if (member := _member(line)) is not None:
        return member
    if _QUOTED.match(line):
        return Unwrapped(line[1:].removesuffix(",").removesuffix(line[0]), wrappers=("quote",))
    return None


def _cell(text: str, time: str) -> Unwrapped:
    """The last cell of a row, with the comma or the quote before it."""
    inner = text[1:].removesuffix('"').replace('""', '"') if text.startswith('"') else text[1:]
    return Unwrapped(inner, parse_time(time), wrappers=("csv",))


def _member(line: str) -> Unwrapped | None:
    """`"textPayload": "2021-..Z\\tinfo\\t..",` of a pretty-printed document, or a string of JSON, when it is certainly a record."""
    match = _MEMBER.match(line) if ":" in line else None
    if match is None:
        return None
    try:
        value = json.loads(match.group(1))
    except ValueError:
        return None
    if not isinstance(value, str) or not _is_record(value):
        return None
    return Unwrapped(_last_newline(value), wrappers=("member",))


def _is_record(text: str) -> bool:
    """Whether it certainly begins like a line of a mesh component, in text or JSON."""
    if text.startswith("{"):
        return (obj := json_object(text)) is not None and is_own_json(obj)
    return _IS_HEAD.match(text) is not None


# ---------------------------------------------------------------------------------------------- JSON documents

_TEXT_KEYS = lazy(
    r'"(?:log|line|message|MESSAGE|body|Body|textPayload|jsonPayload|_source|_raw|content|resourceLogs|kubernetes)"\s*:'
)
# A string that may begin like a line of the mesh, whatever the document calls it.
_RECORD_INSIDE = lazy(r'"(?:\[\d{4}-\d\d-\d\d|\d{4}-\d\d-\d\d[T ][^"\\]{8,30}(?:\\t| [a-z])|[IWEF]\d{4} \d\d:|\{ ?\\")')
_EVIDENCE = names(
    "kubernetes podName pod_name containerName namespace nodeName pod container k8s @timestamp @version stream ddtags "
    "ddsource host hostname agent ecs input docker resource resources labels attributes _p source_type file _index "
    "tags logName insertId receiveTimestamp fields orchestrator cluster_name service"
)
_TIME_KEYS = ("time", "timestamp", "@timestamp", "ts", "_time", "timeUnixNano", "observedTimeUnixNano", "date")


def _json_document(line: str) -> Unwrapped | None:
    """Docker's json-file, stern, Loki, Fluent Bit, Vector, Elasticsearch, OpenTelemetry, GCP, Datadog, journald."""
    if len(line) > MAX_JSON:
        return None
    inside = _RECORD_INSIDE.search(line)
    if not inside and not _TEXT_KEYS.search(line):
        return None
    obj = json_object(line)
    if obj is None:
        return None
    if is_own_json(obj):
        # A collector may have parsed the line and put its own members beside the line's.
        if not isinstance(obj.get("kubernetes"), dict):
            return None
        if not isinstance(obj.get("log"), str):
            text = to_text({k: v for k, v in obj.items() if k not in ("kubernetes", "stream", "_p", "logtag")})
            return None if text is None else _described(text, "json", obj)
    for extract in _EXTRACTORS:
        if (found := extract(obj)) is not None:
            return found
    return _certain(obj) if inside else None


def _described(text: str, name: str, *documents: Mapping[str, Any], partial: bool = False) -> Unwrapped:
    """The unwrapped line with the place and time that the documents (outer first) name."""
    place: dict[str, str] = {}
    time = None
    for document in documents:
        for key, value in _place(document).items():
            place.setdefault(key, value)
        time = time or next((t for k in _TIME_KEYS if (t := parse_time(document.get(k))) is not None), None)
    return _located(text, name, time, place, partial=partial)


def _located(
    text: str, name: str, time: datetime | None, labels: Mapping[str, object], *, partial: bool = False
) -> Unwrapped:
    def valid(*keys: str) -> str:
        values = (labels.get(k) for k in keys)
        return next((v for v in values if isinstance(v, str) and len(v) <= 253 and _VALID_NAME.match(v)), "")

    stream = labels.get("stream")
    return Unwrapped(
        _last_newline(text),
        time,
        valid("namespace", "namespace_name", "kubernetes_namespace_name", "kubernetes_namespace", "k8s_namespace_name"),
        valid("pod", "pod_name", "kubernetes_pod_name", "k8s_pod_name", "instance_pod"),
        valid("container", "container_name", "kubernetes_container_name", "k8s_container_name"),
        stream if stream in ("stdout", "stderr") else "",
        partial,
        (name,),
    )


def _last_newline(text: str) -> str:
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text


_PLACE_KEYS: Mapping[str, tuple[str, ...]] = {
    "namespace": ("namespace_name", "namespace", "pod_namespace", "namespaceName", "kube_namespace"),
    "pod": ("pod_name", "podName", "pod", "pod_id"),
    "container": ("container_name", "containerName", "container", "kube_container_name"),
}
_DOTTED = {
    "namespace": ("k8s.namespace.name", "kubernetes.namespace_name", "kubernetes.namespace"),
    "pod": ("k8s.pod.name", "kubernetes.pod_name", "kubernetes.pod.name"),
    "container": ("k8s.container.name", "kubernetes.container_name", "kubernetes.container.name"),
}


def _place(obj: Mapping[str, Any]) -> dict[str, str]:
    """Namespace, pod, container and stream out of a collector's document, wherever it keeps them."""
    resource = obj.get("resource")
    inner = resource if isinstance(resource, dict) else {}
    candidates = (
        obj.get("kubernetes"),
        obj.get("k8s"),
        obj.get("labels"),
        inner.get("labels"),
        _attributes(inner.get("attributes")),
        _attributes(obj.get("resources")),
        _attributes(obj.get("attributes")),
        _tags(obj.get("ddtags")) or _tags(obj.get("tags")),
        inner,
        obj,
    )
    place: dict[str, str] = {}
    for source in candidates:
        if not isinstance(source, dict):
            continue
        for part, keys in _PLACE_KEYS.items():
            if part not in place:
                for key in (*keys, *_DOTTED[part]):
                    value = source.get(key)
                    if isinstance(value, dict):  # Elastic: kubernetes.pod.name
                        value = value.get("name")
                    if isinstance(value, str) and value:
                        place[part] = value
                        break
        if "stream" not in place and isinstance(source.get("stream"), str):
            place["stream"] = source["stream"]
    return place


def _attributes(value: object) -> dict[str, Any]:
    """OpenTelemetry attributes: an object, or a list of `{"key":..,"value":{"stringValue":..}}`."""
    if isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    if isinstance(value, list):
        for item in value[:100]:
            if isinstance(item, dict) and isinstance(item.get("key"), str):
                found[item["key"]] = _any_value(item.get("value"))
    return found


def _any_value(value: object) -> object:
    """An OpenTelemetry AnyValue, bare or as `{"stringValue":..}`."""
    if isinstance(value, dict):
        for key in ("stringValue", "string", "Value"):
            if isinstance(value.get(key), str):
                return value[key]
    return value


def _tags(value: object) -> dict[str, str]:
    """Datadog tags `pod_name:x,kube_namespace:y`, as text or list."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list):
        return {}
    pairs = (i.strip().partition(":") for i in items[:200] if isinstance(i, str))
    return {k: v for k, sep, v in pairs if sep}


def _as_line(value: object) -> str | None:
    """A payload as a line: text as it is, an object (a JSON line that the collector parsed) as JSON again."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value:
        if not is_own_json(value):
            for key in ("message", "log", "msg", "MESSAGE"):
                if isinstance(value.get(key), str):
                    return str(value[key])
        return to_text(value)
    return None


def _elastic(obj: dict[str, Any]) -> Unwrapped | None:
    source = obj.get("_source")
    if not isinstance(source, dict):
        return None
    line = _as_line(source) if is_own_json(source) else None
    for key in ("message", "log", "body", "textPayload", "event"):
        line = line or _as_line(source.get(key))
    return None if line is None else _described(line, "elasticsearch", source, obj)


def _gcp(obj: dict[str, Any]) -> Unwrapped | None:
    line = obj.get("textPayload")
    if not isinstance(line, str):
        line = _as_line(obj.get("jsonPayload"))
    return None if line is None else _described(line, "gcp", obj)


_DOCKER = frozenset({"log", "stream", "time", "attrs"})


def _docker(obj: dict[str, Any]) -> Unwrapped | None:
    """`{"log":"..\\n","stream":..,"time":..}`; with more members it is a Fluent Bit document."""
    line = obj.get("log")
    if not isinstance(line, str):
        line = _as_line(line)
        return None if line is None else _described(line, "json", obj)
    stream = obj.get("stream")
    if obj.keys() <= _DOCKER and stream in ("stdout", "stderr"):
        time = parse_time(obj.get("time"))
        return Unwrapped(_last_newline(line), time, "", "", "", stream, not line.endswith("\n"), ("docker",))
    return _described(line, "fluent", obj, partial=obj.get("logtag") == "P")


def _loki(obj: dict[str, Any]) -> Unwrapped | None:
    line = obj.get("line")
    if not isinstance(line, str) or not ("labels" in obj or "timestamp" in obj or "ts" in obj):
        return None
    return _described(line, "loki", obj)


def _journald(obj: dict[str, Any]) -> Unwrapped | None:
    line = obj.get("MESSAGE")
    if not isinstance(line, str):
        return None
    stamp = obj.get("__REALTIME_TIMESTAMP")
    return _described(line, "journald", {**obj, "time": stamp})


def _otel(obj: dict[str, Any]) -> Unwrapped | None:
    if isinstance(obj.get("resourceLogs"), list):
        return _otlp(obj)
    body = obj.get("body", obj.get("Body"))
    line = _as_line(_any_value(body))
    if line is None:
        return None
    time = obj.get("Timestamp")
    attributes = {"resources": obj.get("Resource")} if isinstance(obj.get("Resource"), dict) else {}
    return _described(line, "otel", obj, attributes, {"time": time})


def _otlp(obj: dict[str, Any]) -> Unwrapped | None:
    """OTLP JSON; a batch of several records is more than a line, so only one is taken out of its covers."""
    try:
        (resource,) = obj["resourceLogs"]
        (scope,) = resource["scopeLogs"]
        (record,) = scope["logRecords"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(record, dict) or (line := _as_line(_any_value(record.get("body")))) is None:
        return None
    return _described(line, "otel", record, {"resource": resource.get("resource")})


def _splunk(obj: dict[str, Any]) -> Unwrapped | None:
    result = obj.get("result")
    inner = result if isinstance(result, dict) else obj
    line = inner.get("_raw")
    return _described(line, "splunk", inner) if isinstance(line, str) else None


def _datadog(obj: dict[str, Any]) -> Unwrapped | None:
    content = obj.get("content")
    if not isinstance(content, dict):
        return None
    line = _as_line(content.get("message"))
    return None if line is None else _described(line, "datadog", content, obj)


def _message(obj: dict[str, Any]) -> Unwrapped | None:
    """stern (`json`, `extjson`), Filebeat, Vector, Datadog: `message` beside members that only a collector adds."""
    if obj.keys().isdisjoint(_EVIDENCE) and not any(k.startswith("kubernetes.") for k in obj):
        return None
    line = _as_line(obj.get("message"))
    if line is None:
        return None
    return _described(line, "stern" if "nodeName" in obj or "podName" in obj else "json", obj)


_MAX_VALUES = 2_000
_TOLD = names(
    "log line message msg MESSAGE event body Body text content values value stringValue data raw _raw textPayload LogMessage LogEntry"
)
"""Keys under which programs that keep logs put a line. Under any other one it may be what a client sent: a header, a path."""


def _certain(obj: dict[str, Any]) -> Unwrapped | None:
    """The first string of the document that certainly is a line of the mesh, however deep it stands under one of such keys: answers
    of Loki's and Elasticsearch's API, CloudWatch, Azure's LogMessage, Splunk's collector.
    """
    todo: list[tuple[str, Any, dict[str, Any]]] = [("", obj, obj)]
    for _ in range(_MAX_VALUES):
        if not todo:
            break
        key, value, around = todo.pop()
        if isinstance(value, dict):
            todo += [(k, v, value) for k, v in reversed(value.items())]
        elif isinstance(value, list):
            todo += [(key, v, around) for v in reversed(value)]
        elif isinstance(value, str) and key in _TOLD and _is_record(value):
            return _described(value, "json", obj, *([around] if around is not obj else []))
    return None


_EXTRACTORS: tuple[Callable[[dict[str, Any]], Unwrapped | None], ...] = (
    _elastic,
    _gcp,
    _docker,
    _loki,
    _journald,
    _otel,
    _datadog,
    _splunk,
    _message,
)

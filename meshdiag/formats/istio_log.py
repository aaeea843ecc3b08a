"""What Istio's Go components log: istiod, pilot-agent, istio-init, istio-validation, istio-cni.

    <time>TAB<level>TAB[<scope>TAB][<caller>TAB]<message>[TAB<key>=<value> ...]       Istio 0.8 to 1.31
    {"level":..,"time":..,"scope":..,"caller":..,"msg":..,"<label>":..,"stack":..}    --log_as_json

The scope is left out when it is the default one, so a word is a scope only when it is a known name, or stands between
two TABs. Where blanks stand for the TABs only known names are. Labels are since 1.7.
"""

from __future__ import annotations

import re

from meshdiag.formats._common import LEVELS, LIMIT, TIME, add_fields, json_object, names, parse_time, to_text
from meshdiag.formats.base import UNPARSED, Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "istio-log"
FIRST = "0123456789{diwef"

AGENT_SCOPES = names(
    "xdsproxy sds cache citadelclient googleca googlecas wasm dns healthcheck probes gcecred stsclient stsserver "
    "secretFetcherLog secretfetcher cacheLog sdsServiceLog citadelAgentLog citadelAgent citadelClientLog caClientLog "
    "vaultClientLog googleCAClientLog nodeagent nodeAgentK8s tokenmanager proxyconfig"
)
"""Scopes that only the agent beside Envoy has (Istio 1.1 to 1.31)."""

ISTIOD_SCOPES = names(
    "delta serverca pkica pkira rootcertrotator secretcontroller authn authorization validationServer "
    "validationController serviceentry wle gateway gatewaycommon trustBundle tag-watcher ip-autoallocate untaint smmr "
    "citadel ingress-status leader configmapcontroller sidecarinjector"
)
"""Scopes that only istiod (or its ancestors pilot and citadel) has."""

CNI_SCOPES = names("cni-agent cni-plugin cni agent install repair ambient")
"""Scopes that only istio-cni has (Istio 1.11 to 1.31); `installer` is istioctl's and the operator's."""

SCOPES = (
    AGENT_SCOPES
    | ISTIOD_SCOPES
    | CNI_SCOPES
    | names(
        "default ca security spiffe validation ads adsc model klog push kube controllers krt status processing "
        "analysis file monitoring grpc iptables mcp crdclient configmapwatcher meshwatcher multicluster rbac "
        "secretController serviceentries xds galley conversions ctrlz grpcgen envoyfilter webhook installer"
    )
)
"""Every scope name that is known."""

_EVERYDAY = names(
    "gateway agent file push processing analysis monitoring install installer repair ambient default iptables leader "
    "ingress-status xds webhook grpc citadel galley"
)
"""Scope names that messages of the default scope begin with too: not believed where single blanks stand for TABs."""

_HEAD = lazy(rf"(?:({TIME}|\d{{3}}-\d\d-\d\dT[\d:.]+Z)[\t ]+)?(debug|info|warn|error|fatal)(\t[\t ]*| +\t?[\t ]*)")
_WORD = lazy(r"([A-Za-z][\w-]*)( *\t[\t ]*| +)")
_CALLER = lazy(r"([\w./@+-]+\.go:\d+)(?:[\t ]+)")
_ZTUNNEL = lazy(r"[a-z_]\w*+::[a-z_]\w*+[\t :{]")  # a Rust module path
_KEY = r"[A-Za-z_][\w./-]*="
_LABELS = lazy(_KEY)
_LABEL = lazy(rf"(?:\A| )({_KEY})")
_WIDE_LABELS = lazy(rf"(?<! ) {{2,}}+(?={_KEY})")
_PLAIN_LABEL = lazy(rf"{_KEY}\S+\Z")
_CLIENT_GO = ("k8s.io/client-go@", "pkg/mod/k8s.io/client-go@", "k8s.io/client-go/")


def component_of(scope: str) -> str:
    """The component that alone has this scope, or ""."""
    if scope in AGENT_SCOPES:
        return "pilot-agent"
    if scope in ISTIOD_SCOPES:
        return "istiod"
    return "istio-cni" if scope in CNI_SCOPES else ""


def parse(text: str) -> Record | None:
    """A line of an Istio Go component with its continuation lines, or None.

    Fields: `scope` (absent for the default scope), `caller`, and one for each label. A client-go message that an Istio
    before 1.8 printed without a scope gets the scope `klog` of later versions.
    """
    if text.startswith("{"):
        return _parse_json(text[:LIMIT])
    head = _HEAD.match(text)
    if head is None:
        return None
    time, level, gap = head.groups()
    text = text[:LIMIT]
    tabs = "\t" in gap
    at = head.end()
    scope, at = _read_scope(text, at, gap)
    if time is None and not tabs and (not scope or scope in _EVERYDAY):
        return None  # "error something": anybody writes that
    if _ZTUNNEL.match(text, at) if not scope else (scope == "access" and text.startswith("connection ", at)):
        return None
    fields: dict[str, str] = {}
    if scope:
        fields["scope"] = scope
    if caller := _CALLER.match(text, at):
        fields["caller"] = caller.group(1)
        at = caller.end()
    message, labels = _split_labels(text[at:], tabs, len(gap))
    if not scope and message.startswith(_CLIENT_GO):
        fields["scope"] = scope = "klog"
    add_fields(fields, labels)
    return Record(NAME, text, message, parse_time(time), LEVELS[level], component_of(scope), "text", fields)


def _read_scope(text: str, at: int, gap: str) -> tuple[str, int]:
    """The scope that stands at this place ("" when there is none) and where the rest begins."""
    word = _WORD.match(text, at)
    if word is None:
        return "", at
    name, after = word.groups()
    if "\t" in after:
        # Between two TABs; a default-scope message of one word has only labels behind it.
        is_scope = name in SCOPES or (name[0].islower() and not _only_labels(text, word.end()))
    elif "\t" in gap or name not in SCOPES:
        is_scope = False
    elif len(after) > 1:
        is_scope = True
    else:
        # Between wide gaps a TAB shows as one blank only where the word ends just before a tab stop.
        is_scope = name not in _EVERYDAY and (len(gap) == 1 or len(name) % 8 == 7)
    return (name, word.end()) if is_scope else ("", at)


def _only_labels(text: str, at: int) -> bool:
    return _LABELS.match(text, at) is not None and text.find("\t", at) < 0


def _split_labels(body: str, tabs: bool, gap: int) -> tuple[str, dict[str, str]]:
    """The message and the labels behind it: after the last TAB, after two or more blanks, or the last `k=v` words."""
    body = body.rstrip()
    if tabs:
        cut = body.rfind("\t")
        if cut > 0 and body[cut - 1] != "\n" and "\n" not in body[cut:] and _LABELS.match(body, cut + 1):
            return body[:cut].rstrip(), _parse_labels(body[cut + 1 :])
        return body, {}
    line = body.rfind("\n") + 1
    wide = list(_WIDE_LABELS.finditer(body, line))
    if wide and wide[-1].start() > line:
        return body[: wide[-1].start()], _parse_labels(body[wide[-1].end() :])
    if gap == 1:
        return _split_plain(body, line)
    return body, {}


def _split_plain(body: str, line: int) -> tuple[str, dict[str, str]]:
    """Single blanks everywhere: the last words that are all `k=v` are labels, unless a comma or colon leads to them."""
    words = body[line:].rsplit(" ", 16)
    count = 0
    while count < len(words) - 1 and _PLAIN_LABEL.match(words[-1 - count]):
        count += 1
    if not count or words[-1 - count].endswith((",", ":", "=")):
        return body, {}
    labels = " ".join(words[-count:])
    return body[: len(body) - len(labels)].rstrip(), _parse_labels(labels)


def _parse_labels(text: str) -> dict[str, str]:
    """`a=1 b=two words c=3`: a value goes on to the next key."""
    found = list(_LABEL.finditer(text))[:64]
    ends = [m.start() for m in found[1:]] + [len(text)]
    labels: dict[str, str] = {}
    for key, end in zip(found, ends, strict=True):
        labels.setdefault(key.group(1)[:-1], text[key.end() : end].strip())
    return labels


_FIRST_TIME = lazy(rf'"time":"({TIME})"')
_JSON_OWN = frozenset({"level", "time", "ts", "scope", "caller", "msg"})


def _parse_json(text: str) -> Record | None:
    if '"level"' not in text or '"msg"' not in text:
        return None
    obj = json_object(text)
    if obj is None:
        if re.match(r'\{"level":"\w+","time":"', text):
            return Record(NAME, text, "", encoding="json", fields={UNPARSED: "not a JSON object"})
        return None
    level = obj.get("level")
    if level not in ("debug", "info", "warn", "error", "fatal"):  # "warning" is a logrus program, not Istio
        return None
    if not ("time" in obj or "scope" in obj or "caller" in obj or "ts" in obj):
        return None
    scope, caller = obj.get("scope"), to_text(obj.get("caller"))
    scope = scope if isinstance(scope, str) and scope != "default" else ""
    if scope.startswith("envoy "):
        return None
    message = to_text(obj.get("msg"))
    fields: dict[str, str] = {}
    if message is None:
        fields[UNPARSED] = "no msg"
        message = ""
    if not scope and message.startswith(_CLIENT_GO):
        scope = "klog"
    if scope:
        fields["scope"] = scope
    if caller:
        fields["caller"] = caller
    add_fields(fields, {k: v for k, v in obj.items() if k not in _JSON_OWN})
    time = parse_time(obj.get("time", obj.get("ts")))
    if time is None and "time" in obj:
        # A label `time` (a duration): the key is there twice and JSON keeps the last.
        first = _FIRST_TIME.search(text, 0, 400)
        time = parse_time(first.group(1)) if first else None
        add_fields(fields, {"time": obj["time"]})
    return Record(NAME, text, message.rstrip(), time, LEVELS[level], component_of(scope), "json", fields)


FORMAT = Format(
    NAME, "istio/pkg log and istio.io/istio/pkg/log, Istio 0.8 to 1.31", parse, ("text", "json"), multiline=True
)

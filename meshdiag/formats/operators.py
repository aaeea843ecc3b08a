"""Compiles an Envoy access log format (text or JSON) into a parser that gives our field names.

Source: Envoy's documentation "Access logging", versions 1.7 to 1.38 (operators, `%START_TIME%` specifiers, JSON
formats), and the response flag names of Envoy 1.40.

What a request carries is written by its sender and stands in a text line unescaped, so a text line is read in two ways.

*Plain*: one regular expression in which no value may hold a quote (when the format has quotes) or a character that
separates values of its stretch between quotes. Then the number of separators is that of the format, so there is one
reading and a forged one would have one separator too many.

*Careful*, for all other lines: the values that the proxy itself wrote form segments between the values of the sender.
All places where each segment fits are looked for; when more than one set of places is possible nobody can tell
the forged one from the true one, and the result says so (`unparsed`) and has no other field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, auto
from itertools import pairwise
from typing import Any, Protocol

from meshdiag.formats.base import UNPARSED
from meshdiag.lazyre import lazy
from meshdiag.model import MeshdiagError

AMBIGUOUS = "ambiguous request line"
AMBIGUOUS_VALUES = "ambiguous values"
MAX_LINE = 100_000
"""Longer lines are not read carefully: Envoy limits a request's headers to 60 KiB by default."""

_MAX_PLACES = 64  # places where one segment fits; an honest line has one

FLAGS: Mapping[str, str] = {
    "NoHealthyUpstream": "UH",
    "UpstreamConnectionFailure": "UF",
    "UpstreamOverflow": "UO",
    "NoRouteFound": "NR",
    "UpstreamRetryLimitExceeded": "URX",
    "NoClusterFound": "NC",
    "DurationTimeout": "DT",
    "DownstreamConnectionTermination": "DC",
    "FailedLocalHealthCheck": "LH",
    "UpstreamRequestTimeout": "UT",
    "LocalReset": "LR",
    "UpstreamRemoteReset": "UR",
    "UpstreamConnectionTermination": "UC",
    "DelayInjected": "DI",
    "FaultInjected": "FI",
    "RateLimited": "RL",
    "UnauthorizedExternalService": "UAEX",
    "RateLimitServiceError": "RLSE",
    "StreamIdleTimeout": "SI",
    "InvalidEnvoyRequestHeaders": "IH",
    "DownstreamProtocolError": "DPE",
    "UpstreamProtocolError": "UPE",
    "UpstreamMaxStreamDurationReached": "UMSDR",
    "OverloadManagerTerminated": "OM",
    "DnsResolutionFailed": "DF",
    "DropOverload": "DO",
    "UnconditionalDropOverload": "UDO",
    "DownstreamRemoteReset": "DR",
    "ResponseFromCacheFilter": "RFCF",
    "NoFilterConfigFound": "NFCF",
}
"""Long name (`%RESPONSE_FLAGS_LONG%`) to short flag, Envoy 1.40. With `-` for none they are 31."""


def short_flags(value: str) -> str:
    """The flags with every long name replaced by the short one; unknown words stay.

    >>> short_flags("UpstreamConnectionFailure,URX")
    'UF,URX'
    """
    return ",".join(FLAGS.get(flag, flag) for flag in value.split(","))


class AccessLogParser(Protocol):
    """What `compile_text`, `compile_json` and `compile_format` give."""

    def parse(self, text: str) -> dict[str, str] | None:
        """The values by field name as written (`-` for none), `{"unparsed": why}` when the line can be read in
        more than one way, None when it is not of this format. Never raises."""


# --- the format string -------------------------------------------------------------------------------------------


class Kind(Enum):
    """How a value looks, and who writes it: CLIENT is free text of somebody else, all others the proxy writes."""

    TIME = auto()
    NUMBER = auto()
    FLAGS = auto()
    PROTOCOL = auto()
    METHOD = auto()
    DETAILS = auto()
    TEXT = auto()
    CLUSTER = auto()
    ADDRESS = auto()
    TOKEN = auto()
    ROUTE = auto()
    SNI = auto()
    CLIENT = auto()


_FIELDS: Mapping[str, tuple[str, Kind]] = {
    "START_TIME": ("start_time", Kind.TIME),
    "PROTOCOL": ("protocol", Kind.PROTOCOL),
    "RESPONSE_CODE": ("response_code", Kind.NUMBER),
    "RESPONSE_FLAGS": ("response_flags", Kind.FLAGS),
    "RESPONSE_FLAGS_LONG": ("response_flags", Kind.FLAGS),
    "RESPONSE_CODE_DETAILS": ("response_code_details", Kind.DETAILS),
    "CONNECTION_TERMINATION_DETAILS": ("connection_termination_details", Kind.DETAILS),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": ("upstream_transport_failure_reason", Kind.TEXT),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": ("downstream_transport_failure_reason", Kind.TEXT),
    "BYTES_RECEIVED": ("bytes_received", Kind.NUMBER),
    "BYTES_SENT": ("bytes_sent", Kind.NUMBER),
    "DURATION": ("duration", Kind.NUMBER),
    "UPSTREAM_HOST": ("upstream_host", Kind.ADDRESS),
    "UPSTREAM_CLUSTER": ("upstream_cluster", Kind.CLUSTER),
    "UPSTREAM_CLUSTER_RAW": ("upstream_cluster", Kind.CLUSTER),
    "UPSTREAM_LOCAL_ADDRESS": ("upstream_local_address", Kind.ADDRESS),
    "DOWNSTREAM_LOCAL_ADDRESS": ("downstream_local_address", Kind.ADDRESS),
    "DOWNSTREAM_REMOTE_ADDRESS": ("downstream_remote_address", Kind.ADDRESS),
    "REQUESTED_SERVER_NAME": ("requested_server_name", Kind.SNI),
    "ROUTE_NAME": ("route_name", Kind.ROUTE),
    "GRPC_STATUS": ("grpc_status", Kind.TOKEN),
}
_REQUEST: Mapping[str, tuple[str, Kind]] = {
    ":METHOD": ("method", Kind.METHOD),
    ":PATH": ("path", Kind.CLIENT),
    "X-ENVOY-ORIGINAL-PATH": ("path", Kind.CLIENT),
    ":AUTHORITY": ("authority", Kind.CLIENT),
    "HOST": ("authority", Kind.CLIENT),
    "X-FORWARDED-FOR": ("x_forwarded_for", Kind.CLIENT),
    "USER-AGENT": ("user_agent", Kind.CLIENT),
    "X-REQUEST-ID": ("request_id", Kind.CLIENT),
}
_RESPONSE: Mapping[str, tuple[str, Kind]] = {
    "X-ENVOY-UPSTREAM-SERVICE-TIME": ("upstream_service_time", Kind.TOKEN),
    "GRPC-STATUS": ("grpc_status", Kind.TOKEN),
}
# The long names are Envoy's since 1.30; the short ones still work.
_HEADERS: Mapping[str, Mapping[str, tuple[str, Kind]]] = {
    "REQ": _REQUEST,
    "REQUEST_HEADER": _REQUEST,
    "REQ_WITHOUT_QUERY": _REQUEST,
    "RESP": _RESPONSE,
    "RESPONSE_HEADER": _RESPONSE,
    "TRAILER": _RESPONSE,
    "RESPONSE_TRAILER": _RESPONSE,
}
# Other operators whose values the proxy makes itself. Anything else may be a header, metadata or a certificate.
_TOKENS = lazy(r"(?:.*_)?ADDRESS(?:_.*)?|HOSTNAME|TRACE_ID|STREAM_ID|ACCESS_LOG_TYPE|UNIQUE_ID|UPSTREAM_PROTOCOL")
_NUMBERS = lazy(r"(?:.*_)?(?:DURATION|BYTES(?:_.*)?|COUNT|ATTEMPT_COUNT|CONNECTION_ID|(?:LOCAL|REMOTE)_PORT)")


@dataclass(frozen=True, slots=True)
class Operator:
    """`%NAME(argument)%` as it stands at `position`, and the field that its value gets."""

    name: str
    argument: str
    position: int
    field: str
    kind: Kind

    def __str__(self) -> str:
        return f"%{self.name}({self.argument})%" if self.argument else f"%{self.name}%"


# The argument ends at the first `)` that ends the operator, so it may hold `%` and `)` (START_TIME, CEL), as in Envoy.
_OPERATOR = lazy(r"%([A-Z][A-Z0-9_]*)(?:\((.*?)\))?(?::[0-9]+)?%")


def _field_of(name: str, argument: str) -> tuple[str, Kind]:
    if name in _HEADERS:
        table = _HEADERS[name]
        # `A?B` is header A, or B when there is no A: ours when both stand for the same field.
        known = {table.get(header.strip()) for header in argument.upper().split("?")}
        if len(known) == 1 and (hit := known.pop()):
            return hit
    elif name in _FIELDS:
        return _FIELDS[name]
    elif name == "PATH":  # Envoy 1.35: PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)
        return "path", Kind.CLIENT
    elif name == "DYNAMIC_METADATA" and argument == "istio.mixer:status":
        return "istio_policy_status", Kind.TEXT
    elif _NUMBERS.fullmatch(name):
        kind = Kind.NUMBER if not argument else Kind.TOKEN
        return _derived(name, argument), kind
    elif _TOKENS.fullmatch(name):
        return _derived(name, argument), Kind.TOKEN
    return _derived(name, argument), Kind.CLIENT


def _derived(name: str, argument: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"{name} {argument}".lower()).strip("_")


def tokenize(format: str) -> list[str | Operator]:
    """The literal texts and operators of a format string, in order; `%%` is a literal percent.

    Raises MeshdiagError with the position of a `%` that begins no operator, and for an unknown START_TIME specifier.
    """
    tokens: list[str | Operator] = []
    literal: list[str] = []
    taken: dict[str, int] = {}
    at = 0
    while at < len(format):
        if format[at] != "%":
            end = format.find("%", at)
            end = len(format) if end < 0 else end
            literal.append(format[at:end])
            at = end
        elif format.startswith("%%", at):
            literal.append("%")
            at += 2
        elif match := _OPERATOR.match(format, at):
            if literal:
                tokens.append("".join(literal))
                literal.clear()
            name, argument = match[1], match[2] or ""
            field, kind = _field_of(name, argument)
            taken[field] = taken.get(field, 0) + 1
            if taken[field] > 1:
                field = f"{field}_{taken[field]}"
            tokens.append(Operator(name, argument, at, field, kind))
            at = match.end()
        else:
            raise MeshdiagError(
                f"access log format: no operator at position {at + 1}: {format[at : at + 30]!r}; "
                "an operator is %NAME%, %NAME(argument)% or %NAME(argument):LENGTH%, a percent sign is %%"
            )
    if literal:
        tokens.append("".join(literal))
    return tokens


# --- START_TIME --------------------------------------------------------------------------------------------------

_COMPOSITES = {
    "T": "%H:%M:%S",
    "R": "%H:%M",
    "F": "%Y-%m-%d",
    "D": "%m/%d/%y",
    "r": "%I:%M:%S %p",
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "h": "%b",
    "n": "\n",
    "t": "\t",
    "%": "%%",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SPECIFIERS = {
    "Y": r"[0-9]{4}",
    "y": r"[0-9]{2}",
    "C": r"[0-9]{2}",
    "m": r"[0-9]{1,2}",
    "b": r"[A-Z][a-z]{2}",
    "B": r"[A-Z][a-z]{2,8}",
    "d": r"[0-9]{1,2}",
    "e": r" ?[0-9]{1,2}",
    "j": r"[0-9]{3}",
    "a": r"[A-Z][a-z]{2}",
    "A": r"[A-Z][a-z]{5,8}",
    "u": r"[1-7]",
    "w": r"[0-6]",
    "H": r"[0-9]{2}",
    "k": r" ?[0-9]{1,2}",
    "I": r"[0-9]{2}",
    "l": r" ?[0-9]{1,2}",
    "p": r"[AaPp][Mm]",
    "M": r"[0-9]{2}",
    "S": r"[0-9]{2}(?:\.[0-9]+)?",
    "s": r"[0-9]{9,10}",  # until 2286; so that %s%3f is read right
    "f": r"[0-9]{1,9}",
    "z": r"[+-][0-9]{2}:?[0-9]{2}|Z",
    "Z": r"[A-Z]{2,5}",
    "V": r"[0-9]{2}",
    "U": r"[0-9]{2}",
    "W": r"[0-9]{2}",
    "G": r"[0-9]{4}",
    "g": r"[0-9]{2}",
}
# strftime's own, Envoy's fractions (%f, %3f) and the extensions of absl::FormatTime (%E3S, %E*f, %Ez, %ET).
_SPECIFIER = lazy(r"%(?:E(?:[0-9]+|\*)?|O|-|[1-9](?=f))?(.)", re.DOTALL)
_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[+-][0-9:]+)?"


@dataclass(frozen=True, slots=True)
class _Clock:
    """A START_TIME format: `shape` is a regex without groups, `pattern` has a group for each specifier of `codes`."""

    shape: str
    pattern: re.Pattern[str] | None
    codes: tuple[str, ...]

    def iso(self, value: str) -> str:
        """The value as ISO 8601 in UTC, or as it was when it is not a full point in time."""
        if self.pattern is None or not (match := self.pattern.fullmatch(value)):
            return value
        parts = {code: group.strip() for code, group in zip(self.codes, match.groups(), strict=True)}
        try:
            moment = _moment(parts)
        except (ValueError, OverflowError):
            return value
        if moment is None:
            return value
        digits = len(parts.get("f", "") or parts.get("S", "").partition(".")[2])
        unit = "seconds" if digits == 0 else "milliseconds" if digits <= 3 else "microseconds"
        return moment.astimezone(UTC).isoformat(timespec=unit).replace("+00:00", "Z")


def _moment(parts: Mapping[str, str]) -> datetime | None:
    second, _, tenths = parts.get("S", "0").partition(".")
    fraction = timedelta(microseconds=int((parts.get("f", "") or tenths)[:6].ljust(6, "0")))
    if "s" in parts:
        return datetime.fromtimestamp(int(parts["s"]), UTC) + fraction
    year = int(parts["Y"]) if "Y" in parts else 2000 + int(parts["y"]) if "y" in parts else 0
    if not year:
        return None
    hour = int(parts.get("H") or parts.get("k") or parts.get("I") or parts.get("l") or "0")
    if "p" in parts and not ("H" in parts or "k" in parts):
        hour = hour % 12 + (12 if parts["p"].lower() == "pm" else 0)
    zone = UTC
    if (offset := parts.get("z", "Z")) != "Z":
        delta = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
        zone = timezone(-delta if offset[0] == "-" else delta)
    if "j" in parts:
        month, day, extra = 1, 1, timedelta(days=int(parts["j"]) - 1)
    else:
        named = parts.get("b") or parts.get("B") or ""
        month = int(parts["m"]) if "m" in parts else _MONTHS.index(named[:3].lower()) + 1 if named else 0
        day, extra = int(parts.get("d") or parts.get("e") or "0"), timedelta()
    return datetime(year, month, day, hour, int(parts.get("M", "0")), int(second), tzinfo=zone) + fraction + extra


def _clock(operator: Operator) -> _Clock:
    """Raises MeshdiagError for a specifier that is not known."""
    if not operator.argument:
        return _Clock(_ISO, None, ())
    shape, grouped, codes = [], [], []
    rest = operator.argument
    while rest:
        if not (match := _SPECIFIER.match(rest)):
            end = rest.find("%")
            end = len(rest) if end <= 0 else end
            shape.append(re.escape(rest[:end]))
            grouped.append(re.escape(rest[:end]))
            rest = rest[end:]
            continue
        code, rest = match[1], rest[match.end() :]
        if code == "T" and match[0] == "%ET":  # absl: a literal T
            code, rest = "", "T" + rest
        elif code == "%":
            shape.append("%")
            grouped.append("%")
        elif code in _COMPOSITES:
            rest = _COMPOSITES[code] + rest
        elif code in _SPECIFIERS:
            shape.append(f"(?:{_SPECIFIERS[code]})")
            # A second %Y says nothing new; groups keep the first.
            grouped.append(f"(?:{_SPECIFIERS[code]})" if code in codes else f"({_SPECIFIERS[code]})")
            if code not in codes:
                codes.append(code)
        else:
            raise MeshdiagError(
                f"access log format: unknown specifier {match[0]!r} in {operator} at position {operator.position + 1}"
            )
    return _Clock("".join(shape), lazy("".join(grouped)), tuple(codes))


# --- text --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """A token with its regexes: `plain` for the one-reading expression, `loose` for a segment of the careful one.

    `literal` is set for a literal, `field` for an operator.
    """

    plain: str
    loose: str
    literal: str = ""
    field: str = ""
    kind: Kind = Kind.CLIENT


@dataclass(frozen=True, slots=True)
class _Segment:
    """Neighbouring values that the proxy wrote, with the literals around them."""

    pattern: re.Pattern[str]
    fields: tuple[str, ...]
    lead: re.Pattern[str] | None = None
    """Of the last segment: its part before the server name, when a forged server name could repeat it."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Values of the sender and the literals between them: what stands between two segments."""

    fields: tuple[str, ...]
    literals: tuple[str, ...]

    def split(self, text: str) -> list[str] | None:
        """One text a field, None when a literal is not there. The first value is read from the left, the others
        from the right; what is too much falls to the second (in the default formats the user agent)."""
        if not self.literals:
            return [text]
        first, found, rest = text.partition(self.literals[0])
        if not found:
            return None
        last: list[str] = []
        for literal in reversed(self.literals[1:]):
            rest, found, value = rest.rpartition(literal)
            if not found:
                return None
            last.append(value)
        return [first, rest, *reversed(last)]


@dataclass(frozen=True, slots=True)
class Reading:
    """What `TextParser.cut` read: the values, and whether the line ends where a cut could have been (`clean`)."""

    values: dict[str, str]
    clean: bool


@dataclass(frozen=True, slots=True)
class TextParser:
    """A parser of one text format. `pattern` has one group for each of `fields` and reads the plain lines."""

    format: str
    fields: tuple[str, ...]
    pattern: re.Pattern[str]
    segments: tuple[_Segment, ...]
    runs: tuple[_Run, ...]
    converters: tuple[tuple[str, Callable[[str], str]], ...]
    prefix: re.Pattern[str]
    partial: tuple[re.Pattern[str], ...]
    """What is left of the line when it was cut inside value number N; group 1 is the value when it is complete."""
    head: int
    """How many fields stand before the second run of the sender's values."""
    again: tuple[re.Pattern[str], int] | None
    """The begin of the first segment behind a sender's value, and the number of that value (from 1), to see whether the
    segment could stand elsewhere too."""

    def parse(self, text: str) -> dict[str, str] | None:
        """See `AccessLogParser.parse`."""
        if match := self.pattern.fullmatch(text):
            return self._convert(dict(zip(self.fields, match.groups(), strict=True)))
        return self.parse_careful(text)

    def parse_plain(self, text: str) -> dict[str, str] | None:
        """Only the one-reading expression."""
        match = self.pattern.fullmatch(text)
        return self._convert(dict(zip(self.fields, match.groups(), strict=True))) if match else None

    def parse_careful(self, text: str) -> dict[str, str] | None:
        """The reading when exactly one is possible; `unparsed` when there are several; None when there is none."""
        if len(text) > MAX_LINE or not (first := self.segments[0].pattern.match(text)):
            return None
        if len(self.segments) == 1:  # no value of a sender in the format
            only = self.segments[0].pattern.fullmatch(text)
            return self._convert({name: only[f"f{i}"] for i, name in enumerate(self.fields)}) if only else None
        places: list[list[re.Match[str]]] = [[first]]
        for segment in self.segments[1:]:
            found: list[re.Match[str]] = []
            for match in segment.pattern.finditer(text, first.end()):
                found.append(match)
                if len(found) > _MAX_PLACES:
                    return {UNPARSED: AMBIGUOUS}
            if not found:
                return None
            places.append(found)
        ways = list(self._ways(text, places))
        if not ways:
            return None
        if len(ways) > 1:
            asked = "path" in self.runs[0].fields
            return {UNPARSED: AMBIGUOUS if asked else AMBIGUOUS_VALUES}
        return self._convert(self._values(text, ways[0]))

    def _ways(self, text: str, places: list[list[re.Match[str]]]) -> Iterator[list[re.Match[str]]]:
        """At most two ways to choose one place for each segment, in order, with room for the runs between them."""
        dead: set[tuple[int, int]] = set()

        def follow(level: int, chosen: list[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
            if level == len(places):
                yield chosen
                return
            start = _end(chosen[-1])
            if (level, start) in dead:
                return
            any_way = False
            for place in places[level]:
                if place.start() < start or self.runs[level - 1].split(text[start : place.start()]) is None:
                    continue
                for way in follow(level + 1, [*chosen, place]):
                    any_way = True
                    yield way
            if not any_way:
                dead.add((level, start))

        ways = follow(1, places[0])
        for _, way in zip(range(2), ways, strict=False):
            yield way

    def _values(self, text: str, way: list[re.Match[str]]) -> dict[str, str]:
        values: dict[str, str] = {}
        for index, (segment, place) in enumerate(zip(self.segments, way, strict=True)):
            if index:
                start = _end(way[index - 1])
                if segment.lead and _server_name_may_lie(text, start, place, segment):
                    return values
                run = self.runs[index - 1]
                parts = run.split(text[start : place.start()]) or []
                values.update(zip(run.fields, parts, strict=False))
            values.update((name, place[f"f{number}"]) for number, name in enumerate(segment.fields))
        return values

    def cut(self, text: str) -> Reading | None:
        """What can be read from the left of a line that is cut off, or that goes on in a way this format does not.

        A value counts when the literal behind it is there too. When the rest is no begin of the next value, only the
        values up to the second run of the sender's values count. None when not even the response code is there.
        """
        match = self.prefix.match(text)
        if match is None:
            return None
        values = {name: value for name, value in zip(self.fields, match.groups(), strict=True) if value is not None}
        rest = text[match.end() :]
        clean = len(values) == len(self.fields)
        if not clean and (part := self.partial[len(values)].fullmatch(rest)):
            clean = True
            if part[1] is not None:  # its closing quote is there
                values[self.fields[len(values)]] = part[1]
        if not clean and len(values) < self.head:
            # Another format from somewhere on: only what no format has otherwise.
            keep = {"start_time", "method", "path", "protocol", "response_code", "response_flags"}
            values = {name: value for name, value in values.items() if name in keep}
        elif not clean:
            values = {name: values[name] for name in self.fields[: self.head]}
        if "response_code" not in values or not (clean or "response_flags" in values):
            return None
        if self.again is not None:
            pattern, number = self.again
            # It must be where it was read, and nowhere else: else a path or a later value repeats it.
            if any(place.start() != match.end(number) for place in pattern.finditer(text)):
                return Reading({UNPARSED: AMBIGUOUS}, clean)
        return Reading(self._convert(values), clean)

    def _convert(self, values: dict[str, str]) -> dict[str, str]:
        for name, convert in self.converters:
            if name in values:
                values[name] = convert(values[name])
        return values


def _end(place: re.Match[str]) -> int:
    """All segments but the first are matched by a lookahead, so that places may overlap; their text is `whole`."""
    return place.end("whole") if "whole" in place.re.groupindex else place.end()


def _server_name_may_lie(text: str, start: int, place: re.Match[str], segment: _Segment) -> bool:
    """Whether the true end of the line may begin further left and `place` may be a part of the server name.

    Before Envoy 1.28.7, 1.29.9, 1.30.6 and 1.31.2 (CVE-2024-45808) the server name was written as the client sent
    it, in lower case (`ListenSocketImpl::setRequestedServerName`) and of at most 255 bytes (TLS library).
    """
    assert segment.lead is not None
    end = place.start(segment.pattern.groupindex["sni"])  # what follows may be the route's name, blanks and all
    for lead in segment.lead.finditer(text, start, place.start()):
        span = text[lead.end() : end].rstrip()
        if len(span.encode("utf-8", "replace")) <= 255 and not re.search("[A-Z]", span):
            return True
    return False


def _excluded(tokens: list[str | Operator]) -> tuple[list[int], list[str]]:
    """For each token the number of its stretch between two quotes, and the characters that no value there may hold:
    those that separate the values of the stretch, and the quote."""
    stretch = 0
    member: list[int] = []
    separators: dict[int, str] = {}
    quote = '"' if any(isinstance(token, str) and '"' in token for token in tokens) else ""
    for index, token in enumerate(tokens):
        member.append(stretch)
        if isinstance(token, str):
            parts = token.split('"')
            inner = 0 < index < len(tokens) - 1
            for number, part in enumerate(parts):
                # A text behind the last quote and before the stretch's first value separates nothing.
                # Nor does a letter: in `took=%DURATION%ms details=…` it is the blank that parts the values.
                if part and inner and number == 0:
                    separators[stretch] = separators.get(stretch, "") + next((c for c in part if not c.isalnum()), "")
                if number < len(parts) - 1:
                    stretch += 1
    return member, [quote + separators.get(stretch, "") for stretch in member]


def _pieces(tokens: list[str | Operator]) -> list[_Piece]:
    pieces = []
    stretches, outside = _excluded(tokens)
    for index, token in enumerate(tokens):
        if isinstance(token, str):
            pieces.append(_Piece(re.escape(token), re.escape(token), literal=token))
            continue
        kinds = {
            number: other.kind
            for number, other in enumerate(tokens)
            if isinstance(other, Operator) and stretches[number] == stretches[index]
        }
        everybody, mates = list(kinds.values()), [kind for number, kind in kinds.items() if number < index]
        alone = Kind.CLIENT not in mates and Kind.SNI not in mates[:-1]
        last = not any(isinstance(t, Operator) for t in tokens[index + 1 :])
        none = "".join(rf"\{c}" if c in r"\]^-[" else c for c in dict.fromkeys(outside[index]))
        value = f"[^{none}\r\n]" if none else "."
        quote = '"' if '"' in none else ""
        some, any_ = f"{value}+", f"{value}*"
        match token.kind:
            case Kind.TIME:
                plain = loose = f"{_clock(token).shape}|-"
            case Kind.NUMBER:
                plain = loose = "[0-9]+|-"
            case Kind.FLAGS:
                plain = loose = "[A-Za-z0-9_,]+|-"
                if "," in none:
                    plain, loose = "[A-Za-z0-9_]+|-", "[A-Z]{2,6}(?:,[A-Z]{2,6})*|-"
            case Kind.PROTOCOL:
                plain = loose = "[A-Z]+/[0-9.]+|-"
            case Kind.METHOD:
                marks = "".join(re.escape(c) for c in "!#$%&'*+-.^_`|~" if c not in outside[index])
                plain = loose = f"[{marks}0-9A-Za-z]+"
            case Kind.DETAILS:
                # Blanks in braces: Envoy 1.13 to 1.15. Quotes: not seen, but nothing forbids them. Never a number, so
                # that a cut line of a format without details is not taken for one with them.
                stop = none.replace('"', "")
                plain = loose = f"(?![0-9]){any_}"
                if stop:
                    braces = f"[^{stop}{{]*\\{{[^}}]{{0,2000}}\\}}[^{stop}]*"
                    loose = f"(?![0-9])(?:{braces}|[^{stop}]*)"
            case Kind.CLUSTER:
                plain = loose = some
                if "|" in none:
                    loose = rf'[a-z_-]+\|[0-9]*\|[^|"\s]*\|[^|\s{none}]*|{some}'
                    # With a sender's value there, plain counts separators, so no value may hold one.
                    plain = some if Kind.CLIENT in everybody else loose
            case Kind.ADDRESS if ":" not in none:
                # IP:PORT, envoy://LISTENER/…, /a/pipe, @abstract; plain is easier on lines with addresses blotted out.
                plain, loose = some, f"{any_}[:/@]{any_}|-"
            case Kind.ROUTE if last and alone:
                # The last value may hold blanks when no sender's value of its stretch could reach into it; a server
                # name right before it (Istio's formats) can only spoil the route's name.
                plain = loose = rf"[^{quote}\x00-\x1f]*[^{quote}\x00-\x20]"
            case Kind.CLIENT | Kind.TEXT:
                plain, loose = some, any_
            case _:
                plain, loose = some, some
        pieces.append(_Piece(plain, loose, field=token.field, kind=token.kind))
    return pieces


def _segments(pieces: list[_Piece]) -> tuple[list[_Segment], list[_Run]]:
    """Cuts the format at the sender's values: always one more segment than runs; first and last may be empty."""
    groups: list[list[_Piece]] = [[]]
    runs: list[list[_Piece]] = []
    for piece in pieces:
        if piece.kind is Kind.CLIENT and piece.field:
            between = groups[-1]
            if runs and between and not any(p.field for p in between):
                runs[-1] += [*between, piece]
                groups[-1] = []
            else:
                runs.append([piece])
                groups.append([])
        else:
            groups[-1].append(piece)
    segments = []
    for index, group in enumerate(groups):
        fields = tuple(piece.field for piece in group if piece.field)
        count = iter(range(len(fields)))
        body = "".join(f"(?P<f{next(count)}>{_sni(p)})" if p.field else p.loose for p in group)
        lead = None
        if index == 0:
            source = body
        elif index < len(groups) - 1:
            source = f"(?=(?P<whole>{body}))"
        else:
            source = rf"(?=(?P<whole>{body})\Z)"
            names = [number for number, piece in enumerate(group) if piece.kind is Kind.SNI]
            if names and any(p.field for p in group[: names[0]]):
                lead = lazy("".join(f"(?:{p.loose})" for p in group[: names[0]]))
        segments.append(_Segment(lazy(source), fields, lead))
    made = [_Run(tuple(p.field for p in run if p.field), tuple(p.literal for p in run if not p.field)) for run in runs]
    return segments, made


def _sni(piece: _Piece) -> str:
    return (
        f"(?P<sni>{piece.loose})" if piece.kind is Kind.SNI and piece.field == "requested_server_name" else piece.loose
    )


def _begin_of_second(pieces: list[_Piece]) -> tuple[re.Pattern[str], int] | None:
    """The values behind the first run, up to the third (enough to call a text a second head), and which value of the
    format, from 1, they follow."""
    clients = [index for index, piece in enumerate(pieces) if piece.kind is Kind.CLIENT and piece.field]
    for first in clients:
        group: list[_Piece] = []
        for piece in pieces[first + 1 :]:
            if piece.kind is Kind.CLIENT and piece.field:
                break
            group.append(piece)
            if sum(1 for p in group if p.field) == 3:
                break
        if any(p.field for p in group):
            number = sum(1 for piece in pieces[: first + 1] if piece.field)
            return lazy("".join(f"(?:{p.plain})" for p in group)), number
    return None


def compile_text(format: str) -> TextParser:
    """A parser for lines that Envoy writes with this format string (Istio's `accessLogFormat`).

    Raises MeshdiagError, with the position, when the string has no or a broken operator, a line break inside, or
    two values that nothing separates.
    """
    format = re.sub(r"(?:\\n|\s)+\Z", "", format)
    if "\n" in format or "\\n" in format:
        raise MeshdiagError("access log format: a line break inside; a record must be one line")
    tokens = tokenize(format)
    operators = [token for token in tokens if isinstance(token, Operator)]
    if not operators:
        raise MeshdiagError(f"access log format: no operator such as %RESPONSE_CODE% in {format[:60]!r}")
    for left, right in pairwise(tokens):
        if isinstance(left, Operator) and isinstance(right, Operator):
            raise MeshdiagError(
                f"access log format: nothing stands between {left} and {right} at position {right.position + 1}, "
                "so their values cannot be told apart"
            )
    pieces = _pieces(tokens)
    segments, runs = _segments(pieces)
    converters: list[tuple[str, Callable[[str], str]]] = []
    for operator in operators:
        if operator.kind is Kind.TIME and operator.argument:
            converters.append((operator.field, _clock(operator).iso))
        elif operator.kind is Kind.FLAGS and operator.name.endswith("_LONG"):
            converters.append((operator.field, short_flags))
        elif operator.kind is Kind.CLUSTER:
            converters.append((operator.field, _strip_semicolon))
    prefix, partial = _prefix(pieces)
    head = len(segments[0].fields) + len(runs[0].fields) + len(segments[1].fields) if runs else len(operators)
    return TextParser(
        format=format,
        fields=tuple(operator.field for operator in operators),
        pattern=lazy("".join(f"({p.plain})" if p.field else p.plain for p in pieces)),
        segments=tuple(segments),
        runs=tuple(runs),
        converters=tuple(converters),
        prefix=prefix,
        partial=partial,
        head=head,
        again=_begin_of_second(pieces),
    )


def _strip_semicolon(cluster: str) -> str:
    """From Istio 1.23 on the stat name of a cluster ends in ";" (%UPSTREAM_CLUSTER%)."""
    return cluster.removesuffix(";")


def _prefix(pieces: list[_Piece]) -> tuple[re.Pattern[str], tuple[re.Pattern[str], ...]]:
    """`A(?:BC(?:DE)?)?`: as many values, each with the literal behind it, as there are."""
    start = pieces[0].plain if not pieces[0].field else ""
    units: list[tuple[str, str]] = []
    for index, piece in enumerate(pieces):
        if piece.field:
            behind = pieces[index + 1].plain if index + 1 < len(pieces) else ""
            shape = piece.loose if piece.kind in (Kind.CLIENT, Kind.TEXT) else piece.plain
            units.append((shape, behind))
    whole = ""
    for shape, behind in reversed(units):
        # The last value of a format without a literal behind it is complete only at the end of a complete line.
        whole = f"(?:({shape}){behind or '(?!)'}{whole})?"
    partial = []
    for index, piece in enumerate(pieces):
        if piece.field:
            before = pieces[index - 1].literal if index else ""
            behind = pieces[index + 1].literal if index + 1 < len(pieces) else ""
            quoted = before.endswith('"') and behind.startswith('"') and len(behind) > 1
            partial.append(lazy(r'([^"]*)" ?|[^"]*' if quoted else r'()(?!)|[^" ]*'))
    return lazy(start + whole), tuple(partial)


# --- JSON --------------------------------------------------------------------------------------------------------


def as_text(value: object) -> str | None:
    """A JSON value as Envoy's text format would write it; null is `-`; None for an object or a nested list."""
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value) or "-"
    return None


def load_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the text is, or None. Never raises."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class _Value:
    """One key with an operator: the path to it, and the field it gives or the parser of its text."""

    path: tuple[str, ...]
    field: str = ""
    convert: Callable[[str], str] | None = None
    parser: TextParser | None = None


@dataclass(frozen=True, slots=True)
class JsonParser:
    """A parser of one JSON format."""

    values: tuple[_Value, ...]

    def parse(self, text: str) -> dict[str, str] | None:
        """See `AccessLogParser.parse`. At least half of the format's keys must be there (Envoy can omit empty ones)."""
        if not text.lstrip().startswith("{") or (top := load_object(text)) is None:
            return None
        fields: dict[str, str] = {}
        seen = 0
        for wanted in self.values:
            node: Any = top
            for key in wanted.path:
                if not isinstance(node, dict) or key not in node:
                    break
                node = node[key]
            else:
                seen += 1
                if (value := as_text(node)) is None:
                    continue
                if wanted.parser is None:
                    fields.setdefault(wanted.field, wanted.convert(value) if wanted.convert else value)
                elif (inner := wanted.parser.parse(value)) and UNPARSED not in inner:
                    for inner_name, inner_value in inner.items():
                        fields.setdefault(inner_name, inner_value)
        return fields if fields and seen * 2 >= len(self.values) else None


def compile_json(mapping: Mapping[str, Any]) -> JsonParser:
    """A parser for JSON lines of this format (Istio's `accessLogFormat` with JSON encoding, Telemetry `labels`).

    A value is a format string (one operator, or several with text around) or a mapping again; constants are skipped.
    Raises MeshdiagError that names the key.
    """
    values: list[_Value] = []

    def walk(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for key, value in node.items():
            here = (*path, str(key))
            if isinstance(value, Mapping):
                if len(here) > 20:
                    raise MeshdiagError(f"access log format: key {'.'.join(here[:3])}…: nested too deep")
                walk(value, here)
            elif isinstance(value, str) and "%" in value:
                try:
                    tokens = tokenize(value)
                    if len(tokens) == 1 and isinstance(operator := tokens[0], Operator):
                        convert: Callable[[str], str] | None = None
                        if operator.kind is Kind.TIME:
                            convert = _clock(operator).iso
                        elif operator.kind is Kind.FLAGS:
                            convert = short_flags
                        elif operator.kind is Kind.CLUSTER:
                            convert = _strip_semicolon
                        values.append(_Value(here, operator.field, convert))
                    elif any(isinstance(token, Operator) for token in tokens):
                        values.append(_Value(here, parser=compile_text(value)))
                except MeshdiagError as error:
                    raise MeshdiagError(f"{error} (key {'.'.join(here)!r})") from None

    walk(mapping, ())
    if not values:
        raise MeshdiagError("access log format: no key has an operator such as %RESPONSE_CODE%")
    return JsonParser(tuple(values))


# A bare %OPERATOR% is no YAML: a plain scalar cannot begin with "%".
_BARE = lazy(r"([:{,]\s*)(%[A-Z][^\n\"'{}]*?%)(?=\s*(?:[,}\n]|\Z))")


def compile_format(spec: str) -> AccessLogParser:
    """A parser for a format given as one string: JSON (or YAML in braces) when it begins with `{`, else text.

    Raises MeshdiagError that says what is wrong and where.
    """
    import yaml

    if not spec.lstrip().startswith("{"):
        return compile_text(spec)
    try:
        mapping = json.loads(spec)
    except (ValueError, RecursionError) as error:
        where = (
            f"line {error.lineno} column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        )
        try:
            mapping = yaml.safe_load(_BARE.sub(r'\1"\2"', spec))
        except (yaml.YAMLError, RecursionError, ValueError):
            raise MeshdiagError(
                f'access log format: neither JSON nor YAML: {where or error}; expected {{"key": "%OPERATOR%", ...}}'
            ) from None
    if not isinstance(mapping, dict):
        raise MeshdiagError('access log format: not a mapping; expected {"key": "%OPERATOR%", ...}')
    return compile_json(mapping)

"""Answers that go on: a log that is followed, and a watch."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.live.cluster import Change, Pod
from tests.live.connection import END, JSON, TEXT, Connection
from tests.live.faults import Cut, Request
from tests.live.logs import Instance, LogFile, Segment
from tests.live.objects import SECOND, Cause, Json, Object, bad_request, encode, invalid
from tests.live.selection import Match

if TYPE_CHECKING:
    from tests.live.apiserver import ApiServer

BATCH = 256 * 1024
"""Bytes from which on lines of a log are written without looking for more."""


def flag(query: Mapping[str, str], name: str) -> bool:
    """A parameter that is true unless it is absent, "false" or "0", as the API has it."""
    return query.get(name, "false").lower() not in ("false", "0")


def number(query: Mapping[str, str], name: str) -> int | None:
    """A whole number, or None without one; raises ApiError 400."""
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")


def _second(text: str) -> int:
    """A time in whole seconds: a kube-apiserver hands it on to the kubelet without the rest."""
    match = _TIME.fullmatch(text)
    if match is not None:
        zone = "+00:00" if match[3] == "Z" else match[3]
        with contextlib.suppress(ValueError):
            return int(dt.datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").timestamp())
    raise bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is asked of a log; `since` in nanoseconds of Unix time."""

    container: str
    follow: bool
    previous: bool
    timestamps: bool
    since: int | None
    tail: int | None
    limit: int | None

    @classmethod
    def parse(cls, pod: str, query: dict[str, str], now: int) -> LogOptions:
        """The options of a request; raises ApiError 400 or 422."""
        tail, limit, seconds = (number(query, name) for name in ("tailLines", "limitBytes", "sinceSeconds"))
        since = _second(query["sinceTime"]) * SECOND if query.get("sinceTime") else None
        causes = []
        if tail is not None and tail < 0:
            causes.append(_invalid("tailLines", tail, "must be greater than or equal to 0"))
        if limit is not None and limit < 1:
            causes.append(_invalid("limitBytes", limit, "must be greater than 0"))
        if seconds is not None and since is not None:
            text = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
            causes.append(Cause("FieldValueForbidden", text, "[]"))
        elif seconds is not None and seconds < 1:
            causes.append(_invalid("sinceSeconds", seconds, "must be greater than 0"))
        if causes:
            raise invalid("PodLogOptions", pod, causes)
        if seconds is not None:
            since = now - seconds * SECOND
        flags = (flag(query, name) for name in ("follow", "previous", "timestamps"))
        return cls(query.get("container", ""), *flags, since, tail, limit)


def _invalid(field: str, value: int, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {value}: {why}", field)


class LogStream:
    """The log of one run of a container on its way to a client."""

    def __init__(
        self, server: ApiServer, connection: Connection, request: Request, pod: Pod, run: Instance, options: LogOptions
    ) -> None:
        self.server = server
        self.connection = connection
        self.request = request
        self.pod = pod
        self.run = run
        self.options = options
        self.stalled = False
        self.sent = 0
        self._file: LogFile = run.file
        self._at = 0
        self._first: Segment | None = None
        self._left = options.limit
        self._begun = False
        self._over = False
        self._scheduled = False
        self._cut: tuple[int, Cut] | None = None

    def __repr__(self) -> str:
        return f"LogStream({self.pod.key}, {self.options.container}, sent {self.sent})"

    @property
    def container(self) -> str:
        return self.options.container

    @property
    def behind(self) -> bool:
        """Whether there are lines that the client was not sent, as it does not take them."""
        return not self._over and self.connection.paused

    def start(self) -> None:
        """Begins to answer."""
        with self.server.cluster.lock:
            if self.options.tail is not None:
                self._at, self._first = self._file.tail(self.options.tail)
            if self.options.follow:
                self.run.followers.append(self)
            self.connection.stream = self
            self.server.opened(self)
            plan = self.server.faults.plan(self.request) if self.options.follow else None
            if plan is not None:
                self.cut(*plan)
            # A kubelet sends nothing before the first byte of the log, and until then the client gets no headers.
            if self.server.eager_headers:
                self._begin(b"")
            self.pump()

    def notify(self) -> None:
        if self.server.here():
            self.pump()
        elif not self._scheduled:
            self._scheduled = True
            self.server.soon(self.pump)

    def pump(self) -> None:
        """Writes what there is of the log, as long as the client takes it."""
        with self.server.cluster.lock:
            self._scheduled = False
            while not self._over and not self.connection.paused:
                file = self._file
                if self._at < len(file.segments):
                    self._write(file)
                elif not self.options.follow or file.closes:
                    self.finish()
                elif file.next is not None:
                    # A kubelet opens the file of the log again, whichever it is by now.
                    self._file = self.run.file if self.server.cluster.lossy else file.next
                    self.server.stats["log.missed"] += self._file.start - file.start - file.count
                    self._at = 0
                elif self.run.ended:
                    self.finish()
                else:
                    return

    def _write(self, file: LogFile) -> None:
        since, stamps = self.options.since, self.options.timestamps
        parts = []
        size = lines = 0
        segments = file.segments
        while self._at < len(segments) and size < BATCH:
            segment: Segment | None = self._first or segments[self._at]
            self._first = None
            self._at += 1
            if since is not None and segment is not None and segment.low < since:
                segment = segment.since(since)
            if segment is not None:
                part = segment.stamped if stamps else segment.plain
                parts.append(part)
                size += len(part)
                lines += segment.count
        if not parts:
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self.server.stats["log.lines"] += lines
        self._send(data)
        if self._left == 0 and not self._over:
            self.finish()

    def _send(self, data: bytes) -> None:
        cut = self._cut
        if cut is not None:
            data = data[: cut[0]]
            self._cut = (cut[0] - len(data), cut[1])
        if data:
            self.sent += len(data)
            self.server.stats["log.bytes"] += len(data)
            if self._begun:
                self.connection.chunk(data)
            else:
                self._begun = True
                self.connection.chunk(data, self.connection.head(200, TEXT, fair=False))
                self.server.moved()
        if self._cut is not None and self._cut[0] == 0:
            self.cut(self._cut[1])

    def _begin(self, rest: bytes) -> None:
        head = b"" if self._begun else self.connection.head(200, TEXT, fair=False)
        self._begun = True
        self.connection.transport.write(head + rest)

    def finish(self) -> None:
        """Ends the answer cleanly."""
        if not self._over:
            self._close()
            self._begin(END)
            self.connection.done()

    def cut(self, kind: Cut, after: int = 0, text: bytes = b"") -> None:
        """Cuts the stream after so many more bytes, or now; `text` is sent before the end."""
        if self._over:
            return
        if after:
            self._cut = (after, kind)
            return
        self._cut = None
        self.server.stats[f"cut.{kind}"] += 1
        if text:
            self._begin(b"%x\r\n%b\r\n" % (len(text), text))
        if kind == "end":
            self.finish()
        elif kind == "reset":
            self.connection.reset()
        else:
            self._over = self.stalled = True
            self._leave()
        self.server.moved()

    def lost(self) -> None:
        """The connection is gone."""
        self._close()

    def _close(self) -> None:
        self._over = True
        self._leave()
        self.server.closed(self)

    def _leave(self) -> None:
        with self.server.cluster.lock, contextlib.suppress(ValueError):
            self.run.followers.remove(self)


class WatchStream:
    """Changes of objects on their way to a client."""

    def __init__(
        self,
        server: ApiServer,
        connection: Connection,
        request: Request,
        resource: str,
        match: Match,
        bookmarks: bool,
    ) -> None:
        self.server = server
        self.connection = connection
        self.request = request
        self.resource = resource
        self.match = match
        self.bookmarks = bookmarks
        self.stalled = False
        self.cut_in_event: tuple[int, Cut] | None = None
        self._queue: deque[bytes] = deque()
        self._over = False
        self._scheduled = False
        self._timers: list[object] = []

    def start(self, version: str, timeout: int | None) -> None:
        """Begins to answer: with all objects, or with what changed since a version."""
        cluster = self.server.cluster
        self.connection.stream = self
        self.server.opened(self)
        self.connection.transport.write(self.connection.head(200, JSON))
        with cluster.lock:
            if version in ("", "0"):
                for found in cluster.objects(self.resource):
                    if self.match(found.data):
                        self._queue.append(event("ADDED", found.whole))
            else:
                for change in cluster.changes:
                    if change.version > int(version):
                        self._take(change)
            cluster.watchers.append(self)
        if timeout is not None:
            self.server.later(timeout, self._time_out)
        if self.bookmarks and self.server.bookmark_interval:
            self.server.later(self.server.bookmark_interval, self._bookmark_again)
        self.pump()

    def refuse(self, error: Json) -> None:
        """Answers with an `ERROR` event and nothing else."""
        self.connection.transport.write(self.connection.head(200, JSON))
        self.connection.chunk(event("ERROR", encode(error)))
        self.connection.transport.write(END)
        self.connection.done()

    def fail(self, error: Json) -> None:
        """Ends with an `ERROR` event."""
        self._queue.append(event("ERROR", encode(error)))
        self.pump()
        self.finish()

    def add(self, change: Change) -> None:
        """A change, from any thread."""
        self._take(change)
        if not self._queue:
            return
        if self.server.here():
            self.pump()
        elif not self._scheduled:
            self._scheduled = True
            self.server.soon(self.pump)

    def _take(self, change: Change) -> None:
        """What a change is to this watch: objects that come to be selected, or no longer are, appear and vanish."""
        if change.resource != self.resource:
            return
        before = change.before is not None and self.match(change.before.data)
        now = change.type != "DELETED" and self.match(change.object.data)
        if now:
            self._queue.append(event("MODIFIED" if before else "ADDED", change.object.whole))
        elif before and change.before is not None:
            last: Object = change.object if change.type == "DELETED" else change.before.at(change.version)
            self._queue.append(event("DELETED", last.whole))

    def pump(self) -> None:
        """Writes events, as long as the client takes them."""
        with self.server.cluster.lock:
            self._scheduled = False
            while self._queue and not self._over and not self.connection.paused:
                data = self._queue.popleft()
                if self.cut_in_event is not None:
                    left, kind = self.cut_in_event
                    if left == 0:
                        self.connection.chunk(data[: len(data) // 2])
                        self.cut(kind)
                        return
                    self.cut_in_event = (left - 1, kind)
                self.connection.chunk(data)
                self.server.stats["watch.events"] += 1

    def bookmark(self) -> None:
        """Tells the client which version it has seen everything up to."""
        with self.server.cluster.lock:
            if self._over or self._queue or not self.bookmarks:
                return
            meta = {"resourceVersion": str(self.server.cluster.version)}
            kind = "Pod" if self.resource == "pods" else "Namespace"
            spec: Json = {"containers": None} if kind == "Pod" else {}
            whole = {"kind": kind, "apiVersion": "v1", "metadata": meta, "spec": spec, "status": {}}
            self.connection.chunk(event("BOOKMARK", encode(whole)))

    def _bookmark_again(self) -> None:
        if not self._over:
            self.bookmark()
            self.server.later(self.server.bookmark_interval, self._bookmark_again)

    def _time_out(self) -> None:
        if not self._over:
            self.bookmark()  # as a real one does just before its time is over
            self.finish()

    def finish(self) -> None:
        """Ends the answer cleanly."""
        if not self._over:
            self._close()
            self.connection.transport.write(END)
            self.connection.done()

    def cut(self, kind: Cut) -> None:
        """Cuts the stream now."""
        if self._over:
            return
        self.server.stats[f"cut.watch.{kind}"] += 1
        if kind == "end":
            self.finish()
        elif kind == "reset":
            self.connection.reset()
        else:
            self._over = self.stalled = True
            self._leave()
        self.server.moved()

    def lost(self) -> None:
        """The connection is gone."""
        self._close()

    def _close(self) -> None:
        self._over = True
        self._leave()
        self.server.closed(self)

    def _leave(self) -> None:
        with self.server.cluster.lock, contextlib.suppress(ValueError):
            self.server.cluster.watchers.remove(self)


def event(kind: str, whole: bytes) -> bytes:
    """An event of a watch."""
    return b'{"type":"%s","object":%b}\n' % (kind.encode(), whole)

"""`Survey`: the whole state at a glance, or the questions of a profile, each with its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from meshdiag.cluster.checks import checks
from meshdiag.cluster.mesh import control_planes, in_ambient, is_over, is_system, proxy
from meshdiag.cluster.objects import RESOURCES
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import Answer, Check, Result, Verdict, worst
from meshdiag.model import MeshdiagError, Severity

SCHEMA: Final = "meshdiag/check/v1"

EVERYTHING: Final = "all"
"""The profile of all checks."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Questions that belong together, in the order in which they are worked through.

    after  what to do when all are answered well
    """

    name: str
    title: str
    checks: tuple[Check, ...]
    after: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a snapshot answers to the questions of a profile."""

    snapshot: Snapshot
    profile: Profile
    answers: tuple[Answer, ...]

    @property
    def bad(self) -> tuple[Result, ...]:
        """Everything that is wrong, the worst first."""
        return tuple(worst(r for a in self.answers for r in a.results if r.verdict is Verdict.CONFIRMED))

    @property
    def failing(self) -> bool:
        """Whether anything is wrong that is more than a hint."""
        return any(r.severity.rank <= Severity.WARNING.rank for r in self.bad)

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What there is, in a few words: versions, mode, how much is in the mesh, what was not read."""
        return facts(self.snapshot)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the shape of meshdiag/check/v1 (`meshdiag/cluster/check.schema.json`)."""
        s = self.snapshot
        return {
            "schema": SCHEMA,
            "source": s.source,
            "taken": s.taken.isoformat(timespec="seconds").replace("+00:00", "Z") if s.taken else None,
            "profile": self.profile.name,
            "failing": self.failing,
            "facts": dict(self.facts()),
            "answers": [
                {
                    "check": a.name,
                    "asks": a.asks,
                    "verdict": a.verdict.value,
                    "results": [r.to_dict() for r in a.results],
                }
                for a in self.answers
            ],
            "unread": dict(sorted(s.unread.items())),
            "problems": [{"where": p.where, "what": p.what, "hint": p.hint} for p in s.problems],
        }


def everything() -> Profile:
    """All checks."""
    return Profile(EVERYTHING, "The state of the mesh", tuple(checks().values()))


def only(names: Iterable[str]) -> Profile:
    """Some checks by their names. Raises MeshdiagError for one that is not there."""
    import difflib

    known = checks()
    some = list(names)
    for name in some:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3) or list(known)
            raise MeshdiagError(f"no check is named {name!r}: name one of {', '.join(near)}")
    return Profile(", ".join(some), "The state of the mesh", tuple(known[n] for n in some))


def survey(snapshot: Snapshot, profile: Profile, others: Iterable[Answer] = ()) -> Survey:
    """Ask a snapshot the questions of a profile; `others` are answers of other sources (`analysis`, logs)."""
    asked = (Answer(c.name, c.asks, tuple(worst(c.ask(snapshot)))) for c in profile.checks)
    return Survey(snapshot, profile, (*asked, *others))


def facts(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """(what, value) for the head of a survey; what could not be read is left out."""
    planes = control_planes(snapshot)
    spaces = [n for n in snapshot.all("Namespace") if not is_system(snapshot, n.name)]
    injected = [n for n in spaces if n.labels.get("istio-injection") == "enabled" or "istio.io/rev" in n.labels]
    ambient = [n for n in spaces if n.labels.get("istio.io/dataplane-mode") == "ambient"]
    pods = [p for p in snapshot.all("Pod") if not is_system(snapshot, p.namespace) and not is_over(p)]
    sidecars = sum(proxy(p) is not None for p in pods)
    captured = sum(in_ambient(snapshot, p) for p in pods)
    istio = ", ".join(
        f"{p.version or '?'}{f' (revision {p.revision})' if p.revision else ''} in {p.namespace}" for p in planes
    )
    kinds = Counter(o.ref.kind for o in snapshot.objects if ".istio.io/" in o.ref.api)
    objects = ", ".join(f"{n} {RESOURCES[k].plural}" for k, n in sorted(kinds.items(), key=lambda kn: (-kn[1], kn[0])))
    modes = [name for name, n in (("sidecar", sidecars), ("ambient", captured)) if n]
    rows = [
        ("cluster", snapshot.source),
        ("taken", f"{snapshot.taken:%Y-%m-%d %H:%M:%S} UTC" if snapshot.taken else ""),
        ("kubernetes", snapshot.kubernetes),
        ("istio", istio or ("" if snapshot.lacks("Deployment", "Pod") else "no istiod found")),
        ("mode", " and ".join(modes) or ("none" if pods else "")),
        ("namespaces", f"{len(spaces)}, {len(injected)} with injection" + f", {len(ambient)} ambient" * bool(ambient))
        if spaces
        else ("namespaces", ""),
        ("pods", f"{len(pods):,}, {sidecars + captured:,} in the mesh" if pods else ""),
        ("objects", objects),
        ("not read", ", ".join(sorted(RESOURCES[k].plural for k in snapshot.unread))),
    ]
    return tuple((k, v) for k, v in rows if v)

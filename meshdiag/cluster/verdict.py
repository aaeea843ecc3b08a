"""What a check answers, and about what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.model import Risk, Severity
from meshdiag.remedies.names import normal


class Verdict(StrEnum):
    """`confirmed`: the state is bad, and this object proves it. `refuted`: it is as it should be. Else it cannot be told."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_CHECKABLE = "not checkable"


@dataclass(frozen=True, slots=True)
class About:
    """What is asked about, as a finding's facts name it; "" is not known, and nothing known asks about the whole cluster.

    namespace, workload, pod, container  whose log has the finding
    service, service_namespace, host, port, subset  what was called
    source   the client, as namespace/name or name
    policy, gateway, secret, node, name  the object that the line names
    """

    namespace: str = ""
    workload: str = ""
    pod: str = ""
    container: str = ""
    service: str = ""
    service_namespace: str = ""
    host: str = ""
    port: str = ""
    subset: str = ""
    source: str = ""
    policy: str = ""
    policy_namespace: str = ""
    gateway: str = ""
    secret: str = ""
    node: str = ""
    name: str = ""

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> About:
        """Of the facts of a finding those that are names."""
        return cls(**{f.name: normal(f.name, facts.get(f.name, "")) for f in fields(cls)})

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True)
class Proof:
    """A field of an object and what stands there: `spec.selector` of `Service default/reviews` is `{"app": "review"}`."""

    ref: Ref
    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.ref}: {self.field} = {self.value}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"object": self.ref.to_dict(), "field": self.field, "value": self.value}


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one object that mends what a check found.

    patch     a JSON merge patch (RFC 7386) of the object; for an object that is to be created the object itself
    create    whether there is no such object yet
    restart   workloads that must be started anew for it to work: `Deployment default/reviews`
    """

    ref: Ref
    title: str
    patch: Mapping[str, Any]
    why: str = ""
    risk: Risk = Risk.CHANGES_TRAFFIC
    create: bool = False
    restart: tuple[Ref, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title, "object": self.ref.to_dict(), "patch": self.patch, "why": self.why, "risk": self.risk.value,
            "create": self.create, "restart": [r.to_dict() for r in self.restart],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """One answer of a check.

    text      a sentence for a person, with names and numbers
    causes    confirmed: the causes that this state brings about; refuted: those that cannot be, as things are (not: those for which
              only this reason falls away)
    about     the object that it is about
    proofs    what stands where
    advice    what to do, in a sentence; the commands are the cause's remedies and the edits
    edits     what mends it, when this object's own fields say it
    """

    check: str
    verdict: Verdict
    text: str
    causes: tuple[str, ...] = ()
    about: Ref | None = None
    proofs: tuple[Proof, ...] = ()
    severity: Severity = Severity.ERROR
    advice: str = ""
    edits: tuple[Edit, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "check": self.check, "verdict": self.verdict.value, "severity": self.severity.value, "text": self.text,
            "causes": list(self.causes), "object": self.about.to_dict() if self.about else None,
            "proofs": [p.to_dict() for p in self.proofs], "advice": self.advice, "edits": [e.to_dict() for e in self.edits],
        }  # fmt: skip


Run = Callable[[Snapshot, About], Iterable[Result]]


@dataclass(frozen=True, slots=True)
class Check:
    """A question asked of cluster state.

    name     as causes name it (`checks: [endpoints]`)
    asks     the question, for a person
    kinds    without which it cannot be asked: when one is unread the answer is *not checkable*, and `run` is not called
    run      pure; answers about what is asked, or about the whole cluster: a result for each thing that is wrong and, when nothing
             is, one that says so
    """

    name: str
    asks: str
    kinds: tuple[str, ...]
    run: Run = field(repr=False)

    def ask(self, snapshot: Snapshot, about: About = About()) -> tuple[Result, ...]:
        """The answers: at least one."""
        if why := snapshot.lacks(*self.kinds):
            return (self.unknown(why),)
        return tuple(self.run(snapshot, about)) or (self.unknown("nothing here is about it"),)

    def bad(self, text: str, *causes: str, about: Object | None = None, **more: Any) -> Result:
        """A confirmed result."""
        return Result(self.name, Verdict.CONFIRMED, text, causes, about.ref if about else None, **more)

    def good(self, text: str, *causes: str, about: Object | None = None, **more: Any) -> Result:
        """A refuted result; `causes` are those that cannot be."""
        return Result(self.name, Verdict.REFUTED, text, causes, about.ref if about else None, **more)

    def unknown(self, why: str, about: Object | None = None) -> Result:
        """A result that says why it cannot be told."""
        return Result(self.name, Verdict.NOT_CHECKABLE, why, about=about.ref if about else None)


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and its results, the worst first."""

    name: str
    asks: str
    results: tuple[Result, ...]

    @property
    def verdict(self) -> Verdict:
        """Confirmed when anything is bad; not checkable when anything cannot be told; else refuted: all is well."""
        for v in (Verdict.CONFIRMED, Verdict.NOT_CHECKABLE):
            if any(r.verdict is v for r in self.results):
                return v
        return Verdict.REFUTED


def worst(results: Iterable[Result]) -> Iterator[Result]:
    """Confirmed ones first, the most severe first; then what cannot be told; then what is fine."""
    order = [Verdict.CONFIRMED, Verdict.NOT_CHECKABLE, Verdict.REFUTED]
    yield from sorted(results, key=lambda r: (order.index(r.verdict), r.severity.rank, r.check, str(r.about), r.text))

"""What `istioctl analyze` says, as results beside those of the checks: its own output, or run where istioctl is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from meshdiag.cluster.objects import RESOURCES, Ref
from meshdiag.cluster.verdict import Answer, Result, Verdict, worst
from meshdiag.formats import analysis
from meshdiag.model import MeshdiagError, Record, Severity

NAME: Final = "istioctl-analyze"
SECONDS: Final = 120
_SEVERITY: Final = {"error": Severity.ERROR, "warning": Severity.WARNING}


def read(text: str) -> Answer:
    """What the output of `istioctl analyze`, JSON (`-o json`) or text, says: its errors and warnings, or that there are none.

    Raises MeshdiagError for anything else.
    """
    return _answer(_results(text))


def _answer(results: Iterable[Result]) -> Answer:
    return Answer(NAME, "Does istioctl analyze find errors or warnings?", tuple(worst(results)))


def _results(text: str) -> tuple[Result, ...]:
    records = list(_records(text))
    found = [_result(r) for r in records if r.level in _SEVERITY]
    if found:
        return tuple(found)
    is_clean = "No validation issues found" in text or text.strip() in ("[]", "null") or bool(records)
    if not is_clean:
        raise MeshdiagError("this is not what istioctl analyze prints: give the output of istioctl analyze -A -o json")
    return (Result(NAME, Verdict.REFUTED, "istioctl analyze finds no error and no warning"),)


def _records(text: str) -> Iterator[Record]:
    try:
        items: Any = json.loads(text)
    except (ValueError, RecursionError):
        lines: Sequence[str] = text.splitlines()
    else:
        lines = [json.dumps(i) for i in items] if isinstance(items, list) else []
    for line in lines:
        if (record := analysis.parse(line)) is not None:
            yield record


def _result(r: Record) -> Result:
    f = r.fields
    kind = f.get("object_kind", "")
    about = Ref(kind, f.get("namespace", ""), f["object"]) if kind in RESOURCES and "object" in f else None
    where = "" if about else " ".join(v for v in (kind, f.get("object", "")) if v)
    text = f"{f.get('code', '')} {r.message}" + (f" ({where})" if where else "")
    return Result(NAME, Verdict.CONFIRMED, text.strip(), about=about, severity=_SEVERITY[r.level])


def run(context: str = "", kubeconfig: str = "", namespaces: Sequence[str] = ()) -> Answer:
    """Run istioctl on the cluster of this context. Where it is not installed, or fails, one result says so."""
    program = shutil.which("istioctl")
    if program is None:
        return _answer(
            [_unknown("istioctl is not installed: give the output of istioctl analyze -A -o json with --analyze")]
        )
    where = [f"--{k}={v}" for k, v in (("context", context), ("kubeconfig", kubeconfig)) if v]
    found: list[Result] = []
    for space in [f"-n{n}" for n in namespaces] or ["-A"]:
        said = ""
        try:
            done = subprocess.run(
                [program, "analyze", space, "-o", "json", *where],
                capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            said = next(reversed(done.stderr.strip().splitlines()), "")
            found += _results(done.stdout or ("null" if done.returncode == 0 else ""))
        except (OSError, subprocess.TimeoutExpired, MeshdiagError) as e:
            found.append(_unknown(f"istioctl analyze {space} failed: {said or e}"))
    return _answer(found)


def _unknown(why: str) -> Result:
    return Result(NAME, Verdict.NOT_CHECKABLE, why)

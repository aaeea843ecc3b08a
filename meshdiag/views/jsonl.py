"""The diagnosis as JSON lines: a summary, then one object for each finding and each unrecognised shape."""

from __future__ import annotations

import json

from meshdiag.diagnosis import Diagnosis


def render(diagnosis: Diagnosis, *, redacted: bool = True) -> str:
    """One JSON object a line, each with `type`: `summary`, `finding` or `unrecognised`. ASCII only."""
    d = diagnosis.to_dict(redacted=redacted)
    rows = [{"type": "summary", "schema": d["schema"], **d["summary"]}]
    rows += [{"type": "finding", **f} for f in d["findings"]]
    rows += [{"type": "unrecognised", **u} for u in d["unrecognised"]]
    return "".join(json.dumps(r) + "\n" for r in rows)

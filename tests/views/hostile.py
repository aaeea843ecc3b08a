"""Logs in which every field is an attack on a page, and what is left of it when one succeeds."""

from __future__ import annotations

import meshdiag
from meshdiag.catalogue import Catalogue
from tests.conftest import access_line

HACK = "window.hacked=1"
"""What every attack tries to run."""

HOSTILE = (
    f"</pre><script>{HACK}</script>", f"</style><script>{HACK}</script>", f"</script><script>{HACK}</script>",
    f'"><img src=x onerror={HACK}>', f"' onclick='{HACK}", f"<svg onload={HACK}>", f"javascript:{HACK}",
    f"<a href=javascript:{HACK}>x</a>", f"&lt;script&gt;{HACK}&lt;/script&gt;", "\x1b[2J\x01\x1b]0;x\x07", "<!--", "]]>",
    f"</title><script>{HACK}</script>", "<base href=//evil>", f"a\u2028{HACK}\u2029b", "\u202eevil", f"`{HACK}`", f"${{{HACK}}}",
    "</div></details></section></body>", f"<iframe srcdoc='<script>parent.{HACK}</script>'>",
    f"<details open ontoggle={HACK}>", "<link rel=stylesheet href=//evil/x.css>", "<meta http-equiv=refresh content=0;//evil>",
)  # fmt: skip


def hostile(catalogue: Catalogue) -> meshdiag.Diagnosis:
    """A diagnosis of logs in which every field is an attack."""
    lines = []
    for text in HOSTILE:
        lines.append(
            access_line("503", "UH", "no_healthy_upstream", path=f"/{text}", agent=text, authority=text, host="-")
        )
        name = text.replace("|", "").replace(" ", "_")
        lines.append(
            access_line("503", "UF", "x", cluster=f"outbound|80||{name}.shop.svc.cluster.local", path="/", local="-")
        )
        lines.append(f"2026-11-22T10:00:00.000000Z\terror\tscope\t{text}")
    found = meshdiag.diagnose(lines, catalogue=catalogue)
    assert len(found.failures) > len(HOSTILE)  # a NUL would make all of it no text, and the attack none
    return found

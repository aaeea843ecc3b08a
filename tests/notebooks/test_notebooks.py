"""The notebooks: stripped in git, run from clean kernels without a network, and what their prose says is what comes out."""

from __future__ import annotations

import ast
import asyncio
import base64
import dataclasses
import html
import json
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from meshdiag.catalogue import Catalogue
from tests.conftest import ROOT, SAMPLES
from tests.test_docs import anchors

FOLDER = ROOT / "notebooks"
stripped = runpy.run_path(str(FOLDER / "strip.py"))["stripped"]
NAMES = ["01-first-look", "02-incident-review", "03-own-patterns"]
FIGURE = 5_000
"""Bytes that an empty figure has not."""

STARTUP = """\
import socket

def refused(self, address):
    raise AssertionError(f"a notebook connects to {address}")

socket.socket.connect = socket.socket.connect_ex = refused
"""


def stored(name: str) -> NotebookNode:
    """The notebook as it stands in the repository."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@dataclasses.dataclass(frozen=True)
class Executed:
    """A notebook that ran."""

    notebook: NotebookNode

    def cells(self) -> Iterator[NotebookNode]:
        """The cells of code."""
        return (c for c in self.notebook.cells if c.cell_type == "code")

    def shown(self, source: str) -> str:
        """What a reader sees below the one cell that has `source` in it."""
        (cell,) = (c for c in self.cells() if source in c.source)
        return "\n".join(map(text_of, cell.outputs))

    @property
    def output(self) -> str:
        """All that a reader sees below cells."""
        return "\n".join(text_of(o) for c in self.cells() for o in c.outputs)

    @property
    def prose(self) -> str:
        """What stands between the cells of code."""
        return "\n\n".join(c.source for c in self.notebook.cells if c.cell_type == "markdown")

    def figures(self) -> list[str]:
        """The plots that were drawn, by the call that drew them."""
        out = []
        for cell in self.cells():
            for data in (o.get("data", {}) for o in cell.outputs):
                if "image/png" in data:
                    assert len(base64.b64decode(data["image/png"])) > FIGURE, cell.source
                    out += re.findall(r"plots\.(\w+)\(", cell.source)
        return out


def text_of(output: NotebookNode) -> str:
    """An output as words: HTML without its tags."""
    if output.output_type == "stream":
        return str(output.text)
    data = output.get("data", {})
    if "text/html" not in data:
        return str(data.get("text/plain", ""))
    bare = re.sub(r"(?s)<style.*?</style>|<[^>]*>", " ", data["text/html"])
    return re.sub(r"\s+", " ", html.unescape(bare))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Executed | BaseException]:
    """All notebooks, executed side by side; where one failed its error."""
    # short, as the paths of its sockets have a limit
    with tempfile.TemporaryDirectory(prefix="nb-") as short, pytest.MonkeyPatch.context() as patch:
        kernel = Path(short, "kernels", "python3")
        kernel.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"})
        )
        startup = Path(short, "ipython", "profile_default", "startup")
        startup.mkdir(parents=True)
        (startup / "offline.py").write_text(STARTUP)
        patch.setenv("IPYTHONDIR", str(startup.parents[1]))
        patch.setenv("XDG_CONFIG_HOME", short)  # no packs of the developer's own
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("written")))
        for name in ("MPLBACKEND", "PYTHONWARNINGS"):
            patch.delenv(name, raising=False)
        places = dict.fromkeys(NAMES, FOLDER) | {NAMES[2]: tmp_path_factory.mktemp("elsewhere")}
        before = contents()

        async def execute(name: str) -> Executed:
            manager = AsyncKernelManager(
                kernel_name="python3",
                kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(kernel.parent)], ensure_native_kernel=False),
                transport="ipc",
                connection_file=str(Path(short, f"{name}.json")),  # its sockets stand beside it
            )
            resources = {"metadata": {"path": str(places[name])}}
            notebook = stored(name)
            try:
                await NotebookClient(notebook, km=manager, timeout=300, resources=resources).async_execute()
            finally:  # else it goes on until this process ends
                await manager.shutdown_kernel(now=True)
            return Executed(notebook)

        async def everything() -> list[Executed | BaseException]:
            return await asyncio.gather(*map(execute, NAMES), return_exceptions=True)

        done = dict(zip(NAMES, asyncio.run(everything()), strict=True))
        assert contents() == before, "a notebook writes beside itself or into the samples"
        assert not [*Path(os.environ["TMPDIR"]).iterdir()], "a notebook leaves files behind"
    return done


def contents() -> dict[Path, int]:
    """The files that notebooks are not to touch, and when they were changed."""
    files = (p for folder in (FOLDER, SAMPLES) for p in folder.rglob("*") if p.is_file())
    return {p: p.stat().st_mtime_ns for p in files}


@pytest.fixture
def run(request: pytest.FixtureRequest, runs: dict[str, Executed | BaseException]) -> Executed:
    """The notebook that a test is about."""
    done = runs[request.param]
    if isinstance(done, BaseException):
        raise done
    return done


about = pytest.mark.parametrize


def test_all_of_them_are_tested() -> None:
    assert sorted(p.stem for p in FOLDER.glob("*.ipynb")) == NAMES


@about("name", NAMES)
def test_stripped(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert text == stripped(text), "run `python notebooks/strip.py`"
    notebook = stored(name)
    nbformat.validate(notebook)
    assert {*notebook.metadata} == {"kernelspec", "language_info"} and notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.metadata and not cell.get("outputs") and cell.get("execution_count") is None


def test_strip_takes_out_what_a_run_leaves(runs: dict[str, Executed | BaseException]) -> None:
    done = runs[NAMES[0]]
    assert isinstance(done, Executed) and any(c.outputs for c in done.cells())
    assert stripped(nbformat.writes(done.notebook)) == (FOLDER / f"{NAMES[0]}.ipynb").read_text(encoding="utf-8")


@about("name", NAMES)
def test_reads_like_a_tutorial(name: str) -> None:
    cells = stored(name).cells
    assert cells[0].source.startswith("# ") and "?**" in cells[0].source, "it begins with a question"
    assert cells[-1].source.startswith("## The answer"), "it ends with an answer"
    for link in re.findall(r"\]\(([^)]+)\)", "\n".join(c.source for c in cells if c.cell_type == "markdown")):
        path, _, anchor = link.partition("#")
        assert (FOLDER / path).exists(), link
        assert not anchor or anchor in anchors((FOLDER / path).resolve()), link


@about("run", NAMES, indirect=True)
def test_runs_without_a_word_on_stderr(run: Executed) -> None:
    for cell in run.cells():
        for output in cell.outputs:
            assert output.output_type != "error", output
            assert output.get("name") != "stderr", f"{cell.source}\n\n{output.text}"


@about("run", NAMES, indirect=True)
def test_causes_and_times_of_the_prose_are_shown(run: Executed, catalogue: Catalogue) -> None:
    code = {c for c in re.findall(r"`([^`\n]+)`", run.prose) if c in catalogue.causes}
    times = set(re.findall(r"\b\d\d:\d\d:\d\d\b", run.prose))
    assert not {c for c in code | times if c not in run.output}


@about("run", NAMES[:1], indirect=True)
def test_first_look(run: Executed) -> None:
    assert len([*run.cells()]) == 10, "ten cells"
    first = run.shown("diagnose(CAPTURE)\n")
    assert "2 root causes , 2 symptoms" in first and "no failed request is in these logs" in first
    assert "ca-unreachable" in first and "xds-unreachable" in first
    assert run.figures() == ["readiness", "causes"]
    timeline = run.shown('timeline("cart")')
    assert "envoy-launch" in timeline and "ready (not reached)" in timeline
    assert "ca-unreachable" in run.shown("meshdiag.explain")
    assert run.shown("cluster=").split("\n")[:2] == [
        "ca-unreachable: likely from the logs, confirmed by the cluster's state",
        "xds-unreachable: likely from the logs, confirmed by the cluster's state",
    ]
    evidence = run.shown(".evidence")
    assert "15012" in evidence and "cart-egress" in evidence
    policy = ast.literal_eval(run.shown("policy.raw"))
    ports = sorted({p["port"] for rule in policy["egress"] for p in rule["ports"]})
    assert ports == [53, 8080], "what the prose says that the policy lets out"
    remedy = run.shown(".remedies[0]")
    assert "Let NetworkPolicy cart-egress pass istiod on port 15012" in remedy and "kubectl -n shop patch" in remedy


@about("run", NAMES[1:2], indirect=True)
def test_incident_review(run: Executed) -> None:
    verdict = run.shown("diagnose(REPORT)\n")
    assert "1 root cause , 2 symptoms" in verdict and "xds-config-rejected" in verdict and "25 requests" in verdict
    assert run.figures() == ["failures", "edges", "latency", "readiness", "causes"]
    story = run.shown("df.mesh.timeline()")
    in_order = [
        "09:20:04.100010 istiod change",
        "EnvoyFilter/istio-system/gateway-upstream-timeouts",
        "09:20:04.131000 istio-ingressgateway failure xds-config-rejected",
        "09:24:31.200010 istiod change",
        "DestinationRule",
        "09:25:07.378000 istio-ingressgateway failure cluster-not-found 25",
    ]
    places = [story.index(part) for part in in_order]
    assert places == sorted(places)
    errors = run.shown("errors_by_edge()")
    assert errors.count("istio-system/istio-ingressgateway") == 1 and "25 25 cluster-not-found NC" in errors
    assert "False 8 25" in run.shown("trips.value_counts") and "True 1 25" in run.shown("trips.value_counts")
    good = run.shown("trips.index[~trips.failed]")
    assert good.count(" 200 ") == 8 and {s for s in ("productpage", "details", "reviews", "ratings") if s in good} == {
        "productpage", "details", "reviews", "ratings",
    }  # fmt: skip
    assert run.shown("hops.loc[trips.index[trips.failed]").count(" 503 NC ") == 1
    assert "2 cluster-not-found istio-ingressgateway" in run.shown("diagnosis.requests()")
    suspect = run.shown("(suspect,)")
    assert "istio-system/gateway-upstream-timeouts created 2026-11-22 09:20:03" in suspect and "'0s'" in suspect
    assert "Take the EnvoyFilter away for now" in run.shown("for remedy in")
    before = run.shown("until=cut")
    assert "new xds-config-rejected" in before and "new cluster-not-found" in before
    after = run.shown("01-healthy-mesh")
    assert "gone xds-config-rejected" in after and "gone cluster-not-found" in after
    assert "unproven proxy-not-ready" in after and "no Kubernetes events" in after


@about("run", NAMES[1:2], indirect=True)
def test_latency_before_and_after(run: Executed) -> None:
    (cell,) = (c for c in run.cells() if '"before": outbound' in c.source)
    rows = re.findall(r"\.local +(\d+) +([\d.]+) +([\d.]+) +(\d+) +([\d.]+) +([\d.]+)", run.shown('"before": outbound'))
    assert len(rows) == 4, cell.outputs
    for _, p50, p99, _, later50, later99 in rows:
        assert abs(float(later99) - float(p99)) <= 1, "to a millisecond"
        assert abs(float(later50) - float(p50)) < 10, "some milliseconds"


@about("run", NAMES[1:2], indirect=True)
def test_report_is_shown(run: Executed) -> None:
    (cell,) = (c for c in run.cells() if "to_html" in c.source)
    (frame,) = (o.data["text/html"] for o in cell.outputs if "data" in o)
    encoded = re.search(r'src="data:text/html;base64,([\w+/=]+)', frame)
    assert encoded is not None
    document = base64.b64decode(encoded[1]).decode()
    for part in ("Content-Security-Policy", "503 from the ingress gateway", "xds-config-rejected", "<svg"):
        assert part in document
    assert "incident.html" in run.shown("to_html")


@about("run", NAMES[2:], indirect=True)
def test_own_patterns(run: Executed) -> None:
    first = run.shown("diagnose(CAPTURE, patterns=[team])\nunknowing")
    assert "jwt-signature-invalid" in first and "Not recognised (33 failing or unusual lines)" in first
    assert run.shown("in unknowing.unrecognised]").count("istio-log istiod") == 4, "four shapes"
    assert "no pattern knows this line" in run.shown("meshdiag.explain")
    draft = run.shown("meshdiag.learn")
    assert (
        draft.count("cause: none") == 1 and "near_misses:" in draft and len(ast.literal_eval(draft.split("\n")[0])) == 4
    )
    assert "not recognised: 0 · root causes: ['jwt-expired', 'jwt-signature-invalid']" in run.shown("draft.text,")
    wide, narrow = run.shown("PATTERNS ="), run.shown("catalogue = tested")
    assert re.match(r"[1-9]\d* failed\n", wide) and "the near miss matches" in wide
    assert narrow.strip() == "0 failed"
    roots = run.shown("knowing.root_causes")
    assert "identity-provider-unreachable" in roots and "jwt-signature-invalid" not in roots and "jwt-expired" in roots
    assert "Ask the network team for the way out" in roots
    table = run.shown("pd.concat({")
    assert table.count("jwt-signature-invalid") == 4
    assert table.count("()") + table.count("(1, 2)") == 8 and table.count("(1, 2)") == 2, "symptoms of ours"
    answer = run.shown("def explained")
    assert answer.split("\n")[:3] == [
        "not recognised: 0",
        "symptoms explained by us: ['shop/orders', 'shop/reports']",
        "symptoms explained by the built-in patterns: ['shop/orders', 'shop/reports']",
    ]

"""The package: lazy, typed, whole."""

import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path

import pytest

import meshdiag
from tests.conftest import NO_HOST, ROOT

HEAVY = (
    "pandas",
    "numpy",
    "pyarrow",
    "kubernetes",
    "prompt_toolkit",
    "jsonschema",
    "tqdm",
    "yaml",
    "regex",
    "hyperscan",
    "drain3",
    "matplotlib",
)


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_after("import meshdiag").intersection(HEAVY)


def test_diagnosing_loads_no_frames_and_no_client() -> None:
    modules = loaded_after(f"import meshdiag\nmeshdiag.diagnose([{NO_HOST!r}])")
    assert not modules.intersection(("pandas", "numpy", "kubernetes", "matplotlib", "prompt_toolkit"))


def test_everything_public_is_there() -> None:
    for name in meshdiag.__all__:
        assert getattr(meshdiag, name) is not None
    assert set(meshdiag.__all__) <= set(dir(meshdiag))
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = meshdiag.nope


def test_every_module_imports_and_says_what_it_is() -> None:
    root = Path(next(iter(meshdiag.__path__)))
    for path in root.rglob("*.py"):
        if path.name == "__main__.py":
            continue
        name = ".".join(("meshdiag", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        assert import_module(name).__doc__, name


def test_typed_marker_and_schemas_are_shipped() -> None:
    assert resources.files("meshdiag").joinpath("py.typed").is_file()
    for package, schema in (("catalogue", "pattern-file"), ("catalogue", "cause-file"), ("diagnosis", "diagnosis")):
        assert resources.files(f"meshdiag.{package}").joinpath(f"{schema}.schema.json").is_file()


def test_the_layers_run_one_way() -> None:
    """A stage imports only stages to its left (docs/architecture.md); imports inside functions count too."""
    order = ["drawn", "model", "lazyre", "ordering", "cache", "sources", "capture", "testing", "formats", "catalogue",
             "remedies", "redact", "cluster", "diagnosis", "engine", "api", "framing", "tailing", "fixing", "explanation",
             "views", "plots", "report", "learning", "shell", "cli", "__main__"]  # fmt: skip
    rank = {name: i for i, name in enumerate(order)}
    for path in (ROOT / "meshdiag").rglob("*.py"):
        own = path.relative_to(ROOT / "meshdiag").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == ["from"] and words[1].startswith("meshdiag."):
                other = words[1].split(".")[1]
                assert rank[other] <= rank[own], f"{path}: {line.strip()}"

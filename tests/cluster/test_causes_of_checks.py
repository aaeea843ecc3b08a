"""A cause that a check speaks of names the check, else it is never asked."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

from meshdiag.catalogue import Catalogue
from meshdiag.cluster import checks


@pytest.mark.parametrize("name", sorted(checks()))
def test_a_cause_that_a_check_confirms_names_it(name: str, catalogue: Catalogue) -> None:
    module = import_module(f"meshdiag.cluster.checks.{name.replace('-', '_')}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    said = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    silent = {c for c in said & set(catalogue.causes) if name not in catalogue.causes[c].checks}
    assert not silent

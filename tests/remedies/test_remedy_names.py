"""Which values out of a log may stand in a command."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshdiag.remedies import PLACEHOLDERS, refusal, valid
from meshdiag.remedies.names import DEFAULTS, GRAMMARS, Names, normal, split_policy

LONG = "a" * 63


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "namespace",
            ["prod", "1-team", "true", LONG],
            ["Prod", "a.b", "-a", "a-", "a_b", LONG + "a", "prod\n", "prød", "<ns>"],
        ),
        ("pod", ["web-7f8b9c6d5-x2x4z", "web.blue", "a" * 253], ["Web", "a..b", ".a", "a" * 254, "a b", "--all"]),
        ("container", ["istio-proxy"], ["istio.proxy", "istio_proxy"]),
        ("service", ["reviews", "0"], ["reviews.prod", "*"]),
        ("secret", ["tls.example.com-cacert"], ["a/b", "kubernetes://a", ""]),
        (
            "host",
            ["reviews.prod.svc.cluster.local", "*.example.com", "API.Example.com", "10.0.0.7"],
            [
                "example.com.",
                "*",
                "a.*.com",
                "*.*.com",
                "a..b",
                "a_b.com",
                "x$(id).svc",
                "::1",
                "a:80",
                "\u212a.com",
                LONG + "a.com",
            ],
        ),
        ("port", ["1", "443", "65535"], ["0", "65536", "080", "+80", "http", "80 ", "８０", "٣", "1e3"]),
        ("subset", ["v1", "V1.2_b", "1.0"], ["-v1", "v1-", "v 1", "v1/2", LONG + "a"]),
        ("source", ["prod/web", "web", "prod/web.blue"], ["a/b/c", "/web", "prod/", "Prod/web", "web;id"]),
        (
            "policy",
            ["allow-web", "prod/allow-web", "ns[prod]-policy[allow-web]-rule[0]"],
            ["ns[prod]-policy[]-rule[0]", "ns[;id]-policy[a]-rule[0]", "a b", "prod/a/b"],
        ),
    ],
)
def test_grammars(name: str, good: list[str], bad: list[str]) -> None:
    assert [v for v in good if not valid(name, v)] == []
    assert [v for v in bad if valid(name, v)] == []


def test_every_placeholder_has_a_grammar_and_defaults_are_valid() -> None:
    assert set(GRAMMARS) == set(PLACEHOLDERS) and all(GRAMMARS.values())
    assert all(valid(k, v) for k, v in DEFAULTS.items())
    assert not valid("error", "prod"), "another key of the facts is no placeholder"


_name = st.text("abz019-._*/:[]AZ<> $`'\"\\\n{}", max_size=20) | st.text(max_size=20)


@given(st.sampled_from(PLACEHOLDERS), _name)
@example("host", "*.example.com")
@example("policy", "ns[a]-policy[b]-rule[0]")
@example("source", "a/b")
def test_what_is_valid_needs_no_quoting(name: str, value: str) -> None:
    good = normal(name, value)
    assert not good.startswith("-")
    assert good.isascii() and good.isprintable()
    assert not set(good) & set(" \t\n'\"\\$`;&|<>(){}[]#!~?^,%@=+:"), good
    if good:
        assert good == shlex.quote(good) or (name == "host" and good.startswith("*.") and "*" not in good[1:])
        assert normal(name, good) == good or name == "source"


@given(st.sampled_from(PLACEHOLDERS), st.text(max_size=400))
def test_a_refusal_is_harmless_and_short(name: str, value: str) -> None:
    said = refusal(name, value)
    assert said.replace("…", "").isascii() or GRAMMARS[name] in said
    assert said.replace("…", "").isprintable() and len(said) < 200
    assert said.startswith(f"<{name.replace('_', '-')}>: ") and said.endswith(".")


def test_a_refusal_shows_what_hides() -> None:
    said = refusal("namespace", "p\u0440od\x1b[31m\u202e;rm -rf /")
    assert "'p\\u0440od[31m;rm -rf /'" in said
    assert refusal("namespace", "x" * 400).startswith("<namespace>: '" + "x" * 40)


def test_the_parts_of_two_names() -> None:
    assert split_policy("ns[prod]-policy[deny]-rule[3]") == ("prod", "deny")
    assert split_policy("prod/deny") == ("prod", "deny")
    assert split_policy("deny") == ("", "deny")
    names = Names.of({"policy": "ns[prod]-policy[deny]-rule[3]", "source": "shop/web"})
    assert dict(names.known) == {
        "istiod_namespace": "istio-system", "policy": "deny", "policy_namespace": "prod",
        "source": "shop/web", "source_namespace": "shop", "source_name": "web",
    }  # fmt: skip
    assert Names.of({"policy": "a/deny", "policy_namespace": "b"}).known["policy_namespace"] == "b"
    assert "source_namespace" not in Names.of({"source": "web"}).known


def test_unknown_is_not_refused() -> None:
    names = Names.of({"namespace": "", "pod": "Web", "error": "x;y"})
    assert list(names.refused) == ["pod"]
    assert names.value("namespace") == "<namespace>" and names.value("service_namespace") == "<service-namespace>"
    assert Names.of({"istiod_namespace": "$(id)"}).value("istiod_namespace") == "<istiod-namespace>", (
        "no default for a forged one"
    )

"""What a remedy may name, and which values out of a log are such names.

A log is written by whoever sends requests, so that a value counts only when it is what Kubernetes or DNS would accept in
that place. The grammars are those of https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and
…/labels/ (label values, which the subset of a DestinationRule selects by). None has a character that a shell, YAML or a
JSONPath acts on, but for the `*.` of a wildcard host; none begins with `-`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from meshdiag.lazyre import lazy

DEFAULTS: Mapping[str, str] = {"istiod_namespace": "istio-system"}
"""What is taken where the log does not say."""

_LABEL = "a DNS label (lower-case letters, digits and -, at most 63)"
_SUBDOMAIN = "a DNS subdomain (lower-case letters, digits, - and ., at most 253)"
_HOST = "a DNS name, with or without a leading *."
_PORT = "a port (1 to 65535)"
_SUBSET = "a label value (letters, digits, -, _ and ., at most 63)"

GRAMMARS: Mapping[str, str] = {
    "namespace": _LABEL,
    "pod": _SUBDOMAIN,
    "workload": _SUBDOMAIN,
    "container": _LABEL,
    "service": _LABEL,
    "service_namespace": _LABEL,
    "host": _HOST,
    "port": _PORT,
    "subset": _SUBSET,
    "source": "a workload, as namespace/name or name",
    "source_namespace": _LABEL,
    "source_name": _SUBDOMAIN,
    "policy": "a policy, as name, namespace/name or ns[…]-policy[…]-rule[…]",
    "policy_namespace": _LABEL,
    "gateway": _SUBDOMAIN,
    "secret": _SUBDOMAIN,
    "node": _SUBDOMAIN,
    "name": _SUBDOMAIN,
    "istiod_namespace": _LABEL,
}
"""Every placeholder, and in words what may stand there. The parts of `source` and `policy` are found from those two."""

PLACEHOLDERS = tuple(GRAMMARS)
"""What a remedy's text may name."""

_label = lazy(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_subdomain = lazy(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_domain = lazy(r"(?:\*\.)?[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*")
_port = lazy(r"[1-9][0-9]{0,4}")
_label_value = lazy(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# Envoy's RBAC filter as Istio names its policies (pilot/pkg/security/authz/builder, all versions since 1.5)
_rbac = lazy(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[[0-9]+\]")
_hidden = lazy(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

_LONGEST = 300
"""No name is longer, so that nothing longer is looked at (`source` and `policy` are two names)."""
_SHOWN = 48


def normal(name: str, value: str) -> str:
    """The value as it may stand for a placeholder in a command, or "" when it may not.

    A host is folded to lower case, as DNS compares it. Of a policy only the name stays.
    """
    if not value or len(value) > 2 * _LONGEST or name not in GRAMMARS:
        return ""
    if name == "policy":
        namespace, value = split_policy(value)
        return _matched(_SUBDOMAIN, value) if not namespace or _matched(_LABEL, namespace) else ""
    if name == "source":
        namespace, slash, own = value.rpartition("/")
        known = _matched(_SUBDOMAIN, own) and (not slash or _matched(_LABEL, namespace))
        return value if known else ""
    return _matched(GRAMMARS[name], value)


def _matched(grammar: str, value: str) -> str:
    if grammar is _HOST:
        folded = value.lower() if value.isascii() else ""  # of other letters some fold to ASCII ones
        return folded if len(folded) <= 253 and _domain.fullmatch(folded) else ""
    if grammar is _PORT:
        return value if _port.fullmatch(value) and int(value) <= 65535 else ""
    if grammar is _SUBSET:
        return value if _label_value.fullmatch(value) else ""
    if grammar is _LABEL:
        return value if _label.fullmatch(value) else ""
    return value if len(value) <= 253 and _subdomain.fullmatch(value) else ""


def valid(name: str, value: str) -> bool:
    """Whether a value may stand for a placeholder."""
    return bool(normal(name, value))


def split_policy(value: str) -> tuple[str, str]:
    """(namespace or "", name) of a policy as Envoy's RBAC filter or ztunnel writes it."""
    if m := _rbac.fullmatch(value[: 2 * _LONGEST]):
        return m[1], m[2]
    namespace, _, name = value.rpartition("/")
    return namespace, name


@dataclass(frozen=True, slots=True)
class Names:
    """What a finding knows: `known` may be used, `refused` may not and says why, in a sentence for a person.

    `no_subset` is for a cluster that is known and has no subset: `outbound|9080||reviews…`.
    """

    known: Mapping[str, str]
    refused: Mapping[str, str]
    no_subset: bool = False

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> Names:
        """Sorts out the facts of a finding. Other keys than placeholders are left alone."""
        known = {k: v for k, v in DEFAULTS.items() if not facts.get(k)}
        refused = {}
        for name, value in facts.items():
            if value and name in GRAMMARS:
                if good := normal(name, value):
                    known[name] = good
                else:
                    refused[name] = refusal(name, value)
        if "policy" in known and "policy_namespace" not in known and (ns := split_policy(facts["policy"])[0]):
            known["policy_namespace"] = ns
        if "source" in known:
            namespace, _, own = known["source"].rpartition("/")
            for name, value in (("source_namespace", namespace), ("source_name", own)):
                if value:
                    known.setdefault(name, value)
        return cls(known, refused, no_subset="port" in facts and "subset" not in facts)

    def value(self, name: str) -> str:
        """What stands for a placeholder: the value, or `<name>`."""
        return self.known.get(name) or shown(name)


def shown(name: str) -> str:
    """A placeholder that is the reader's to fill in: `<service-namespace>`."""
    return f"<{name.replace('_', '-')}>"


def refusal(name: str, value: str) -> str:
    """Why a value is not used, with the value made harmless: no control character, in ASCII, cut."""
    text = ascii(_hidden.sub("", value[:_LONGEST]))
    if len(text) > _SHOWN:
        text = text[: _SHOWN - 1].rstrip("\\") + "…" + text[0]
    return f"{shown(name)}: {text} is not used, for it is not {GRAMMARS[name]}."

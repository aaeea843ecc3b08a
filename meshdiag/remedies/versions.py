"""The apiVersion that an Istio version serves.

The catalogue writes manifests for the current version. An older one may not serve that apiVersion yet; the resource is the
same, for Istio keeps one schema across the versions of a kind. Sources:

- Istio 1.22 promoted DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry, WorkloadGroup,
  PeerAuthentication and Telemetry to v1: https://istio.io/latest/blog/2024/v1-apis/ (with the versions that all serve; there
  EnvoyFilter stays v1alpha3, ProxyConfig v1beta1, WasmPlugin v1alpha1).
- AuthorizationPolicy and RequestAuthentication have been v1 since 1.17: https://github.com/istio/istio/pull/44808.
- WorkloadGroup has been v1beta1 since 1.13 (change notes of 1.13), and v1alpha3 before.

Gateway API resources come with their own CRDs, not with Istio, and stay as they are. Nothing older than Istio 1.5 is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from meshdiag.lazyre import lazy

Version = tuple[int, int]

_FIRST: Mapping[tuple[str, str], tuple[tuple[Version, str], ...]] = {
    **{
        ("networking.istio.io", kind): (((1, 22), "v1"), ((0, 0), "v1beta1"))
        for kind in ("DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "VirtualService", "WorkloadEntry")
    },
    ("networking.istio.io", "WorkloadGroup"): (((1, 22), "v1"), ((1, 13), "v1beta1"), ((0, 0), "v1alpha3")),
    ("security.istio.io", "PeerAuthentication"): (((1, 22), "v1"), ((0, 0), "v1beta1")),
    ("security.istio.io", "AuthorizationPolicy"): (((1, 17), "v1"), ((0, 0), "v1beta1")),
    ("security.istio.io", "RequestAuthentication"): (((1, 17), "v1"), ((0, 0), "v1beta1")),
    ("telemetry.istio.io", "Telemetry"): (((1, 22), "v1"), ((0, 0), "v1alpha1")),
}
"""Per group and kind: the versions, newest first, and the Istio that first served each."""

_version = lazy(r"(?:release-|v)?([0-9]{1,2})\.([0-9]{1,3})(?![0-9])")
_api = lazy(r"^apiVersion: *([\w.-]+)/(v\w+) *$", 8)
_kind = lazy(r"^kind: *(\w+) *$", 8)
_between = lazy(r"^---.*$", 8)


def parse(version: str) -> Version | None:
    """(1, 20) of `1.20`, `v1.20.3`, `1.20.1-distroless` or `release-1.20`; None for what is no version."""
    m = _version.match(version)
    return (int(m[1]), int(m[2])) if m else None


@lru_cache(1024)
def adapt(manifest: str, istio: str) -> str:
    """The manifest with the apiVersions that this Istio serves; unchanged when the version is not known ("")."""
    version = parse(istio)
    if version is None or "istio.io/" not in manifest:
        return manifest
    out, at = [], 0
    for end in [*(m.start() for m in _between.finditer(manifest)), len(manifest)]:
        out.append(_document(manifest[at:end], version))
        at = end
    return "".join(out)


def _document(text: str, version: Version) -> str:
    api, kind = _api.search(text), _kind.search(text)
    if not api or not kind:
        return text
    served = _FIRST.get((api[1], kind[1]), ())
    names = [name for _, name in served]
    if api[2] not in names:
        return text
    # only ever back: a manifest that is written for an old version keeps it
    for first, name in served[names.index(api[2]) :]:
        if first <= version:
            return text[: api.start(2)] + name + text[api.end(2) :]
    return text

"""Why a change is not made, and what to do: answers of an API server as sentences."""

from __future__ import annotations

from meshdiag.cluster.edits import plural
from meshdiag.cluster.objects import RESOURCES, Ref
from meshdiag.fixing.plan import Owner
from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.api import ApiError, Unreachable

ROLE = "deploy/rbac-fix.yaml has the role"


class Refused(MeshdiagError):
    """The change is not made; the text says why and what to do. `diff` is what it would have been, or what is in its way."""

    def __init__(self, text: str, diff: str = "") -> None:
        super().__init__(text)
        self.diff = diff


def refused(ref: Ref, verb: str, error: ApiError | Unreachable, where: str) -> Refused:
    """What a server answered to a request (`get`, `create`, `patch`, `delete`) about an object."""
    if isinstance(error, Unreachable):
        return Refused(
            f"cannot reach the cluster {error}; {ref} was not changed. Is it up, and is this the right --context?"
        )
    said = error.message
    match error.status:
        case 401:
            text = f"{where} does not accept the credentials of the kubeconfig ({said}): log in again, or name another --context"
        case 403 if _is_admission(said):
            text = _admission(ref, said)
        case 403 if "exceeded quota" in said:
            text = f"a quota does not allow it: {said}"
        case 403:
            scope = f"in namespace {ref.namespace}" if ref.namespace else "in the whole cluster"
            text = f"not allowed: {said}; missing: verb {verb} on resource {plural(ref)} {scope}; {ROLE}"
        case 404 if error.reason == "NotFound" and f'"{ref.name}"' in said:
            text = f"{ref} is no longer there: {said}; look again what is wrong"
        case 404:
            text = (
                f"the cluster does not serve {plural(ref)} in version {ref.api}: is Istio (or the Gateway API) installed there, "
                "and in which version?"
            )
        case 409 if error.reason == "AlreadyExists":
            text = f"{ref} has been made meanwhile: {said}; look again what is wrong"
        case 409 if "Apply failed with" in said:
            text = (
                f"others own what it would change: {said}; change it where they get it from, or give --force-conflicts"
            )
        case 409:
            text = f"{ref} has been changed since it was shown: {said}; look at it again"
        case _ if _is_admission(said):
            text = _admission(ref, said)
        case 400 | 422:
            text = f"the server does not accept it: {said}"
        case _:
            text = f"{where} cannot do it now: {error}"
    return Refused(text)


def owned(ref: Ref, owners: tuple[Owner, ...], diff: str = "") -> Refused:
    """Values that somebody else owns."""
    managers = " and ".join(sorted({o.manager for o in owners}))
    return Refused(
        f"{ref}: {', '.join(map(str, owners))}: who owns a field may put it back. Change it in the manifest or the controller behind "
        f"{managers}, or give --force-conflicts",
        diff,
    )


def is_certain(error: ApiError) -> bool:
    """Whether an answer means that nothing was changed. After 504 (and what a proxy says) the server may still be at it."""
    return (error.status < 500 and error.status != 408) or _is_admission(error.message)


def _is_admission(said: str) -> bool:
    return "admission webhook" in said or "ValidatingAdmissionPolicy" in said or "failed calling webhook" in said


def _admission(ref: Ref, said: str) -> str:
    if "does not support dry run" in said:
        return f"{ref} cannot be tried out: {said}; apply it by hand after a look at that webhook"
    return f"the cluster's admission control refuses it: {said}"


def known(ref: Ref) -> None:
    """Raises Refused for an object of a kind that meshdiag does not know."""
    if ref.kind not in RESOURCES:
        raise Refused(f"{ref.kind!r} is no kind that meshdiag changes")

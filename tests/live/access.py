"""Users, what they may do, and what a request asks to do."""

from __future__ import annotations

import dataclasses

from tests.live.connection import Incoming
from tests.live.objects import ApiError
from tests.live.selection import named
from tests.live.streams import flag

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OPEN_PATHS = ("/version", "/healthz", "/livez", "/readyz", "/api", "/apis")


@dataclasses.dataclass(frozen=True)
class User:
    """A user and its rules: verb, resource (as "pods/log" or "gateways.networking.istio.io") and namespace.

    Each may be "*"; to list a resource in all namespaces, its rule must be for the namespace "*". `names` has in the place of the
    namespace the name of an object, in whichever it is, as `resourceNames` of a role.
    """

    name: str
    rules: tuple[tuple[str, str, str], ...] = ()
    names: tuple[tuple[str, str, str], ...] = ()

    def allows(self, verb: str, resource: str, namespace: str, name: str = "") -> bool:
        """Whether a rule allows it; `namespace` is "" for all."""
        if name and (verb, resource, name) in self.names:
            return True
        return any(v in (verb, "*") and r in (resource, "*") and n in (namespace, "*") for v, r, n in self.rules)


ADMIN = User("kubernetes-admin", (("*", "*", "*"),))
ANONYMOUS = User("system:anonymous")


def reader(name: str = "log-reader", namespace: str = "*") -> User:
    """A user who may read pods and their logs, everywhere or in one namespace."""
    rules = [(verb, "pods", namespace) for verb in ("get", "list", "watch")]
    return User(name, (*rules, ("get", "pods/log", namespace)))


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: a resource, or a path that is none (then `resource` is "")."""

    verb: str
    path: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @classmethod
    def of(cls, request: Incoming) -> Target:
        """The target of a request, as a kube-apiserver understands paths."""
        parts = [part for part in request.path.split("/") if part]
        verb = _VERBS.get(request.method, "get")
        if len(parts) >= 3 and parts[0] == "api":
            group, rest = "", parts[2:]
        elif len(parts) >= 4 and parts[0] == "apis":
            group, rest = parts[1], parts[3:]
        else:
            return cls(verb, request.path)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 1:
            namespace = rest[1]
            if len(rest) > 2:
                rest = rest[2:]
        resource, name, subresource = (*rest, "", "")[:3]
        if verb == "get" and not name:
            verb = "watch" if flag(request.query, "watch") else "list"
            # A list of what has one name counts as a request for that object.
            name = named(request.query.get("fieldSelector", ""))
        return cls(verb, request.path, group, resource, namespace, name, subresource)

    def check(self, user: User) -> None:
        """Raises ApiError 403 unless the user may do it."""
        if not self.resource:
            if not self.path.startswith(_OPEN_PATHS) and not user.allows(self.verb, "*", "*"):
                raise ApiError(
                    403, "Forbidden", f'forbidden: User "{user.name}" cannot {self.verb} path "{self.path}"', {}
                )
            return
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        if user.allows(self.verb, f"{resource}.{self.group}" if self.group else resource, self.namespace, self.name):
            return
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        if self.name:
            what += f' "{self.name}"'
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        text = (
            f'{what} is forbidden: User "{user.name}" cannot {self.verb} resource "{resource}" '
            f'in API group "{self.group}" {where}'
        )
        details = {"name": self.name, "group": self.group, "kind": self.resource}
        raise ApiError(403, "Forbidden", text, {key: value for key, value in details.items() if value})

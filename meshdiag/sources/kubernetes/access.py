"""How to reach a cluster, as kubectl would: kubeconfig, contexts, exec plugins, certificates, proxies, or from inside a pod.

Reading and refreshing is the official client's (`kubernetes.aio.config`); here is what its users need besides: errors that say
what to mend, impersonation, and credentials that are read again before they expire or when the server refuses them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

FILE_TOKEN_SECONDS = 60.0
"""A token that stands in a file is read again so often, as client-go does."""

BEFORE_EXPIRY = 30.0
REFUSED_SECONDS = 2.0
"""Credentials that the server refused are made anew at most so often."""

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster to talk to. `paths` is empty inside a pod; `namespace` is the one that the context names, else `default`."""

    name: str
    namespace: str = "default"
    paths: tuple[str, ...] = ()
    context: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()


def accesses(
    kubeconfig: str | os.PathLike[str] | None = None,
    contexts: Sequence[str] = (),
    as_user: str = "",
    as_groups: Sequence[str] = (),
) -> tuple[Access, ...]:
    """One Access for each context; of none given the current one, or the pod's own service account.

    kubeconfig  a path, or several as in $KUBECONFIG, which it defaults to, as kubectl does

    Raises MeshdiagError when there is no kubeconfig, it cannot be read, or a context is not in it.
    """
    text = (
        os.fspath(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    )
    named = tuple(str(Path(p).expanduser()) for p in text.split(os.pathsep) if p)
    paths = tuple(p for p in named if Path(p).is_file())
    groups = tuple(as_groups)
    if not paths:
        if not kubeconfig and not contexts and os.environ.get("KUBERNETES_SERVICE_HOST"):
            try:
                namespace = (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
            except OSError:
                namespace = ""
            return (Access("in-cluster", namespace or "default", as_user=as_user, as_groups=groups),)
        raise MeshdiagError(
            f"no kubeconfig: {' and '.join(named)} {'does' if len(named) == 1 else 'do'} not exist; name one with "
            "--kubeconfig or $KUBECONFIG, or give captured logs to `meshdiag diagnose`"
        )
    known, current = _contexts(paths)
    chosen = list(dict.fromkeys(contexts)) or ([current] if current else [])
    if not chosen:
        raise MeshdiagError(f"{paths[0]} has no current context: name one with --context ({_listed(known)})")
    for name in chosen:
        if name not in known:
            raise MeshdiagError(f"no context is named {name!r} in {', '.join(paths)}: there are {_listed(known)}")
    return tuple(Access(name, known[name], paths, name, as_user, groups) for name in chosen)


def _listed(names: dict[str, str]) -> str:
    shown = sorted(names)[:10]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"


def _contexts(paths: Sequence[str]) -> tuple[dict[str, str], str]:
    """The contexts of kubeconfig files with their namespaces, and the current one: of several files the first says it."""
    known: dict[str, str] = {}
    current = ""
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123
                config = yaml.safe_load(file) or {}
        except (OSError, UnicodeDecodeError) as e:
            raise MeshdiagError(f"cannot read the kubeconfig {path}: {e}") from None
        except yaml.YAMLError as e:
            raise MeshdiagError(f"the kubeconfig {path} is not YAML: {' '.join(str(e).split())}") from None
        if not isinstance(config, dict):
            raise MeshdiagError(f"the kubeconfig {path} is no kubeconfig: it holds no mapping")
        for item in config.get("contexts") or ():
            if isinstance(item, dict) and isinstance(item.get("name"), str):
                context = item.get("context")
                namespace = context.get("namespace") if isinstance(context, dict) else None
                known.setdefault(item["name"], namespace if isinstance(namespace, str) and namespace else "default")
        current = current or str(config.get("current-context") or "")
    return known, current


class Login:
    """The official client's configuration of a cluster, kept fresh. `configuration` and `headers` are there after `renew`."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.configuration: Configuration
        self.headers: list[tuple[str, str]] = []
        self._fresh_until = -1.0
        self._renewed = -1.0
        self._lock = asyncio.Lock()

    async def renew(self, refused: bool = False) -> bool:
        """Reads the credentials when they are not fresh, or were refused; whether they were read.

        Raises MeshdiagError when that does not work.
        """
        now = time.monotonic()
        if not refused and now < self._fresh_until:
            return False
        async with self._lock:
            now = time.monotonic()
            if now < self._fresh_until and (not refused or now < self._renewed + REFUSED_SECONDS):
                return False
            await self._load()
            self._renewed = time.monotonic()
        return True

    async def _load(self) -> None:
        from kubernetes.aio.client import Configuration
        from kubernetes.aio.config import ConfigException

        access = self.access
        configuration = Configuration()
        # kubectl does not ask for what Python 3.13 asks of a CA certificate, and many clusters' do not have it
        configuration.disable_strict_ssl_verification = True
        where = f"context {access.context}" if access.context else "the pod's service account"
        try:
            fresh = await (self._from_files(configuration) if access.paths else self._from_pod(configuration))
        except ConfigException as e:
            raise MeshdiagError(f"cannot log in with {where}: {e}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            # a kubeconfig of another shape than the client expects
            raise MeshdiagError(f"cannot log in with {where}: {type(e).__name__}: {e}") from None
        if token := configuration.api_key.get("BearerToken"):
            configuration.api_key["BearerToken"] = token.strip()
        if configuration.proxy and not configuration.proxy.startswith(("http://", "https://")):
            raise MeshdiagError(
                f"{where}: the proxy {configuration.proxy} is not supported: only http and https proxies are; "
                "or run `kubectl proxy` and name it as the cluster's server"
            )
        self.configuration = configuration
        self._fresh_until = time.monotonic() + fresh

    async def _from_pod(self, configuration: Configuration) -> float:
        from kubernetes.aio.config import load_incluster_config

        load_incluster_config(client_configuration=configuration, try_refresh_token=False)
        self._impersonate({})
        return FILE_TOKEN_SECONDS

    async def _from_files(self, configuration: Configuration) -> float:
        from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

        merged = KubeConfigMerger(os.pathsep.join(self.access.paths)).config
        loader = KubeConfigLoader(merged, self.access.context)
        loader._config_base_path = None  # relative paths count from the file they stand in
        user = loader._user
        fresh = float("inf")
        if user is not None and "exec" in user:
            status = await _run_plugin(user["exec"])
            fresh = _expires_in(status.get("expirationTimestamp"))
            loader.load_from_exec_plugin = lambda: _use_plugin(loader, status)  # type: ignore[method-assign]
        elif user is not None and ("tokenFile" in user or "auth-provider" in user):
            fresh = FILE_TOKEN_SECONDS
        await loader.load_and_set(configuration)
        self._impersonate(user.value if user is not None else {})
        return fresh

    def _impersonate(self, user: Any) -> None:
        """kubectl's --as and --as-group, or the kubeconfig's `as` and `as-groups`."""
        name = self.access.as_user or str(user.get("as") or "")
        groups = self.access.as_groups or tuple(user.get("as-groups") or ())
        self.headers = [("Impersonate-User", name)] if name else []
        self.headers += [("Impersonate-Group", str(g)) for g in groups]


async def _run_plugin(settings: Any) -> dict[str, Any]:
    """What an exec credential plugin answers. Its errors are the user's to mend, so they are told with its own words."""
    from kubernetes.aio.config import ConfigException
    from kubernetes.aio.config.exec_provider import ExecProvider

    command = settings.safe_get("command")
    try:
        status = await ExecProvider(settings).run()
    except FileNotFoundError:
        hint = settings.safe_get("installHint")
        raise ConfigException(
            f"the credential plugin {command!r} of the kubeconfig is not installed"
            + (f": {' '.join(str(hint).split())}" if hint else "")
        ) from None
    except PermissionError as e:
        raise ConfigException(f"the credential plugin {command!r} of the kubeconfig cannot be run: {e}") from None
    except ConfigException as e:
        raise ConfigException(f"the credential plugin {command!r} of the kubeconfig failed: {_readable(e)}") from None
    if not isinstance(status, dict) or not (
        "token" in status or status.keys() >= {"clientCertificateData", "clientKeyData"}
    ):
        raise ConfigException(f"the credential plugin {command!r} of the kubeconfig gave no token and no certificate")
    return status


def _readable(error: Exception) -> str:
    """The client formats what a plugin wrote as the repr of bytes."""
    text = str(error)
    head, quote, rest = text.partition(". b'")
    if quote and rest.endswith("'"):
        text = f"{head}: {rest[:-1].encode().decode('unicode_escape', 'replace')}"
    return " ".join(text.split())[:500]


async def _use_plugin(loader: Any, status: dict[str, Any]) -> bool:
    """In place of the loader's own way, which runs the plugin again and only logs what goes wrong."""
    from kubernetes.aio.config.kube_config import FileOrData

    if "token" in status:
        loader.token = f"Bearer {status['token']}"
    if status.keys() >= {"clientCertificateData", "clientKeyData"}:
        for name, key in (("cert_file", "clientCertificateData"), ("key_file", "clientKeyData")):
            data = FileOrData(status, None, data_key_name=key, base64_file_content=False)
            setattr(loader, name, data.as_file())
    return True


def _expires_in(text: Any) -> float:
    """Seconds until credentials are made anew: a while before they expire."""
    try:
        left = (datetime.fromisoformat(str(text)) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return float("inf")  # it says no time: until the server refuses them
    return max(left - BEFORE_EXPIRY, 5.0)

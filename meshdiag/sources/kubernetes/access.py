"""How to reach a cluster, as kubectl would: kubeconfig, contexts, exec plugins, certificates, proxies, or from inside a pod.

Certificates and keys are read by the official client (`kubernetes.aio.config`). What its users need besides is here: errors that say what
to mend and hold no secrets, paths that count from the file they stand in, plugins that answer or are ended, impersonation, the rules
of $NO_PROXY, and credentials that are read again before they expire or when the server refuses them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import yaml

from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

FILE_TOKEN_SECONDS = 60.0
"""What stands in files is read again so often, as client-go does with tokens."""

BEFORE_EXPIRY = 30.0
REFUSED_SECONDS = 2.0
"""Credentials that the server refused are made anew at most so often."""

AGAIN_SECONDS = 5.0
"""After credentials could not be read anew, those before are used for so long until the next try."""

PLUGIN_SECONDS = 120.0
"""How long an exec plugin may take."""

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_PARTS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


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
    paths = tuple(p for p in named if os.path.isfile(p))  # noqa: PTH113  # unlike Path's it never raises
    groups = tuple(as_groups)
    if not paths:  # none of several has to exist
        if not kubeconfig and not contexts and os.environ.get("KUBERNETES_SERVICE_HOST"):
            try:
                namespace = (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
            except OSError:
                namespace = ""
            return (Access("in-cluster", namespace or "default", as_user=as_user, as_groups=groups),)
        if no_file := [p for p in named if os.path.exists(p)]:  # noqa: PTH110
            raise MeshdiagError(f"cannot read the kubeconfig {no_file[0]}: it is no file")
        raise MeshdiagError(
            f"no kubeconfig: {' and '.join(named)} {'does' if len(named) == 1 else 'do'} not exist; name one with "
            "--kubeconfig or $KUBECONFIG, or give captured logs to `meshdiag diagnose`"
        )
    config = _merged(paths)
    known = {name: _namespace(context) for name, context in config["contexts"].items()}
    current = config["current-context"]
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


def _namespace(context: Mapping[str, Any]) -> str:
    namespace = context.get("namespace")
    return namespace if isinstance(namespace, str) and namespace else "default"


def _merged(paths: Sequence[str]) -> dict[str, Any]:
    """Kubeconfig files as one: `clusters`, `contexts` and `users` by name, and `current-context`; of several files the first says it.

    Paths in them count from the file they stand in.
    """
    merged: dict[str, Any] = {"current-context": "", **{key: {} for key in _PARTS}}
    for path in paths:
        config = _read(path)
        merged["current-context"] = merged["current-context"] or str(config.get("current-context") or "")
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
        for key, inner in _PARTS.items():
            items = config.get(key)
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and isinstance(item.get("name"), str):
                    part = item.get(inner)
                    merged[key].setdefault(item["name"], _placed(part if isinstance(part, dict) else {}, folder))
    return merged


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            config = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as e:
        raise MeshdiagError(f"cannot read the kubeconfig {path}: {getattr(e, 'strerror', None) or e}") from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        # not in its own words: they may hold a piece of a secret
        raise MeshdiagError(f"the kubeconfig {path} is not YAML{where}") from None
    if not isinstance(config, dict) and config is not None:
        raise MeshdiagError(f"the kubeconfig {path} is no kubeconfig: it holds no mapping")
    return config or {}


def _placed(part: dict[str, Any], folder: str) -> dict[str, Any]:
    """A cluster, context or user with absolute paths."""
    out = dict(part)
    for key in _FILES:
        if isinstance(out.get(key), str) and out[key]:
            out[key] = os.path.join(folder, out[key])  # noqa: PTH118
    plugin = out.get("exec")
    command = plugin.get("command") if isinstance(plugin, dict) else None
    if isinstance(plugin, dict) and isinstance(command, str) and os.path.dirname(command):  # noqa: PTH120
        out["exec"] = {**plugin, "command": os.path.join(folder, command)}  # noqa: PTH118
    return out


class Login:
    """The official client's configuration of a cluster, kept fresh. `configuration` and `headers` are there after `renew`."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.configuration: Configuration
        self.headers: list[tuple[str, str]] = []
        self._fresh_until = float("-inf")
        self._renewed = float("-inf")
        self._failed: tuple[float, MeshdiagError] | None = None
        self._plugin: dict[str, Any] | None = None
        """What the plugin gave, which lasts until then."""
        self._plugin_until = 0.0
        self._lock = asyncio.Lock()

    async def renew(self, refused: bool = False) -> bool:
        """Reads the credentials when they are not fresh, or were refused; whether they were read.

        Raises MeshdiagError when that does not work, unless those before were not refused.
        """
        if not refused and time.monotonic() < self._fresh_until:
            return False
        async with self._lock:
            now = time.monotonic()
            if now < self._fresh_until and (not refused or now < self._renewed + REFUSED_SECONDS):
                return False
            if self._failed and now < self._failed[0] + REFUSED_SECONDS:  # of many that ask at once the first has tried
                raise self._failed[1]
            if refused:
                self._plugin = None
            try:
                await self._load()
            except MeshdiagError as e:
                if refused or self._renewed < 0:
                    self._failed = time.monotonic(), e
                    raise
                self._fresh_until = time.monotonic() + AGAIN_SECONDS
                return False
            self._failed, self._renewed = None, time.monotonic()
        return True

    async def _load(self) -> None:
        from kubernetes.aio.client import Configuration

        access = self.access
        configuration = Configuration()
        # kubectl does not ask for what Python 3.13 asks of a CA certificate, and many clusters' do not have it
        configuration.disable_strict_ssl_verification = True
        with self.told():
            fresh = await (self._from_files(configuration) if access.paths else self._from_pod(configuration))
            configuration.proxy = configuration.proxy or _environment_proxy(configuration.host)
            _check(configuration)
        self.configuration = configuration
        self._fresh_until = time.monotonic() + fresh

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What the client raises about the settings of a cluster, as MeshdiagError."""
        from kubernetes.aio.config import ConfigException

        where = _where(self.access)
        try:
            yield
        except ConfigException as e:
            raise MeshdiagError(f"cannot log in with {where}: {e}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            # a file that cannot be read, or a kubeconfig of another shape than the client expects
            name = "" if isinstance(e, OSError) else f"{type(e).__name__}: "
            raise MeshdiagError(f"cannot log in with {where}: {name}{e}") from None

    async def _from_pod(self, configuration: Configuration) -> float:
        from kubernetes.aio.config import load_incluster_config

        load_incluster_config(client_configuration=configuration, try_refresh_token=False)
        self._impersonate({})
        return FILE_TOKEN_SECONDS

    async def _from_files(self, configuration: Configuration) -> float:
        from kubernetes.aio.config import ConfigException
        from kubernetes.aio.config.kube_config import KubeConfigLoader

        config = _merged(self.access.paths)
        context = config["contexts"].get(self.access.context)
        if context is None:
            raise ConfigException("the kubeconfig no longer has it")
        cluster = _part(config, "clusters", context)
        user = _part(config, "users", context) if context.get("user") else {}
        if not isinstance(cluster.get("server"), str):
            raise ConfigException(f"the cluster {context.get('cluster')!r} of the kubeconfig has no server")
        for key, data in [*cluster.items(), *user.items()]:
            if key.endswith("-data") and not _is_base64(data):
                raise ConfigException(f"{key} of the kubeconfig is not base64")
        if plugin := user.pop("exec", None):
            if self._plugin is None or time.monotonic() >= self._plugin_until:
                self._plugin = await _run_plugin(plugin, cluster)
                self._plugin_until = time.monotonic() + _expires_in(self._plugin.get("expirationTimestamp"))
            user, fresh = _with(user, self._plugin), self._plugin_until - time.monotonic()
        else:
            user, fresh = _stored(user)
        if any(part.get(key) for part in (cluster, user) for key in _FILES):
            fresh = min(fresh, FILE_TOKEN_SECONDS)
        one = {"contexts": context | {"cluster": "-", "user": "-"}, "clusters": cluster, "users": user}
        loader = KubeConfigLoader({key: [{"name": "-", _PARTS[key]: part}] for key, part in one.items()}, "-")
        await loader.load_and_set(configuration)
        self._impersonate(user)
        return fresh

    def _impersonate(self, user: Mapping[str, Any]) -> None:
        """kubectl's --as and --as-group, or what the kubeconfig says of it."""
        from kubernetes.aio.config import ConfigException

        name = self.access.as_user or str(user.get("as") or "")
        groups = self.access.as_groups or tuple(user.get("as-groups") or ())
        if groups and not name:
            raise ConfigException("a group can only be taken on together with a user: give --as, too")
        self.headers = [("Impersonate-User", name)] if name else []
        self.headers += [("Impersonate-Group", str(group)) for group in groups]
        if user.get("as-uid"):
            self.headers.append(("Impersonate-Uid", str(user["as-uid"])))
        for key, values in (user.get("as-user-extra") or {}).items():
            self.headers += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values]


def _check(configuration: Configuration) -> None:
    """Raises ConfigException for what the client would not understand, and puts right what it takes too literally."""
    from kubernetes.aio.config import ConfigException

    if token := str(configuration.api_key.get("BearerToken") or "").strip():
        if not (token.isascii() and token.isprintable()):
            raise ConfigException("the token holds characters that no token has")
        configuration.api_key["BearerToken"] = token
    if not re.match("https?://[^/]", str(configuration.host)):
        raise ConfigException(f"the server {configuration.host!r} is no URL")
    proxy = str(configuration.proxy or "")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise ConfigException(
            f"the proxy {_without_login(proxy)} is not supported: only http and https proxies are; "
            "or run `kubectl proxy` and name it as the cluster's server"
        )


def _where(access: Access) -> str:
    return f"context {access.context}" if access.context else "the pod's service account"


def _part(config: Mapping[str, Any], key: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """The cluster or user of a context."""
    from kubernetes.aio.config import ConfigException

    kind = _PARTS[key]
    part: dict[str, Any] | None = config[key].get(context.get(kind))
    if part is None:
        raise ConfigException(f"the kubeconfig has no {kind} {context.get(kind)!r}")
    return part


def _is_base64(data: Any) -> bool:
    try:
        base64.b64decode(data)
    except (TypeError, ValueError):
        return data is None
    return True


def _with(user: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, Any]:
    """A user with the credentials that its plugin gave."""
    out = dict(user)
    if status.get("token"):
        out["token"] = str(status["token"])
    for key, name in (("clientCertificateData", "client-certificate"), ("clientKeyData", "client-key")):
        if status.get(key):
            out.pop(name, None)
            out[f"{name}-data"] = base64.b64encode(str(status[key]).encode()).decode()
    return out


def _stored(user: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """A user with the credentials that are written down, and after how many seconds these are looked at again."""
    from kubernetes.aio.config import ConfigException

    out = dict(user)
    if provider := out.pop("auth-provider", None):
        # kubectl renews it and writes it down. Who did so without that would spend the user's refresh token.
        settings = provider.get("config") or {}
        out["token"] = settings.get("id-token") or settings.get("access-token")
        if not out["token"]:
            raise ConfigException(
                f"the auth-provider {provider.get('name')!r} of the kubeconfig has no token: log in with kubectl first"
            )
        return out, FILE_TOKEN_SECONDS
    if out.get("tokenFile"):
        out.pop("token", None)  # it is what the file held once
    return out, float("inf")


async def _run_plugin(settings: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What an exec credential plugin answers. Its errors are the user's to mend, so they are told with its own words."""
    from kubernetes.aio.config import ConfigException

    command, version = settings.get("command"), settings.get("apiVersion")
    if not isinstance(command, str) or not command or not isinstance(version, str):
        raise ConfigException("the credential plugin of the kubeconfig needs a command and an apiVersion")
    plugin = f"the credential plugin {command!r} of the kubeconfig"
    spec: dict[str, Any] = {"interactive": False}  # it has no terminal: that is ours
    if settings.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(cluster)
    info = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})
    extra = {str(item["name"]): str(item["value"]) for item in settings.get("env") or ()}
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *(str(argument) for argument in settings.get("args") or ()),
            env={**os.environ, **extra, "KUBERNETES_EXEC_INFO": info},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # it shall not ask for a password where we draw
        )
    except FileNotFoundError:
        hint = " ".join(str(settings.get("installHint") or "").split())
        raise ConfigException(f"{plugin} is not installed" + (f": {hint}" if hint else "")) from None
    except OSError as e:
        raise ConfigException(f"{plugin} cannot be run: {e.strerror}") from None
    try:
        out, words = await asyncio.wait_for(process.communicate(), PLUGIN_SECONDS)
    except TimeoutError:
        raise ConfigException(
            f"{plugin} gave no answer within {PLUGIN_SECONDS:.0f} s; perhaps it waits for you: log in with kubectl first"
        ) from None
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()
    if process.returncode:
        said = " ".join(words.decode("utf-8", "replace").split())[:500]
        raise ConfigException(f"{plugin} failed: " + (said or f"exit code {process.returncode}"))
    try:
        answer = json.loads(out)
    except ValueError:
        raise ConfigException(f"{plugin} gave no JSON") from None
    status = answer.get("status") if isinstance(answer, dict) else None
    if isinstance(answer, dict) and answer.get("apiVersion") != version:
        raise ConfigException(f"{plugin} answered in version {answer.get('apiVersion')!r}, and {version} was asked for")
    if not isinstance(status, dict) or not (
        status.get("token") or (status.get("clientCertificateData") and status.get("clientKeyData"))
    ):
        raise ConfigException(f"{plugin} gave no token and no certificate")
    return status


def _kill(process: asyncio.subprocess.Process) -> None:
    """Ends a plugin and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What a plugin is told of the cluster when it asks for that."""
    keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    info = {key: cluster[key] for key in keys if cluster.get(key)}
    if (file := cluster.get("certificate-authority")) and "certificate-authority-data" not in info:
        info["certificate-authority-data"] = base64.b64encode(Path(file).read_bytes()).decode()
    for item in cluster.get("extensions") or ():
        if item.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = item.get("extension")
    return info


def _expires_in(text: Any) -> float:
    """Seconds until credentials are made anew: a while before they expire."""
    try:
        left = (datetime.fromisoformat(str(text)) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return float("inf")  # it says no time: until the server refuses them
    return max(left - BEFORE_EXPIRY, AGAIN_SECONDS)


def _environment_proxy(server: str) -> str | None:
    """The proxy that $HTTPS_PROXY or $HTTP_PROXY name for a server, unless $NO_PROXY excepts it; by the rules of Go, and so of kubectl."""
    url = urlsplit(server)
    proxy = _variable(f"{url.scheme}_proxy")
    if not proxy or _is_direct(url.hostname or "", url.port or (443 if url.scheme == "https" else 80)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(name: str) -> str:
    return os.environ.get(name.upper()) or os.environ.get(name) or ""


def _is_direct(host: str, port: int) -> bool:
    """Whether a host is reached without a proxy: this machine, and what $NO_PROXY names: addresses, networks, domains, *."""
    address = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
    if host == "localhost" or (address and address.is_loopback):
        return True
    for rule in _variable("no_proxy").lower().split(","):
        name, colon, number = rule.strip().rpartition(":")
        if not (colon and number.isdecimal() and (":" not in name or name.endswith("]"))):
            name, number = rule.strip(), str(port)
        name = name.strip("[]")
        if name == "*":
            return True
        if not name or int(number) != port:
            continue
        if address:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(name, strict=False):
                    return True
        elif (
            host == name
            or host.endswith(name if name.startswith(".") else f".{name}")
            or (name.startswith("*.") and host.endswith(name[1:]))
        ):
            return True
    return False


def _without_login(url: str) -> str:
    return re.sub(r"//[^/]*@", "//", url)

"""How a cluster is reached: kubeconfig files, plugins, certificates and proxies as users have them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import yaml

from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes import access as module
from meshdiag.sources.kubernetes.access import Access, Login, accesses
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable
from tests.live.access import User, reader
from tests.live.apiserver import ApiServer
from tests.live.calls import Clock
from tests.live.certificates import Authority
from tests.live.cluster import Cluster
from tests.live.raw import Proxy, RawServer, answer

PODS = "/api/v1/namespaces/shop/pods"
SECRET = "S3CRET"

T = TypeVar("T")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that tests run on: no kubeconfig, no proxies, no pod around."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Moves the time by which credentials are fresh."""
    passed = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: passed[0]))

    def move(seconds: float) -> None:
        passed[0] += seconds

    yield move


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure(authority: Authority) -> Iterator[ApiServer]:
    """A server with TLS that knows one token, and clients with certificates."""
    users = {"t-1": reader("by-token")}
    context = authority.server_context(ask=True)
    with ApiServer(_cluster(), tokens=users, certificates={"jane": reader("jane")}, ssl=context) as server:
        yield server


@pytest.fixture
def guarded() -> Iterator[ApiServer]:
    """A server without TLS that knows one token."""
    with ApiServer(_cluster(), tokens={"t-1": reader("by-token")}) as server:
        yield server


def _cluster() -> Cluster:
    cluster = Cluster(clock=Clock())
    cluster.add_pod("shop", "db-0", ["app"])
    return cluster


def config(
    server: ApiServer | str = "https://127.0.0.1:1",
    user: dict[str, Any] | None = None,
    name: str = "test",
    namespace: str | None = None,
    **cluster: Any,
) -> dict[str, Any]:
    """A kubeconfig with one context."""
    url = server if isinstance(server, str) else server.url
    context = {"cluster": name, "user": name, **({"namespace": namespace} if namespace else {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": context}],
        "clusters": [{"name": name, "cluster": {"server": url, **cluster}}],
        "users": [{"name": name, "user": user or {}}],
    }


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.fixture
def access(tmp_path: Path) -> Callable[..., Access]:
    """An Access by a kubeconfig with one context; takes what `config` does, and `as_user` and `as_groups`."""

    def make(server: ApiServer | str, user: dict[str, Any] | None = None, **more: Any) -> Access:
        who = {key: more.pop(key) for key in ("as_user", "as_groups") if key in more}
        [one] = accesses(save(tmp_path / "kube" / "config", config(server, user, **more)), **who)
        return one

    return make


def run(access: Access, steps: Callable[[Api], Awaitable[T]]) -> T:
    """Does something with the API of a cluster."""

    async def inside() -> T:
        async with Api(Login(access)) as api:
            return await steps(api)

    return asyncio.run(inside())


async def names(api: Api) -> list[str]:
    return [pod["metadata"]["name"] for pod in (await api.get(PODS))["items"]]


def listed(access: Access) -> list[str]:
    """One request: the names of the pods that it finds."""
    return run(access, names)


def error(access: Access) -> str:
    """What is said when the cluster cannot be logged in to."""
    with pytest.raises(MeshdiagError) as caught:
        listed(access)
    assert SECRET not in str(caught.value)
    return str(caught.value)


# Files and contexts


def test_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which file is missing, how to name one, and what goes without a cluster."""
    with pytest.raises(MeshdiagError) as caught:
        accesses()
    assert str(caught.value) == (
        f"no kubeconfig: {tmp_path}/home/.kube/config does not exist; name one with --kubeconfig or $KUBECONFIG, "
        "or give captured logs to `meshdiag diagnose`"
    )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(MeshdiagError, match=f"{tmp_path}/a and {tmp_path}/b do not exist"):
        accesses()
    with pytest.raises(MeshdiagError, match=f"{tmp_path}/c does not exist"):
        accesses(tmp_path / "c")
    with pytest.raises(MeshdiagError, match=f"cannot read the kubeconfig {tmp_path}: it is no file"):
        accesses(tmp_path)


def test_the_kubeconfig_of_the_home_folder(tmp_path: Path) -> None:
    """Without anything said it is ~/.kube/config with its current context and namespace."""
    path = save(tmp_path / "home/.kube/config", config(name="dev", namespace="shop"))
    assert accesses() == (Access("dev", "shop", (str(path),), "dev"),)
    assert accesses("~/.kube/config")[0].paths == (str(path),)


def test_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are one: of what two have the first counts, missing and empty ones are skipped."""
    first = config("http://first:1", {"token": "1"}, "a", namespace="one")
    del first["current-context"]
    second = config("http://second:2", {"token": "2"}, "b")
    again = config("http://again:3", {"token": "3"}, "a", namespace="three")
    files = [save(tmp_path / name, content) for name, content in (("1", first), ("2", second), ("3", again))]
    empty = save(tmp_path / "empty", "")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, ["", empty, files[0], tmp_path / "no", *files[1:]])))
    assert [(a.name, a.namespace) for a in accesses()] == [("b", "default")]
    both = accesses(contexts=["a", "b", "a"])
    assert [(a.name, a.namespace, a.context) for a in both] == [("a", "one", "a"), ("b", "default", "b")]
    assert both[0].paths == (str(empty), *map(str, files))

    async def logged_in(access: Access) -> tuple[str, str]:
        login = Login(access)
        await login.renew()
        return login.configuration.host, login.configuration.api_key["BearerToken"]

    assert asyncio.run(logged_in(both[0])) == ("http://first:1", "Bearer 1")
    assert asyncio.run(logged_in(both[1])) == ("http://second:2", "Bearer 2")


def test_a_context_may_be_of_other_files_than_its_cluster(tmp_path: Path, guarded: ApiServer) -> None:
    """Clusters, users and contexts are looked for in all files."""
    whole = config(guarded, {"token": "t-1"})
    parts = [{"contexts": whole["contexts"], "current-context": "test"}, {"users": whole["users"]}]
    parts.append({"clusters": whole["clusters"], "users": None, "contexts": None})
    paths = [str(save(tmp_path / str(n), part)) for n, part in enumerate(parts)]
    assert listed(accesses(os.pathsep.join(paths))[0]) == ["db-0"]


def test_contexts_that_do_not_exist(tmp_path: Path) -> None:
    """The error lists those that do, ten of them at most."""
    path = save(tmp_path / "c", config(name="dev"))
    with pytest.raises(MeshdiagError) as caught:
        accesses(path, ["dev", "prod"])
    assert str(caught.value) == f"no context is named 'prod' in {path}: there are dev"
    many = {"contexts": [{"name": f"c-{n:02d}", "context": {}} for n in range(13)], "current-context": "gone"}
    with pytest.raises(MeshdiagError, match=r"no context is named 'gone' in .*: there are c-00, .*, c-09 and 3 more$"):
        accesses(save(path, many))
    del many["current-context"]
    with pytest.raises(MeshdiagError, match=r"has no current context: name one with --context \(c-00, .* 3 more\)"):
        accesses(save(path, many))
    with pytest.raises(MeshdiagError, match=r"has no current context: name one with --context \(none\)"):
        accesses(save(path, ""))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1\nb: S3CRET", "is not YAML (line 2)"),
        ("token: S3CRET: x", "is not YAML (line 1)"),
        ("%S3CRET", "is not YAML (line 1)"),
        ("a: !S3CRET x", "is not YAML (line 1)"),
        ("a: *S3CRET", "is not YAML (line 1)"),
        ("a: \x00S3CRET", "is not YAML"),
        ("a: 1\n---\nb: S3CRET", "is not YAML (line 2)"),
        ("- S3CRET", "is no kubeconfig: it holds no mapping"),
        ("S3CRET", "is no kubeconfig: it holds no mapping"),
        ("contexts: S3CRET", "has no current context"),
        ("contexts: 7\ncurrent-context: x", "no context is named 'x'"),
        ("contexts: [S3CRET, {name: 7}, {context: {}}, {name: y}]\ncurrent-context: x", "there are y"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, content: str, message: str) -> None:
    """The error names the file and the line, and shows nothing of what it holds."""
    path = save(tmp_path / "config", content)
    with pytest.raises(MeshdiagError) as caught:
        accesses(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_kubeconfigs_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rights, and no text."""
    path = tmp_path / "config"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(MeshdiagError, match=f"cannot read the kubeconfig {path}: 'utf-8' codec"):
        accesses(path)

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(MeshdiagError) as caught:
        accesses(path)
    assert str(caught.value) == f"cannot read the kubeconfig {path}: Permission denied"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clusters": []}, "the kubeconfig has no cluster 'test'"),
        ({"users": []}, "the kubeconfig has no user 'test'"),
        ({"clusters": [{"name": "test"}]}, "the cluster 'test' of the kubeconfig has no server"),
        ({"clusters": [{"name": "test", "cluster": {"server": "1.2.3.4:6443"}}]}, "the server '1.2.3.4:6443' is no URL"),
        ({"clusters": [{"name": "test", "cluster": {"server": 7}}]}, "has no server"),
        ({"contexts": [{"name": "test", "context": None}]}, "the kubeconfig has no cluster None"),
        ({"users": [{"name": "test", "user": {"token": "S3CRET\nX: y"}}]}, "the token holds characters that no token has"),
        ({"users": [{"name": "test", "user": {"exec": "S3CRET"}}]}, "AttributeError"),
        ({"users": [{"name": "test", "user": {"exec": {"env": "S3CRET"}}}]}, "needs a command and an apiVersion"),
        ({"users": [{"name": "test", "user": {"client-key-data": "S3CRET!"}}]}, "client-key-data of the kubeconfig is not base64"),
        ({"users": [{"name": "test", "user": {"tokenFile": "/no/such/file"}}]}, "No such file or directory: '/no/such/file'"),
        (
            {"users": [{"name": "test", "user": {"auth-provider": {"name": "azure", "config": {"client": "S3CRET"}}}}]},
            "the auth-provider 'azure' of the kubeconfig has no token: log in with kubectl first",
        ),
    ],
)  # fmt: skip
def test_kubeconfigs_that_lack_something(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The error names the context and what is missing, and shows no secret."""
    content = config(user={"token": SECRET}) | change
    [one] = accesses(save(tmp_path / "config", content))
    text = error(one)
    assert text.startswith("cannot log in with context test: ") and message in text


def test_a_context_that_has_gone(tmp_path: Path, access: Callable[..., Access]) -> None:
    """The files may change while we run."""
    one = access("http://x:1")
    save(Path(one.paths[0]), config(name="other"))
    assert error(one) == "cannot log in with context test: the kubeconfig no longer has it"


def test_a_context_without_a_user(tmp_path: Path, secure: ApiServer, authority: Authority) -> None:
    """Nobody is logged in, and the server says so."""
    ca: Any = {"certificate-authority": str(authority.path)}
    content = config(secure, **ca)
    del content["contexts"][0]["context"]["user"]
    [one] = accesses(save(tmp_path / "config", content))
    with pytest.raises(ApiError, match="401 Unauthorized"):
        listed(one)


# Certificates


def test_certificates_in_files_and_as_data(
    secure: ApiServer, authority: Authority, access: Callable[..., Access]
) -> None:
    """Of the authority and of the client; data comes before a file."""
    ca = base64.b64encode(authority.path.read_bytes()).decode()
    assert listed(access(secure, {"token": "t-1"}, **{"certificate-authority": str(authority.path)})) == ["db-0"]
    assert listed(access(secure, {"token": "t-1"}, **{"certificate-authority-data": ca})) == ["db-0"]
    both = {"certificate-authority": "/no/such/file", "certificate-authority-data": ca}
    assert listed(access(secure, {"token": "t-1"}, **both)) == ["db-0"]
    cert, key = authority.issue("jane")
    assert listed(access(secure, {"client-certificate": str(cert), "client-key": str(key)}, **both)) == ["db-0"]
    data = [base64.b64encode(path.read_bytes()).decode() for path in (cert, key)]
    jane = {"client-certificate-data": data[0], "client-key-data": data[1]}
    assert listed(access(secure, jane, **both)) == ["db-0"]
    assert [request.user for request in secure.requests] == ["by-token"] * 3 + ["jane"] * 2


def test_relative_paths_count_from_the_file_they_stand_in(
    tmp_path: Path, secure: ApiServer, authority: Authority
) -> None:
    """Also when the user stands in another file than the cluster."""
    whole = config(secure, {"client-certificate": "certs/me.pem", "client-key": "./certs/me.key"})
    whole["clusters"][0]["cluster"]["certificate-authority"] = "../ca.pem"
    cert, key = authority.issue("jane")
    for source, target in ((cert, "two/certs/me.pem"), (key, "two/certs/me.key"), (authority.path, "ca.pem")):
        save(tmp_path / target, source.read_text())
    one = save(tmp_path / "one/config", {**whole, "users": []})
    two = save(tmp_path / "two/config", {"users": whole["users"]})
    assert listed(accesses(f"{one}{os.pathsep}{two}")[0]) == ["db-0"]
    token = save(tmp_path / "three/config", {"users": [{"name": "test", "user": {"tokenFile": "token"}}]})
    save(tmp_path / "three/token", "t-1\n")
    assert listed(accesses(f"{one}{os.pathsep}{token}")[0]) == ["db-0"]
    assert [request.user for request in secure.requests] == ["jane", "by-token"]


def test_a_certificate_that_is_not_trusted(tmp_path: Path, secure: ApiServer, access: Callable[..., Access]) -> None:
    """By the authority of another cluster, by none; with insecure-skip-tls-verify it does not matter."""
    other = Authority(tmp_path, "other-ca")
    for cluster in ({"certificate-authority": str(other.path)}, {}):
        with pytest.raises(Unreachable) as caught:
            listed(access(secure, {"token": "t-1"}, **cluster))
        assert str(caught.value).startswith(f"test ({secure.url}): its certificate is not trusted: ")
        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value)
    assert listed(access(secure, {"token": "t-1"}, **{"insecure-skip-tls-verify": True})) == ["db-0"]


def test_the_name_on_the_certificate(tmp_path: Path, authority: Authority, access: Callable[..., Access]) -> None:
    """A server that is reached by another name than its certificate has, as through a tunnel."""
    context = authority.server_context()
    context.load_cert_chain(*authority.issue("api.example", "api.example"))
    ca = {"certificate-authority": str(authority.path)}
    with ApiServer(_cluster(), ssl=context) as server:
        with pytest.raises(Unreachable, match=r"its certificate is not trusted: .*127\.0\.0\.1"):
            listed(access(server, **ca))
        assert listed(access(server, **ca, **{"tls-server-name": "api.example"})) == ["db-0"]


def test_certificates_that_are_none(tmp_path: Path, authority: Authority, access: Callable[..., Access]) -> None:
    """Files that are missing, hold something else, or do not belong together."""
    junk = str(save(tmp_path / "junk", SECRET))
    ca = {"certificate-authority": str(authority.path)}
    cert, key = map(str, authority.issue("jane"))
    other = str(authority.issue("john")[1])
    url = "https://127.0.0.1:1"
    assert "/no/ca.pem" in error(access(url, **{"certificate-authority": "/no/ca.pem"}))
    assert "cannot log in with context test: " in error(access(url, **{"certificate-authority": junk}))
    assert "/no/key" in error(access(url, {"client-certificate": cert, "client-key": "/no/key"}, **ca))
    for pair in ((cert, junk), (junk, key), (cert, other)):
        user = {"client-certificate": pair[0], "client-key": pair[1]}
        assert error(access(url, user, **ca)).startswith("cannot log in with context test: ")


def test_a_client_certificate_that_is_renewed_while_running(
    tmp_path: Path, secure: ApiServer, authority: Authority, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """The files are looked at every now and then, and a new certificate is used from then on."""
    for path, target in zip(authority.issue("jane"), ("cert", "key"), strict=True):
        save(tmp_path / target, path.read_text())
    user = {"client-certificate": str(tmp_path / "cert"), "client-key": str(tmp_path / "key")}

    async def steps(api: Api) -> None:
        await names(api)
        secure._certificates["john"] = reader("john")
        for path, target in zip(authority.issue("john"), ("cert", "key"), strict=True):
            save(tmp_path / target, path.read_text())
        await names(api)
        now(module.FILE_TOKEN_SECONDS + 1)
        await names(api)

    run(access(secure, user, **{"certificate-authority": str(authority.path)}), steps)
    assert [request.user for request in secure.requests] == ["jane", "jane", "john"]


# Tokens and passwords


def test_a_token(guarded: ApiServer, access: Callable[..., Access]) -> None:
    """Also one that was pasted with a line feed; the wrong one is refused."""
    assert listed(access(guarded, {"token": "t-1"})) == ["db-0"]
    assert listed(access(guarded, {"token": "t-1\n"})) == ["db-0"]
    with pytest.raises(ApiError) as caught:
        listed(access(guarded, {"token": SECRET}))
    assert (caught.value.status, caught.value.message) == (401, "Unauthorized")
    assert SECRET not in str(caught.value)


def test_a_user_name_and_a_password(access: Callable[..., Access]) -> None:
    """They are sent as HTTP has it."""
    with RawServer(answer("200 OK", b'{"items":[]}')) as server:
        assert listed(access(server.url, {"username": "jane", "password": "p:w"})) == []
    assert f"authorization: Basic {base64.b64encode(b'jane:p:w').decode()}\r\n" in server.heads[0]


def test_a_token_file_that_is_renewed_is_read_again_when_it_is_old(
    tmp_path: Path, guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """Before that the token that was read is used, and connections that are open are kept."""
    path = save(tmp_path / "token", "t-1\n")
    guarded.add_token("t-2", reader("second"))

    async def steps(api: Api) -> None:
        await names(api)
        save(path, "t-2")
        now(module.FILE_TOKEN_SECONDS - 1)
        await names(api)
        now(2)
        await names(api)

    run(access(guarded, {"tokenFile": str(path), "token": "of old"}), steps)
    assert [request.user for request in guarded.requests] == ["by-token", "by-token", "second"]
    assert len({id(connection) for connection in guarded.connections}) <= 1


def test_a_token_file_is_read_again_when_the_token_is_refused(
    tmp_path: Path, guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """The request that was refused is made again, and nobody sees an error; nor is it made a third time."""
    path = save(tmp_path / "token", "t-1")
    user = reader("second")

    async def steps(api: Api) -> None:
        await names(api)
        now(module.REFUSED_SECONDS + 1)
        guarded.revoke("t-1")
        guarded.add_token("t-2", user)
        save(path, "t-2")
        assert await names(api) == ["db-0"]
        now(module.REFUSED_SECONDS + 1)
        guarded.revoke("t-2")
        with pytest.raises(ApiError, match="401"):
            await names(api)

    run(access(guarded, {"tokenFile": str(path)}), steps)
    assert [request.user for request in guarded.requests] == ["by-token", None, "second", None, None]


def test_a_token_file_that_is_away_for_a_moment(
    tmp_path: Path, guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """The token before is used on while the server takes it; when it does not, what is missing is said."""
    path = save(tmp_path / "token", "t-1")

    async def steps(api: Api) -> None:
        await names(api)
        now(module.FILE_TOKEN_SECONDS + 1)
        path.unlink()
        assert await names(api) == ["db-0"]
        save(path, "t-2")
        guarded.add_token("t-2", reader("second"))
        assert await names(api) == ["db-0"]
        now(module.AGAIN_SECONDS + 1)
        assert await names(api) == ["db-0"]
        assert guarded.requests[-1].user == "second"
        now(module.REFUSED_SECONDS + 1)
        guarded.revoke("t-2")
        path.unlink()
        with pytest.raises(MeshdiagError, match=r"cannot log in with context test: .*/token"):
            await names(api)

    run(access(guarded, {"tokenFile": str(path)}), steps)


def test_the_stored_token_of_an_auth_provider(
    guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """It is used as it is and read again when refused: kubectl renews it, and a refresh token may be used only once."""
    settings = {"idp-issuer-url": "http://127.0.0.1:1", "refresh-token": SECRET}
    one = access(guarded, {"auth-provider": {"name": "oidc", "config": {**settings, "id-token": "t-1"}}})

    async def steps(api: Api) -> None:
        await names(api)
        guarded.revoke("t-1")
        guarded.add_token("t-2", reader("renewed"))
        renewed = {"auth-provider": {"name": "oidc", "config": {**settings, "id-token": "t-2"}}}
        save(Path(one.paths[0]), config(guarded, renewed))
        now(module.REFUSED_SECONDS + 1)
        await names(api)

    run(one, steps)
    assert [request.user for request in guarded.requests] == ["by-token", None, "renewed"]


# Plugins

VERSION = "client.authentication.k8s.io/v1"


class Plugin:
    """A credential plugin: a real program that prints what `says` was given, and keeps a line for each run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.path = folder / "login"
        self.path.write_text(
            f'#!/bin/sh\ncd {folder}\necho "$KUBERNETES_EXEC_INFO" >> runs\necho "$@ $EXTRA" > called\n'
            "cat err >&2\ncat out\nexit $(cat code)\n"
        )
        self.path.chmod(0o755)
        self.says({"token": "t-1"})

    def says(self, status: Any, seconds: float | None = None, err: str = "", code: int = 0) -> None:
        """A status (or any text), that expires after so many seconds."""
        if seconds is not None:
            status = {**status, "expirationTimestamp": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}
        body = {"apiVersion": VERSION, "kind": "ExecCredential", "status": status}
        save(self.folder / "out", status if isinstance(status, str) else json.dumps(body))
        save(self.folder / "err", err)
        save(self.folder / "code", str(code))

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What the plugin was told at each run."""
        path = self.folder / "runs"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def user(self, **more: Any) -> dict[str, Any]:
        plugin = {
            "apiVersion": VERSION,
            "command": str(self.path),
            "interactiveMode": "Never",
        }
        return {"exec": {**plugin, **more}}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path / "plugin")


def test_a_plugin_gives_the_token(plugin: Plugin, guarded: ApiServer, access: Callable[..., Access]) -> None:
    """It gets its arguments, its environment and what kubectl tells it, and runs once as its token does not expire."""
    user = plugin.user(args=["get-token", "--id", 7], env=[{"name": "EXTRA", "value": "yes"}])

    async def steps(api: Api) -> None:
        for _ in range(3):
            assert await names(api) == ["db-0"]

    run(access(guarded, user), steps)
    told = {"apiVersion": VERSION, "kind": "ExecCredential", "spec": {"interactive": False}}
    assert plugin.runs == [told]
    assert (plugin.folder / "called").read_text() == "get-token --id 7 yes\n"


def test_a_plugin_is_told_of_the_cluster_when_it_asks(
    plugin: Plugin, secure: ApiServer, authority: Authority, access: Callable[..., Access]
) -> None:
    """With the authority as data, and with what the kubeconfig has for it."""
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = {"certificate-authority": str(authority.path), "extensions": [{"name": "minikube"}, extension]}
    listed(access(secure, plugin.user(provideClusterInfo=True), **cluster))
    assert plugin.runs[0]["spec"]["cluster"] == {
        "server": secure.url,
        "certificate-authority-data": base64.b64encode(authority.path.read_bytes()).decode(),
        "config": {"audience": "x"},
    }


def test_a_plugin_beside_the_kubeconfig(tmp_path: Path, plugin: Plugin, guarded: ApiServer) -> None:
    """A command with a folder counts from the kubeconfig, as kubectl has it; one without is looked for in $PATH."""
    user = plugin.user(command="../plugin/login")
    [one] = accesses(save(tmp_path / "kube/config", config(guarded, user)))
    assert listed(one) == ["db-0"]


def test_a_plugin_in_the_path(
    plugin: Plugin, guarded: ApiServer, access: Callable[..., Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As most plugins are."""
    monkeypatch.setenv("PATH", f"{plugin.folder}{os.pathsep}{os.environ['PATH']}")
    assert listed(access(guarded, plugin.user(command="login"))) == ["db-0"]


def test_a_plugin_runs_again_before_its_token_expires(
    plugin: Plugin, secure: ApiServer, authority: Authority, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """Once for each token, though files are looked at more often, and in time, so that no request is refused."""
    secure.add_token("t-2", reader("second"))
    plugin.says({"token": "t-1"}, 600)

    async def steps(api: Api) -> None:
        await names(api)
        plugin.says({"token": "t-2"}, 600)
        for _ in range(2):
            now((600 - module.BEFORE_EXPIRY - 5) / 2)
            await names(api)
        assert len(plugin.runs) == 1
        now(6)
        for _ in range(3):
            await names(api)
        assert len(plugin.runs) == 2

    run(access(secure, plugin.user(), **{"certificate-authority": str(authority.path)}), steps)
    assert [request.user for request in secure.requests] == ["by-token"] * 3 + ["second"] * 3


def test_a_plugin_with_a_token_that_has_nearly_expired(
    plugin: Plugin, guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """It does not run for every request."""
    plugin.says({"token": "t-1"}, 1)

    async def steps(api: Api) -> None:
        for _ in range(4):
            await names(api)
        assert len(plugin.runs) == 1
        now(module.AGAIN_SECONDS + 0.1)
        await names(api)
        assert len(plugin.runs) == 2

    run(access(guarded, plugin.user()), steps)


def test_a_plugin_runs_again_when_its_token_is_refused(
    plugin: Plugin, guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """The request works at last; many that are refused together run it once."""
    plugin.says({"token": "t-1"}, 3600)

    async def steps(api: Api) -> None:
        await names(api)
        guarded.revoke("t-1")
        guarded.add_token("t-2", reader("second"))
        plugin.says({"token": "t-2"}, 3600)
        now(module.REFUSED_SECONDS + 1)
        assert await asyncio.gather(*(names(api) for _ in range(20))) == [["db-0"]] * 20

    run(access(guarded, plugin.user()), steps)
    assert len(plugin.runs) == 2
    users = [request.user for request in guarded.requests]
    assert (users.count("by-token"), users.count(None), users.count("second")) == (1, 20, 20)


def test_a_plugin_that_fails_later(
    plugin: Plugin, guarded: ApiServer, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """Before its token is refused that does no harm; then its words are told, and it runs once for many requests."""
    plugin.says({"token": "t-1"}, 600)

    async def steps(api: Api) -> None:
        await names(api)
        plugin.says("", err="the session has expired", code=1)
        now(600)
        assert await names(api) == ["db-0"]
        now(module.REFUSED_SECONDS + 1)
        guarded.revoke("t-1")
        results = await asyncio.gather(*(names(api) for _ in range(5)), return_exceptions=True)
        assert {str(result) for result in results} == {
            f"cannot log in with context test: the credential plugin '{plugin.path}' of the kubeconfig failed: "
            "the session has expired"
        }

    run(access(guarded, plugin.user()), steps)
    assert len(plugin.runs) == 3


def test_a_plugin_may_give_a_client_certificate(
    plugin: Plugin, secure: ApiServer, authority: Authority, access: Callable[..., Access], now: Callable[[float], None]
) -> None:
    """In place of a token, and another one later."""

    def says(name: str) -> None:
        cert, key = (path.read_text() for path in authority.issue(name))
        plugin.says({"clientCertificateData": cert, "clientKeyData": key}, 600)

    secure._certificates["john"] = reader("john")
    says("jane")

    async def steps(api: Api) -> None:
        await names(api)
        await names(api)
        says("john")
        now(600)
        await names(api)

    run(access(secure, plugin.user(), **{"certificate-authority": str(authority.path)}), steps)
    assert [request.user for request in secure.requests] == ["jane", "jane", "john"]
    assert len(plugin.runs) == 2


@pytest.mark.parametrize(
    ("says", "code", "err", "message"),
    [
        ("", 1, "Error: SSO session\n  expired\nrun `aws sso login`", " failed: Error: SSO session expired run `aws sso login`"),
        ("S3CRET", 3, "", " failed: exit code 3"),
        ("S3CRET", 1, "é\\x00 'quoted' b'", " failed: é\\x00 'quoted' b'"),
        ("", 1, "x" * 100_000, " failed: " + "x" * 500),
        ("S3CRET", 0, "", " gave no JSON"),
        ("", 0, "", " gave no JSON"),
        ('["S3CRET"]', 0, "", " gave no token and no certificate"),
        ('{"status":{"token":"S3CRET"}}', 0, "", f" answered in version None, and {VERSION} was asked for"),
        ({"user": "S3CRET"}, 0, "", " gave no token and no certificate"),
        ({"token": ""}, 0, "", " gave no token and no certificate"),
        ({"clientCertificateData": "S3CRET"}, 0, "", " gave no token and no certificate"),
        ([], 0, "", " gave no token and no certificate"),
        (None, 0, "", " gave no token and no certificate"),
    ],
)  # fmt: skip
def test_plugins_that_do_not_work(
    plugin: Plugin, access: Callable[..., Access], says: Any, code: int, err: str, message: str
) -> None:
    """Their own words are told, and never what they print, as that may be a secret."""
    plugin.says(says, err=err, code=code)
    told = error(access("http://127.0.0.1:1", plugin.user()))
    assert told == f"cannot log in with context test: the credential plugin '{plugin.path}' of the kubeconfig{message}"


def test_a_plugin_that_is_not_there(tmp_path: Path, access: Callable[..., Access]) -> None:
    """The kubeconfig knows how to install it; a file that is no program is another matter."""
    settings = {"apiVersion": VERSION, "command": "gke-login"}
    told = error(access("http://x:1", {"exec": settings}))
    assert told.endswith(": the credential plugin 'gke-login' of the kubeconfig is not installed")
    told = error(access("http://x:1", {"exec": {**settings, "installHint": "Install it:\n  gcloud components\n"}}))
    assert told.endswith("'gke-login' of the kubeconfig is not installed: Install it: gcloud components")
    text = save(tmp_path / "text", "x")
    told = error(access("http://x:1", {"exec": {**settings, "command": str(text)}}))
    assert told.endswith(f"'{text}' of the kubeconfig cannot be run: Permission denied")


def test_a_plugin_that_waits_for_ever(
    plugin: Plugin, access: Callable[..., Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that opens a browser nobody looks at: it is ended, with all that it started, and what to do is said."""
    monkeypatch.setattr(module, "PLUGIN_SECONDS", 0.1)
    pids = plugin.folder / "pids"
    plugin.path.write_text(f"#!/bin/sh\nsleep 60 &\necho $$ $! > {pids}\nwait\n")
    told = error(access("http://x:1", plugin.user()))
    assert told.endswith(" gave no answer within 0 s; perhaps it waits for you: log in with kubectl first")
    end = time.monotonic() + 5
    while any(map(alive, pids.read_text().split())):  # a signal takes its time
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: str) -> bool:
    """Whether a process runs; one that has ended may stay, as nobody asks for it."""
    if Path("/proc/self/stat").exists():
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    done = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


def test_a_plugin_has_no_terminal(plugin: Plugin, guarded: ApiServer, access: Callable[..., Access]) -> None:
    """It cannot take away what is typed at ours, nor wait for it."""
    plugin.path.write_text(plugin.path.read_text().replace("cat out", "cat > typed; cat out"))
    assert listed(access(guarded, plugin.user())) == ["db-0"]
    assert (plugin.folder / "typed").read_bytes() == b""


# Inside a pod


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secure: ApiServer, authority: Authority) -> Path:
    """The folder of a service account, and the environment of a pod."""
    folder = tmp_path / "serviceaccount"
    save(folder / "token", "t-1\n")
    save(folder / "ca.crt", authority.path.read_text())
    save(folder / "namespace", "shop")
    client = "kubernetes.aio.config.incluster_config."
    monkeypatch.setattr(f"{client}SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(f"{client}SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    monkeypatch.setattr(module, "_SERVICE_ACCOUNT", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", secure.host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(secure.port))
    return folder


def test_inside_a_pod(pod: Path, secure: ApiServer, now: Callable[[float], None]) -> None:
    """The service account of the pod, whose token is renewed while it runs; its namespace is the one that is meant."""
    [one] = accesses()
    assert one == Access("in-cluster", "shop")
    secure.add_token("t-2", reader("second"))

    async def steps(api: Api) -> None:
        assert await names(api) == ["db-0"]
        save(pod / "token", "t-2\n")
        now(module.FILE_TOKEN_SECONDS + 1)
        await names(api)
        secure.revoke("t-2")
        secure.add_token("t-3", reader("third"))
        save(pod / "token", "t-3")
        now(module.REFUSED_SECONDS + 1)
        await names(api)

    run(one, steps)
    assert [request.user for request in secure.requests] == ["by-token", "second", None, "third"]


def test_a_service_account_that_is_not_whole(pod: Path) -> None:
    """Without a namespace it is `default`; without a token the error says so."""
    (pod / "namespace").unlink()
    [one] = accesses()
    assert one.namespace == "default"
    (pod / "token").unlink()
    assert error(one) == "cannot log in with the pod's service account: Service token file does not exist."


def test_a_kubeconfig_comes_before_the_pods_service_account(tmp_path: Path, pod: Path) -> None:
    """As does a context that was asked for, though there is none."""
    path = save(tmp_path / "config", config(name="dev"))
    assert accesses(path)[0].name == "dev"
    with pytest.raises(MeshdiagError, match="no kubeconfig"):
        accesses(contexts=["dev"])
    with pytest.raises(MeshdiagError, match="no kubeconfig"):
        accesses(tmp_path / "no")


# Impersonation


def headers(server: RawServer) -> list[str]:
    """The headers of the last request that are about impersonation."""
    return [line for line in server.heads[-1].split("\r\n") if line.lower().startswith("impersonate")]


def test_impersonation(access: Callable[..., Access]) -> None:
    """--as and --as-group come before what the kubeconfig says, and several groups are sent as several headers."""
    with RawServer(answer("200 OK", b'{"items":[]}')) as server:
        listed(access(server.url, as_user="jane", as_groups=["dev", "ops"]))
        assert headers(server) == ["Impersonate-User: jane", "Impersonate-Group: dev", "Impersonate-Group: ops"]
        user = {"as": "john", "as-groups": ["a", "b"], "as-uid": "u-7", "as-user-extra": {"example.org/x": ["1", 2]}}
        listed(access(server.url, user))
        extra = ["Impersonate-Uid: u-7", "Impersonate-Extra-example.org%2Fx: 1", "Impersonate-Extra-example.org%2Fx: 2"]
        assert headers(server) == ["Impersonate-User: john", "Impersonate-Group: a", "Impersonate-Group: b", *extra]
        listed(access(server.url, {"as": "john", "as-groups": ["a"]}, as_user="jane"))
        assert headers(server) == ["Impersonate-User: jane", "Impersonate-Group: a"]
        listed(access(server.url))
        assert headers(server) == []


def test_a_group_needs_a_user(access: Callable[..., Access]) -> None:
    """The server would not take it."""
    assert error(access("http://x:1", as_groups=["dev"])).endswith(
        ": a group can only be taken on together with a user: give --as, too"
    )


# Proxies


def test_a_proxy_of_the_kubeconfig(
    secure: ApiServer, guarded: ApiServer, authority: Authority, access: Callable[..., Access]
) -> None:
    """It gets what is for an http server, and opens tunnels to https servers; the login to it is its own."""
    with Proxy(guarded.port) as proxy:
        url = proxy.url.replace("//", "//jane:pw@")
        assert listed(access("http://cluster.test:6443", {"token": "t-1"}, **{"proxy-url": url})) == ["db-0"]
        assert proxy.heads[0].startswith(f"GET http://cluster.test:6443{PODS} HTTP/1.1\r\n")
        assert f"Proxy-Authorization: Basic {base64.b64encode(b'jane:pw').decode()}\r\n" in proxy.heads[0]
    with Proxy(secure.port) as proxy:
        cluster = {"certificate-authority": str(authority.path), "proxy-url": proxy.url}
        assert listed(access(f"https://localhost:{secure.port}", {"token": "t-1"}, **cluster)) == ["db-0"]
        assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT localhost:{secure.port} HTTP/1.1"]
        assert "t-1" not in proxy.heads[0]


def test_proxies_of_the_environment(
    secure: ApiServer,
    guarded: ApiServer,
    authority: Authority,
    access: Callable[..., Access],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One for each scheme, large or small letters, with or without a scheme of its own; that of the kubeconfig comes first."""
    plain = access("http://cluster.test:80", {"token": "t-1"})
    with Proxy(guarded.port) as proxy, Proxy(guarded.port) as other:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        assert (listed(plain), len(proxy.heads)) == (["db-0"], 1)
        monkeypatch.setenv("HTTP_PROXY", other.url)
        assert (listed(plain), len(proxy.heads), len(other.heads)) == (["db-0"], 1, 1)
        assert listed(access("http://cluster.test:80", {"token": "t-1"}, **{"proxy-url": proxy.url})) == ["db-0"]
        assert (len(proxy.heads), len(other.heads)) == (2, 1)
    with Proxy(secure.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        cluster = {"certificate-authority": str(authority.path), "tls-server-name": "localhost"}
        assert listed(access("https://cluster.test", {"token": "t-1"}, **cluster)) == ["db-0"]
        assert proxy.heads[0].startswith("CONNECT cluster.test:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("rules", "server", "direct"),
    [
        ("", "https://cluster.test", False),
        ("*", "https://cluster.test", True),
        ("cluster.test", "https://cluster.test", True),
        ("CLUSTER.test", "https://Cluster.Test:6443", True),
        ("test", "https://cluster.test", True),
        ("est", "https://cluster.test", False),
        (".test", "https://cluster.test", True),
        ("*.test", "https://cluster.test", True),
        (".cluster.test", "https://cluster.test", False),
        ("*.cluster.test", "https://cluster.test", False),
        ("a, ,cluster.test ,b", "https://cluster.test", True),
        ("cluster.test:6443", "https://cluster.test:6443", True),
        ("cluster.test:6443", "https://cluster.test", False),
        ("cluster.test:443", "https://cluster.test", True),
        ("10.0.0.0/8", "https://10.96.0.1:6443", True),
        ("10.0.0.0/8", "https://11.96.0.1", False),
        ("10.96.0.1", "https://10.96.0.1", True),
        ("10.96.0.1:443", "https://10.96.0.1", True),
        ("10.96.0.1:444", "https://10.96.0.1", False),
        ("fd00::/8", "https://[fd00::1]:6443", True),
        ("fd00::1", "https://[fd00::1]:6443", True),
        ("[fd00::1]:6443", "https://[fd00::1]:6443", True),
        ("[fd00::1]:6444", "https://[fd00::1]:6443", False),
        ("10.0.0.0/8", "https://10.example", False),
        # this machine, whatever is said: kind, minikube and tunnels
        ("", "https://localhost:6443", True),
        ("", "https://127.0.0.1:6443", True),
        ("", "https://127.1.2.3", True),
        ("", "https://[::1]:6443", True),
    ],
)
def test_what_goes_without_a_proxy(
    rules: str, server: str, direct: bool, access: Callable[..., Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    """$NO_PROXY as kubectl understands it: domains, addresses, networks, ports."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", rules)

    async def proxy() -> str | None:
        login = Login(access(server))
        await login.renew()
        return login.configuration.proxy

    assert asyncio.run(proxy()) == (None if direct else "http://proxy.test:3128")


def test_proxies_that_do_not_work(access: Callable[..., Access], monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that is not supported, one that refuses, one that is not there; the login to it is never told."""
    socks = access("https://x.test", **{"proxy-url": f"socks5://jane:{SECRET}@proxy.test:1080"})
    assert error(socks) == (
        "cannot log in with context test: the proxy socks5://proxy.test:1080 is not supported: only http and https proxies "
        "are; or run `kubectl proxy` and name it as the cluster's server"
    )
    monkeypatch.setenv("HTTPS_PROXY", f"socks5h://jane:{SECRET}@proxy.test:1080")
    assert "the proxy socks5h://proxy.test:1080 is not supported" in error(access("https://x.test"))
    with Proxy(1, "407 Proxy Authentication Required") as proxy:
        url = proxy.url.replace("//", f"//jane:{SECRET}@")
        with pytest.raises(Unreachable) as caught:
            listed(access("https://x.test", **{"proxy-url": url}))
    assert str(caught.value) == "test (https://x.test): the proxy answered 407 Proxy Authentication Required"
    with pytest.raises(Unreachable, match=r": cannot connect to 127\.0\.0\.1:1: Connection refused") as caught:
        listed(access("https://x.test", **{"proxy-url": f"http://jane:{SECRET}@127.0.0.1:1"}))
    assert SECRET not in str(caught.value)


def test_netrc_is_not_for_clusters(tmp_path: Path, guarded: ApiServer, access: Callable[..., Access]) -> None:
    """A login that curl would use for the host does not come in the way of the token."""
    save(tmp_path / "home/.netrc", "default login jane password pw\n").chmod(0o600)
    assert listed(access(guarded, {"token": "t-1"})) == ["db-0"]


# What users see

QUIET = """
import asyncio, sys
from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.access import Login, accesses
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable

async def ask(access):
    async with Api(Login(access)) as api:
        await api.get("/api/v1/namespaces/shop/pods")

for path in sys.argv[1:]:
    try:
        asyncio.run(ask(accesses(path)[0]))
        print("fine")
    except (MeshdiagError, ApiError, Unreachable) as e:
        print(type(e).__name__)
"""


def test_nothing_is_written_past_the_user_interface(
    tmp_path: Path, plugin: Plugin, secure: ApiServer, authority: Authority
) -> None:
    """Neither the client nor what is below it logs to standard error or warns, whatever goes wrong."""
    ca: Any = {"certificate-authority": str(authority.path)}
    plugin.says("", err="no", code=1)
    other: Any = {"certificate-authority": str(Authority(tmp_path, "other-ca").path)}
    contents = [
        config(secure, {"token": "t-1"}, **ca),
        config(secure, {"token": "wrong"}, **ca),
        config(secure, {"token": "t-1"}, **other),
        config(secure, plugin.user(), **ca),
        config(secure, plugin.user(command="no-such-plugin"), **ca),
        config("https://127.0.0.1:1", **ca),
        config(f"http://127.0.0.1:{secure.port}"),
    ]
    paths = [save(tmp_path / f"c{n}", content) for n, content in enumerate(contents)]
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", QUIET, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    expected = ["fine", "ApiError", "Unreachable", "MeshdiagError", "MeshdiagError", "Unreachable"]
    assert done.stdout.split()[:6] == expected
    assert done.stdout.split()[6] in ("Unreachable", "ApiError")


def test_users_are_who_they_are(guarded: ApiServer, access: Callable[..., Access]) -> None:
    """A user who may not list pods is told so by the server's words."""
    guarded.add_token("t-9", User("nobody"))
    with pytest.raises(ApiError, match='403 Forbidden: pods is forbidden: User "nobody" cannot list resource "pods"'):
        listed(access(guarded, {"token": "t-9"}))

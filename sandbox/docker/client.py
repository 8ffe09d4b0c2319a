"""The docker SDK's low-level client, with the habits mended that the sandbox cannot live with."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import create_api_error_from_http_exception
from docker.tls import TLSConfig
from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnectionPool
from docker.types import CancellableStream
from requests import HTTPError, PreparedRequest, Response

# Each running container holds two connections (its output, and the wait for its end).
_CONNECTIONS = 128


@dataclass(frozen=True, slots=True)
class EngineTls:
    """TLS to an engine over TCP: a folder with `ca.pem`, `cert.pem`, `key.pem`, as DOCKER_CERT_PATH names."""

    folder: Path
    verify: bool = True


class EngineClient(APIClient):
    """One set of connections to an engine; no request lasts longer than `timeout` seconds unless it says so.

    Raises the SDK's own exceptions. With `version` None the engine is asked for its newest.
    """

    def __init__(self, host: str, *, tls: EngineTls | None, timeout: float, version: str | None = None) -> None:
        self.patience = timeout
        """Seconds that the engine may be silent."""
        self._latest: Response | None = None
        super().__init__(
            base_url=host,
            version=version or "auto",
            tls=_tls_config(tls) if tls else False,
            timeout=timeout,  # type: ignore[arg-type] # seconds may well be a fraction
            max_pool_size=_CONNECTIONS,
        )
        self.trust_env = False  # no proxy and no .netrc between us and the engine
        if host.startswith("unix://"):
            self._keep_connections(host, timeout)

    def _keep_connections(self, host: str, timeout: float) -> None:
        """The SDK's own adapter makes a pool for each path that is asked for, and keeps no connection for the next."""
        if isinstance(theirs := self.get_adapter(self.base_url), UnixHTTPAdapter):
            theirs.pools.clear()
        self.mount(self.base_url, _KeptConnections(host.removeprefix("unix://"), timeout))

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # noqa: ANN401 - requests' own signature
        """Sends with a time-out also where the SDK asks for none: in attach, pull and import."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.patience
        answer = super().send(request, **kwargs)
        self._latest = answer  # another thread may put its own there before this one returns
        return answer

    def ask(self, method: str, call: str, *names: str, **params: str) -> Response:
        """A call that the SDK has no method for; `call` is like `/containers/{0}/json`."""
        answer = self.request(method, self._url(call, *names), params=params)  # type: ignore[attr-defined]
        self._raise_for_status(answer)  # type: ignore[attr-defined]
        return answer

    def log_in(self, registry: str, login: Mapping[str, Any]) -> None:
        """Has the engine show these credentials to the registry; `login` is as the SDK resolves it."""
        shown = {"serveraddress": registry, **{name.lower(): value for name, value in login.items() if value}}
        answer = self.post(f"{self.base_url}/v{self.api_version}/auth", json=shown)
        self._raise_for_status(answer)  # type: ignore[attr-defined]

    def follow(self, container: str) -> Response:
        """The engine's own log of a container, as frames, and what is added to it until the container's end."""
        url = f"{self.base_url}/v{self.api_version}/containers/{container}/logs"
        wanted = {"stdout": "1", "stderr": "1", "follow": "1"}
        answer = self.get(url, params=wanted, stream=True, timeout=(self.patience, None))  # it may be silent for days
        try:
            answer.raise_for_status()
        except HTTPError as error:
            create_api_error_from_http_exception(error)  # raises the SDK's own
        return answer

    def close(self) -> None:
        """Let go of all connections, of one whose answer was not read to its end, too."""
        if self._latest is not None:
            with suppress(OSError, ValueError):  # it broke off before
                self._latest.close()
        super().close()

    def break_off(self) -> None:
        """Ends the latest stream, while another thread reads it; for a client that serves one stream only."""
        if self._latest is not None:
            with suppress(OSError, AttributeError):  # it ended by itself at this very moment
                CancellableStream(iter(()), self._latest).close()


class _KeptConnections(UnixHTTPAdapter):
    """Connections to a socket that serve one request after another."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(path, timeout, max_pool_size=_CONNECTIONS)  # type: ignore[arg-type] # a fraction is fine

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> UnixHTTPConnectionPool:
        """The one pool that there is."""
        del url
        return super().get_connection("http+docker://localhost", proxies)


def _tls_config(tls: EngineTls) -> TLSConfig:
    certificate = (str(tls.folder / "cert.pem"), str(tls.folder / "key.pem"))
    return TLSConfig(client_cert=certificate, ca_cert=str(tls.folder / "ca.pem"), verify=tls.verify)

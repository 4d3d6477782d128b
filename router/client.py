"""The admin API's client for the command line and scripts; and, by name, the ends that Serin's own processes use."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from router.errors import DeadlineExceeded, Unavailable
from router.exchange import TOKEN_HEADER, error_in, tls_trouble
from router.follower import Apply, Follower, Identity
from router.links import InventoryLink, SupervisorLink

Document = dict[str, Any]

TIMEOUT_SECONDS = 75.0
"""A command waits up to 30 s for models, 5 s for workers, and for its turn."""

API = "/api/v1"


class AdminClient:
    """Blocking calls to the admin API; answers are its JSON documents. Every call raises SerinError with the server's
    words, or Unavailable with the way out when nobody answers."""

    def __init__(self, http: httpx.Client, actor: str = "") -> None:
        self._http = http
        self._headers = {"Serin-Actor": _header(actor)} if actor else {}

    @classmethod
    def at(cls, url: str, actor: str = "", **how: Any) -> "AdminClient":
        """A client for the admin address, such as http://127.0.0.1:8002. `how`: more for httpx, such as `verify`
        and `headers`."""
        timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=5.0)
        return cls(httpx.Client(base_url=url, timeout=timeout, trust_env=False, **how), actor)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def models(self) -> Document:
        """{revision, scanned, models: [...]}"""
        return self._call("GET", "/models")

    def model(self, model: str) -> Document:
        """One model with its versions, their states per worker, and its route."""
        return self._call("GET", f"/models/{_part(model)}")

    def load(self, model: str, version: int | None = None, reason: str = "") -> Document:
        """Loads a version, or all of the model; returns when every worker has it."""
        return self._call("POST", f"{_target(model, version)}/load", {"reason": reason or None})

    def unload(self, model: str, version: int | None = None, reason: str = "") -> Document:
        """Unloads a version, or all of the model; returns when it is out of memory."""
        return self._call("POST", f"{_target(model, version)}/unload", {"reason": reason or None})

    def rescan(self) -> Document:
        """Asks the inventory to look at the disk now."""
        return self._call("POST", "/models/rescan")

    def routes(self) -> Document:
        """{revision, routes: [...]}"""
        return self._call("GET", "/routes")

    def route(self, model: str) -> Document:
        """One route; its `revision` is what `if_match` takes."""
        return self._call("GET", f"/routes/{_part(model)}")

    def set_route(self, model: str, body: Document, if_match: int | None = None) -> Document:
        """{revision, applied, workers, route}. `body`: {variants: [{version, weight, name?}], aliases?, rules?, ...}"""
        return self._call("PUT", f"/routes/{_part(model)}", body, if_match)

    def patch_route(self, model: str, body: Document, if_match: int | None = None) -> Document:
        """Like `set_route`, for aliases and rules alone."""
        return self._call("PATCH", f"/routes/{_part(model)}", body, if_match)

    def rollout(self, model: str) -> Document:
        """The model's last rollout; its `number` is what `if_match` takes."""
        return self._call("GET", f"/models/{_part(model)}/rollout")

    def apply_rollout(self, model: str, document: Document, if_match: int | None = None) -> Document:
        """Applies a rollout's document; the same document again changes nothing and answers with what is."""
        return self._call("PUT", f"/models/{_part(model)}/rollout", document, if_match)

    def start_rollout(self, model: str, document: Document, if_match: int | None = None) -> Document:
        """Begins a new rollout, also when the last one had the same document."""
        return self._call("POST", f"/models/{_part(model)}/rollout", document, if_match)

    def move_rollout(self, model: str, word: str, reason: str = "", **more: Any) -> Document:
        """`word`: promote (`to`: which candidate, `step`: one step only), pause, resume, abort, approve, reject, retry,
        rollback. In effect in every live worker when it returns."""
        return self._call("POST", f"/models/{_part(model)}/rollout/{_part(word)}", {"reason": reason or None, **more})

    def rollouts(self, before: int | None = None, limit: int = 50, model: str | None = None) -> Document:
        """{rollouts: [...], next_before}: the newest first."""
        asked = {"before": before, "limit": limit, "model": model}
        return self._call("GET", "/rollouts", parameters={k: v for k, v in asked.items() if v is not None})

    def rollout_by_id(self, identity: str) -> Document:
        """One rollout, whenever it was."""
        return self._call("GET", f"/rollouts/{_part(identity)}")

    def rollout_pairs(self, identity: str) -> Document:
        """{mirrors: [{variant, version, pairs: [...]}]}: the answers to mirrored requests that lie furthest apart."""
        return self._call("GET", f"/rollouts/{_part(identity)}/pairs")

    def rollout_blocks(self, identity: str, after: int = 0, limit: int = 500) -> Document:
        """{policy, steps, recorded, rows: [...], next_after}: what its verdicts rest on, oldest first."""
        return self._call("GET", f"/rollouts/{_part(identity)}/blocks", parameters={"after": after, "limit": limit})

    def rollout_history(self, identity: str, after: int = 0, limit: int = 100) -> Document:
        """{events: [...], next_after}: what happened to it, oldest first."""
        return self._call("GET", f"/rollouts/{_part(identity)}/history", parameters={"after": after, "limit": limit})

    def rollout_schema(self) -> Document:
        """JSON Schema of a rollout's document."""
        return self._call("GET", "/schemas/rollout")

    def drift(self, model: str) -> Document:
        """{model, window, inputs_drifted, subjects: [...], comparisons: [...]}"""
        return self._call("GET", f"/models/{_part(model)}/drift")

    def events(self, after: int | None = None, limit: int = 100, model: str | None = None) -> Document:
        """{events: [...], next_after}: those above `after`, or without it the newest."""
        asked = {"after": after, "limit": limit, "model": model}
        return self._call("GET", "/events", parameters={k: v for k, v in asked.items() if v is not None})

    def follow_events(self, after: int | None = None, model: str | None = None) -> Iterator[Document]:
        """Events as they happen, until the connection ends."""
        asked = {"after": after, "model": model}
        parameters = {name: value for name, value in asked.items() if value is not None}
        timeout = httpx.Timeout(60.0, connect=5.0)
        try:
            with self._http.stream(
                "GET", f"{API}/events/stream", params=parameters, headers=self._headers, timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                    raise error_in(response)
                for line in response.iter_lines():
                    if line.startswith("data: "):
                        yield msgspec.json.decode(line[6:])
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def status(self) -> Document:
        """The controller, its workers, what is in quarantine."""
        return self._call("GET", "/status")

    def _call(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        if_match: int | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Document:
        headers = self._headers if if_match is None else {**self._headers, "If-Match": f'"{if_match}"'}
        try:
            response = self._http.request(method, API + path, json=body, headers=headers, params=parameters)
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{self._http.base_url} did not answer in time") from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise error_in(response)
        answer: Document = response.json()
        return answer

    def _unreachable(self, error: Exception) -> Unavailable:
        if trouble := tls_trouble(error, self._http.base_url):
            return Unavailable(f"{self._http.base_url}: {trouble}")
        return Unavailable(
            f"nothing answers at {self._http.base_url} ({type(error).__name__}): is `serin serve` running? "
            "Give its admin address with --admin-url or SERIN_ADMIN_URL"
        )


class CommandLink:
    """Load and unload from inside a worker, as ordinary events: for the repository calls of the public port.

    `token`: that of Serin's own processes, whose word about the actor is believed.
    """

    def __init__(self, http: httpx.AsyncClient, actor: str, token: str = "") -> None:
        self._http = http
        self._actor = actor
        self._token = token

    async def load(self, model: str, version: int | None = None, actor: str = "") -> Document:
        """Like `AdminClient.load`. `actor`: the name of the key that asked, if one did."""
        return await self._call("POST", f"{API}{_target(model, version)}/load", actor)

    async def unload(self, model: str, version: int | None = None, actor: str = "") -> Document:
        """Like `AdminClient.unload`."""
        return await self._call("POST", f"{API}{_target(model, version)}/unload", actor)

    async def index(self) -> Document:
        """`{models: [{name, error, versions: [{version, state, reason}]}]}`, which is short where models are many."""
        return await self._call("GET", "/internal/v1/index")

    async def _call(self, method: str, path: str, actor: str = "") -> Document:
        headers = {TOKEN_HEADER: self._token, "Serin-Actor": _header(actor or self._actor)}
        try:
            response = await self._http.request(method, path, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            raise Unavailable("the controller does not answer", retry_after_seconds=1) from error
        if response.is_error:
            raise error_in(response)
        answer: Document = msgspec.json.decode(response.content)
        return answer


def _target(model: str, version: int | None) -> str:
    return f"/models/{_part(model)}" + ("" if version is None else f"/versions/{version}")


def _part(name: str) -> str:
    return quote(name, safe="")


def _header(text: str) -> str:
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text[:128])


__all__ = [
    "AdminClient",
    "Apply",
    "CommandLink",
    "Follower",
    "Identity",
    "InventoryLink",
    "SupervisorLink",
]

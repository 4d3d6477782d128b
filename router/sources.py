"""Numbers from elsewhere: Prometheus' HTTP API and any HTTP/JSON endpoint, by the names that the settings give them.

A specification holds no URL (rulings 9): it names a source and says what to ask. `{{model}}`, `{{version}}`,
`{{variant}}` and `{{window}}` (time since the step began, such as `90s`) stand for what is asked about: in the query
of a Prometheus source, in the URL of a JSON source.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

import httpx

from router.errors import InvalidArgument
from router.figures import Measurement, failed, no_data
from router.jsonpath import number_at, parse_path

MAX_ANSWER_BYTES: Final = 1024 * 1024
PLACES: Final = ("model", "version", "variant", "window")
_PLACE: Final = re.compile(r"\{\{\s*([^{}\s]*)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Source:
    """A source of the settings. `token`: sent as `Authorization: Bearer`, and shown nowhere."""

    name: str
    kind: Literal["prometheus", "json"]
    url: str
    timeout_seconds: float = 5.0
    token: str = ""

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.kind!r})"


@dataclass(frozen=True, slots=True)
class Subject:
    """Which arm is asked about, and since when."""

    model: str
    version: int
    variant: str
    window_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read up to a limit."""

    status: int
    content: bytes


Connect = Callable[[], httpx.AsyncClient]


def plain_client() -> httpx.AsyncClient:
    """A client that follows no redirect and no proxy of the environment."""
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, headers={"user-agent": "serin"})


class Sources:
    """Every source of the settings. Sources may lie in private networks: only the operator names them."""

    def __init__(self, sources: Mapping[str, Source], connect: Connect = plain_client) -> None:
        self._sources = dict(sources)
        self._connect = connect
        self._client: httpx.AsyncClient | None = None

    def refuses(self, name: str, query: str, compares: bool) -> str | None:
        """Why a query cannot be asked; None when it can."""
        source = self._sources.get(name)
        if source is None:
            known = ", ".join(sorted(self._sources)) or "none"
            return f"source: the settings have no [sources.{name}]; there are: {known}"
        text = query if source.kind == "prometheus" else source.url
        try:
            _places(text)
            if source.kind == "json":
                parse_path(query)
        except InvalidArgument as error:
            return f"query: {error.message}"
        if compares and not {"version", "variant"} & set(_PLACE.findall(text)):
            where = "the query" if source.kind == "prometheus" else f"the url of [sources.{name}]"
            return f"compare: stable is asked about too, so {where} must contain {{{{version}}}} or {{{{variant}}}}"
        return None

    async def ask(self, name: str, query: str, subject: Subject) -> Measurement:
        """The number now. Whatever goes wrong is a measurement of kind `error` that says what."""
        source = self._sources.get(name)
        if source is None:
            return failed(f"the settings have no [sources.{name}]")
        try:
            async with asyncio.timeout(source.timeout_seconds):
                return await self._asked(source, query, subject)
        except TimeoutError:
            return failed(f"{name} did not answer within {source.timeout_seconds:g} s")
        except InvalidArgument as error:
            return failed(f"{name}: {error.message}")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return failed(f"{name} is away ({type(error).__name__})")

    async def close(self) -> None:
        """Lets the connections go."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _asked(self, source: Source, query: str, subject: Subject) -> Measurement:
        if source.kind == "prometheus":
            form = {"query": filled(query, subject), "timeout": f"{source.timeout_seconds:g}s"}
            answer = await self._fetch("POST", f"{source.url.rstrip('/')}/api/v1/query", source, form)
            return prometheus_number(source.name, answer)
        answer = await self._fetch("GET", filled(source.url, subject, lambda text: quote(text, safe="")), source)
        if answer.status != 200:
            return failed(f"{source.name} answered {answer.status}")
        return number_at(_document(answer), parse_path(query))

    async def _fetch(self, method: str, url: str, source: Source, form: Mapping[str, str] | None = None) -> Answer:
        if self._client is None:
            self._client = self._connect()
        # Not compressed: what is read stays within its limit, whatever it would become.
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if source.token:
            headers["authorization"] = f"Bearer {source.token}"
        async with self._client.stream(method, url, data=form, headers=headers) as response:
            content = b""
            async for part in response.aiter_raw():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise InvalidArgument(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
            return Answer(response.status_code, content)


def filled(text: str, subject: Subject, quoted: Callable[[str], str] = str) -> str:
    """The text with its places filled. Raises InvalidArgument for a place that there is not."""
    _places(text)
    values = {
        "model": subject.model,
        "version": str(subject.version),
        "variant": subject.variant,
        # Prometheus knows no range of 0 s.
        "window": f"{max(1, round(subject.window_seconds))}s",
    }
    return _PLACE.sub(lambda found: quoted(values[found[1]]), text)


def prometheus_number(name: str, answer: Answer) -> Measurement:
    """The one number of an instant query (Prometheus, "HTTP API"); an empty vector and NaN are no data."""
    try:
        document = _document(answer)
    except InvalidArgument:
        return failed(f"{name} answered {answer.status}, and no JSON")
    if not isinstance(document, dict) or document.get("status") != "success":
        said = document.get("error") if isinstance(document, dict) else None
        return failed(f"{name} answered {answer.status}: {shown(str(said or 'no reason'))}")
    data = document.get("data")
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    if kind == "vector" and isinstance(result, list):
        if not result:
            return no_data(f"{name} has no series for the query", None)
        if len(result) > 1:
            return failed(f"{name}: the query gives {len(result)} series; it must give one, by sum() or another")
        result = result[0].get("value") if isinstance(result[0], dict) else None
    elif kind != "scalar":
        return failed(f"{name}: the query gives a {shown(str(kind))}; it must give one number at one time")
    return number_at(result, (1,))


def shown(text: str, longest: int = 200) -> str:
    """A text of others on one line, printable and short."""
    clean = "".join(sign if sign.isprintable() else " " for sign in text)
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


def _places(text: str) -> None:
    for name in _PLACE.findall(text):
        if name not in PLACES:
            known = ", ".join(f"{{{{{place}}}}}" for place in PLACES)
            raise InvalidArgument(f"there is no {{{{{name}}}}}; there are {known}")


def _document(answer: Answer) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("the answer is no JSON") from error

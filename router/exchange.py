"""One call to the controller and what can go wrong with it, for all who talk to it; and being poked between calls."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import msgspec

from router.decoding import decoder
from router.errors import Internal, SerinError, Unavailable, error_of
from router.loopback import Http, Response

TOKEN_HEADER = "Serin-Token"
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
"""So long a controller may take to start, or to be replaced, before anybody is told that it does not answer."""

T = TypeVar("T")


def error_in(response: httpx.Response) -> SerinError:
    """The error that an answer carries; `Internal` when its body is not one of ours."""
    return _error(response, response.request.url.host)


def _error(response: Response, whose: str) -> SerinError:
    try:
        body = msgspec.json.decode(response.content)
        return error_of(str(body["code"]), str(body["error"]))
    except (msgspec.MsgspecError, KeyError, TypeError):
        return Internal(f"unexpected answer {response.status_code} from {whose}")


_SHOW_ONE = "if it asks for a client certificate, name one with SERIN_CLIENT_CERT_FILE and SERIN_CLIENT_KEY_FILE"


def tls_trouble(error: Exception, url: httpx.URL) -> str:
    """What TLS has to do with a failed connection, and the way out; empty when nothing."""
    text = str(error)
    if url.scheme == "https" and isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        return f"it closed the connection; {_SHOW_ONE}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("verify failed: ")[2].partition(" (_ssl")[0] or "it is not known here"
        return f"its certificate is not trusted ({why}); name its CA with --ca-file or SERIN_CA_FILE"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "what answers there does not speak TLS; try http://"
    return ""


class Line:
    """Calls of one of Serin's own processes. The client, with its base URL, belongs to whoever made it."""

    def __init__(self, http: Http, token: str) -> None:
        self._http = http
        self._headers = {TOKEN_HEADER: token, "Content-Type": "application/json"}

    async def post(self, path: str, body: Any, answer: type[T], wait: float = 0.0) -> T:
        """Posts a value and reads one. Raises SerinError; Unavailable when nobody answers."""
        return await self._call("POST", path, answer, wait, content=msgspec.json.encode(body))

    async def get(self, path: str, parameters: dict[str, float], answer: type[T], wait: float = 0.0) -> T:
        """Reads a value. Raises like `post`."""
        return await self._call("GET", path, answer, wait, params=parameters)

    async def _call(self, method: str, path: str, answer: type[T], wait: float, **content: Any) -> T:
        timeout = httpx.Timeout(5.0, read=wait + 10.0)
        try:
            response = await self._http.request(method, path, headers=self._headers, timeout=timeout, **content)
        except httpx.HTTPError as error:
            raise Unavailable(f"the controller does not answer: {type(error).__name__}") from error
        if response.status_code != 200:
            raise _error(response, "the controller")
        try:
            return decoder(answer).decode(response.content)
        except msgspec.MsgspecError as error:
            raise Internal(f"an answer of the controller is not understood: {error}") from error


class Pause:
    """Growing pauses between attempts, and a word to whoever logs when trouble has lasted for `patience_seconds`, and
    when it ends (empty text)."""

    def __init__(self, on_trouble: Callable[[str], None], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._on_trouble = on_trouble
        self._patience_seconds = patience_seconds
        self._seconds = 0.0
        self._since: float | None = None
        self._told = False
        self.trouble = ""

    async def after(self, error: SerinError) -> None:
        """Waits after a failed attempt."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if not self._told and now - self._since >= self._patience_seconds:
            self._told = True
            self._on_trouble(error.message)
        self.trouble = error.message
        self._seconds = min(LONGEST_PAUSE_SECONDS, self._seconds * 2 or FIRST_PAUSE_SECONDS)
        await asyncio.sleep(self._seconds)

    def over(self) -> None:
        """Notes that an attempt succeeded."""
        if self._told:
            self._on_trouble("")
        self.trouble, self._told, self._since, self._seconds = "", False, None, 0.0


class Poke:
    """Set from any thread, waited for in one event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def poke(self) -> None:
        """Wakes the waiter, or lets its next wait return at once."""
        with self._lock:
            self._set = True
            if self._waiter is not None and not self._waiter[0].is_closed():
                self._waiter[0].call_soon_threadsafe(self._waiter[1].set)

    async def wait(self, seconds: float) -> bool:
        """Whether it was poked before the time was over; takes the poke."""
        event = asyncio.Event()
        with self._lock:
            self._waiter = (asyncio.get_running_loop(), event)
            if self._set:
                event.set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        with self._lock:
            poked, self._set, self._waiter = self._set, False, None
        return poked


def silent(_text: str) -> None:
    """For those who do not want to hear of trouble."""

"""What is so at a gateway under load: how long live takes, how many wait, how much memory its workers have."""

import threading
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from time import perf_counter

import httpx

from loadtests.faults.stand import Gateway
from loadtests.observed import family, resident
from loadtests.tour.scrape import Scrape

EVERY_SECONDS = 0.1
SCRAPE_EVERY = 5
JOIN_SECONDS = 15.0
MIB = 1 << 20


class Witness:
    """`with Witness(gateway) as seen:` looks ten times a second; each look at live is on a connection of its own.

    `live_ms`: of each look; `missed`: those without an answer 200. With `inside` twice a second also how many requests
    wait (`queued`: the most) and the resident memory of all processes together (`memory_mib`: the most, beside
    `memory_before_mib`), which takes its time from what it looks at where there are few cores.
    """

    def __init__(self, gateway: Gateway, inside: bool = False) -> None:
        self._gateway = gateway
        self._inside = inside
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="witness", daemon=True)
        self.live_ms: list[float] = []
        self.missed = 0
        self.queued = 0.0
        self.memory_before_mib = self.memory_mib = self._memory()

    def __enter__(self) -> "Witness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(JOIN_SECONDS)

    def _look(self) -> None:
        number = 0
        while not self._end.wait(EVERY_SECONDS):
            try:
                self._ask()
                if self._inside and number % SCRAPE_EVERY == 0:
                    self.queued = max(self.queued, Scrape.of(self._gateway.server.http).total("serin_queued_requests"))
                    self.memory_mib = max(self.memory_mib, self._memory())
            except (httpx.HTTPError, HTTPException, OSError):
                self.missed += 1
            number += 1

    def _ask(self) -> None:
        begun = perf_counter()
        with closing(HTTPConnection(*self._gateway.address, timeout=JOIN_SECONDS)) as connection:
            connection.request("GET", "/v2/health/live")
            self.missed += connection.getresponse().status != 200
        self.live_ms.append((perf_counter() - begun) * 1000)

    def _memory(self) -> float:
        return resident(family(self._gateway.pid)) / MIB

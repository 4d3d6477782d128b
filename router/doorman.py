"""Lets requests in, or not: where a key that was sent becomes a principal, for every port and protocol."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from router.access import ASKED, Key, Need, known, may, sent_key
from router.addressed import LOOPBACK_HOSTS, require_host, require_own_page
from router.errors import PermissionDenied, ResourceExhausted, SerinError, Unauthenticated

MOST_VERIFIED: Final = 4096
"""So many ways in which good keys were sent are kept; each key is sent in one way, as a rule."""

TOKEN: Final = b"serin-token"
INTERNAL_NEEDS: Final = frozenset(Need) - {Need.ADMIN}

NO_KEY: Final = "a valid key is needed here: send it as `Authorization: Bearer KEY`, or as `X-API-Key: KEY`, and once"
EXPIRED: Final = "this key has expired; ask for a new one"


class Bucket:
    """A token bucket. `take` returns how many seconds are missing: 0 when the request may go on."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> float:
        """One request at `now`, in seconds of a steady clock."""
        tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        missing = 1.0 - tokens
        if missing > 1e-9:
            self._tokens = tokens
            return missing / self._rate
        self._tokens = tokens - 1.0
        return 0.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, once the key was found good; one of our own processes has neither name nor id. `bucket`: None for no
    limit."""

    name: str
    id: str
    needs: frozenset[Need]
    models: frozenset[str] | None = None
    expires_at: float | None = None
    bucket: Bucket | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """`open`: needs for which nobody is asked. `shares`: processes that each have an equal part of a key's rate.

    `token`: what Serin's own processes send, on the port where they talk; "" elsewhere. `hosts`: names that `Host` may
    have, None for any; `own_hosts`: those for what only the loopback protects.
    """

    open: frozenset[Need] = frozenset({Need.OPEN})
    shares: int = 1
    token: str = ""
    hosts: frozenset[str] | None = None
    own_hosts: frozenset[str] = LOOPBACK_HOSTS


class Doorman:
    """`wall`: seconds since 1970; `steady`: seconds that never jump. Belongs to one thread, like all that asks it."""

    def __init__(self, rules: Rules, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._rules = rules
        self._wall = wall
        self._steady = steady
        self._keys: Mapping[str, Key] = {}
        self._principals: dict[str, Principal] = {}
        self._bearers: dict[bytes, Principal] = {}
        self._plain: dict[bytes, Principal] = {}
        self._token = rules.token.encode()
        self.version = 0

    def asks(self, need: Need) -> bool:
        """Whether who needs this is asked for a key."""
        return need not in self._rules.open

    def minds(self, need: Need) -> bool:
        """Whether anything matters of who needs this: also where nobody is asked, what an operator does is not for
        pages of others."""
        return need is Need.OPERATOR or self._rules.hosts is not None or self.asks(need)

    @property
    def keys(self) -> Mapping[str, Key]:
        """The keys in force, by id."""
        return self._keys

    def replace(self, keys: Mapping[str, Key]) -> None:
        """From now on these are the keys. A key that stays as it was keeps what it has used of its rate."""
        stays = {name: one for name, one in self._principals.items() if keys.get(name) == self._keys.get(name)}
        self._principals = {name: stays.get(name) or self._principal(key) for name, key in keys.items()}
        self._keys = dict(keys)
        self._bearers, self._plain = {}, {}
        self.version += 1

    def admit(self, headers: Mapping[bytes, bytes], need: Need, model: str | None = None) -> Principal | None:
        """Who asks, if that may be done and its rate allows it; None where nobody is asked. Raises Unauthenticated,
        PermissionDenied, ResourceExhausted. `headers`: by lower-case name, with repeated fields joined."""
        principal = self.permit(headers, need, model)
        if principal is None or principal.bucket is None:
            return principal
        if (wait := principal.bucket.take(self._steady())) > 0:
            raise ResourceExhausted("this key has used up its rate of requests", retry_after_seconds=wait)
        return principal

    def permit(self, headers: Mapping[bytes, bytes], need: Need, model: str | None = None) -> Principal | None:
        """Like `admit`, for what is admitted once more before it costs anything: nothing of the rate is used."""
        rules = self._rules
        if rules.hosts is not None and need is not Need.OPEN:
            require_host(headers, rules.hosts)
        if need in rules.open:
            if need is Need.OPERATOR and b"origin" in headers:  # no page of somebody else, in a browser here
                require_own_page(headers, rules.own_hosts)
            return None
        principal = self._who(headers)
        if not may(principal.needs, principal.models, need, model):
            raise _denied(principal, need, model)
        return principal

    def still(self, principal: Principal | None) -> bool:
        """Whether who was let in before would be let in now: a long answer ends when its key is taken back."""
        if principal is None or not principal.id:
            return True
        return self._principals.get(principal.id) is principal and not self._is_over(principal)

    def _who(self, headers: Mapping[bytes, bytes]) -> Principal:
        authorization, api_key = headers.get(b"authorization"), headers.get(b"x-api-key")
        found = None
        if api_key is None:
            found = self._bearers.get(authorization) if authorization is not None else None
        elif authorization is None:
            found = self._plain.get(api_key)
        if found is None:
            found = self._verified(headers, authorization, api_key)
        if found.expires_at is not None and self._is_over(found):
            raise Unauthenticated(EXPIRED)
        return found

    def _verified(
        self, headers: Mapping[bytes, bytes], authorization: bytes | None, api_key: bytes | None
    ) -> Principal:
        token = headers.get(TOKEN)
        if token is not None and self._token:
            if not hmac.compare_digest(token, self._token):
                raise Unauthenticated(NO_KEY)
            return Principal("", "", INTERNAL_NEEDS)
        sent = sent_key(authorization, api_key)
        key = known(self._keys, sent or b"")
        if key is None:
            raise Unauthenticated(NO_KEY)
        found = self._principals[key.id]
        remembered, as_sent = (self._bearers, authorization) if api_key is None else (self._plain, api_key)
        if len(remembered) >= MOST_VERIFIED:
            remembered.clear()
        remembered[as_sent or b""] = found
        return found

    def _is_over(self, principal: Principal) -> bool:
        return principal.expires_at is not None and principal.expires_at <= self._wall()

    def _principal(self, key: Key) -> Principal:
        bucket = None
        if key.requests_per_second:
            shares = self._rules.shares
            rate, burst = key.requests_per_second / shares, max(1.0, key.burst / shares)
            bucket = Bucket(rate, burst, self._steady())
        return Principal(key.name, key.id, key.needs, key.models, key.expires_at, bucket)


def _denied(principal: Principal, need: Need, model: str | None) -> SerinError:
    if need in principal.needs and model is not None:
        return PermissionDenied("this key is not for this model")
    return PermissionDenied(f"this key may not do that; it takes {ASKED[need]}")

"""The settings of who may do what; `service/settings.py` reads them with all others."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from router.access import DATA_PLANE, Need
from router.addressed import LOOPBACK_HOSTS, names
from router.doorman import Rules

OF_COMMANDS = frozenset({"api_key_file"})
"""A gateway that is being started has no use for it."""


class AccessSettings(BaseModel):
    """Part of all settings: API keys, and what goes without one."""

    keys_file: Path | None = Field(
        None, description="File of API keys, made by `serin key new`; with it, every port asks for a key."
    )
    keys_for: Literal["all", "admin"] = Field(
        "all",
        description="`admin`: callers of models need no key, only what an operator does; for a proxy that knows them.",
    )
    open_metrics: bool = Field(
        False, description="Let whoever reaches a port read `/metrics`, also where keys are asked."
    )
    insecure_open_models: bool = Field(
        False, description="Serve models beyond the loopback to whoever reaches the port, where no key is asked."
    )
    insecure_open_admin: bool = Field(
        False, description="Let whoever reaches the admin port do all, beyond the loopback, where no key is asked."
    )
    admin_names: str = Field(
        "", description="Names that `Host` may have on the admin port, with commas; empty: see `admin_host`."
    )
    public_names: str = Field("", description="The same on the HTTP port for clients; empty: any.")
    api_key_file: Path | None = Field(
        None, description="File with the API key that commands send; else the variable `SERIN_API_KEY` if it is set."
    )

    @property
    def callers_need_keys(self) -> bool:
        """Whether callers of models are asked for a key."""
        return self.keys_file is not None and self.keys_for == "all"

    def public_rules(self, shares: int) -> Rules:
        """Of the ports for clients. `shares`: the processes that serve them."""
        hosts = names(self.public_names) or None
        if self.keys_file is None:
            return Rules(frozenset(Need), hosts=hosts)
        return Rules(self._open | (frozenset() if self.callers_need_keys else DATA_PLANE), shares, hosts=hosts)

    def admin_rules(self, token: str) -> Rules:
        """Of the admin port. `token`: that of Serin's own processes."""
        return Rules(self._open, token=token)

    def admin_hosts(self, admin_host: str, is_loopback: bool) -> frozenset[str] | None:
        """Names that `Host` may have there; None: any."""
        own = LOOPBACK_HOSTS | {admin_host.lower()} if is_loopback else frozenset()
        return (own | names(self.admin_names)) or None

    @property
    def _open(self) -> frozenset[Need]:
        return frozenset({Need.OPEN, Need.METRICS} if self.open_metrics else {Need.OPEN})

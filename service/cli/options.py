"""Flags that commands share, and the way to a running gateway."""

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click
import httpx

from router.client import AdminClient
from service import access_settings, settings, transport, trust
from service.outside import TABLES

Command = TypeVar("Command", bound=Callable[..., Any])

#: Settings of the commands that talk to a gateway; one that is being started has no use for them.
OF_COMMANDS = frozenset({"admin_url"}) | transport.OF_COMMANDS | access_settings.OF_COMMANDS

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text.")
admin_url = click.option("--admin-url", metavar="URL", help="Admin API of the gateway, if not as settings say.")
ca_file = click.option("--ca-file", metavar="FILE", help="CAs to trust in place of the public ones, in PEM.")
api_key_file = click.option(
    "--api-key-file", metavar="FILE", help="File that holds your API key; else SERIN_API_KEY_FILE, or SERIN_API_KEY."
)
config = click.option("--config", metavar="FILE", help="Settings file; else SERIN_CONFIG, else ./serin.toml if there.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the shared flags of a command say: which gateway, and how to print. `given`: those that are settings."""

    given: Mapping[str, str | None]
    as_json: bool

    @contextmanager
    def connect(self) -> Iterator[AdminClient]:
        """A client of the admin API: `--admin-url`, else as the settings say. Raises SettingsError."""
        found = settings.load(self.given)
        address = found.admin_address
        client = AdminClient.at(address, actor(), **_connection(found, address))
        try:
            yield client
        finally:
            client.close()


def gateway(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the shared flags, as its first argument `asked`."""

    @wraps(command)
    def called(*, as_json: bool, **rest: Any) -> Any:
        given = {name: rest.pop(name) for name in ("config", "admin_url", "ca_file", "api_key_file")}
        return command(Asked(given, as_json), **rest)

    return config(admin_url(ca_file(api_key_file(as_json(called)))))


def every_setting(command: Command) -> Command:
    """One flag for each setting, under `settings` in the arguments; values are checked by the settings themselves."""
    for name, field in reversed(list(settings.in_order().items())):
        if name in OF_COMMANDS or name in TABLES:
            continue
        default = "" if field.default_factory or not field.default else f" [{_shown(field.default)}]"
        text = f"{field.description}{default}".replace("`", "")
        if field.annotation is bool:
            option = click.option(
                f"{settings.flag_of(name)}/--no-{name.replace('_', '-')}", name, default=None, help=text
            )
        else:
            option = click.option(settings.flag_of(name), name, metavar=_metavar(name), help=text)
        command = option(command)
    return config(command)


def public_client(url: str | None, given: Mapping[str, str | None], seconds: float) -> httpx.Client:
    """A client of `url`, else of the gateway that settings say. `given`: the flags that are settings. Raises
    SettingsError."""
    found = settings.load(given)
    address = url or found.public_address
    return httpx.Client(base_url=address, timeout=seconds, trust_env=False, **_connection(found, address))


def _connection(found: settings.Settings, address: str) -> dict[str, Any]:
    """What an httpx client takes besides: whom it trusts, and the API key that it sends. Raises SettingsError."""
    key = settings.api_key(found)
    headers = {"headers": {"Authorization": f"Bearer {key}"}} if key else {}
    return {**headers, **trust.connection(found, address)}


def actor() -> str:
    """Who is typing, for the record of events."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name, as in many containers
        return f"uid {os.getuid()}"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metavar(name: str) -> str:
    last = name.rsplit("_", 1)[-1]
    folders_and_texts = {"models": "DIR", "state": "DIR", "faults": "TEXT", "header": "NAME"}
    kinds = {
        "file": "FILE",
        "names": "NAMES",
        "seconds": "SECONDS",
        "bytes": "BYTES",
        "port": "PORT",
        "host": "HOST",
        "workers": "N",
    }
    return folders_and_texts.get(last) or kinds.get(last, "VALUE")

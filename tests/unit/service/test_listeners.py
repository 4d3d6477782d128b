"""Which sockets a gateway binds, and what is left when one cannot be had."""

import socket
from pathlib import Path
from typing import Any

import pytest

from service import listeners
from service.listeners import open_listeners, speaks_grpc
from service.settings import Settings, SettingsError


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(models=tmp_path, state=tmp_path, http_port=0, admin_port=0, grpc_port=0, workers=2, **more)


@pytest.mark.parametrize(
    ("said", "installed", "found"),
    [("off", True, False), ("auto", False, False), ("auto", True, True), ("on", True, True)],
)
def test_grpc_is_spoken_where_it_is_wanted_and_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, installed: bool, found: bool
) -> None:
    monkeypatch.setattr(listeners, "find_spec", lambda name: name if installed else None)
    assert speaks_grpc(settings(tmp_path, grpc=said)) is found


def test_grpc_that_is_wanted_and_cannot_be_had_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"install serin\[grpc\]"):
        speaks_grpc(settings(tmp_path, grpc="on"))


def test_the_grpc_port_is_kept_and_not_listened_on(tmp_path: Path) -> None:
    opened = open_listeners(settings(tmp_path))
    try:
        assert opened.grpc is not None
        assert len(opened.workers) == 2
        assert not opened.grpc.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        opened.close()


def test_a_port_that_cannot_be_had_leaves_none_of_the_others_bound(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        wanted = settings(tmp_path).model_copy(update={"http_port": port, "grpc_port": taken})
        with pytest.raises(SettingsError, match="grpc_port: port"):
            open_listeners(wanted)
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))

"""A small child in the place of controller, inventory or worker: what the supervisor asks of one, and nothing else.

As a worker it answers any HTTP request with its process id and the number of the socket that was accepted on, except
that `GET /exit` and `GET /segv` end it, and it writes the commands it gets into `<state>/commands-<slot>`.
`SERIN_FAULTS="<role>.start=exit"` makes a role fail at its start.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from service.faults import Faults
from service.lifeline import Lifeline, open_lifeline


def main() -> None:
    lifeline = open_lifeline()
    config = lifeline.config
    Faults.parse(config["settings"]["faults"]).hit(f"{config['role']}.start")
    if config["role"] == "worker":
        Worker(lifeline).run()
    else:
        lifeline.report(listening=True)
        lifeline.follow(lambda command: None, lambda: os._exit(0)).join()


class Worker:
    def __init__(self, lifeline: Lifeline) -> None:
        self.lifeline = lifeline
        config = lifeline.config
        self.slot = config["slot"]
        self.sockets = [socket.socket(fileno=fd) for fd in config["fds"]]
        self.accepting: set[int] = set()
        self.notes = Path(config["settings"]["state"]) / f"commands-{self.slot}"
        self.note({"suspects": config["suspects"]})

    def run(self) -> None:
        self.accept(self.slot)
        self.lifeline.report(listening=True)
        self.lifeline.report(ready=True)
        self.lifeline.follow(self.command, lambda: os._exit(0)).join()

    def note(self, command: dict[str, Any]) -> None:
        with self.notes.open("a") as file:
            file.write(f"{command}\n")

    def command(self, command: dict[str, Any]) -> None:
        self.note(command)
        if "adopt" in command:
            self.accept(command["adopt"])
        if "release" in command:
            self.accepting.discard(command["release"])
        if command.get("drain"):
            delay = self.lifeline.config["settings"]["drain_delay_seconds"]
            threading.Timer(delay, os._exit, (0,)).start()
        if command.get("hurry"):
            os._exit(0)

    def accept(self, number: int) -> None:
        self.accepting.add(number)
        bound = self.sockets[number]
        bound.listen(128)
        bound.settimeout(0.1)
        threading.Thread(target=self.answer, args=(number, bound), daemon=True).start()

    def answer(self, number: int, bound: socket.socket) -> None:
        while number in self.accepting:
            try:
                connection, _ = bound.accept()
            except TimeoutError:
                continue
            with connection:
                path = connection.recv(65536).split(b" ")[1]
                if path == b"/exit":
                    os._exit(1)
                if path == b"/segv":
                    os.kill(os.getpid(), signal.SIGSEGV)
                    time.sleep(10)
                body = f"{os.getpid()} {number}".encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )


def serve() -> None:
    """A supervisor whose children are all stand-ins; flags as those of `serin serve`."""
    from service import logs, supervisor
    from service.settings import load

    words = [word.removeprefix("--").replace("-", "_") if word.startswith("--") else word for word in sys.argv[2:]]
    words.remove("json")
    found = load(dict(zip(words[::2], words[1::2], strict=True)))
    logs.configure(form="json", level="debug")
    modules = dict.fromkeys(("worker", "controller", "inventory"), "tests.e2e.standin")

    def announce(gateway: supervisor.Gateway) -> None:
        print(json.dumps({"http": gateway.http, "admin": gateway.admin}), flush=True)

    sys.exit(supervisor.serve(found, announce, modules))


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["serve"] else main()

"""Settings, manifests, routes and rollouts that are wrong, at the start and later: refused, nothing changes."""

import subprocess
from collections.abc import Mapping

from loadtests.faults.callers import Callers
from loadtests.faults.counting import MODEL
from loadtests.faults.judging import failed, liveness, readiness, wrong
from loadtests.faults.outcome import Figure, Outcome, exactly, shown, soon
from loadtests.faults.stand import Gateway, Stand, eventually, http, stand
from loadtests.processes import environment, serin

ROW = "C15"
RATE, START_SECONDS = 100.0, 30.0
MEGABYTES = 10 << 20

SETTINGS: Mapping[str, bytes] = {
    "unknown key": b"wrokers = 2\n",
    "wrong type": b'workers = "two"\n',
    "below the least": b"workers = 0\n",
    "not a number": b"drain_delay_seconds = nan\n",
    "twice": b"workers = 1\nworkers = 2\n",
    "no TOML": b"workers: 2\n",
    "not UTF-8": b"models = '\xff\xfe'\n",
    "10 MB": b"# " + b"x" * MEGABYTES + b"\nwrokers = 1\n",
}
ROUTES: Mapping[str, str] = {
    "sum 99": '{"variants": [{"version": 1, "weight": 50}, {"version": 2, "weight": 49}]}',
    "sum 101": '{"variants": [{"version": 1, "weight": 50}, {"version": 2, "weight": 51}]}',
    "negative": '{"variants": [{"version": 1, "weight": 110}, {"version": 2, "weight": -10}]}',
    "NaN": '{"variants": [{"version": 1, "weight": NaN}, {"version": 2, "weight": 50}]}',
    "1e308": '{"variants": [{"version": 1, "weight": 1e308}, {"version": 2, "weight": 1e308}]}',
    "missing version": '{"variants": [{"version": 1, "weight": 50}, {"version": 99, "weight": 50}]}',
    "unknown key": '{"variants": [{"version": 1, "weight": 100}], "wieghts": 1}',
    "empty": "",
    "a list": "[]",
    "10 MB": '{"variants": [' + " " * MEGABYTES + '{"version": 1, "weight": 100}]}',
}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
ROLLOUTS: Mapping[str, str] = {
    "alias bomb": BOMB,
    "duplicate key": f"model: {MODEL}\nto: 2\nto: 1\n",
    "unknown key": f"model: {MODEL}\nto: 2\nstpes: []\n",
    "weights fall": f"model: {MODEL}\nto: 2\ncanary: {{weights: [50, 10]}}\n",
    "weight NaN": f"model: {MODEL}\nto: 2\ncanary: {{weights: [.nan]}}\n",
    "missing version": f"model: {MODEL}\nto: 99\n",
    "empty": "",
}


def run(long: bool) -> Outcome:
    """All of them once."""
    with stand(1, 2) as at:
        figures = starts(at)
        with at.gateway() as gateway:
            gateway.route(v1=90, v2=10).raise_for_status()
            with Callers(gateway.address, RATE) as callers:
                figures += asked(gateway)
                figures += manifest(at, gateway)
                callers.stop()
    return Outcome(
        [
            *figures,
            shown("requests meanwhile", len(callers.sent)),
            exactly("requests failed", len(failed(callers.sent))),
            exactly("wrong answers", len(wrong(callers.sent))),
            liveness(callers.looks),
            readiness(callers.looks),
        ]
    )


def starts(at: Stand) -> list[Figure]:
    """`serin serve` with each bad file: it ends with code 2 and one line that names the file."""
    codes, lines = [], []
    for number, content in enumerate(SETTINGS.values()):
        file = at.folder / f"bad-{number}.toml"
        file.write_bytes(content)
        command = serin("serve", "--config", str(file), "--models", str(at.models), "--state", str(at.folder / "never"))
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=START_SECONDS, check=False, env=environment({})
        )
        codes.append(done.returncode)
        lines.append(done.stderr.splitlines())
    return [
        shown("bad files of settings", len(codes)),
        exactly("of these not refused with exit code 2", sum(code != 2 for code in codes)),
        exactly(
            "of these without one line that names the file", sum(len(one) != 1 or "bad-" not in one[0] for one in lines)
        ),
    ]


def asked(gateway: Gateway) -> list[Figure]:
    """Bad routes and rollouts over the admin API."""
    base, before = f"{gateway.server.admin}/api/v1", gateway.ask(f"/api/v1/routes/{MODEL}")
    json, yaml = {"Content-Type": "application/json"}, {"Content-Type": "application/yaml"}
    answers = {
        f"route {name}": http().put(f"{base}/routes/{MODEL}", content=text, headers=json)
        for name, text in ROUTES.items()
    }
    answers |= {
        f"rollout {name}": http().put(f"{base}/models/{MODEL}/rollout", content=text, headers=yaml)
        for name, text in ROLLOUTS.items()
    }
    bad = [name for name, answer in answers.items() if not 400 <= answer.status_code < 500]
    return [
        shown("bad routes and rollouts", len(answers)),
        exactly(f"of these not refused with a 4xx {', '.join(bad)}".rstrip(), len(bad)),
        exactly("of these without words", sum(not answer.json().get("error") for answer in answers.values())),
        soon("the longest refusal, seconds", max(one.elapsed.total_seconds() for one in answers.values()), 2.0),
        exactly("the route is another one", int(gateway.ask(f"/api/v1/routes/{MODEL}") != before)),
    ]


def manifest(at: Stand, gateway: Gateway) -> list[Figure]:
    """A bad model.toml beside versions that serve: they serve on, and the reason is shown; mended, it is gone."""
    file = at.models / MODEL / "model.toml"
    good = file.read_text()
    file.write_text("default_version = [1\n")

    def told() -> str:
        found = gateway.ask(f"/api/v1/models/{MODEL}")
        return found.get("error") or "; ".join(one["reason"] for one in found["versions"] if one["reason"])

    reason = eventually(told, 20.0)
    states = gateway.states()
    file.write_text(good)
    eventually(lambda: None if told() else "mended", 20.0)
    return [
        exactly("bad model.toml: its reason names it", int("model.toml" in reason), 1),
        shown("bad model.toml: versions that are READY meanwhile", sum(state == "READY" for state in states.values())),
    ]

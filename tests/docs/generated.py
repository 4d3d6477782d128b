"""The parts of the documentation that are written from the code. `make docs` writes them; a test compares them."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from router import spec
from router.access import ASKED, Need
from router.errors import Kind, ShedReason
from router.layout import How, Outcome
from router.metrics import KSERVE, METRICS, TRITON
from router.mirrors import DROPS
from router.needs import ADMIN_PORT
from router.rewards import BAD, GOOD, REFUSALS
from router.status import GRPC_CODE, STATUS
from router.telemetry import PHASES, REJECTIONS, SERVED_REASONS, STATES
from service import settings
from service.grpc.inference import Inference
from service.grpc.models import Models
from service.grpc.triton import Triton
from service.needs import GRPC_PORT, PUBLIC_PORT
from service.pb.messages import POOL, SERVICE
from tests.docs import cli_reference, rollouts, routes
from tests.docs.markdown import ROOT, table
from tests.docs.vectors import vectors

SCHEMA = ROOT / "docs/reference/rollout.schema.json"
MARKED = r"(<!-- generated: {name} -->\n).*?(<!-- end -->)"

KINDS = {
    Kind.INVALID_ARGUMENT: "the request can never be right: JSON, names, datatypes, shapes, weights",
    Kind.UNAUTHENTICATED: "who asks is not known",
    Kind.PERMISSION_DENIED: "who asks may not",
    Kind.NOT_FOUND: "no such model, version, alias or path",
    Kind.REQUEST_TIMEOUT: "the body did not arrive in time",
    Kind.ALREADY_EXISTS: "what was to be made is there",
    Kind.FAILED_PRECONDITION: "right in itself, but not in the present state; nothing was changed",
    Kind.ABORTED: "the route is no longer the one that `If-Match` names",
    Kind.HEAD_TOO_LARGE: "the request line and headers are larger than `max_header_bytes`",
    Kind.PAYLOAD_TOO_LARGE: "the body is larger than `max_body_bytes`, as sent or decompressed",
    Kind.UNSUPPORTED_MEDIA_TYPE: "of inference: a `Content-Encoding` beside gzip, deflate, identity; elsewhere: any",
    Kind.HEAD_TOO_LARGE: "the request line and headers are larger than `max_header_bytes`; the connection is closed",
    Kind.RESOURCE_EXHAUSTED: "the queue of the version is full, or the rate of the key used up; see `Retry-After`",
    Kind.CANCELLED: "the client went away (seen in counts and logs only)",
    Kind.INTERNAL: "the model failed, or Serin did; the log has the request id",
    Kind.UNIMPLEMENTED: "Serin does not do this",
    Kind.UNAVAILABLE: "not ready, draining, or the version cannot be loaded",
    Kind.DEADLINE_EXCEEDED: "no result before the deadline",
}


def errors() -> str:
    """Status, kind, gRPC's code where it is another, meaning."""
    by_status = sorted(STATUS.items(), key=lambda item: (item[1], item[0]))
    rows = [
        [str(code), f"`{kind}`", "the same" if GRPC_CODE[kind] == kind else f"`{GRPC_CODE[kind]}`", KINDS[kind]]
        for kind, code in by_status
    ]
    return table(["Status", "`code`", "gRPC", "Meaning"], rows)


def public_routes() -> str:
    return route_table(routes.public(), PUBLIC_PORT)


def admin_routes() -> str:
    return route_table(routes.admin(), ADMIN_PORT)


def grpc_methods() -> str:
    """The methods of the inference service, in the order of its description."""
    unused: Any = None
    calls: dict[str, Any] = {**Models(unused, unused).calls(), **Triton(unused).calls()}
    calls |= {"ModelInfer": Inference.infer, "ModelStreamInfer": Inference.stream}
    rows = []
    for method in POOL.FindServiceByName(SERVICE).methods:
        (first, *_) = str(calls[method.name].__doc__).splitlines()
        rows.append([f"`{method.name}`", first, ASKED[GRPC_PORT[f"/{SERVICE}/{method.name}"]]])
    return table(["Method", "What it does", "Needs"], rows)


def route_table(operations: list[routes.Operation], needs: Mapping[str, Mapping[str, Need]]) -> str:
    rows = [[f"`{method}`", f"`{path}`", text, ASKED[needs[path][method]]] for method, path, text in operations]
    return table(["Method", "Path", "What it does", "Needs"], rows)


def metrics() -> str:
    """Name, type, port, labels, help."""
    rows = [
        [f"`{m.name}`", m.kind, "admin" if m.admin_only else "both", " ".join(f"`{name}`" for name in m.labels), m.help]
        for m in METRICS
    ]
    return table(["Name", "Type", "Port", "Labels", "Meaning"], rows)


def familiar_metrics() -> str:
    """Names that other servers' dashboards ask for."""
    rows = [[f"`{m.name}`", m.kind, " ".join(f"`{label}`" for label in m.labels), m.help] for m in (*TRITON, *KSERVE)]
    return table(["Name", "Type", "Labels", "Meaning"], rows)


def label_words() -> str:
    """Every value of the labels whose words are fixed."""
    fixed: dict[str, Iterable[str]] = {
        "assignment": ("split", "direct"),
        "outcome": (outcome.name.lower() for outcome in Outcome),
        "how": (how.name.lower() for how in How),
        "phase": PHASES,
        "state": (state for state in STATES if state != "ABSENT"),
        "reason": dict.fromkeys((*SERVED_REASONS, *DROPS, *ShedReason, *REJECTIONS, *REFUSALS)),
        "result": ("same", "different", GOOD, BAD),
        "limit": ("requests", "keys", "failures"),
    }
    rows = [[f"`{label}`", " ".join(f"`{word}`" for word in values)] for label, values in fixed.items()]
    return table(["Label", "Words"], rows)


PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "vectors": (ROOT / "docs/assignment.md", vectors),
    "settings": (ROOT / "docs/reference/settings.md", settings.reference),
    "errors": (ROOT / "docs/reference/errors.md", errors),
    "public routes": (ROOT / "docs/reference/routes.md", public_routes),
    "grpc methods": (ROOT / "docs/reference/routes.md", grpc_methods),
    "admin routes": (ROOT / "docs/reference/routes.md", admin_routes),
    "metrics": (ROOT / "docs/reference/metrics.md", metrics),
    "familiar metrics": (ROOT / "docs/reference/metrics.md", familiar_metrics),
    "label words": (ROOT / "docs/reference/metrics.md", label_words),
    "commands": (ROOT / "docs/reference/cli.md", cli_reference.commands),
    "rollout spec": (ROOT / "docs/reference/rollout-spec.md", rollouts.spec),
    "phases": (ROOT / "docs/reference/phases.md", rollouts.phases),
    "rollout words": (ROOT / "docs/reference/phases.md", rollouts.words),
    "rollout moves": (ROOT / "docs/reference/phases.md", rollouts.causes),
}


def rewritten(name: str) -> tuple[str, str]:
    """The page with this part as it is, and as it ought to be. Raises LookupError when the page has no place for it."""
    page, write = PARTS[name]
    text = page.read_text()
    pattern = re.compile(MARKED.format(name=re.escape(name)), re.DOTALL)
    if not pattern.search(text):
        raise LookupError(f"{page.name} has no part '<!-- generated: {name} -->'")
    return text, pattern.sub(lambda found: f"{found[1]}\n{write()}\n\n{found[2]}", text)


def rollout_schema() -> str:
    """JSON Schema of a rollout's document, for editors."""
    return json.dumps(spec.schema(), indent=2) + "\n"


def main() -> None:
    SCHEMA.write_text(rollout_schema())
    for name, (page, _) in PARTS.items():
        _, text = rewritten(name)
        page.write_text(text)


if __name__ == "__main__":
    main()

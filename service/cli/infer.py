"""`serin infer`: one request to any running V2 server, from a file."""

import json
from collections.abc import Sequence
from math import prod
from typing import IO, Any
from urllib.parse import quote

import click
import httpx

from router.errors import FailedPrecondition, InvalidArgument, SerinError, Unavailable
from router.exchange import error_in, tls_trouble
from service.cli import options, output, tensors

Document = dict[str, Any]

SECONDS = 60.0
MAX_SHOWN = 10
MAX_ROWS = 100
HEADER = "Inference-Header-Content-Length"
SOURCE = click.File("rb")


@click.command()
@click.argument("model", metavar="MODEL[:VERSION]")
@click.option("--json", "json_file", type=SOURCE, metavar="FILE", help="A V2 request, rows, or values by input.")
@click.option("--csv", "csv_file", type=SOURCE, metavar="FILE", help="Rows, with or without a line of names.")
@click.option("--npy", "npy_file", type=SOURCE, metavar="FILE", help="An array of numpy, for the only input.")
@click.option("--key", metavar="KEY", help="Routing key, sent as Serin-Routing-Key.")
@click.option("--url", metavar="URL", help="Any V2 server, if not the gateway that settings say.")
@click.option("--output", "form", type=click.Choice(["table", "json"]), default="table", help="How to print.")
@options.config
@options.ca_file
@options.api_key_file
def infer(
    model: str,
    json_file: IO[bytes] | None,
    csv_file: IO[bytes] | None,
    npy_file: IO[bytes] | None,
    key: str | None,
    url: str | None,
    form: str,
    **flags: str | None,
) -> None:
    """Ask MODEL once, with the inputs of a file (- is standard input), and print what it answers.

    VERSION is a number or an alias; without it the server decides. A JSON file holds a V2 request as it is sent, the
    value of the only input, or an object with the value of each input. One row may stand without its outer brackets.
    """
    files = {"json": json_file, "csv": csv_file, "npy": npy_file}
    given = [(kind, file) for kind, file in files.items() if file is not None]
    if len(given) != 1:
        raise InvalidArgument("give one of --json, --csv and --npy")
    [(kind, file)] = given
    name, _, version = model.partition(":")
    path = f"/v2/models/{quote(name, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "")
    headers = {"Serin-Routing-Key": key} if key else {}
    with options.public_client(url, flags, SECONDS) as http:
        inputs = _ask(http, "GET", path).json().get("inputs") or []
        body, blob = _request(kind, file.read(), inputs)
        if blob and not _takes_binary(http):
            body, blob = tensors.as_numbers(body, blob), b""
        text = json.dumps(body).encode()
        headers["Content-Type"] = "application/octet-stream" if blob else "application/json"
        if blob:
            headers[HEADER] = str(len(text))
        told = _ask(http, "POST", f"{path}/infer", content=text + blob, headers=headers)
    if form == "json":
        output.emit(told.json())
    else:
        _show(told.json(), told.headers.get("serin-variant", ""))


def _request(kind: str, content: bytes, inputs: Sequence[Document]) -> tuple[Document, bytes]:
    if kind == "npy":
        return tensors.of_npy(content, inputs)
    return (tensors.of_json if kind == "json" else tensors.of_csv)(content, inputs), b""


def _takes_binary(http: httpx.Client) -> bool:
    return "binary_tensor_data" in (_ask(http, "GET", "/v2").json().get("extensions") or [])


def _ask(http: httpx.Client, method: str, path: str, **how: Any) -> httpx.Response:
    try:
        answer = http.request(method, path, **how)
    except httpx.HTTPError as error:
        if trouble := tls_trouble(error, http.base_url):
            raise Unavailable(f"{http.base_url}: {trouble}") from error
        raise Unavailable(
            f"nothing answers at {http.base_url} ({type(error).__name__}); give the address of a V2 server with --url"
        ) from error
    if answer.is_error:
        raise _refusal(answer)
    return answer


def _refusal(answer: httpx.Response) -> SerinError:
    """The error of an answer; other servers than ours say no code."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "code" not in body and (said := body.get("error") or body.get("detail")):
        return FailedPrecondition(f"{said} (status {answer.status_code})")
    return error_in(answer)


def _show(told: Document, variant: str) -> None:
    outputs = told["outputs"]
    version = told.get("model_version") or "?"
    also = f", variant {variant}" if variant and variant != version else ""
    output.say(f"{told['model_name']}:{version}{also}\n")
    lengths = {tuple(one["shape"][:1]) for one in outputs}
    if len(lengths) != 1 or lengths == {()}:
        whole = [(one["name"], one["datatype"], one["shape"], _shown(one["data"])) for one in outputs]
        output.table(["OUTPUT", "TYPE", "SHAPE", "VALUES"], whole, empty="There are no outputs.")
        return
    [(rows,)] = lengths
    shown = [[row, *(_shown(_row(one, row)) for one in outputs)] for row in range(min(rows, MAX_ROWS))]
    output.table([">ROW", *(one["name"] for one in outputs)], shown, empty="The answer has no rows.")
    if rows > MAX_ROWS:
        output.say(f"and {rows - MAX_ROWS} rows more; --output json has them all")


def _row(tensor: Document, row: int) -> list[Any]:
    width = prod(tensor["shape"][1:])
    return list(tensor["data"][row * width : (row + 1) * width])


def _shown(values: Sequence[Any]) -> str:
    words = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values[:MAX_SHOWN]]
    more = f" ... ({len(values)})" if len(values) > MAX_SHOWN else ""
    return " ".join(words) + more

"""`serin ready`: whether the gateway takes requests, for probes that can only run a command."""

import click
import httpx

from router.errors import Unavailable
from router.exchange import tls_trouble
from service.cli import options, output

SECONDS = 5.0


@click.command()
@click.option("--url", metavar="URL", help="Where clients reach the models, if not as settings say.")
@options.config
@options.ca_file
def ready(url: str | None, **flags: str | None) -> None:
    """Exit with 0 when the gateway is ready, with 1 when it is not, with 2 when nothing answers."""
    with options.public_client(url, flags, SECONDS) as http:
        try:
            answer = http.get("/v2/health/ready")
        except httpx.HTTPError as error:
            trouble = tls_trouble(error, http.base_url) or f"nothing answers ({type(error).__name__})"
            raise Unavailable(f"{http.base_url}: {trouble}") from error
    if answer.status_code != 200:
        output.complain("not ready")
        raise click.exceptions.Exit(1)
    output.say("ready")

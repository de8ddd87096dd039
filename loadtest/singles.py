"""`python -m loadtest.singles FOLDER URL`: send the folder with h2gate's client, a request for each file, no bundles.

`h2gate put` sends small files in bundles; this shows what HTTP/2 alone does for them.
"""

from __future__ import annotations

import asyncio
import sys

import click

from h2gate.client import Client


@click.command()
@click.option("--ca", required=True)
@click.option("--connections", type=int, default=1)
@click.option("--streams", type=int, default=34)
@click.argument("folder")
@click.argument("url")
def main(ca: str, connections: int, streams: int, folder: str, url: str) -> None:
    async def send() -> int:
        async with Client(url, ca=[ca], http="2", connections=connections, streams=streams, bundles=False) as gate:
            outcomes = await gate.put(folder)
        failures = [outcome for outcome in outcomes if outcome.error is not None]
        for failure in failures[:3]:
            click.echo(str(failure.error), err=True)
        return len(failures)

    sys.exit(1 if asyncio.run(send()) else 0)


if __name__ == "__main__":
    main()

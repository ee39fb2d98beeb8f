"""`python -m kubetune_operator`: one replica, until it is told to end."""

import asyncio
import signal
import sys

from kubetune_operator.application import Application
from kubetune_operator.machinery.connection import load_connection
from kubetune_operator.machinery.logs import configure
from kubetune_operator.settings import settings_from


def main() -> None:
    """The entry point."""
    settings = settings_from(sys.argv[1:])
    configure(settings)
    asyncio.run(_run(Application(settings, load_connection(None))))


async def _run(application: Application) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await application.run(stop)


if __name__ == "__main__":
    main()

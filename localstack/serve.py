"""Serves MiniStack on a Unix socket: python -I -u -c THIS SOCKET

`haven up` runs this script. The command of MiniStack listens on TCP, where every account of the machine could connect.
"""

import asyncio
import resource
import signal
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app


async def main(socket: str) -> None:
    config = Config()
    config.bind = [f"unix:{socket}"]
    config.umask = 0o077
    # The front closes unused connections first.
    config.keep_alive_timeout = 3600
    config.accesslog = None
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    await serve(app, config, shutdown_trigger=stop.wait)


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
asyncio.run(main(sys.argv[1]))

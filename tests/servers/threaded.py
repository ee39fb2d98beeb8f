"""What the stand-ins that run in the tests' own process share: a server in a thread, most on a loopback port."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Self


class ThreadedServer:
    """Answers between `start` and `stop`, or as long as its `with` lasts."""

    def listen(
        self, handler: type[BaseHTTPRequestHandler], *, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        """Takes a free port, by TLS where there is a certificate; nothing is answered yet."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.serve(server)

    def serve(self, server: ThreadingHTTPServer | ThreadingUnixStreamServer) -> None:
        """Takes a server that has its address; nothing is answered yet."""
        self._server = server
        # A connection that is still open must not keep the tests from ending.
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; the port refuses connections from here on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

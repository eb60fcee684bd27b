"""Serves the operator's page: one HTML file, and a websocket that tells the node's state and takes a few words.

Whoever has the address with its token can enable the policy. So it listens on this computer only unless told otherwise,
and a page of another site cannot connect even from the operator's own browser.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import secrets
import socket
import threading
import time
from collections import deque
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from robot_bridge.errors import UserError
from robot_bridge.node.policy_node import WORDS, PolicyNode
from robot_bridge.page.view import view

PERIOD = 0.2  # s between two messages to a page
PAGES = 8  # that may be open at a time
LINES = 30  # of what was said that are kept
LARGEST = 1024  # bytes of a message of a page


class OperatorPage:
    """The page of one node, in threads of its own.

    Attributes:
        url: where to open it, with the token.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080, token: str | None = None) -> None:
        """
        Args:
            host: address to listen on.
            port: 0 takes a free one.
            token: what the address must contain; default: a new one.

        Raises:
            UserError: the address cannot be had.
        """
        self._token = token or secrets.token_urlsafe(12)
        self._lines: deque[dict[str, object]] = deque(maxlen=LINES)
        self._open = threading.BoundedSemaphore(PAGES)
        self._node: PolicyNode | None = None
        try:
            self._server: Server = serve(
                self._tell,
                host,
                port,
                process_request=self._answer,
                max_size=LARGEST,
                compression=None,
                logger=_quiet(),
            )
        except OSError as error:
            raise UserError(f"--page: cannot listen on {host}:{port} ({error.strerror}): give another port") from error
        shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
        self.url = f"http://{shown}:{self._server.socket.getsockname()[1]}/?token={self._token}"
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()

    def show(self, node: PolicyNode) -> None:
        """From now on this node is shown, and obeys the buttons."""
        self._node = node

    def note(self, line: str) -> None:
        """Keep a line for the page's list of what happened."""
        self._lines.append({"time": time.strftime("%H:%M:%S"), "text": line})

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    # Requests ---------------------------------------------------------------------------------------------------------

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """An HTTP answer, or None to go on with the websocket."""
        url = urlsplit(request.path)
        given = parse_qs(url.query).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return connection.respond(
                HTTPStatus.FORBIDDEN, "The address lacks the token that robot_bridge.run printed.\n"
            )
        if url.path == "/live":
            origin, host = request.headers.get("Origin"), request.headers.get("Host")
            if origin is not None and urlsplit(origin).netloc != host:
                return connection.respond(HTTPStatus.FORBIDDEN, "A page of another site may not connect.\n")
            return None
        if url.path == "/":
            return _html()
        return connection.respond(HTTPStatus.NOT_FOUND, "There is one page here: /\n")

    def _tell(self, connection: ServerConnection) -> None:
        """Tell a page the state until it goes; obey it."""
        if not self._open.acquire(blocking=False):
            connection.close(1013, "too many pages are open")
            return
        try:
            with contextlib.suppress(ConnectionClosed):
                answer = ""
                while True:
                    state = view(self._node) if self._node is not None else {"state": "starting", "reason": ""}
                    connection.send(json.dumps(state | {"lines": list(self._lines), "answer": answer}))
                    answer = self._obey(connection)
        finally:
            self._open.release()

    def _obey(self, connection: ServerConnection) -> str:
        """Wait a period for a word; what came of it, or nothing."""
        try:
            word = connection.recv(timeout=PERIOD)
        except TimeoutError:
            return ""
        if word not in WORDS or self._node is None:
            return "" if word == "" else "no such command"
        self.note(f"page: {word}")
        done, why = getattr(self._node, word)()
        answer = f"{word}: {'' if done else 'refused, '}{why}"
        if not done:
            self.note(answer)
        return answer


def _html() -> Response:
    body = (files("robot_bridge.page") / "page.html").read_bytes()
    headers = Headers(
        {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; img-src data:",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",  # the address holds the token
            "X-Frame-Options": "DENY",
            "Connection": "close",
        }
    )
    return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, headers, body)


def _quiet() -> logging.Logger:
    """Connections that break off are no news."""
    logger = logging.getLogger("robot_bridge.page.websockets")
    logger.setLevel(logging.CRITICAL)
    return logger

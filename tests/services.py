"""A service of somebody's, for tests: it says what it was told to say, and keeps what it was asked."""

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Service"]


class Service:
    """Somebody's service: says what it was told to say, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Any] = []  # in turn, the last one for ever: JSON, bytes, or a status
        self.asked: list[tuple[str, str, Mapping[str, str], Any]] = []
        self.slow_s = 0.0
        service = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("content-length", 0)))
                said = json.loads(data) if "json" in self.headers.get("content-type", "") else data.decode()
                service.asked.append((self.command, self.path, dict(self.headers), said))
                time.sleep(service.slow_s)
                answer = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
                answer = answer(self.path, said) if callable(answer) else answer
                status, body = (answer, b"the text was: Anna") if isinstance(answer, int) else (200, answer)
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

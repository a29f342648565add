"""A store on loopback, in a process of its own: `python store_servers.py s3|gs PORT FOLDER`.

Every request is a line of FOLDER/requests; while FOLDER/away exists, every answer is 503. The emulator of Google's store does
not know conditional create; what its documentation says of `ifGenerationMatch=0` is added here.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path

NEEDED = {"s3": ("s3fs", "moto", "flask", "flask_cors"), "gs": ("gcsfs", "gcp_storage_emulator")}
EXTRA = {"s3": "s3", "gs": "gcs"}


def absent(scheme: str) -> list[str]:
    return [module for module in NEEDED[scheme] if importlib.util.find_spec(module) is None]


def env_of(scheme: str, port: int) -> dict[str, str]:
    """What makes a client find the store at `port`."""
    at = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}
    return {"AWS_ENDPOINT_URL": at} | keys if scheme == "s3" else {"STORAGE_EMULATOR_HOST": at}


class Server:
    """One of the stores, with a bucket named `bucket`; `env` is what finds it."""

    def __init__(self, scheme: str, folder: Path) -> None:
        self.scheme, self.folder = scheme, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.env = env_of(scheme, port)
        command = [sys.executable, __file__, scheme, str(port), str(folder)]
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
        with (folder / "server.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | paths)
        self._wait(port)

    def requests(self) -> list[str]:
        file = self.folder / "requests"
        return file.read_text().splitlines() if file.exists() else []

    def away(self, yes: bool) -> None:
        (self.folder / "away").touch() if yes else (self.folder / "away").unlink()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _wait(self, port: int) -> None:
        end = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < end, "the store does not listen"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)


def serve_s3(port: int, folder: Path) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import run_simple

    emulator = DomainDispatcherApplication(create_backend_app)

    def app(environ, start):
        if (folder / "away").exists():
            start("503 Slow Down", [("Content-Length", "0"), ("Connection", "close")])
            return [b""]
        noted(folder, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        return emulator(environ, start)

    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket("bucket", "us-east-1")
    run_simple("127.0.0.1", port, app, threaded=True)


def serve_gs(port: int, folder: Path) -> None:
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    upload, handle = objects._multipart_upload, server.Router.handle

    def conditional(request, response, storage):
        if request.query.get("ifGenerationMatch") == ["0"]:
            try:
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return None
            except NotFound:
                pass
        return upload(request, response, storage)

    def counted(router, method):
        handler = router._request_handler
        if (folder / "away").exists():
            handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
            handler.send_error(503)
            return
        noted(folder, method, handler.path.partition("?")[0])
        handle(router, method)

    objects._multipart_upload, server.Router.handle = conditional, counted
    server.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket").run()


def noted(folder: Path, method: str, path: str) -> None:
    with (folder / "requests").open("a") as file:
        file.write(f"{method} {path}\n")


if __name__ == "__main__":
    {"s3": serve_s3, "gs": serve_gs}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))

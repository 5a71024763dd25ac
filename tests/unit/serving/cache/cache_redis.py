"""A real Redis of a test's own, in memory only."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any


class RedisServer:
    """`redis-server` in memory only."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.url = folder, port, f"redis://127.0.0.1:{port}/0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        binary = shutil.which("redis-server")
        assert binary, "install redis-server"
        quiet = ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        argv = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *quiet]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.url)

    def hang(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None:
            self.go_on()
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def everything(self) -> dict[bytes, bytes]:
        with self.client() as client:
            return {name: client.get(name) for name in client.scan_iter()}

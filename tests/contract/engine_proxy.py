"""Stands between a client and the engine's socket, so that a test can have the engine vanish."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class EngineProxy:
    """Forwards connections until it is told to `cut` or `freeze` those that there are."""

    def __init__(self, listening: Path, engine: Path) -> None:
        self.host = f"unix://{listening}"
        self._engine = engine
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._frozen: set[socket.socket] = set()
        self._cue = b""
        self._cued = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(listening))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def freeze(self) -> None:
        """Let nothing more through on the present connections; new ones work."""
        self._frozen = {end for pair in self._pairs for end in pair}

    def freeze_at(self, words: bytes) -> threading.Event:
        """As `freeze`, but at the first request with these words, which is not let through; set when it has come."""
        self._cue = words
        return self._cued

    @property
    def connections(self) -> int:
        """How many there have been since the last reset."""
        return len(self._pairs)

    def reset(self) -> int:
        """Close all connections there are, and tell how many; new ones are welcome."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _close(end)
        return len(pairs)

    def cut(self) -> None:
        """Close all connections, and take no new ones."""
        _close(self._listener)
        for pair in self._pairs:
            for end in pair:
                _close(end)

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._engine))
                self._pairs.append((client, server))
                for source, target in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._forward, args=(source, target)))
                    self._threads[-1].start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._cue and self._cue in data:
                    self._cue = b""
                    self.freeze()
                    self._cued.set()
                if source not in self._frozen:
                    target.sendall(data)
        if source not in self._frozen:
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def engine_proxy(folder: Path, host: str) -> Iterator[EngineProxy]:
    """Have one for a while, before the engine at `host` (a unix socket)."""
    proxy = EngineProxy(folder / "proxy.sock", Path(host.removeprefix("unix://")))
    try:
        yield proxy
    finally:
        proxy.close()

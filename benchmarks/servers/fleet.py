"""All servers of one run, each started once, when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from benchmarks.servers.kinds import (
    Place,
    start_litellm,
    start_llama,
    start_router,
    start_vllm,
    wait_for,
)
from benchmarks.servers.process import ServerProcess

PARTS = {
    "llama": ("llama",),
    "vllm": ("vllm",),
    "router": ("vllm", "router"),
    "litellm": ("vllm", "litellm"),
}
"""The servers, in the order in which they are used, and what must be installed for each."""
KEY = "sk-of-the-tests"
"""The key that each server asks for."""


class Fleet:
    """The servers of one run.

    A vLLM takes a minute to start. So the two of them start early, one after the other, while
    llama.cpp's server is used.
    """

    def __init__(self, place: Place, names: Sequence[str] = tuple(PARTS)) -> None:
        """Start the vLLMs that the named servers need."""
        self.place, self.names = place, names
        self._ready: dict[str, ServerProcess] = {}
        self._started: list[ServerProcess] = []
        self._starts = ThreadPoolExecutor(1)
        self._vllms: list[Future[ServerProcess]] = []
        for _ in range(self._num_vllms()):
            self._vllms.append(self._starts.submit(self._start_vllm))

    def why_missing(self, name: str) -> str:
        """Return why a server cannot be started; an empty text if it can."""
        reasons = (self.place.why_missing(part) for part in PARTS[name])
        return next((reason for reason in reasons if reason), "")

    def __getitem__(self, name: str) -> ServerProcess:
        """Return a server that is ready. Raises RuntimeError if it does not start."""
        if name not in self._ready:
            self._ready[name] = wait_for(name, self._start(name))
        return self._ready[name]

    def vllm(self, number: int) -> ServerProcess:
        """Return one of the router's two vLLMs. Number 0 is also `fleet["vllm"]`."""
        return self._vllms[number].result()

    def add(self, server: ServerProcess) -> ServerProcess:
        """Stop another server, too, at the end."""
        self._started.append(server)
        return server

    def stop(self) -> None:
        """Stop all servers."""
        self._starts.shutdown(wait=False, cancel_futures=True)
        for server in reversed(self._started):
            server.stop()

    def _num_vllms(self) -> int:
        needed = [name for name in self.names if "vllm" in PARTS[name]]
        if not needed or self.why_missing("vllm"):
            return 0
        return 2 if "router" in needed else 1

    def _start_vllm(self) -> ServerProcess:
        return wait_for("vllm", self.add(start_vllm(self.place, token=KEY)))

    def _start(self, name: str) -> ServerProcess:
        if name == "vllm":
            return self.vllm(0)
        if name == "llama":
            return self.add(start_llama(self.place, token=KEY))
        if name == "router":
            return self.add(start_router(self.place, [self.vllm(0), self.vllm(1)]))
        return self.add(start_litellm(self.place, self.vllm(0), KEY))

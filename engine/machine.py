"""How this process uses memory and processors. To be said before torch is first imported."""

import os


def configure_threads() -> None:
    """Let idle threads sleep, and large tensors lie in huge pages, unless the user said otherwise.

    OpenMP's threads otherwise spin after each operation, on a processor that an editor or a
    compiler may want: on a busy machine a product of matrices then takes up to 20 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

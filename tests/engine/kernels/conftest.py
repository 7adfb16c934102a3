"""A fixture that compiles Triton's kernels without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def compile_kernel(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return a function that compiles a kernel for GPUs of a capability."""
    triton: Any = pytest.importorskip("triton", reason="optional: needs Triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_kernel(
        function: Any, signature: dict[str, str], constants: dict[str, Any], **options: Any
    ) -> Any:
        kinds = {
            name: "constexpr" if name in constants else signature[name]
            for name in function.arg_names
        }
        aligned_arguments = [
            index
            for index, (name, kind) in enumerate(kinds.items())
            if kind[0] in "*i" and name not in function.do_not_specialize
        ]
        aligned = {(index,): [["tt.divisibility", 16]] for index in aligned_arguments}
        source = ASTSource(function, kinds, constants, aligned)
        return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)

    return compile_kernel

"""Exit with 0 if the installed torch is a build that needs CUDA's packages, with 1 if it is not."""

import sys
from importlib.metadata import requires

requirements = requires("torch") or []
sys.exit(not any(each.startswith(("nvidia-", "cuda-")) for each in requirements))

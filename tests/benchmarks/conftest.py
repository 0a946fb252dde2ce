"""The benchmarks are scripts beside the package: their folder goes on the path, as Python does for `run.py` itself."""

import sys
from pathlib import Path

# Behind everything else: other examples have a `run` as well.
sys.path.append(str(Path(__file__).parents[2] / "examples" / "benchmarks"))

"""The scripts in examples/ as modules, for tests of what they do."""

import importlib.util
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"


def example_script(name: str) -> ModuleType:
    """The script `name` below examples/, such as "train_starter/decoder.py", without running it."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

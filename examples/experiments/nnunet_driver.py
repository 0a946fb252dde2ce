"""One of nnU-Net's commands in this process: `python nnunet_driver.py plan|preprocess|train|predict ARGUMENTS...`.

The commands are nnU-Net's own. What stands before them is for machines on which a CPU build of torch lies beside a CUDA
build of torchvision: `import torchvision` then fails over operators that it registers in a library it cannot load, and
every trainer but nnU-Net's plain one fails with it. nnU-Net needs none of these operators, so declaring them is enough.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch


def declare_torchvision_operators() -> torch.library.Library | None:
    """Let `import torchvision` pass; keep what this returns. None where nothing has to be declared."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return None
    half_imported = [name for name in sys.modules if name.split(".")[0] == "torchvision"]
    for name in half_imported:
        del sys.modules[name]
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return declared


def entry_point(command: str) -> Callable[[], None]:
    """The function behind one of nnU-Net's commands, which reads sys.argv."""
    # Each import takes seconds, and prints.
    if command in ("plan", "preprocess"):
        from nnunetv2.experiment_planning import plan_and_preprocess_entrypoints as entries

        return entries.plan_and_preprocess_entry if command == "plan" else entries.preprocess_entry
    if command == "train":
        from nnunetv2.run.run_training import run_training_entry

        return run_training_entry
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point

    return predict_entry_point


# nnU-Net starts processes that import this file again.
if __name__ == "__main__":
    declared = declare_torchvision_operators()
    entry = entry_point(sys.argv[1])
    sys.argv = sys.argv[1:]
    entry()

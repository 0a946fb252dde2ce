"""nnU-Net's own commands, for tests: `python nnunet_driver.py plan|train|predict ARGUMENTS...`.

They start behind a mend for machines that pair a CPU build of torch with a CUDA build of torchvision: there
`import torchvision` stops at an operator that is declared in a library which cannot be loaded, and timm, and with it
every nnU-Net trainer but the plain one, stop with it. Declaring the two operators is enough, for nnU-Net calls neither.
Trainers in tests/nnunet/trainers can be named with -tr.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

TRAINERS = Path(__file__).parent / "nnunet" / "trainers"


def mend_torchvision() -> torch.library.Library | None:
    """Make `import torchvision` work; returns what has to be kept alive for that, None where nothing was wrong."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401

        return library
    return None


def main(command: str, arguments: list[str]) -> None:
    """Run one of nnU-Net's commands in this process."""
    os.environ.setdefault("nnUNet_extTrainer", str(TRAINERS))
    library = mend_torchvision()
    sys.argv = [command, *arguments]
    if command == "plan":
        from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry as entry
    elif command == "train":
        from nnunetv2.run.run_training import run_training_entry as entry
    elif command == "predict":
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point as entry
    else:
        raise SystemExit(f"{command} is none of plan, train, predict")
    entry()
    del library


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

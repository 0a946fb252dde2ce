#!/usr/bin/env bash
# Train the starter weights from the scans in DATA (folders oasis/, brats/, synthseg/). Stop it at any time; the same
# command goes on. Two CPU cores need some hours, a GPU some minutes.
#
#     examples/train_starter/run.sh DATA WORK [options of both trainings, such as --start-from default]
#     PRESET=starter-gpu examples/train_starter/run.sh DATA WORK
set -euo pipefail
data=$1 work=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
python "$here/people.py" "$data" "$work/people.tsv"
brainspade prepare "$work/people.tsv" "$work/slices" --jobs 2
brainspade train-labels "$work/slices" --out "$work/weights" --preset "${PRESET:-starter}" --population both --resume "$@"
brainspade train-images "$work/slices" --out "$work/weights" --preset "${PRESET:-starter}" --resume "$@"
brainspade weights info --weights "$work/weights"

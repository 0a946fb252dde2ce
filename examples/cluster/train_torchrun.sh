#!/bin/bash
#SBATCH --job-name=brainspade-train
#SBATCH --nodes=1
#SBATCH --gres=gpu:2
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#
# Both trainings on several GPUs of one machine, or several processes of a CPU; under SLURM or without it.
#
#   export SLICES=slices WEIGHTS=weights PRESET=paper PROCESSES=2
#   sbatch train_torchrun.sh             or: bash train_torchrun.sh
#
# PROCESSES has to divide the batch sizes of the preset (2 does in all of them): a batch is split between the processes,
# so that their number changes how fast a training runs and not what it learns. Ask SLURM above for as many GPUs. Two
# minutes before its time is up, SLURM tells this script, which tells torchrun, and a checkpoint is saved: torchrun gives
# processes 30 seconds for it. Submit the same script again, and it goes on from there. WEIGHTS must be a folder that all
# processes share.

set -euo pipefail

PRESET="${PRESET:-starter}"
PROCESSES="${PROCESSES:-2}"

# Threads that spin while they wait would take the cores from the other processes.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=PASSIVE

training=
trap '[ -z "$training" ] || kill -TERM "$training"' TERM
for command in train-labels train-images; do
    torchrun --standalone --nproc-per-node "$PROCESSES" --no-python \
        brainspade "$command" "$SLICES" --out "$WEIGHTS" --preset "$PRESET" --resume "$@" &
    training=$!
    # A signal ends the first wait, and torchrun, when it has saved, the second.
    wait "$training" || wait "$training"
done

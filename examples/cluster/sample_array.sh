#!/bin/bash
#SBATCH --job-name=brainspade
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A-%a.log
#
# One dataset by a SLURM array job: every task makes one shard of it, in any order, without waiting for another.
#
#   export STYLE=flair.nii.gz N=20000 OUT=nnUNet_raw/Dataset501_brainspade
#   sbatch sample_array.sh               all shards; the task that ends last finishes the dataset
#   sbatch sample_array.sh --tumour      what stands behind goes to `brainspade sample`: options, and further styles
#   sbatch --array=3,5 sample_array.sh   again for tasks that failed: each goes on where it was cut off
#
# Activate the environment that has brainspade before you submit, or in a line of your own here.
#
# SHARDS stays the number of tasks of the whole array. Without --shard, `brainspade sample` takes its shard from SLURM's
# variables: task SLURM_ARRAY_TASK_ID of those from SLURM_ARRAY_TASK_MIN to SLURM_ARRAY_TASK_MAX. That is right for a
# whole array only. Of `--array=3` it would make shard 0 of 1, the whole run; numbers with gaps, as of `--array=3,5`, it
# refuses.

set -euo pipefail

SHARDS="${SHARDS:-8}"

# "exec" hands SLURM's signals to brainspade. A task that is killed loses the blocks of 8 pairs in the making, one a
# thread, or two to four of 64 on a GPU, and nothing else. A GPU draws whole blocks of 64 labels: give each task some
# hundred pairs.
exec brainspade sample --style "$STYLE" --n "$N" --out "$OUT" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" "$@"

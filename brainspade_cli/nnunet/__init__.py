"""nnU-Net v2 raw datasets: written (`raw`), read (`dataset`), checked (`check`), merged and relabelled (`export`)."""

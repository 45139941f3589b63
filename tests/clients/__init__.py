"""Real clients, set up by what `iclient-proxy env` prints and by nothing else."""

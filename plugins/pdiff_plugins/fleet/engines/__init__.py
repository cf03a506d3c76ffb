"""What runs workers: this machine, Slurm, Ray."""

"""Many runs: Hydra's multirun with a sweeper and launchers of the lab."""

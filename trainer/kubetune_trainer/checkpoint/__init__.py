"""Checkpoints: what a training goes on from after its process has died, in the store."""

"""What the three trainers share: devices, the loop, checkpoints and progress."""

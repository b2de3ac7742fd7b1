"""The parts of the Trainer."""

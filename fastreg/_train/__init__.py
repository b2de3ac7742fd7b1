"""What the Trainer is made of."""

"""What every family stands on: the compiled kernels, checks of arguments, layers, seeds."""

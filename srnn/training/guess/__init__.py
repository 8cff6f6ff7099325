"""Where the weights begin: what the data say before the first epoch."""

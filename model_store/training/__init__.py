"""Training: the spec table as a torch network, and what turns images into weights for it. Needs the `train` extra."""

"""What the command line does besides serving: build, pull, and the client commands."""

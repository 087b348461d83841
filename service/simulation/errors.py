"""What keeps a simulation from being run."""


class SimulationError(Exception):
    """Nothing can be simulated; one line says why."""

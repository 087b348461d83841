"""The HTTP edge: FastAPI routes that convert requests and answers, and decide nothing."""

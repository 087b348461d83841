"""`python -m service`: the same as the console script `effserve`."""

from service.cli import main

main()

"""`python -m service.workers CONTROL CONNECTIONS`: a worker, on two sockets that the supervisor left open."""

import socket
import sys

from service.workers.member import main

main(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))

"""The one port that people know."""

import os
import socket

from upwell.servers.processes import free_port
from upwell_shared.errors import UpwellError


class PortTaken(UpwellError):
    """Somebody else listens on the gateway's port: take another with --port."""


def port_to_listen_on(wanted: int) -> int:
    """`wanted`, if one can listen on it now, or any for 0. Raises PortTaken."""
    if wanted == 0:
        return free_port()
    try:
        socket.create_server(("127.0.0.1", wanted)).close()
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise PortTaken(f"cannot listen on port {wanted}, {why}: take another with --port") from error
    return wanted

"""The servers that are compared; `catalogue` lists them all, with what each promises of a file that it has answered."""

from loadtest.peers.base import (
    LOOPBACK,
    REPOSITORY,
    Certificates,
    Peer,
    PeerFailed,
    PeerMissing,
    free_port,
    make_certificates,
    serving,
)
from loadtest.peers.native import apache, nginx, rclone
from loadtest.peers.ours import h2gate
from loadtest.peers.scripted import granian, gunicorn, hypercorn, tus

__all__ = [
    "LOOPBACK",
    "REPOSITORY",
    "Certificates",
    "Peer",
    "PeerFailed",
    "PeerMissing",
    "apache",
    "free_port",
    "granian",
    "gunicorn",
    "h2gate",
    "hypercorn",
    "make_certificates",
    "nginx",
    "rclone",
    "serving",
    "tus",
]

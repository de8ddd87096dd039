"""`python -m loadtest.hostile NAME PORT CA N SECONDS`: an attack on a gateway of this machine, N times at once.

Each begins again as soon as it has ended. It stops when it is told to, and after SECONDS in any case.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from loadtest.hostile import catalogue
from loadtest.hostile.foe import Enemy, Target


def main(name: str, port: str, ca: str, n_at_once: str, seconds: str) -> None:
    attack = catalogue.find(name)
    target = Target("localhost", int(port), Path(ca))
    for _ in range(int(n_at_once)):
        threading.Thread(target=_go_on, args=(attack, target), daemon=True).start()
    print("begun", flush=True)
    time.sleep(float(seconds))


def _go_on(attack: catalogue.Attack, target: Target) -> None:
    while True:
        try:
            attack.run(Enemy(target))
        except OSError:  # refused, timed out, or reset: what an attacker must expect
            time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])

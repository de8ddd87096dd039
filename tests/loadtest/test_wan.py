"""The wide-area link does what it is asked to, and is gone afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.processes import end, wait_until
from loadtest.selfcheck import check
from loadtest.wan import Link, LinkUnavailable, why_not

reason = why_not()
needs_link = pytest.mark.skipif(reason is not None, reason=str(reason))


def is_here(address: str) -> bool:
    """Whether a device of this machine has it; other links may come and go beside it."""
    with socket.socket() as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
        return True


@needs_link
@pytest.mark.parametrize(("rtt_ms", "mbit"), [(20.0, 100.0), (50.0, 300.0)])
def test_round_trip_and_rate_are_those_asked_for(rtt_ms: float, mbit: float) -> None:
    with Link(rtt_ms=rtt_ms, mbit=mbit, seconds=60) as link:
        findings = check(link)
    assert [str(finding) for finding in findings if not finding.within(0.2)] == []


@needs_link
def test_packets_are_lost_as_often_as_asked_for() -> None:
    with Link(rtt_ms=10, mbit=200, loss_percent=2, seconds=60) as link:
        findings = check(link)
    assert [str(finding) for finding in findings if not finding.within(0.2)] == []
    assert link.counts["lost"] > 0


@needs_link
def test_two_links_at_once_are_strangers_and_both_are_gone_afterwards() -> None:
    with Link(rtt_ms=1, mbit=100) as one, Link(rtt_ms=1, mbit=100) as other:
        near = (one.near_address, other.near_address)
        assert len({*near, one.far_address, other.far_address}) == 4
        assert all(map(is_here, near))
    wait_until(lambda: not any(map(is_here, near)), "the devices are gone", seconds=5)


@needs_link
def test_what_runs_far_sees_only_the_far_host() -> None:
    with Link(rtt_ms=1, mbit=100) as link:
        done = link.run_far(["ip", "-json", "address"], capture_output=True, check=True, timeout=10)
        seen = {address["local"] for each in json.loads(done.stdout) for address in each["addr_info"]}
        assert link.far_address in seen
        assert link.near_address not in seen


@needs_link
def test_what_still_runs_far_is_ended_with_the_link() -> None:
    with Link(rtt_ms=1, mbit=100) as link:
        process = link.popen_far(["sleep", "60"])
    assert process.poll() is not None


@needs_link
def test_a_killed_owner_leaves_no_link_behind() -> None:
    script = (
        "import sys\nfrom loadtest.wan import Link\n"
        "with Link(rtt_ms=1, mbit=100) as link:\n    print(link.near_address, flush=True)\n    sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert owner.stdout is not None
        address = owner.stdout.readline().decode().strip()
        assert is_here(address)
        os.kill(owner.pid, signal.SIGKILL)
        wait_until(lambda: not is_here(address), "the device is gone", seconds=5)
    finally:
        end(owner)
        owner.communicate()


def test_without_root_the_refusal_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LinkUnavailable, match="needs root"), Link(rtt_ms=1, mbit=1):
        pass

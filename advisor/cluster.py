"""Joining a Ray cluster, or starting one on this machine. Ray is imported where it is asked for alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from advisor.errors import ClusterError

OBJECT_BYTES = 512 * 2**20  # of a cluster started here: studies and checkpoints pass through, few at a time
SECONDS = 10.0  # for a cluster to answer
OBJECT_SHARE = 4  # one part of so many of the free memory at most


@contextmanager
def cluster(address: str | None, *, cpus: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected; disconnected at the end, where the connection was made here.

    Args:
        address: "auto" or HOST:PORT of a cluster that this machine belongs to; None starts one on this machine, which
            ends with this process, however it ends.
        cpus: that a cluster started here may give out; all cores otherwise.

    Raises:
        ClusterError: ray is not installed, or nothing answers at the address.
    """
    check_address(address)
    if address not in (None, "auto"):
        _reach(str(address))
    import ray

    if ray.is_initialized():  # by whoever called us
        yield ray
        return
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    if address is None:
        import psutil

        free = psutil.virtual_memory().available
        options["object_store_memory"] = max(min(OBJECT_BYTES, free // OBJECT_SHARE), 80 * 2**20)
        options["num_cpus"] = cpus
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked to tell anyone
    else:
        options = {"log_to_driver": False, "configure_logging": False, "address": address}
    try:
        ray.init(**options)
    except Exception as error:  # Ray has no common base for what may go wrong here
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        where = f"no Ray cluster at {address!r}" if address is not None else "Ray does not start on this machine"
        raise ClusterError(f"{where}: {reason}; see ray status, or use --engine local") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray tries for many minutes to reach a machine that is not there."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address!r} ({getattr(error, 'strerror', None) or error}); give HOST:PORT as "
            "ray status shows it, or auto, or use --engine local"
        ) from error


def check_address(address: str | None) -> None:
    """Refuses what can be known without connecting.

    Raises:
        ClusterError: ray is not installed, or the address is of another kind.
    """
    if address is not None and address.startswith("ray://"):
        raise ClusterError(
            f"address {address!r} is of Ray Client, through which work cannot tell how far it is; run this on a "
            "machine of the cluster (ray start --address=HOST:PORT) with --address auto, or submit it as a Ray job"
        )
    if find_spec("ray") is None:
        raise ClusterError(
            "engine 'ray': ray is not installed; run pip install 'sparsity-advisor[ray]', or use --engine local"
        )

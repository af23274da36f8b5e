"""Which devices a cluster has, and what their profiles are called."""

from typing import Any

import pytest

from advisor.devices.spread.cluster import Place, file_names, places
from advisor.errors import ClusterError


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


def test_a_cpu_is_a_whole_node_and_every_gpu_a_device() -> None:
    nodes = [node("a", CPU=8), node("b", CPU=16, GPU=2), node("head", memory=1.0), node("gone", alive=False, CPU=4)]
    assert places(nodes, "cpu") == (Place(node="a", cpus=8, gpus=0), Place(node="b", cpus=16, gpus=0))
    assert places(nodes, "cuda") == (Place(node="b", cpus=0, gpus=1),) * 2


def test_no_such_device() -> None:
    with pytest.raises(ClusterError, match="none of the cluster's 1 machines has a cuda to profile"):
        places([node("a", CPU=8)], "cuda")


@pytest.mark.parametrize(
    ("devices", "names"),
    [
        ([("Intel(R) Xeon(R) CPU @ 2.80GHz", "one")], ("intel-xeon-cpu-2-80ghz",)),
        ([("A", "one"), ("B", "one")], ("a", "b")),
        ([("A", "one"), ("A", "two")], ("a-one", "a-two")),
        ([("A", "one"), ("A", "one")], ("a-1", "a-2")),
        ([("A", "one"), ("A", "two"), ("A", "two"), ("B", "two")], ("a-one", "a-two-1", "a-two-2", "b")),
        ([("", "")], ("device",)),
    ],
)
def test_names_tell_devices_apart(devices: list[tuple[str, str]], names: tuple[str, ...]) -> None:
    assert file_names(devices) == names

"""A real Ray cluster on this machine, of two nodes with one CPU each: trials and profiles on it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import advisor
from advisor.cli import run
from advisor.cluster import cluster
from advisor.commands.network import open_network
from advisor.errors import ClusterError
from tests.validation.conftest import TINY
from tests.validation.engines.conftest import MORTAL, numbers
from validation.engines import EngineOptions
from validation.study import Wish, validate

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    try:
        nodes = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        nodes.add_node(**node)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("Ray gives its nodes 30 s to start, and this machine is too busy for that")
    nodes.wait_for_nodes(timeout=120)
    yield nodes.address
    nodes.shutdown()


@pytest.mark.timeout(600)
def test_a_worker_killed_in_mid_trial_leaves_no_trace_in_the_report(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import validation.study

    timed = validation.study.time_all
    monkeypatch.setattr("validation.study.time_all", lambda *a, **k: timed(*a, **k, seconds=0.05))
    (tmp_path / "mortal.py").write_text(MORTAL)
    model = f"{tmp_path / 'mortal.py'}:mortal"
    plan = advisor.plan(open_network(model, None, device="cpu"), budgets={"macs": "40%"}, patterns=["channel"])
    wish = Wish(model=model, plan=plan, out=tmp_path / "whole", epochs=3, baselines=("uniform",), threads=1)
    wish = replace(wish, train_size=256, test_size=60)
    whole = validate(wish, shown=False)
    (tmp_path / "kill").touch()
    options = EngineOptions(name="ray", workers=2, address=address)
    survived = validate(replace(wish, out=tmp_path / "out", engine=options), shown=False)
    assert not (tmp_path / "kill").exists()
    assert "its worker died (WorkerCrashedError" in capfd.readouterr().err
    assert numbers(survived["runs"]) == numbers(whole["runs"])
    assert [item["confidence_interval"] for item in survived["summary"]] == [
        item["confidence_interval"] for item in whole["summary"]
    ]
    assert survived["verdict"]["text"] == whole["verdict"]["text"]
    assert survived["settings"] | {"latency": ""} == whole["settings"] | {"latency": ""}
    assert "--engine ray --workers 2" in survived["command"]
    left = sorted(path.name for path in (tmp_path / "out" / "runs").iterdir())
    assert left == sorted(f"{one['plan']}-{one['seed']}.json" for one in whole["runs"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_node_gets_a_profile(address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from advisor.devices.profile import load_profile

    (tmp_path / "tiny.py").write_text(TINY)
    arguments = ["profile", f"{tmp_path / 'tiny.py'}:build", "--budget-seconds", "5", "--patterns", "channel"]
    assert run([*arguments, "--engine", "ray", "--address", address, "--out", str(tmp_path / "profiles")]) == 0
    out, err = capfd.readouterr()
    made = sorted((tmp_path / "profiles").iterdir())
    assert len(made) == 2
    for path in made:
        profile = load_profile(path)
        assert profile.name == path.stem
        assert profile.settings.threads == 1, "as many as the node has"
        assert profile.measurements
        assert str(path) in out
    assert err.count("wrote ") == 2


def test_a_run_that_no_machine_has_room_for(address: str, tmp_path: Path) -> None:
    from validation.engines.on_ray import check_room

    with cluster(address) as ray:
        check_room(ray, cpus=1, gpus=0, ours=False)
        with pytest.raises(ClusterError, match=r"a run takes 2 CPUs .* the machines of the cluster have 1 CPUs"):
            check_room(ray, cpus=2, gpus=0, ours=False)
        with pytest.raises(ClusterError, match=r"0\.25 GPUs"):
            check_room(ray, cpus=1, gpus=0.25, ours=True)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.0.0.1", "127.0.0.1:one"])
def test_nobody_at_an_address(text: str) -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster at '127.*use --engine local") as raised, cluster(text):
        pass
    assert "\n" not in str(raised.value)

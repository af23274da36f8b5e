"""A study packed and unpacked is the same study, or says why it is not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from advisor.errors import AdvisorError
from tests.validation.engines.conftest import Studies, job_of
from validation.engines import EngineOptions, Job
from validation.engines.parcel import DOCUMENT, pack, unfold, unpack
from validation.methods.registry import parse_methods
from validation.running.trials import contestant_digest


@pytest.fixture
def job(study_of: Studies, tmp_path: Path) -> Job:
    study = study_of("out")
    torch.save(study.build(5).state_dict(), tmp_path / "weights.pt")
    (method,) = parse_methods(("set@plan:drop=0.2",))
    own = study.contestants[1]
    return job_of(
        replace(
            study,
            checkpoint=tmp_path / "weights.pt",
            contestants=(*study.contestants, replace(own, label="plan+set", method=method)),
        ),
        EngineOptions(),
    )


def unpacked(job: Job, folder: Path, change: dict[str, object] | None = None):  # type: ignore[no-untyped-def]
    parcel = pack(job)
    if change:
        parcel[DOCUMENT] = json.dumps(json.loads(parcel[DOCUMENT]) | change).encode()
    unfold(parcel, folder)
    return unpack(folder, folder / "out")


def test_the_same_study_comes_out(job: Job, tmp_path: Path) -> None:
    study, counts = unpacked(job, tmp_path / "there")
    assert study.settings() == job.study.settings()
    assert (study.seeds, study.recipe, study.request) == (job.study.seeds, job.study.recipe, job.study.request)
    assert [contestant_digest(one) for one in study.contestants] == [
        contestant_digest(one) for one in job.study.contestants
    ]
    assert [one.label for one in study.contestants] == ["dense", "plan", "plan+set"]
    assert counts == job.counts
    assert study.checkpoint is not None
    assert study.checkpoint.read_bytes() == (tmp_path / "weights.pt").read_bytes()
    for name, tensor in study.build(3).state_dict().items():
        assert torch.equal(tensor, job.study.build(3).state_dict()[name])
    assert study.network is not None
    assert study.contestants[1].plan is not None
    assert study.contestants[1].plan.network is study.network


def test_a_users_model_travels_with_its_neighbours(study_of: Studies, tmp_path: Path) -> None:
    (tmp_path / "mortal.py").write_text((tmp_path / "mortal.py").read_text() + "\nimport beside_it\n")
    (tmp_path / "beside_it.py").write_text("x = 1\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "large.py").write_text("y = 1\n")
    job = job_of(study_of("out"), EngineOptions())
    parcel = pack(job)
    assert {name for name in parcel if name.startswith("source/")} == {"source/mortal.py", "source/beside_it.py"}
    there = tmp_path / "there"
    unfold(parcel, there)
    (tmp_path / "mortal.py").unlink()  # another machine does not have it
    (tmp_path / "beside_it.py").unlink()
    study, _ = unpack(there, there / "out")
    assert study.settings()["network"] == json.loads(parcel[DOCUMENT])["settings"]["network"]


def test_another_file_of_that_name_there_is_not_taken(study_of: Studies, tmp_path: Path) -> None:
    parcel = pack(job_of(study_of("out"), EngineOptions()))
    unfold(parcel, tmp_path / "there")
    (tmp_path / "mortal.py").write_text("raise RuntimeError\n")
    unpack(tmp_path / "there", tmp_path / "there" / "out")


def test_too_much_beside_a_model_is_refused(study_of: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(study_of("out"), EngineOptions())
    monkeypatch.setattr("advisor.sources.MAX_BYTES", 100)
    with pytest.raises(AdvisorError, match="a folder of its own"):
        pack(job)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"versions": {"torch": "1.0"}}, r"torch .* is installed, the validation was started with 1\.0; install that"),
        ({"labels": "0" * 16}, "labels is .* here, 0{16} where the validation was started"),
    ],
)
def test_another_machine_that_is_not_alike_is_refused(
    change: dict[str, object], said: str, study_of: Studies, tmp_path: Path
) -> None:
    with pytest.raises(AdvisorError, match=said):
        unpacked(job_of(study_of("out"), EngineOptions()), tmp_path / "there", change)


def test_a_factory_that_builds_something_else_there_is_refused(study_of: Studies, tmp_path: Path) -> None:
    parcel = pack(job_of(study_of("out"), EngineOptions()))
    unfold(parcel, tmp_path / "there")
    shutil.rmtree(tmp_path / "out")
    source = tmp_path / "there" / "source" / "mortal.py"
    source.write_text(source.read_text().replace("bias=False", "bias=True"))
    (tmp_path / "mortal.py").unlink()
    with pytest.raises(AdvisorError, match=r"network is .* model and data must be the same on every machine"):
        unpack(tmp_path / "there", tmp_path / "there" / "out")


def test_a_study_that_does_not_know_its_data_stays_here(study_of: Studies) -> None:
    with pytest.raises(ValueError, match="request"):
        pack(job_of(replace(study_of("out"), request=None), EngineOptions()))

"""Both criteria flag exactly the filters that they should, and what is found is written down."""

import dataclasses
import json
import math
from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import load
from torch import nn

import advisor
from advisor.errors import AdvisorError, PlanError
from advisor.models import load_model
from tests.plans.samples import plan_of
from tests.validation.methods.filters.nets import IMAGE, Dense, Mobile, Residual, built, dead, vgg
from tests.validation.methods.runs import run_of
from validation.methods.filters.detector import inspect, universality
from validation.methods.filters.method import FILE, WEIGHTS, FilterDetector, FilterSettings
from validation.methods.filters.restore import restored
from validation.methods.filters.sites import filter_sites
from validation.methods.registry import METHODS, parse_methods

X = torch.randn((32, *IMAGE[1:]), dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def batches():
    return iter(X.split(10))


def one_convolution(dtype: torch.dtype, gamma: list[float], beta: list[float]) -> nn.Module:
    module = nn.Sequential(
        nn.Conv2d(3, len(gamma), 1), nn.BatchNorm2d(len(gamma)), nn.ReLU(), nn.Conv2d(len(gamma), 2, 1)
    )
    module = module.to(dtype).eval()
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor(gamma))
        module[1].bias.copy_(torch.tensor(beta))
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_criterion_flags_exactly_its_filters(dtype: torch.dtype) -> None:
    # The threshold itself is not below it; sign does not matter; a constant of 0.7 is active; one far below 0 is not.
    gamma = [0.5, 1e-3, -1e-3, 9.99e-4, -1e-4, 0.0, 0.0, 1.0, 1e-2]
    beta = [0.0, 0.0, 0.0, 0.0, 0.0, 0.7, -0.7, -100.0, 0.0]
    module = one_convolution(dtype, gamma, beta)
    if dtype == torch.float64:
        with torch.no_grad():
            module[1].weight.copy_(torch.tensor(gamma, dtype=dtype))
    sites = filter_sites(advisor.analyze(module, torch.zeros(IMAGE, dtype=dtype)))
    first, last = inspect(module, sites, [X.to(dtype)])
    assert first.by_scale.nonzero().flatten().tolist() == [3, 4, 5, 6]
    assert first.by_activation.nonzero().flatten().tolist() == [6, 7]
    assert first.largest[5].item() == pytest.approx(0.7)
    assert (last.scale, last.filters, int(last.by_scale.sum())) == (None, 2, 0)
    strict = inspect(module, sites, [X.to(dtype)], gamma=2e-3, activation=0.8)[0]
    assert strict.by_scale.nonzero().flatten().tolist() == [1, 2, 3, 4, 5, 6]
    assert 5 in strict.by_activation.nonzero().flatten().tolist()


def test_universality_is_the_share_of_images_on_which_a_filter_fires() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 1, 1)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1))
        module[0].bias.zero_()
    images = torch.zeros(8, 1, 2, 2)
    images[:4, 0, 0, 0] = torch.tensor([1.0, 0.5, 2e-3, 1e-3])  # the last is not above 1e-3 of the largest
    images[4, 0, 1, 1] = -3.0
    sites = filter_sites(advisor.analyze(module, (8, 1, 2, 2)))
    found = inspect(module, sites, [images])
    shares = universality(module, found, iter([images[:3], images[3:]]))
    assert shares["0"].tolist() == [3 / 8, 1 / 8, 0.0]
    assert found[0].by_activation.tolist() == [False, False, True]


@pytest.mark.parametrize(("spec", "filters"), [("zoo:basicnet", 1856), ("torchvision:vgg16_bn", 4224)])
def test_published_totals(spec: str, filters: int) -> None:
    loaded = load_model(spec, input_text="1x3x32x32")
    sites = filter_sites(advisor.analyze(loaded.module, loaded.example_inputs))
    assert sum(site.layer.out_channels for site in sites) == filters
    assert all(site.norm is not None for site in sites)
    assert all(len(site.activation) == 1 for site in sites)


def test_sites_on_branches() -> None:
    network = advisor.analyze(built(Residual), torch.zeros(IMAGE, dtype=torch.float64))
    found = {site.layer.name: (site.norm, len(site.activation)) for site in filter_sites(network)}
    assert found == {"stem": ("norm", 1), "a": ("norm_a", 1), "b": ("norm_b", 0), "last": (None, 1)}
    network = advisor.analyze(built(Dense), torch.zeros(IMAGE, dtype=torch.float64))
    found = {site.layer.name: (site.norm, len(site.activation)) for site in filter_sites(network)}
    assert found == {"stem": (None, 0), "a": (None, 0), "b": (None, 0)}


def test_activations_that_no_module_makes_are_looked_at_all_the_same() -> None:
    """Mobile calls `relu` on tensors; its last filters have none, and a norm may activate by itself."""
    timm = pytest.importorskip("timm.layers")
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), timm.BatchNormAct2d(4), nn.Conv2d(4, 3, 1), nn.PReLU(3), nn.Conv2d(3, 2, 1)
    )
    module = module.double().eval()
    dead(module, {"1": [2]}, shift=-0.5)
    network = advisor.analyze(module, torch.zeros(IMAGE, dtype=torch.float64))
    sites = filter_sites(network)
    assert [(site.at, len(site.activation)) for site in sites] == [("1", 0), ("2", 1), ("4", 0)]
    seen = inspect(module, sites, batches())
    with torch.no_grad():
        wanted = [module[:2](X), module[:4](X), module(X)]
    for one, activations in zip(seen, wanted, strict=True):
        torch.testing.assert_close(one.largest, activations.abs().amax((0, 2, 3)).float())
    assert seen[0].by_activation.tolist() == [False, False, True, False]


def test_removal_at_the_end_changes_no_output() -> None:
    module = dead(vgg(), {"1": [1, 4], "4": [2]}, shift=0.7)
    with torch.no_grad():
        module[1].weight[1] = 1e-5  # all but zero: what it gives is all but its shift
        module[8].bias[3] = -50.0  # ReLU never lets it through
    network = advisor.analyze(module, torch.zeros(IMAGE, dtype=torch.float64))
    with torch.no_grad():
        before = module(X)
    detector = FilterDetector(module, network, batches, remove=True)
    assert detector.after_epoch() == {"filters": 19.0, "inactive_by_gamma": 3.0, "inactive_by_activation": 2.0}
    outcome = detector.finish()
    assert outcome.plan is not None
    assert outcome.numbers["removed_filters"] == 5  # one of layer 3 had died by itself
    assert outcome.numbers["params_after"] == sum(p.numel() for p in module.parameters())
    with torch.no_grad():
        change = (module(X) - before).abs().max().item()
    assert 0 < change < 1e-4
    assert change == pytest.approx(outcome.numbers["largest_change"], rel=1e-2)
    again = restored(outcome.plan, vgg(), load(outcome.files[WEIGHTS])).eval()
    torch.testing.assert_close(again(X), module(X), rtol=0, atol=1e-12)
    with pytest.raises(PlanError, match="the weights are not those of its network"):
        restored(outcome.plan, vgg(), load(outcome.files[WEIGHTS]) | {"12.bias": torch.zeros(2)})
    document = json.loads(outcome.files[FILE])
    assert document["totals"]["filters"] == 19
    first = document["layers"][0]
    assert (first["name"], first["norm"], first["inactive_by_gamma"]) == ("0", "1", [1, 4])
    assert document["layers"][2]["inactive_by_activation"] == [3]
    assert document["layers"][2]["universality"][3] == 0
    assert all(len(layer["universality"]) == layer["filters"] for layer in document["layers"])


@pytest.mark.parametrize(
    ("by", "removed"), [("gamma", {"0": [0, 2, 3, 5, 6, 7]}), ("activation", {"3": [1, 2, 3, 4, 5], "7": [0, 1, 2, 4]})]
)
def test_one_criterion_alone(by: str, removed: dict[str, list[int]]) -> None:
    module = dead(vgg(), {"1": [1, 4]}, shift=0.7)
    with torch.no_grad():
        module[8].bias[3] = -50.0
        before = module(X)
    network = advisor.analyze(module, torch.zeros(IMAGE, dtype=torch.float64))
    outcome = FilterDetector(module, network, batches, remove=True, by=by).finish()
    assert outcome.plan is not None
    for name, kept in removed.items():
        masks = outcome.plan.masks()[name].flatten(1).any(1)
        assert masks.nonzero().flatten().tolist() == kept
    with torch.no_grad():
        torch.testing.assert_close(module(X), before, rtol=0, atol=1e-10)


def test_what_cannot_go_is_said() -> None:
    module = dead(built(Mobile), {"norm_depth": [1]}, shift=0.3)
    network = advisor.analyze(module, torch.zeros(IMAGE, dtype=torch.float64))
    outcome = FilterDetector(module, network, batches, remove=True, by="gamma").finish()
    assert outcome.plan is None
    assert outcome.numbers["removed_filters"] == 0
    assert any("layer depth: 1 of the filters to remove stay: layer down reads it" in note for note in outcome.notes)
    healthy = vgg()
    network = advisor.analyze(healthy, torch.zeros_like(X))
    outcome = FilterDetector(healthy, network, batches, remove=True, by="gamma").finish()
    assert outcome.notes == ("no filter is inactive, so none was removed",)


def test_numbers_that_are_none_stay_out_of_the_file() -> None:
    module = vgg()
    with torch.no_grad():
        module[7].weight[0] = math.nan
    network = advisor.analyze(module, torch.zeros_like(X))
    outcome = FilterDetector(module, network, batches).finish()
    layer = json.loads(outcome.files[FILE])["layers"][2]
    assert layer["largest_activation"][0] is None
    assert layer["inactive_by_activation"] == []


def test_as_an_option_of_validate() -> None:
    (applied,) = parse_methods(("filters:remove=true,by=gamma,gamma=0.01",))
    assert applied.target == "dense"
    assert applied.settings == (FilterSettings(remove=True, by="gamma", gamma=0.01),)
    assert METHODS["filters"] is FilterSettings
    for wrong, message in {
        "filters:by=beta": "got by='beta', expected one of gamma, activation, either",
        "filters:images=-1": "got images=-1, expected 0 or more",
    }.items():
        with pytest.raises(AdvisorError, match=message):
            parse_methods((wrong,))
    linear = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(AdvisorError, match="no convolution"):
        FilterDetector(linear, advisor.analyze(linear, (1, 3)), batches)


def test_attached_to_a_run() -> None:
    module = vgg()
    network = advisor.analyze(module, torch.zeros_like(X))
    asked: list[tuple[int, int]] = []

    def sample(count: int, batch: int) -> Iterator[torch.Tensor]:
        asked.append((count, batch))
        yield X[:count]

    run = run_of(module, network, train_size=30, sample=sample)
    assert FilterSettings().attach(run).after_epoch()["filters"] == 19
    assert FilterSettings(images=12).attach(run).after_epoch()["filters"] == 19
    assert [count for count, _ in asked] == [30, 12]
    planned = dataclasses.replace(run, plan=plan_of(network, {}))
    assert FilterSettings().attach(planned).after_epoch()["filters"] == 19
    with pytest.raises(AdvisorError, match="write filters@dense:remove=true"):
        FilterSettings(remove=True).attach(planned)

import math
from itertools import pairwise

import numpy as np
import pytest

from advisor.devices.predicting.predict import Predictor, error_summary, interval
from advisor.network import Network
from advisor.runtime.execution import Execution
from tests.devices.synthetic import all_executions, measured, true_ms, widths


def split(network: Network, share: int, seed: int) -> tuple[list[Execution], list[Execution]]:
    """Executions seen (all dense layers and one in `share` of the rest, shuffled) and unseen."""
    dense = all_executions(network, {})
    rest = [e for key, e in all_executions(network, widths(network)).items() if key not in dense]
    order = np.random.default_rng(seed).permutation(len(rest))
    seen = {int(i) for i in order[: len(rest) // share]}
    return [*dense.values(), *(rest[i] for i in seen)], [e for i, e in enumerate(rest) if i not in seen]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet"])
@pytest.mark.parametrize("seed", [0, 1])
def test_unseen_options_lie_in_the_interval_as_often_as_it_says(
    name: str, seed: int, request: pytest.FixtureRequest
) -> None:
    """80 % intervals hold 70 to 92 % of new *measurements*, and the median error is small."""
    network: Network = request.getfixturevalue(name)
    seen, unseen = split(network, share=3, seed=seed)
    generator = np.random.default_rng(seed)
    predictor = Predictor([measured(e, generator, noise=0.04) for e in seen])
    errors, inside = [], 0
    for execution in unseen:
        estimate, truth = predictor(execution), measured(execution, generator, noise=0.04).median_ms
        assert 0 < estimate.low_ms <= estimate.median_ms <= estimate.high_ms
        inside += estimate.low_ms <= truth <= estimate.high_ms
        errors.append(abs(math.log(estimate.median_ms / true_ms(execution))))
    assert len(unseen) > 50
    assert 0.70 <= inside / len(unseen) <= 0.92
    assert np.median(errors) < 0.08


def gather(kept: int, block: int = 16) -> Execution:
    return Execution(
        kind="conv2d",
        method="gather",
        input_shape=(1, 128, 14, 14),
        weight_shape=(128, 128, 3, 3),
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        kept=kept,
        block=block,
    )


def test_a_sweep_is_interpolated_and_monotone() -> None:
    generator = np.random.default_rng(0)
    predictor = Predictor([measured(gather(kept), generator, noise=0.0) for kept in (8, 32, 64, 96)])
    between = [predictor(gather(kept)) for kept in (16, 24, 48, 80)]
    for estimate, kept in zip(between, (16, 24, 48, 80), strict=True):
        assert estimate.origin == "predicted"
        assert estimate.median_ms == pytest.approx(true_ms(gather(kept)), rel=0.12)
    assert all(a.median_ms < b.median_ms for a, b in pairwise(between))


def test_what_is_unlike_everything_measured_is_extrapolated_and_wider(resnet18: Network) -> None:
    seen, unseen = split(resnet18, share=2, seed=0)
    generator = np.random.default_rng(0)
    predictor = Predictor([measured(e, generator) for e in seen])
    assert predictor(unseen[0]).origin == "predicted"
    huge = Execution(kind="linear", method="dense", input_shape=(1, 200_000), weight_shape=(50_000, 200_000))
    other = gather(64)  # no gathering was measured
    for execution in (huge, other):
        estimate = predictor(execution)
        assert estimate.origin == "extrapolated"
        width = math.log(estimate.high_ms / estimate.low_ms)
        near = predictor(unseen[0])
        assert width > math.log(near.high_ms / near.low_ms)


def test_one_measurement_knows_nothing_but_a_factor_of_two() -> None:
    one = measured(gather(64), np.random.default_rng(0), noise=0.0)
    estimate = Predictor([one])(gather(64, block=32))
    assert estimate.high_ms / estimate.low_ms >= 4 * 0.99


def test_interval_of_residuals() -> None:
    residuals = np.linspace(-1, 1, 101)
    low, high = interval(residuals)
    assert low == pytest.approx(-0.8, abs=0.03)
    assert high == pytest.approx(0.8, abs=0.03)
    assert interval(np.array([0.1, 0.2, 0.3]))[0] == 0.0  # a biased tier still holds its own median


def test_interval_covers_by_the_conformal_count() -> None:
    """Split conformal with n = 20 residuals covers at least 80 % of the next one, whatever the distribution."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        draws = generator.exponential(size=21) - 0.7
        low, high = interval(draws[:20])
        inside += low <= draws[20] <= high
    assert 0.78 <= inside / 2000 <= 0.9


def test_the_summary_matches_the_noise(resnet18: Network) -> None:
    generator = np.random.default_rng(3)
    executed = list(all_executions(resnet18, widths(resnet18)).values())
    summary = error_summary(Predictor([measured(e, generator, noise=0.03) for e in executed]))
    assert float(summary["option_median_percent"]) < 8
    assert 65 <= float(summary["option_coverage_percent"]) <= 95
    assert summary["median_percent"] == summary["new_median_percent"]
    assert summary["new_count"] == len(executed)


def test_the_summary_of_few_measurements_claims_nothing() -> None:
    generator = np.random.default_rng(3)
    summary = error_summary(Predictor([measured(gather(kept), generator) for kept in (8, 16, 32)]))
    assert set(summary) == {"method"}

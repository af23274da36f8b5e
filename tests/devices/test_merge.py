from dataclasses import replace

import pytest

from advisor.devices.merge import merge
from advisor.errors import ProfileError
from advisor.network import Network
from tests.devices.conftest import network_of
from tests.devices.synthetic import all_executions, profile_of


def test_networks_and_work_come_together(digits: Network, resnet18: Network) -> None:
    other = network_of("zoo:digits_cnn", input_text="1x1x28x28")
    parts = [profile_of(n, all_executions(n, {}).values(), seed=i) for i, n in enumerate((digits, other, resnet18))]
    merged = merge(parts, "all")
    assert merged.name == "all"
    assert set(merged.measurements) == set().union(*(p.measurements for p in parts))
    for part, network in zip(parts, (digits, other, resnet18), strict=True):
        assert merged.whole(network) == part.whole(network)  # the same name with two inputs is kept twice
    assert merged.error is not None


def test_the_better_known_time_stays(digits: Network) -> None:
    one = profile_of(digits, all_executions(digits, {}).values())
    key, known = next(iter(one.measurements.items()))
    longer = replace(known, repeats=known.repeats + 1, median_ms=known.median_ms * 1.01)
    other = replace(one, measurements={**one.measurements, key: longer}, unmeasured=(key, "other work"))
    for order in ([one, other], [other, one]):
        merged = merge(order, "m")
        assert merged.measurements[key] == longer
        assert merged.unmeasured == ("other work",)


def test_other_settings_do_not_mix(digits: Network) -> None:
    one = profile_of(digits, all_executions(digits, {}).values())
    assert one.settings is not None
    other = replace(one, settings=replace(one.settings, threads=2), name="two")
    with pytest.raises(ProfileError, match="'synthetic' and 'two' differ in settings or machine"):
        merge([one, other], "m")
    with pytest.raises(ProfileError, match="no profiles to merge"):
        merge([], "m")

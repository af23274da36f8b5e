import pytest

from advisor.devices.energy import Coefficients, energy_mj
from advisor.devices.profile import load_profile


def test_energy_in_closed_form() -> None:
    coefficients = Coefficients(mac_pj=4.6, dram_byte_pj=160.0, source="")
    assert energy_mj(1e9, 0, coefficients) == pytest.approx(4.6)
    assert energy_mj(0, 1e6, coefficients) == pytest.approx(0.16)
    assert energy_mj(2e9, 3e6, coefficients) == pytest.approx(9.2 + 0.48)


def test_the_coefficients_that_come_along() -> None:
    """32-bit multiply 3.7 pJ + add 0.9 pJ; 640 pJ for 4 bytes of DRAM (Horowitz, ISSCC 2014)."""
    energy = load_profile("energy-45nm").energy
    assert energy is not None
    assert energy.mac_pj == pytest.approx(3.7 + 0.9)
    assert energy.dram_byte_pj == pytest.approx(640 / 4)
    assert "Horowitz" in energy.source

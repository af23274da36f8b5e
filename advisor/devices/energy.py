"""Energy of one run from its arithmetic and its traffic to memory: a model, never a measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """What one multiply-add and one byte to or from DRAM cost, in picojoules."""

    mac_pj: float
    dram_byte_pj: float
    source: str


def energy_mj(macs: float, moved_bytes: float, coefficients: Coefficients) -> float:
    """Energy in millijoules.

    Every byte of weights and activations is charged as one DRAM access, so this is an upper bound where caches hold
    part of it (Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9).

    Args:
        macs: multiply-adds.
        moved_bytes: bytes read and written.
        coefficients: picojoules each.
    """
    # E = MACs · e_mac + bytes · e_dram;  1 mJ = 1e9 pJ
    return (macs * coefficients.mac_pj + moved_bytes * coefficients.dram_byte_pj) / 1e9

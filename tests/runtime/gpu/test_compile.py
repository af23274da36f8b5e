"""The Triton kernels compiled for real devices, which needs none: what the interpreter lets pass ends here."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="TRITON IS NOT INSTALLED: the GPU kernels were not compiled")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from advisor.runtime.gpu import kernels, tuning  # noqa: E402

POINTERS = ("x", "weight", "bias", "residual", "y", "grad")
PLAIN: dict[str, Any] = {
    **dict.fromkeys(("KH", "KW"), 3),
    **dict.fromkeys(("SH", "SW", "PH", "PW", "DH", "DW", "STEP_H", "STEP_W"), 1),
    **dict.fromkeys(("X_LAST", "Y_LAST", "G_LAST", "OUT_LAST", "BY_ROW", "WIDE"), False),
    # What Triton itself makes of strides that are 1: constants.
    **{"xw": 1, "yw": 1, "rw": 1, "gw": 1, "ow_stride": 1},
    **{"BLOCK": 16, "ACTIVATION": "silu", "PRECISION": "ieee"},
}
LAST: dict[str, Any] = {
    **dict.fromkeys(("X_LAST", "Y_LAST", "G_LAST", "OUT_LAST"), True),
    **{"xc": 1, "yc": 1, "rc": 1, "gc": 1, "oc": 1},
}
TILES = {"forward": tuning.FORWARD, "grad_input": tuning.GRAD_INPUT, "grad_weight": tuning.GRAD_WEIGHT}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compiled(name: str, dtype: str, arch: int, tile: tuple[int, int, int, int], **given: Any) -> Any:
    function = getattr(kernels, name)
    m, k, warps, stages = tile
    constants: dict[str, Any] = {**PLAIN, "BM": m, "BK": k, **given}
    exact = dtype == "fp32" and constants["PRECISION"] == "ieee"
    constants["BN"] = tuning.slice_of(name, constants["BLOCK"], exact=exact)
    strides = {"xw", "yw", "rw", "gw", "ow_stride", "xc", "yc", "rc", "gc", "oc"}
    if "X_LAST" in given:  # channels-last: another stride is the 1
        constants = {k: v for k, v in constants.items() if k not in strides or k in given}
    constants = {k: v for k, v in constants.items() if k in function.arg_names}
    kinds = {**dict.fromkeys(POINTERS, f"*{dtype}"), "indptr": "*i32", "inputs": "*i32", "out": "*fp32"}
    signature = {
        arg: "constexpr"
        if arg in constants
        else kinds.get(arg, "i64" if given.get("WIDE") and len(arg) == 2 else "i32")
        for arg in function.arg_names
    }
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, arg in enumerate(function.arg_names) if signature[arg].startswith("*")
    }
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": warps, "num_stages": stages}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def stack_bytes(kernel: Any, folder: Path) -> int:
    """What a thread spills: it has no room for it in registers."""
    (folder / "kernel.cubin").write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    told = subprocess.run([tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True)
    found = re.search(r"STACK:(\d+)", told.stdout)
    assert found, told.stdout
    return int(found[1])


def order_of(kernel: Any, operator: str, shape: str) -> str:
    """Which axis of a tile of addresses neighbouring threads walk along, "1, 0" for the last."""
    text = kernel.asm["ttgir"]
    found = re.search(rf"{operator}.*tensor<{shape}x!tt.ptr<[^>]+>, (#\w+)>", text)
    assert found, f"no {operator} of {shape}"
    layout = re.search(rf"^{found[1]} = .*order = \[([\d, ]+)\]", text, re.M)
    assert layout, found[1]
    return layout[1]


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize(("dtype", "precision"), [("fp16", "ieee"), ("fp32", "tf32"), ("fp32", "ieee")])
def test_every_kernel_compiles_for_ampere_and_hopper(name: str, dtype: str, precision: str, arch: int) -> None:
    made = compiled(name, dtype, arch, (64, 32, 4, 3), PRECISION=precision, residual=None)
    assert made.asm["cubin"]
    code = made.asm["ptx"]
    assert f".target sm_{arch}" in code
    assert bool(re.search(r"wgmma\.mma_async|mma\.sync", code)) == (precision == "tf32" or dtype == "fp16")


@pytest.mark.parametrize("name", TILES)
def test_the_ways_that_layers_ask_for(name: str, tmp_path: Path) -> None:
    """bfloat16, channels-last, 64-bit offsets, strides, a block that is no power of two, rows on their own."""
    ways = {"WIDE": True, "SH": 2, "STEP_H": 2, "SW": 2, "STEP_W": 2, "BLOCK": 24, "BY_ROW": True, "KH": 1}
    made = compiled(name, "bf16", 80, (32, 32, 2, 2), **{**LAST, **ways, "OUT_LAST": False, "ow_stride": 1, "oc": 7})
    assert made.asm["cubin"]
    assert not re.search(r"\b(red|atom)\.", made.asm["ptx"])
    assert stack_bytes(made, tmp_path) == 0


def test_half_gradients_use_atomics_in_float32() -> None:
    assert re.search(r"\b(red|atom)\.\S*add\.f32", compiled("grad_input", "fp16", 80, (32, 32, 2, 2)).asm["ptx"])


def test_neighbouring_threads_read_neighbouring_values() -> None:
    """Along the pixels where those lie together, along the channels where they do: by the compiler's own layouts."""
    plain = compiled("forward", "fp32", 80, (128, 32, 4, 3), PRECISION="tf32", residual=None)
    assert order_of(plain, "async_copy_global_to_local", "32x128") == "1, 0"  # [channels, pixels]
    assert order_of(plain, "tt.store", "16x128") == "1, 0"
    last = compiled("forward", "fp32", 80, (128, 32, 4, 3), PRECISION="tf32", residual=None, **LAST)
    assert order_of(last, "async_copy_global_to_local", "128x32") == "1, 0"  # [pixels, channels]
    assert order_of(last, "tt.store", "128x16") == "1, 0"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize(("dtype", "precision"), [("fp16", "ieee"), ("fp32", "tf32"), ("fp32", "ieee")])
@pytest.mark.parametrize("block", [16, 64, 128])
@pytest.mark.parametrize("name", TILES)
def test_no_tile_that_is_tried_spills(
    name: str, block: int, dtype: str, precision: str, arch: int, tmp_path: Path
) -> None:
    exact = precision == "ieee" and dtype == "fp32"
    bn = tuning.slice_of(name, block, exact=exact)
    tiles = [tile for tile in TILES[name] if tuning.fits(name, tile, bn, exact=exact)]
    assert tiles
    for tile in tiles:
        made = compiled(name, dtype, arch, tile, PRECISION=precision, BLOCK=block, residual=None)
        assert stack_bytes(made, tmp_path) <= 128, (tile, "spills")
        assert made.metadata.shared <= {80: 163, 90: 227}[arch] * 1024, (tile, "more shared memory than there is")

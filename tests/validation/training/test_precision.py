"""Mixed precision, order of axes, compilation: what trains, what is refused, and that the numbers stay close."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from advisor.errors import AdvisorError, DeviceError
from advisor.plans.plan import Plan
from validation.contestants import Contestant, begin, builder
from validation.data import DataSet, Request, load_data
from validation.training.evaluation import loss_of
from validation.training.precision import autocast, check_compiler, check_precision, scaler_of
from validation.training.recipe import Recipe, placed
from validation.training.trainer import DivergedError, Trainer


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("digits", Request(shape=(1, 8, 8), train_size=96, test_size=40))


def trained(spec: str, plan: Plan | None, data: DataSet, recipe: Recipe) -> tuple[Trainer, list[float]]:
    module = begin(Contestant(label="x", plan=plan), builder(spec, ((1, 1, 8, 8),)), 0, None)
    trainer = Trainer(module, recipe, data.train, seed=0, test=data.test)
    return trainer, [trainer.run_epoch().loss for _ in range(recipe.epochs)]


@pytest.mark.parametrize("thinned", [False, True], ids=["dense", "plan"])
def test_bfloat16_trains_alike_and_keeps_weights_in_float32(
    thinned: bool, spec: str, plan: Plan, data: DataSet
) -> None:
    used = plan if thinned else None
    _, full = trained(spec, used, data, Recipe(epochs=2, batch=32))
    trainer, narrow = trained(spec, used, data, Recipe(epochs=2, batch=32, amp="bf16"))
    assert narrow != full, "the narrow format was used"
    assert narrow == pytest.approx(full, rel=0.02)
    assert all(p.dtype == torch.float32 for p in trainer.module.parameters())


def test_forward_passes_are_narrow_and_the_loss_is_not() -> None:
    layer = nn.Linear(4, 3)
    with autocast("bf16", "cpu"):
        logits = layer(torch.ones(2, 4))
    assert logits.dtype == torch.bfloat16
    assert loss_of(logits, torch.tensor([0, 1])).dtype == torch.float32
    double = nn.Linear(4, 3).double()(torch.ones(2, 4, dtype=torch.float64))
    assert loss_of(double, torch.tensor([0, 1])).dtype == torch.float64


def test_losses_are_scaled_in_float16_alone() -> None:
    assert scaler_of("none", "cpu") is None
    assert scaler_of("bf16", "cuda") is None


def test_scaled_gradients_reach_the_optimiser_at_their_own_size(
    spec: str, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, with float32 beneath: a scaler changes nothing where nothing overflows, and its state comes back."""
    plain, losses = trained(spec, None, data, Recipe(epochs=2, batch=32))
    monkeypatch.setattr("validation.training.trainer.scaler_of", lambda amp, device: torch.amp.GradScaler("cpu"))
    scaled, same = trained(spec, None, data, Recipe(epochs=2, batch=32))
    assert same == pytest.approx(losses, rel=1e-5)
    for one, other in zip(plain.module.parameters(), scaled.module.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    fresh = Trainer(builder(spec, ((1, 1, 8, 8),))(0), Recipe(epochs=2, batch=32), data.train, seed=0)
    fresh.load(scaled.state())
    assert fresh.state()["scaler"] == scaled.state()["scaler"] != {}


def test_a_step_whose_gradients_overflow_is_left_out(spec: str, data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "validation.training.trainer.scaler_of", lambda amp, device: torch.amp.GradScaler("cpu", init_scale=1e38)
    )
    trainer, losses = trained(spec, None, data, Recipe(epochs=1, batch=32))
    assert math.isfinite(losses[0])
    assert all(bool(p.isfinite().all()) for p in trainer.module.parameters())
    assert trainer.state()["scaler"]["scale"] < 1e38


def test_the_order_of_axes_is_a_choice(spec: str, data: DataSet) -> None:
    pixels = torch.zeros(2, 3, 4, 4)
    assert placed(pixels, "cpu").is_contiguous(memory_format=torch.channels_last)
    assert placed(pixels, "cpu", channels_last=False).is_contiguous()
    last, losses = trained(spec, None, data, Recipe(epochs=1, batch=32))
    first, others = trained(spec, None, data, Recipe(epochs=1, batch=32, channels_last=False))
    assert last.module.two.weight.is_contiguous(memory_format=torch.channels_last)
    assert first.module.two.weight.is_contiguous()
    assert others == pytest.approx(losses, rel=1e-3)


def test_what_cannot_train_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_precision("bf16", "cpu")
    with pytest.raises(AdvisorError, match="unknown mixed precision 'half'"):
        check_precision("half", "cpu")
    with pytest.raises(DeviceError, match="float16 trains on CUDA alone, use --amp bf16"):
        check_precision("fp16", "cpu")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    with pytest.raises(DeviceError, match="use --amp fp16"):
        check_precision("bf16", "cuda:0")


def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(function: object) -> object:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n  in lots of detail")

    monkeypatch.setattr("torch.compile", no_compiler)
    with pytest.raises(DeviceError, match="No working C\\+\\+ compiler found; it needs a C") as raised:
        check_compiler("cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_compiled_network_trains_alike(spec: str, plan: Plan, data: DataSet) -> None:
    check_compiler("cpu")
    source = Path(spec.rpartition(":")[0])
    source.write_text(source.read_text().replace("Dropout(0.1)", "Dropout(0.0)"))  # compilers draw otherwise
    _, eager = trained(spec, plan, data, Recipe(epochs=2, batch=32))
    _, compiled = trained(spec, plan, data, Recipe(epochs=2, batch=32, compile=True))
    assert compiled == pytest.approx(eager, rel=1e-3)


class Sudden(nn.Module):
    """Its loss is a number, its gradient is not: sqrt at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.flatten(1)) + self.scale.sqrt() * 0
        return logits


def test_weights_that_are_no_numbers_end_a_run(data: DataSet) -> None:
    """Even after the last step, when no loss would have told."""
    trainer = Trainer(Sudden(), Recipe(epochs=1, batch=96), data.train, seed=0)
    with pytest.raises(DivergedError, match="weights 'scale' became no numbers in epoch 1"):
        trainer.run_epoch()

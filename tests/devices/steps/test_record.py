import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advisor.devices.inplace.stopwatch import described, timed
from advisor.devices.measuring.subject import forward_call
from advisor.devices.steps.record import Recording, record_steps
from advisor.devices.steps.step import Step
from advisor.devices.suite.designs import kinds, piece
from advisor.devices.suite.thin import thinned
from advisor.errors import ProfileError
from advisor.runtime.fuse import fuse
from advisor.runtime.native import library
from advisor.runtime.watch import watcher
from tests.devices.steps.networks import both, networks, steps_of

NAMES = sorted(networks())
# One piece of each kind whose real run takes little.
PIECES = [38, 66, 19, 64, 56, 81, 58, 60, 61, 63, 107, 113]


def kernels(found: Recording) -> list[tuple[Step, str]]:
    """The steps that are no views, and their modules."""
    return [pair for pair in zip(found.steps, found.modules, strict=True) if pair[0].family != "view"]


@pytest.mark.parametrize("name", NAMES)
def test_fake_tensors_take_the_steps_of_the_real_run(name: str) -> None:
    fake, real = both(*networks()[name])
    assert fake == real
    assert fake.steps
    assert all(step.family != "other" for step in fake.steps), {s.target for s in fake.steps if s.family == "other"}


@pytest.mark.parametrize("optimizer", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_and_those_of_a_training_step(name: str, optimizer: bool) -> None:
    fake, real = both(*networks()[name], training=True, optimizer=optimizer)
    if name == "in place":  # writing into a part makes torch look at the rest anew, on fake tensors at other times
        assert kernels(fake) == kernels(real)
    else:
        assert fake == real
    assert any(step.backward for step in fake.steps)
    updates = [s for s in fake.steps if s.in_place and not s.backward and s.target in ("mul", "add")]
    assert len(updates) >= 2 * len(list(networks()[name][0].parameters())) * optimizer


def test_these_are_pieces_of_every_kind() -> None:
    assert {n % len(kinds()) for n in PIECES} == set(range(len(kinds())))


@pytest.mark.parametrize("variant", ["dense", "sparse"])
@pytest.mark.parametrize("number", PIECES)
def test_pieces_of_the_suite(number: int, variant: str, with_kernels: None, request: pytest.FixtureRequest) -> None:
    if variant == "sparse":
        request.getfixturevalue("compiled")
    drawn = piece(number)
    image = drawn.input[:1]
    if variant == "dense":
        module: Any = fuse(drawn.module, (image,))
    else:
        module = thinned(drawn.module, image, number)
    if module is None:
        pytest.skip("no layer of this piece is thinned out")
    fake, real = both(module, (image,))
    assert fake == real
    assert {s.target for s in fake.steps if s.family == "other"} == set()


@pytest.mark.parametrize(("number", "variant"), [(61, "dense"), (94, "sparse"), (113, "sparse")])
def test_pieces_in_training(number: int, variant: str, with_kernels: None, request: pytest.FixtureRequest) -> None:
    if variant == "sparse":
        request.getfixturevalue("compiled")
    drawn = piece(number, norm=True)
    image = drawn.input[:1].repeat(2, 1, 1, 1)  # a batch norm needs more than one value
    module = drawn.module if variant == "dense" else thinned(drawn.module, image, number, for_inference=False)
    assert module is not None
    fake, real = both(module, (image,), training=True, optimizer=True)
    assert fake == real
    assert {s.target for s in fake.steps if s.family == "other"} == set()


def test_a_layer_norm_s_gradient_lies_as_the_kernel_writes_it() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

        def forward(self, x: Tensor) -> Any:
            return self.norm(self.one(x)).permute(0, 3, 1, 2).mean((2, 3))

    fake, real = both(Pooled(), (torch.randn(2, 4, 4, 6),), training=True)
    assert fake == real


def test_gradients_that_nobody_asked_for_are_no_results() -> None:
    fake, real = both(nn.BatchNorm2d(4), (torch.randn(2, 4, 3, 3),), training=True)
    (step,) = (s for s in fake.steps if s.target == "native_batch_norm_backward")
    assert step.outputs == ((4,), (4,))
    assert fake == real


def test_each_of_our_kernels_is_one_step(compiled: None) -> None:
    from advisor.runtime.sparse import sparse
    from advisor.runtime.standalone import lists_of
    from tests.devices.steps.test_executions import sparse_conv, sparse_linear

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            conv, linear = sparse_conv(), sparse_linear()
            self.conv = sparse(nn.Conv2d(8, 16, 3, padding=1), *lists_of(conv), conv.block, method="direct")
            self.linear = sparse(nn.Linear(32, 24), *lists_of(linear), linear.block, method="direct")

        def forward(self, x: Tensor) -> Any:
            return self.linear(self.conv(x).mean((2, 3)).repeat(1, 2))

    fake, real = both(Both(), (torch.randn(1, 8, 6, 6),))
    assert fake == real
    ours = [s.target for s in fake.steps if s.target.startswith("advisor.")]
    assert ours == ["advisor.sparse_conv2d", "advisor.sparse_linear"]
    assert [fake.modules[i] for i, s in enumerate(fake.steps) if s.target in ours] == ["conv", "linear"]
    fake, real = both(Both(), (torch.randn(2, 8, 6, 6),), training=True)
    assert fake == real
    names = ("conv2d", "conv2d_grad_weight", "linear", "linear_grad_input", "linear_grad_weight")
    assert {s.target for s in fake.steps if "sparse" in s.target} == {f"advisor.sparse_{name}" for name in names}


def test_pooling_on_our_kernels_is_seen_as_ours() -> None:
    if not library.available():
        pytest.skip("no kernels were built here")
    net = fuse(nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2)).eval(), (torch.randn(1, 3, 12, 12),))
    fake, real = both(net, (torch.randn(1, 3, 12, 12),))
    assert fake == real
    assert [s.target for s in fake.steps] == ["advisor.max_pool2d", "advisor.avg_pool2d"]
    assert all(s.family == "pool" for s in fake.steps)
    given = torch.randn(1, 3, 12, 12).contiguous(memory_format=torch.channels_last)
    fake, real = both(net, (given,))
    assert fake == real
    assert "advisor.max_pool2d" not in {s.target for s in fake.steps}  # torch's own, where the axes lie otherwise


def test_a_module_is_left_as_it_was() -> None:
    module, inputs = networks()["repeated"]
    module.train()
    before = copy.deepcopy(module.state_dict())
    record_steps(module, inputs, training=True, optimizer=True)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None and not p.is_meta for p in module.parameters())


def test_meta_tensors_take_the_steps_of_real_ones() -> None:
    real = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)).eval()
    meta = copy.deepcopy(real).to("meta")
    image = torch.randn(1, 3, 8, 8)
    assert record_steps(meta, (image.to("meta"),)) == record_steps(real, (image,))


def test_tied_weights_stay_one() -> None:
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    fake, real = both(tied, (torch.randn(2, 4),), training=True, optimizer=True)
    assert fake == real


def test_steps_belong_to_modules_and_calls_are_counted() -> None:
    found = record_steps(
        nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.ReLU())).eval(), (torch.ones(1, 4),)
    )
    assert found.modules == ("0", "1.0", "1.1")
    assert found.module_calls == 5
    assert found.counted()[found.steps[1]] == 2


class Looks(nn.Module):
    """Asks a tensor for its values."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if float(x.sum()) > 0 else x


def test_a_network_that_looks_at_values_is_refused_in_one_line() -> None:
    with pytest.raises(ProfileError, match=r"^Looks does not run on tensors without values .*advisor profile MODEL$"):
        record_steps(Looks(), (torch.ones(2),))
    assert watcher() is None


def failing(x: Tensor) -> None:
    raise ValueError("halfway")


@pytest.mark.parametrize("look", [described, timed])
def test_nobody_watches_after_a_failure(look: Callable[..., Any]) -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> None:
            failing(x)

    module = Fails()
    arguments = (module,) if look is described else ()
    options = {} if look is described else {"one_thread": False}
    hooks = torch.nn.modules.module._global_forward_pre_hooks, torch.nn.modules.module._global_forward_hooks
    before = [len(held) for held in hooks]
    with pytest.raises(ValueError, match="halfway"):
        look(forward_call(module, (torch.ones(1),)), *arguments, **options)
    assert watcher() is None
    assert [len(held) for held in hooks] == before
    assert not torch._C._len_torch_dispatch_stack()


def test_a_hook_of_the_module_that_fails_leaves_nothing_behind() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    handle = net[1].register_forward_pre_hook(lambda module, args: failing(args[0]))
    with pytest.raises(ProfileError, match="halfway"):
        record_steps(net, (torch.ones(1, 2),))
    handle.remove()
    assert [s.target for s in steps_of(net, torch.ones(1, 2))] == ["linear", "relu"]


def test_the_stopwatch_gives_a_time_for_every_step() -> None:
    module, inputs = networks()["attention"]
    call = forward_call(module.eval(), inputs)
    watch = timed(call, one_thread=False)
    assert len(watch.times_ns) == len(described(call, module).steps)
    assert min(watch.times_ns) >= 0
    assert watch.steps == []
    assert watch.waited_ns == 0

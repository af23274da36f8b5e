import pytest

from advisor.models import load_model
from advisor.network import Network
from advisor.trace import analyze


def network_of(name: str, device: str = "meta", input_text: str | None = None) -> Network:
    loaded = load_model(name, device=device, input_text=input_text)
    return analyze(loaded.module, loaded.example_inputs, name=loaded.name)


@pytest.fixture(autouse=True)
def _no_kernels(no_kernels: None) -> None:
    """The same machine for all tests, whatever was built here; `with_kernels` gives it sparse kernels."""


@pytest.fixture(scope="session")
def digits() -> Network:
    """zoo:digits_cnn with real weights: 40 px, four convolutions and a linear layer."""
    return network_of("zoo:digits_cnn", device="cpu")


@pytest.fixture(scope="session")
def resnet18() -> Network:
    """Without memory: for predictions."""
    return network_of("torchvision:resnet18")


@pytest.fixture(scope="session")
def mobilenet() -> Network:
    """Without memory: depthwise convolutions."""
    return network_of("torchvision:mobilenet_v2")

"""The compiled kernels, without measuring which tiling is fastest; skipped where they were not built."""

from collections.abc import Iterator

import pytest
import torch

from advisor.runtime import native
from advisor.runtime.native import calls, tuner


@pytest.fixture(autouse=True)
def _kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not native.available():
        pytest.skip(native.why_not())
    monkeypatch.setenv("ADVISOR_TUNING", "off")
    monkeypatch.setenv("ADVISOR_TUNING_CACHE", "off")
    threads = torch.get_num_threads()
    calls.forget()
    tuner.forget()
    yield
    torch.set_num_threads(threads)
    calls.forget()
    tuner.forget()

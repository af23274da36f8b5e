import pytest


@pytest.fixture(autouse=True)
def _no_kernels(no_kernels: None) -> None:
    """The same machine for all tests, whatever was built here; `with_kernels` gives it sparse kernels."""

import pytest


@pytest.fixture
def small_suite(monkeypatch: pytest.MonkeyPatch, with_kernels: None) -> list[int]:
    """Few small pieces, each timed as shortly as can be; the numbers of those that were drawn so far."""
    from advisor.devices.suite import designs, measure, records

    drawn: list[int] = []
    small = (58, 94, 113, 60, 61, 38)

    def piece(number: int, *, norm: bool = False) -> designs.Piece:
        drawn.append(number)
        return designs.piece(small[number], norm=norm)

    monkeypatch.setattr(measure, "piece", piece)
    monkeypatch.setattr(measure, "_PIECES", len(small))
    monkeypatch.setattr(measure, "_FEWEST", len(small))
    monkeypatch.setattr(measure, "_ROUND_SECONDS", 0.01)
    monkeypatch.setattr(records, "_FEWEST", 4)
    return drawn

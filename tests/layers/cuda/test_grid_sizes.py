import pytest

from tubedet.layers.cuda.grid_sizes import ceil_div, next_power_of_2


@pytest.mark.parametrize(
    "number, size, pieces", [(0, 4, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2), (2**40 + 1, 2**40, 2)]
)
def test_pieces_hold_all(number, size, pieces):
    assert ceil_div(number, size) == pieces


@pytest.mark.parametrize("number, power", [(1, 1), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_the_least_power_of_two(number, power):
    assert next_power_of_2(number) == power

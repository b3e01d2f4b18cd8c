import threading
import time

import pytest

from tubedet.data.read_ahead import ReadAhead


def is_running():
    return any(thread.name == "read-ahead" for thread in threading.enumerate())


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()


def test_items_come_in_order_from_another_thread():
    threads = set()

    def items():
        for number in range(1000):
            threads.add(threading.current_thread().name)
            yield number

    with ReadAhead(items(), num_bytes=lambda _: 1) as ahead:
        assert list(ahead) == list(range(1000))
        assert next(ahead, "ended") == "ended"
    assert threads == {"read-ahead"} and not is_running()


def test_it_reads_ahead_up_to_the_bound():
    read = []

    def items():
        for number in range(100):
            read.append(number)
            yield number

    with ReadAhead(items(), num_bytes=lambda _: 10, max_bytes=50) as ahead:
        wait_until(lambda: len(read) == 6)  # five wait, one has no room
        assert next(ahead) == 0
        wait_until(lambda: len(read) == 7)
        time.sleep(0.05)
        assert len(read) == 7
    assert len(read) == 7 and not is_running()


def test_an_item_beyond_the_bound_is_let_through():
    with ReadAhead([1, 2, 3], num_bytes=lambda _: 1000, max_bytes=10) as ahead:
        assert list(ahead) == [1, 2, 3]


def test_an_exception_comes_after_the_items_before_it():
    def items():
        yield from (1, 2)
        raise KeyError("third")

    taken = []
    with pytest.raises(KeyError, match="third"), ReadAhead(items(), num_bytes=lambda _: 1) as ahead:
        wait_until(lambda: not is_running())
        for item in ahead:
            taken.append(item)
    assert taken == [1, 2]


@pytest.mark.parametrize("num_taken", [0, 3])
def test_leaving_early_closes_the_generator_in_its_thread(num_taken):
    closed_in = []

    def items():
        try:
            yield from iter(int, 1)  # without end
        finally:
            closed_in.append(threading.current_thread().name)

    with ReadAhead(items(), num_bytes=lambda _: 1, max_bytes=10) as ahead:
        assert [next(ahead) for _ in range(num_taken)] == [0] * num_taken
        wait_until(lambda: len(ahead._queue) == 10)
    assert closed_in == ["read-ahead"] and not is_running()

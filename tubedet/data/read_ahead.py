"""Reading from an iterable in a thread, ahead of whoever works on its items."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(AbstractContextManager, Iterator, Generic[Item]):
    """The items of an iterable, in order, which a thread reads while the caller works.

    What waits is bounded in bytes. An exception of the iterable is raised where the items are
    taken, after those before it. Leaving the ``with`` block ends the thread and closes the iterable
    if it is a generator.

    Example::

        with ReadAhead(decoded_frames(path), num_bytes=lambda frame: frame.nbytes) as frames:
            for frame in frames:
                work_on(frame)

    Args:
        items: read in the thread, and only there.
        num_bytes: size of an item.
        max_bytes: the thread waits while the items that nobody has taken yet are larger
            together; a single one is let through whatever its size.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        num_bytes: Callable[[Item], int],
        max_bytes: int = 32 << 20,
    ):
        self._items = items
        self._num_bytes = num_bytes
        self._max_bytes = max_bytes
        self._queue: deque[tuple[Item, int]] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        with self._changed:
            while not self._queue and not self._ended:
                self._changed.wait()
            if self._queue:
                item, size = self._queue.popleft()
                self._queued_bytes -= size
                self._changed.notify()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """End the thread, after the item which it is reading, and drop what was not taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._queue.clear()

    def __exit__(self, *exc_info) -> None:
        self.close()

    def _read(self) -> None:
        try:
            try:
                for item in self._items:
                    if not self._put(item):
                        break
            finally:
                close = getattr(self._items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # raised again by __next__
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _put(self, item: Item) -> bool:
        """Queue an item as soon as there is room; False if nobody wants any more."""
        size = self._num_bytes(item)
        with self._changed:
            while self._queue and self._queued_bytes + size > self._max_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._queue.append((item, size))
            self._queued_bytes += size
            self._changed.notify()
        return True

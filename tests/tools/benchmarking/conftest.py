"""What tests of measurements share."""

import pytest


class InThisProcess:
    """Stands for ``FreshProcess``, whose start takes seconds; notes the calls in their order."""

    calls = []

    def __init__(self, build, *args, threads=1):
        self.measured = build(*args)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def call(self, method, *args):
        self.calls.append((self, method))
        return getattr(self.measured, method)(*args)


@pytest.fixture
def in_this_process(monkeypatch):
    """Makes the given modules measure in this process; returns the list of calls."""

    def replace(*modules):
        monkeypatch.setattr(InThisProcess, "calls", [])
        for module in modules:
            monkeypatch.setattr(module, "FreshProcess", InThisProcess)
        return InThisProcess.calls

    return replace

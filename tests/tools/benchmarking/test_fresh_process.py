"""Objects in other processes."""

import importlib
import os

import pytest
from benchmarking.fresh_process import FreshProcess, MeasurementError


def test_calls_and_errors_of_an_object_elsewhere(capfd):
    with FreshProcess(importlib.import_module, "builtins", threads=3) as process:
        assert process.call("len", [1, 2]) == 2
        pid = process.call("eval", "__import__('os').getpid()")
        assert pid != os.getpid()
        assert process.call("eval", "__import__('torch').get_num_threads()") == 3
        with pytest.raises(ValueError, match="invalid literal"):
            process.call("int", "one")
        with pytest.raises(MeasurementError, match="ZeroDivisionError"):
            process.call("eval", "1 / 0")
        assert "ZeroDivisionError: division by zero" in capfd.readouterr().err
        assert process.call("eval", "__import__('os').getpid()") == pid  # it still lives
        with pytest.raises(MeasurementError, match="exit status 3"):
            process.call("eval", "__import__('os')._exit(3)")

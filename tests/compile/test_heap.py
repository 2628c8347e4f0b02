import os
import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource
from happyhorse.compile.heap import keep_freed_memory
assert keep_freed_memory() if {kept} else True
def work():
    blocks = [bytearray(1 << 22) for _ in range(20)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: bool) -> int:
    script = MEASURE.format(kept=kept)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", script]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_costs_no_page_faults():
    assert faults(kept=True) < 1000 < faults(kept=False)


def test_other_systems_are_left_alone(monkeypatch):
    from happyhorse.compile.heap import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    keep_freed_memory.cache_clear()
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()


def test_settings_of_the_environment_are_left_alone(monkeypatch):
    from happyhorse.compile.heap import keep_freed_memory

    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    keep_freed_memory.cache_clear()
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()

"""How much memory is free here."""

from __future__ import annotations

import os

import torch

from happyhorse.memory.plan import Room


def room_on(device: torch.device) -> Room:
    """What is free on a device and in host memory.

    A CPU's memory is the host's: weights work where they lie, and nothing waits elsewhere.
    """
    if device.type != "cuda":
        return Room(host_free(), 0)
    return Room(torch.cuda.mem_get_info(device)[0], host_free())


def host_free() -> int:
    """Bytes of host memory that can be had, file caches included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux: what there is, less a quarter for everything else
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4

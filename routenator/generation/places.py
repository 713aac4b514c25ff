"""Assigns each of a task's engines its own GPUs or, without GPUs, its own cores."""

from __future__ import annotations

import os
from dataclasses import dataclass

from routenator.config import EngineConfig
from routenator.errors import InputError
from routenator.extras import require_engine


@dataclass(frozen=True)
class Place:
    """The hardware that one engine may use.

    Attributes:
        devices: its GPUs, as in CUDA_VISIBLE_DEVICES; empty on a CPU.
        cores: its cores.
        threads: number of threads of each of its processes, on a CPU.
    """

    devices: tuple[str, ...]
    cores: tuple[int, ...]
    threads: int

    def take(self) -> None:
        """Restrict this process, and any it starts from now on, to this place. Call it before torch is imported."""
        if self.devices:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices)
        else:
            os.environ["OMP_NUM_THREADS"] = str(self.threads)
            os.sched_setaffinity(0, self.cores)


def engine_places(config: EngineConfig) -> list[Place]:
    """Return one place for each engine of a task.

    Raises:
        InputError: there are too few GPUs, or a package is missing.
    """
    require_engine(config.engine, guided=config.guided)
    return divide(config, visible_devices(), sorted(os.sched_getaffinity(0)))


def divide(config: EngineConfig, devices: list[str], cores: list[int]) -> list[Place]:
    """Divide the GPUs, or without GPUs the cores, among the engines that the config asks for, or ("auto") that fit.

    Args:
        config: the engine's config.
        devices: the task's GPUs.
        cores: the task's cores.

    Raises:
        InputError: there are too few GPUs.
    """
    width = config.tensor_parallel_size
    if devices:
        fit = len(devices) // width
        count = max(fit, 1) if config.engines == "auto" else config.engines
        if count > fit:
            raise InputError(
                "this task has too few GPUs for its engines",
                key="tensor_parallel_size",
                found=f"{len(devices)} GPUs",
                expected=f"{count * width} ({count} engines of {width})",
            )
        return [Place(tuple(devices[n * width : (n + 1) * width]), tuple(cores), len(cores)) for n in range(count)]
    count = 1 if config.engines == "auto" else config.engines
    places = []
    for number in range(count):
        own = cores[len(cores) * number // count : len(cores) * (number + 1) // count] or [cores[number % len(cores)]]
        places.append(Place((), tuple(own), max(1, len(own) // width)))
    return places


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]

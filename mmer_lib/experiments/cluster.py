"""Work spread over the GPUs of one machine, or over a cluster, by submitit.

Nothing here knows what the work is: a piece of it is a callable that can be pickled and that
leaves what it makes on disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmer_lib.data import DataError

CLUSTERS = ("local", "slurm", "debug")
_SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node",
           "tasks_per_node", "stderr_to_stdout")  # fmt: skip
_SINGLE = ("nodes", "tasks_per_node", "ntasks_per_node")
_YEAR = 365 * 24 * 60  # minutes


def devices_for(device: str, workers: int, cluster: str | None) -> list[str]:
    """The device of each worker: on one machine "auto" and "cuda" take its GPUs in turn, as torch
    counts them; on slurm every task sees its own GPU alone."""
    import torch

    if cluster != "slurm" and workers > 1 and device in ("auto", "cuda"):
        gpus = torch.cuda.device_count()
        if gpus:
            return [f"cuda:{worker % gpus}" for worker in range(workers)]
    return [device] * workers


def gpu_environment(cluster: str | None) -> dict[str, str | None]:
    """What a worker sets to see the GPUs that this process sees: submitit hides them from its
    local jobs. On slurm every job has been given its own, which must stay as they are."""
    if cluster != "local":
        return {}
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}


@contextmanager
def environment(values: dict[str, str | None]) -> Iterator[None]:
    """Environment variables for a while; None unsets one."""
    before = {name: os.environ.get(name) for name in values}
    apply_environment(values)
    try:
        yield
    finally:
        apply_environment(before)


def apply_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def make_executor(cluster: str, folder: Path, parameters: dict, name: str, gpu: bool):
    """A submitit executor with its logs in `folder`.

    Args:
        cluster: one of `CLUSTERS`.
        parameters: of submitit's executor for slurm: shared names ("timeout_min", "mem_gb",
            "gpus_per_node", ...) or names of slurm's own ("partition" or "slurm_partition", ...).
        name: of the jobs. gpu: ask slurm for one GPU a job where `parameters` do not say.

    Raises:
        DataError: no slurm here, or a parameter that submitit refuses.
    """
    import submitit

    if cluster not in CLUSTERS:
        raise DataError(f"unknown cluster {cluster!r}; known: {', '.join(CLUSTERS)}")
    wanted = {
        "name": name,
        "timeout_min": 24 * 60,
        "cpus_per_task": 4,
        **({"gpus_per_node": 1} if gpu else {}),
        # srun of Slurm 22.05 and later does not take this over from the job
        "slurm_setup": ["export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}"],
    }
    for key, value in parameters.items():
        if key.removeprefix("slurm_") in _SINGLE and value != 1:
            raise DataError(f"{key} is {value}: a worker is one task; ask for more workers")
        shared = key in _SHARED or key.startswith("slurm_")
        wanted[key if shared else f"slurm_{key}"] = value
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=cluster)
        if cluster == "slurm":
            executor.update_parameters(**wanted)
        else:
            executor.update_parameters(timeout_min=_YEAR)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{cluster}: {' '.join(str(error).split())}") from error
    return executor


def run_all(
    executor, pieces: Sequence[Callable[[], None]], threads: int | None, tell: Callable[[], None]
) -> None:
    """Submit all pieces at once and wait until each has ended, well or not.

    Interrupted, it ends the pieces that run on this machine; jobs of a cluster go on.

    Args:
        executor: see `make_executor`. threads: of each piece; None leaves it to the machine.
        tell: called every second while waiting.
    """
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    with environment(limits), executor.batch():
        jobs = [executor.submit(piece) for piece in pieces]
    try:
        while not all([job.done() for job in jobs]):
            tell()
            time.sleep(1)
    finally:
        if executor.cluster == "local":
            for job in jobs:
                if not job.done():
                    job.cancel()
    tell()

"""Kernels that begin with what most chapters import: copies of one process that has imported it.

Each kernel by itself takes five seconds to do so. Nothing else differs: what a chapter imports
is there for it alone once it asks for it.
"""

from __future__ import annotations

import multiprocessing
import os

from jupyter_client.manager import AsyncKernelManager

IMPORTED = (
    *("jupyter_cache", "myst_nb.core.read", "nbclient"),  # every copy imports what started it anew
    "ipykernel.kernelapp",
    "ipywidgets",
    "seaborn",
    "torch",
    "transformers",
    "sklearn.linear_model",
    "scipy.stats",
    "mmer_lib.book.figures",
    "mmer_lib.book.switches",
    "mmer_lib.probes",
    "mmer_lib.training.fit",
    "mmer_lib.experiments.tables",
)

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([*IMPORTED])


def start(environment: dict[str, str]) -> None:
    """Start the process that is copied, with variables set as the kernels see them.

    Some are read when a package is imported: how many threads, where figures are drawn.
    """
    os.environ |= environment | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    multiprocessing.forkserver.ensure_running()


class CopiedKernel(AsyncKernelManager):
    """A kernel manager whose kernels are such copies."""

    async def _async_launch_kernel(self, kernel_cmd, *, cwd: str, stderr, **_) -> None:
        process = _forks.Process(target=_run, args=(self.connection_file, cwd, stderr.name))
        process.start()
        self.provisioner.process = _Popen(process)
        self.provisioner.pid = process.pid
        self._reconcile_connection_info(self.provisioner.connection_info)


def _run(connection_file: str, folder: str, log: str) -> None:
    """In the copy: be a kernel."""
    import pandas as pd
    from ipykernel.kernelapp import IPKernelApp

    pd.options.display.max_columns = 20  # asked at its import, it took the copied for a terminal
    os.chdir(folder)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # a kernel ends where its parent does
    IPKernelApp.launch_instance(argv=["-f", connection_file, parent])


class _Popen:
    """A process of `multiprocessing` with the names of `subprocess`, as jupyter_client asks."""

    stdin = stdout = stderr = None

    def __init__(self, process: multiprocessing.Process):
        self._process = process
        self.terminate, self.kill = process.terminate, process.kill

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

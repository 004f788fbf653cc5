"""The process in which a notebook is executed: this very Python, and out of reach of other users of the machine."""

from __future__ import annotations

import os
import sys
import tempfile

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager


class OwnKernel(AsyncKernelManager):
    """Starts the interpreter that runs this line, whatever the kernel called ``python3`` of this machine is.

    JUPYTER_PATH and the user's folders can hold a ``python3`` of another environment, which would train with another
    ltlib or none. Kernel and client talk through sockets in a folder that only this user can enter. On Windows, which
    has no such sockets, they use the loopback device, where messages to the kernel are signed.
    """

    def __init__(self, **options):
        super().__init__(**options)
        if os.name == "posix":
            # The path of a socket is at most about 100 letters long, so its folder is not made below TMPDIR.
            self._sockets = tempfile.TemporaryDirectory(prefix="ltlib-", dir="/tmp", ignore_cleanup_errors=True)
            self.transport, self.ip = "ipc", os.path.join(self._sockets.name, "kernel")

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3 (ipykernel)", language="python")

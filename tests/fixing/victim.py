"""A process that changes a cluster and is killed at a given point: `python -m tests.fixing.victim KUBECONFIG JOURNAL`.

Reads lines `EDIT N` (or `undo:ID N`) from its input. For each a child of it does the change and kills itself at the Nth moment: before
or after the journal is written, before a request is sent, or after the server has done it and before the answer is looked at. Writes
`killed`, or `ended` when there are fewer moments.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from meshdiag.fixing import Journal, apply, applying, prepare, prepare_undo
from meshdiag.sources.kubernetes.access import Login, accesses
from meshdiag.sources.kubernetes.api import Api
from tests.fixing import objects


def child(kubeconfig: str, folder: Path, what: str, at: int) -> None:
    left = at

    def moment() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    class Mortal(Journal):
        def begin(self, *args: Any) -> Any:
            moment()
            entry = super().begin(*args)
            moment()
            return entry

        def save(self, *args: Any) -> Any:
            moment()
            entry = super().save(*args)
            moment()
            return entry

    send = applying._send

    async def mortal(*args: Any, dry: bool = False) -> Any:
        moment()
        answer = await send(*args, dry=dry)
        moment()
        return answer

    applying._send = mortal
    journal = Mortal(folder)

    async def inside() -> None:
        async with Api(Login(accesses(kubeconfig)[0])) as api:
            if what.startswith("undo:"):
                prepared = await prepare_undo(api, journal.get(int(what[5:])), journal)
            else:
                prepared = await prepare(api, getattr(objects, what))
            await apply(api, prepared, journal, force=True)

    asyncio.run(inside())


def main() -> None:
    # what a child would load each time
    for name in ("aiohttp", "kubernetes.aio.client", "kubernetes.aio.config.kube_config"):
        importlib.import_module(name)
    kubeconfig, folder = sys.argv[1], Path(sys.argv[2])
    for line in sys.stdin:
        what, number = line.split()
        pid = os.fork()
        if not pid:
            try:
                child(kubeconfig, folder, what, int(number))
            except BaseException as e:
                print(repr(e), flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "ended" if not status else f"failed {status}", flush=True)


if __name__ == "__main__":
    main()

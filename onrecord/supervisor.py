"""The supervisor: forks the processes of `onrecord serve`, restarts what dies, and ends them in order.

It has no event loop and no threads, so a fork of it is always clean, and it binds the listening sockets before it
forks: a worker that dies leaves its socket here, connections wait in the backlog, and its successor takes them.

Children hold the reading end of a pipe whose writing end only the supervisor has: when that ends, however it ends,
they stop as if told to.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

__all__ = ["Child", "supervise"]

log = structlog.get_logger("supervisor")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
RESTART_SECONDS = 1.0  # a child that lived shorter than this is restarted only after it


@dataclass(slots=True, kw_only=True)
class Child:
    """A process: `run(life)` is its whole work; `life` becomes readable when the supervisor has gone. It begins with
    SIGTERM and SIGHUP blocked, and unblocks them when it can heed them: work that waits for it must not be lost because
    it was told to end while it began.

    Children of a smaller `stage` are ended first, and the next stage only when all of it has ended.
    """

    name: str
    run: Callable[[int], int]
    stage: int
    pid: int = 0
    born: float = 0.0
    due: float = 0.0


def supervise(children: Sequence[Child], *, on_stop: Callable[[], None], patience: float) -> int:
    """Runs `children` until SIGTERM or SIGINT, then ends them stage by stage; SIGHUP is handed on to all.

    `on_stop` is called first when ending. A stage that takes longer than `patience` seconds is killed. Returns 0.
    """
    life, our_end = os.pipe()
    os.set_inheritable(our_end, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    gc.collect()
    gc.freeze()  # what is there now is never collected, so its pages stay shared with the children
    try:
        for child in children:
            _start(child, life, our_end)
        while True:
            info = signal.sigtimedwait(SIGNALS, 0.5)
            _reap(children, log.warning)
            number = info.si_signo if info is not None else None
            if number in (signal.SIGTERM, signal.SIGINT):
                break
            if number == signal.SIGHUP:
                _tell(children, signal.SIGHUP)
            _restart(children, life, our_end)
        on_stop()
        for stage in sorted({child.stage for child in children}):
            _end([child for child in children if child.stage == stage], children, patience)
    finally:
        os.close(our_end)
        os.close(life)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return 0


def _start(child: Child, life: int, our_end: int) -> None:
    child.born = time.monotonic()
    try:
        pid = os.fork()
    except OSError as error:  # too many processes, or too little memory; it may pass, and the others work on
        log.error("a process cannot be started now", process=child.name, cause=error.strerror)
        child.due = child.born + RESTART_SECONDS
        return
    if pid:
        child.pid = pid
        return
    status = 70  # EX_SOFTWARE
    try:
        os.close(our_end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; only the supervisor acts on it
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGTERM, signal.SIGHUP))
        status = child.run(life)
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # a disk without room must not make a child go on as its parent
                stream.flush()
        os._exit(status)


def _reap(children: Sequence[Child], tell: Callable[..., Any]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for child in children:
            if child.pid == pid:
                child.pid = 0
                lived = time.monotonic() - child.born
                child.due = 0.0 if lived > RESTART_SECONDS else time.monotonic() + RESTART_SECONDS
                tell("a process has ended", process=child.name, status=os.waitstatus_to_exitcode(status))


def _restart(children: Sequence[Child], life: int, our_end: int) -> None:
    for child in children:
        if not child.pid and time.monotonic() >= child.due:
            _start(child, life, our_end)


def _tell(children: Sequence[Child], number: signal.Signals) -> None:
    for child in children:
        if child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)


def _end(stage: Sequence[Child], children: Sequence[Child], patience: float) -> None:
    _tell(stage, signal.SIGTERM)
    limit = time.monotonic() + patience
    while any(child.pid for child in stage):
        if time.monotonic() > limit:
            log.error("processes do not end and are killed", processes=[child.name for child in stage if child.pid])
            _tell(stage, signal.SIGKILL)
            limit = time.monotonic() + patience
        signal.sigtimedwait((signal.SIGCHLD,), 0.2)
        _reap(children, log.info)

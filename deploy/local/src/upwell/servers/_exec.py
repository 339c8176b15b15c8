"""Becomes another program, after giving up root and tying itself to its parent's life.

A script of its own, run as `python -I -S _exec.py …`: the same steps in a `preexec_fn` would run between
fork and exec of a process with threads, where almost nothing is safe to call.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _become(uid: int, gid: int, *, reach_all_paths: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if reach_all_paths and libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_KEEPCAPS")
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if reach_all_paths:
        mask = 1 << _CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
        if libc.capset(header, sets) != 0:
            raise OSError(ctypes.get_errno(), "capset")
        if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_CAP_AMBIENT_RAISE")


def _die_with(parent: int, death_signal: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request above was in place
        sys.exit(128 + death_signal)


def main() -> None:
    """Parse the options, apply them, exec what follows `--`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--death-signal", type=int, default=signal.SIGKILL)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--reach-all-paths", action="store_true")
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args()
    if options.uid is not None:
        _become(options.uid, options.gid, reach_all_paths=options.reach_all_paths)
    # After the change of user: that clears the request for a signal at the parent's death.
    _die_with(options.parent, options.death_signal)
    os.execvp(options.argv[0], options.argv)  # noqa: S606 - the point of this script


if __name__ == "__main__":
    main()

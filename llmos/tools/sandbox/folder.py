"""Removes a folder, whatever a program left in it. Part of the launcher: imports little, to start quickly."""

from __future__ import annotations

import os
import stat


def remove(folder: str) -> None:
    """Remove a folder with everything in it: folders without rights, and any depth of nesting.

    Instead of going down, what a subfolder holds is moved to the top: no path gets longer than two names. Nobody may
    still be working in it. What can't be removed stays.
    """
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        _empty(top)
        os.rmdir(folder)
    except OSError:
        return
    finally:
        os.close(top)


def _empty(top: int) -> None:
    # a name that nothing in there can have
    fresh = os.urandom(16).hex()
    names = os.listdir(top)
    moved = 0
    while names:
        name = names.pop()
        if not _is_folder(name, top):
            os.unlink(name, dir_fd=top)
            continue
        os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            for child in os.listdir(inner):
                if _is_folder(child, inner):
                    os.chmod(child, 0o700, dir_fd=inner)
                moved += 1
                os.rename(child, f"{fresh}{moved}", src_dir_fd=inner, dst_dir_fd=top)
                names.append(f"{fresh}{moved}")
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)


def _is_folder(name: str, place: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode)

"""Keeps llama.cpp away from AMX where its build would crash there.

GCC before 11.5, 12.4, 13.3 and 14 drops most of the stores that fill a tile configuration before `ldtilecfg` (GCC bug
114098: the intrinsic declares 8 of its 64 bytes as read). llama.cpp compiled by such a GCC on a processor with AMX dies
of a general protection fault in the first prompt of more than a few tokens, with any quantized model (llama.cpp issue
20824). The build can't be repaired from outside, but llama.cpp asks the kernel for the tile registers once and does
without them when it is refused, and Linux refuses while a thread has a signal stack that is too small for them
(arch/x86/kernel/signal.c, `sigaltstack_size_valid`). So a thread with a small signal stack makes llama.cpp ask. Its
other fast paths (repacked weights, AVX-512) stay.

Knows no model and no engine; imports nothing heavy.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

AmxState = Literal["absent", "sound", "off", "broken"]
"""`absent`: no AMX in the processor or in the build; `sound`: compiled well; `off`: miscompiled and kept off;
`broken`: miscompiled and still on, so load models without extra buffer types (`use_extra_bufts`)."""

_FIXED_IN = {11: 5, 12: 4, 13: 3}
_GCC = re.compile(rb"GCC: \([^)\x00]*\) (\d+)\.(\d+)")
_SMALL_STACK = 8_192


class _SignalStack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def miscompiled(library: Path) -> bool:
    """Whether this build of ggml's CPU backend has AMX code, and a compiler that breaks it."""
    data = library.read_bytes()
    if b"ggml_backend_amx_buffer_type" not in data and b"AMX is not ready" not in data:
        return False
    return any(_breaks_amx(int(match[1]), int(match[2])) for match in _GCC.finditer(data))


def _breaks_amx(major: int, minor: int) -> bool:
    return major < 14 and minor < _FIXED_IN.get(major, 99)


def processor_has_amx() -> bool:
    """Whether Linux lists `amx_int8` for the first processor; False on other systems."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            return any(" amx_int8" in line for line in lines if line.startswith("flags"))
    except OSError:
        return False


def keep_off() -> AmxState:
    """Turn AMX off in this process if llama.cpp's build is broken there.

    Call it after `import llama_cpp` and before the first model is loaded: llama.cpp asks once, and keeps the answer.
    A second call does nothing harmful.
    """
    if sys.platform != "linux" or not processor_has_amx():
        return "absent"
    cpu, base = _loaded("libggml-cpu"), _loaded("libggml-base")
    if cpu is None or base is None:
        return "absent"
    if not miscompiled(cpu):
        return "sound"
    answers: list[list[bytes]] = []
    asker = threading.Thread(target=_ask_with_small_stack, args=(cpu, base, answers), name="llmos-amx")
    with _quiet_stderr():
        asker.start()
        asker.join()
    return "off" if answers and b"AMX" not in answers[0] else "broken"


def _loaded(name: str) -> Path | None:
    """The file of a shared library in this process; wheels carry each library several times, and only one is ours."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    for line in maps.splitlines():
        path = Path(line.rpartition(" ")[2])
        if path.name.startswith(name):
            return path
    return None


@contextmanager
def _quiet_stderr() -> Generator[None]:
    """llama.cpp prints straight to file descriptor 2 that AMX is not ready; nobody can act on it."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _ask_with_small_stack(cpu: Path, base: Path, answers: list[list[bytes]]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    memory = ctypes.create_string_buffer(_SMALL_STACK)
    small = _SignalStack(ctypes.addressof(memory), 0, _SMALL_STACK)
    before = _SignalStack()
    if libc.sigaltstack(ctypes.byref(small), ctypes.byref(before)) != 0:
        return
    try:
        answers.append(_buffer_types(ctypes.CDLL(str(cpu)), ctypes.CDLL(str(base))))
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def _buffer_types(cpu: ctypes.CDLL, base: ctypes.CDLL) -> list[bytes]:
    """The extra kinds of memory that ggml's CPU backend offers, by name; asking is what decides about AMX."""
    pointer = ctypes.c_void_p
    cpu.ggml_backend_cpu_reg.restype = pointer
    base.ggml_backend_reg_dev_get.restype = pointer
    base.ggml_backend_reg_dev_get.argtypes = (pointer, ctypes.c_size_t)
    base.ggml_backend_reg_get_proc_address.restype = pointer
    base.ggml_backend_reg_get_proc_address.argtypes = (pointer, ctypes.c_char_p)
    base.ggml_backend_buft_name.restype = ctypes.c_char_p
    base.ggml_backend_buft_name.argtypes = (pointer,)
    registry = cpu.ggml_backend_cpu_reg()
    address = base.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
    if not address:
        return []
    extra = ctypes.CFUNCTYPE(ctypes.POINTER(pointer), pointer)(address)(base.ggml_backend_reg_dev_get(registry, 0))
    names: list[bytes] = []
    while extra and (kind := extra[len(names)]):
        names.append(base.ggml_backend_buft_name(kind))
    return names

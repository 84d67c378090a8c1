"""The kernel's test system, for primitives."""

from __future__ import annotations

from tests.kernel.conftest import make_system as make_system

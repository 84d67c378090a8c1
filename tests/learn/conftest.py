"""A tiny model for all tests of learning. Nothing is compiled: that takes longer than what is tested."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["TORCHDYNAMO_DISABLE"] = "1"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.learn import tiny

    return tiny.write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")

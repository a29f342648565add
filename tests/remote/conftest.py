import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from memory_store import memory_store


@pytest.fixture
def store():
    return memory_store()

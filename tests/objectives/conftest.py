"""`collapse_runs` is a script and what the tests of collapse import."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

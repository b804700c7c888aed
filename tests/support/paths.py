"""Where the repository and the data of the tests are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
# For programs under test: where our code is, and what hides packages that are there for tools only.
PYTHONPATH: Final = f"{ROOT}:{ROOT / 'tests' / 'support' / 'as_installed'}"
DATA: Final = ROOT / "tests" / "data"

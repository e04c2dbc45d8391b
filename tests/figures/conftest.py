"""The figures' tests share `driving`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

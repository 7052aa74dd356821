"""Let the tests here, and the explorer that is no test, share one set of seeds."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

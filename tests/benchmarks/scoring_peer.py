"""cityscapesScripts on a folder of masks; runs in an environment of its own (see `make bench-score`)."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

folder = Path(sys.argv[1])
truth, found = (sorted(str(path) for path in (folder / side).glob("*.png")) for side in ("truth", "found"))
official.args.evalInstLevelScore, official.args.JSONOutput, official.args.quiet = False, False, True
began = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    results = official.evaluateImgLists(found, truth, official.args)
print(json.dumps({"seconds": time.perf_counter() - began, "miou": float(results["averageScoreClasses"])}))

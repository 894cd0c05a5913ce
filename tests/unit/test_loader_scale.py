"""What `make scale` measures at 10^9 samples, at a size for every day."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import scale


def test_every_sample_is_drawn_once_and_a_node_reads_its_share(tmp_path):
    scale.write_list(tmp_path / "fleet", 20_000, 40)
    figures = {figure["figure"]: figure["value"] for figure in scale.measure(tmp_path / "fleet", 256)}
    assert figures["samples"] > 700_000 and figures["drawn_once"] > 20_000
    assert figures["fetched_by_nodes"] <= 1.1 and figures["first_64_of_a_lane"] > 0.9
    assert figures["state_bytes"] < 1000

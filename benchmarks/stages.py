"""Stages of `make` and `.ci/run` from what they print: `python -m benchmarks.stages LOG "ABOUT"`
writes results/stages.json. ABOUT says where and how it ran."""

import json
import re
import sys
from pathlib import Path

OUTPUT = Path(__file__).parent / "results" / "stages.json"


def stages(log: str) -> dict[str, int]:
    """Seconds of each stage, in order; of one that ran again, of the first time. Those of `.ci/run`
    hold those of `make` that stand before them."""
    seconds: dict[str, int] = {}
    for outer, name, value in re.findall(r"^==(==)? (.+): (\d+) s$", log, re.MULTILINE):
        seconds.setdefault(f"{name}, in all" if outer else name, int(value))
    return seconds


if __name__ == "__main__":
    log, about = Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]
    result = {"about": about, "stages": stages(log)}
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(OUTPUT)

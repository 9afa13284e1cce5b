"""A clone with launch/ as it is, among stand-ins for Python, uv, df and a GPU's software; uv's calls are recorded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

PYTHON = """#!/usr/bin/env bash
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install uv=="*) echo "pip $*" >>"$CALLS" && cp "$FAKES/uv-to-install" .venv/bin/uv ;;
    "-m pip config get global.find-links") [[ -n ${CONFIGURED_LINKS:-} ]] && printf '%s\\n' "$CONFIGURED_LINKS" ;;
    "-m pip config get global.index-url") [[ -n ${CONFIGURED_INDEX:-} ]] && echo "$CONFIGURED_INDEX" ;;
    *Python.h*) echo "$FAKES/include/Python.h" ;;
    -c*) exit 0 ;;
    *) exit 64 ;;
esac
"""
UV = """#!/usr/bin/env bash
echo "uv $* | links=${UV_FIND_LINKS:-} index=${UV_DEFAULT_INDEX:-}" >>"$CALLS"
[[ "$*" != *flash-attn.txt ]] || env | grep -E '^(FLASH_|CUDA_HOME|PATH)' >"$FAKES/seen-environment"
[[ "$*" == *" -r "*torch.txt ]] && cp .setup/torch.txt "$FAKES/seen-torch.txt"
if [[ -n ${UV_FAILS_AT:-} && "$*" == *"$UV_FAILS_AT"* ]]; then
    echo "  cause: made to fail"
    exit 1
fi
[[ -z ${UV_SLEEPS:-} ]] || sleep "$UV_SLEEPS"
[[ "$*" != *"-e ." ]] || cp "$FAKES/vaopd-to-install" .venv/bin/vaopd
"""
VAOPD = """#!/usr/bin/env bash
printf '%s\\n' "$PWD" "$@"
[[ -z ${VAOPD_SLEEPS:-} ]] || exec sleep 60
"""
# 99 GB free, or what the test says.
DF = """#!/usr/bin/env bash
printf 'Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 1 1 %s 1%% /\\n' "${FREE_KB:-99000000}"
"""
NVIDIA_SMI = """#!/usr/bin/env bash
case "$*" in
    -L) printf '%s\\n' 'GPU 0: NVIDIA A100 (UUID: x)' 'GPU 1: NVIDIA A100 (UUID: y)' ;;
    *driver_version*) printf '%s\\n' "${DRIVER:-580.65.06}" "${DRIVER:-580.65.06}" ;;
    *compute_cap*) printf '%s\\n' ${CAPABILITIES:-8.0 8.0} ;;
    *) echo "| NVIDIA-SMI 550.1    CUDA Version: ${DRIVER_CUDA:-12.4}     |" ;;
esac
"""
NVCC = """#!/usr/bin/env bash
echo "Cuda compilation tools, release ${TOOLKIT:-13.0}, V13.0.88"
"""
HEADERS = ("cuda_runtime.h", "cublas_v2.h", "cusparse.h", "cusolverDn.h", "curand_kernel.h", "Python.h")
CPU_LOCK = r"""# by make lock
numpy==2.0 \
    --hash=sha256:aa
torch==2.13.0+cpu \
    --hash=sha256:bb
    # via x
torchvision==1 \
    --hash=sha256:cc
uv==0.13.8 \
    --hash=sha256:dd
"""
GPU_LOCK = r"""flash-attn==2.8.3 \
    --hash=sha256:ee
torch==2.11.0 \
    --hash=sha256:ff
uv==0.13.8 \
    --hash=sha256:dd
"""


class Clone:
    """A clone with launch/ as it is and everything around it made up."""

    def __init__(self, directory: Path):
        self.root = directory / "a clone"
        self.fakes = directory / "fakes"
        self.calls_file = directory / "calls"
        for folder in (self.root / "launch", self.root / "requirements", self.fakes):
            folder.mkdir(parents=True)
        for script in ("setup.sh", "gpu_checks.sh", "run_vaopd.sh"):
            shutil.copy(ROOT / "launch" / script, self.root / "launch")
        (self.root / "setup.py").write_text("# version 1\n")
        (self.root / "requirements/cpu.txt").write_text(CPU_LOCK)
        (self.root / "requirements/gpu.txt").write_text(GPU_LOCK)
        self.fake("python3.11", PYTHON)
        self.fake("uv-to-install", UV)
        self.fake("vaopd-to-install", VAOPD)
        self.fake("df", DF)

    def fake(self, name: str, text: str) -> None:
        (self.fakes / name).write_text(text)
        (self.fakes / name).chmod(0o755)

    def with_gpu(self) -> None:
        """Two A100, with all that the GPU stack and flash-attn need."""
        self.fake("nvidia-smi", NVIDIA_SMI)
        for name in ("gcc", "c++"):
            self.fake(name, "#!/usr/bin/env bash\n")
        for folder in ("bin", "include"):
            (self.fakes / folder).mkdir()
        self.fake("bin/nvcc", NVCC)
        for name in HEADERS:
            (self.fakes / "include" / name).touch()

    def without_gpu(self) -> None:
        self.fake("nvidia-smi", "#!/usr/bin/env bash\necho 'No devices were found'\nexit 6\n")

    def start(self, script: str = "setup.sh", *arguments: str, cwd: Path | None = None, **variables: str):
        environment = {
            "PATH": f"{self.fakes}:{self.fakes}/bin:/usr/bin:/bin",
            "FAKES": str(self.fakes),
            "CALLS": str(self.calls_file),
        }
        return subprocess.Popen(
            ["bash", str(self.root / "launch" / script), *arguments],
            cwd=cwd or self.root.parent,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def setup(self, expect: int = 0, **variables: str) -> str:
        """Run setup.sh; returns what the user sees, which is all on stderr."""
        process = self.start(**variables)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (expect, ""), err
        return err

    def calls(self) -> list[str]:
        """Calls of uv and pip since the last question."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines

    @property
    def stamp(self) -> Path:
        return self.root / ".venv/vaopd-setup.stamp"

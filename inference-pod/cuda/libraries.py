"""Fetches the wheels of requirements.txt and lays their libraries out as they are to stand in the image.

python3 libraries.py TARGET: TARGET becomes the root of what is copied over the image. Wheels are checked against their
hashes, and their Python code is left behind.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

BINDING = "app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64"
CUDA = "opt/cuda/lib"
# Wheels of other glibc versions would do too, but a hash names one file.
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64"]
# Not needed: FFTW's and BLAS's interfaces, compilers for other drivers, TensorRT.
LEFT_OUT = re.compile(r"/lib(cufftw|nvblas|nvrtc(-builtins)?\.alt)\.|providers_tensorrt|/onnxruntime_pybind11")


def place(name: str, wheel: str) -> str | None:
    """Where a file of a wheel belongs, or None where it is not wanted."""
    base = name.rsplit("/", 1)[-1]
    if re.search(r"\.dist-info/(licenses/)?(License\.txt|LICENSE)$", name) or name == "onnxruntime/LICENSE":
        return f"opt/cuda/licenses/{wheel}.txt"
    if ".so" not in base or LEFT_OUT.search(f"/{name}"):
        return None
    if not name.startswith("onnxruntime/capi/"):
        return f"{CUDA}/{base}"
    # The runtime of the same build as its provider, in the place of npm's and under the name that the binding loads.
    return f"{BINDING}/{'libonnxruntime.so.1' if base.startswith('libonnxruntime.so.') else base}"


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(__file__).parent / "requirements.txt"
        platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
        command = ["pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--require-hashes", "--only-binary=:all:", "--python-version", "3.12"]
        subprocess.run([sys.executable, "-m", *command, *platforms, "--dest", folder, "--requirement", str(requirements)], check=True)
        for wheel in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(wheel) as content:
                for name in content.namelist():
                    to = place(name, wheel.name.split("-")[0])
                    if to is None:
                        continue
                    path = target / to
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with content.open(name) as source, path.open("wb") as copy:
                        while block := source.read(1 << 20):
                            copy.write(block)
                    path.chmod(0o644)
            wheel.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

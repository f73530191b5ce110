"""Writes the model repository of the client suites:  prepare.py FOLDER

The test fixtures, the demo model, and production models as their PyPI wheels ship them, without any config.pbtxt.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = [
    "simple", "identity_string", "identity_bytes", "identity_bf16", "identity_bool",
    "identity_fp16", "identity_fp32", "identity_fp64",
    "identity_int8", "identity_int16", "identity_int32", "identity_int64",
    "identity_uint8", "identity_uint16", "identity_uint32", "identity_uint64",
]


def package_file(package, pattern):
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    return sorted(folder.glob(pattern))[-1]


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in FIXTURES:
        shutil.copytree(ROOT / "src/testing/fixtures" / name, folder / name, dirs_exist_ok=True)
    shutil.copytree(ROOT / "config/models/digits", folder / "digits", dirs_exist_ok=True)
    shipped = {
        "magika": package_file("magika", "models/standard_v*/model.onnx"),
        "silero_vad": package_file("silero_vad", "data/silero_vad.onnx"),
    }
    for name, file in shipped.items():
        (folder / name / "1").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / name / "1" / "model.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

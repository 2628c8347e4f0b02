"""Puts trained weights where the package finds them.

``python -m happyhorse.weights.ship src/happyhorse/weights/foal runs/foal/base.safetensors [--int8]``
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from happyhorse.errors import HappyhorseError, WeightsError
from happyhorse.files import whole_file
from happyhorse.weights.store import MANIFEST, Manifest, read_config, read_manifest, save_in_eight_bits, write_manifest

LARGEST = 16 * 2**20
"""Bytes: larger files do not travel well in a repository or a wheel."""


def ship(folder: Path, files: list[Path], name: str, eight_bits: bool = False) -> Manifest:
    """Copies weight files into a model folder and hashes them; what the manifest says of sampling stays.

    A file's role is its name without the ending. With ``eight_bits`` their matrices become bytes. Raises WeightsError
    for a file that is no weight file or over 16 MiB.
    """
    for file in files:
        read_config(file)
        if file.stat().st_size > LARGEST:
            raise WeightsError(f"{file} has {file.stat().st_size} bytes; a shipped file may have {LARGEST}")
    before = read_manifest(folder) if (folder / MANIFEST).exists() else Manifest(name, {})
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        with whole_file(folder / file.name) as temporary:
            save_in_eight_bits(file, temporary) if eight_bits else shutil.copyfile(file, temporary)
            temporary.chmod(0o644)  # an installed package is read by everybody
    card = "README.md" if (folder / "README.md").exists() else before.card
    return write_manifest(folder, name, before.sampling, card, generators=before.generators, superres=before.superres)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the model folder")
    parser.add_argument("files", type=Path, nargs="+", help="weight files, named by their roles")
    parser.add_argument("--int8", action="store_true", help="keep matrices as bytes with a scale for every row")
    asked = parser.parse_args()
    try:
        manifest = ship(asked.folder, asked.files, asked.folder.name, asked.int8)
    except HappyhorseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for role, entry in manifest.files.items():
        print(f"{role:8} {entry['bytes']:>10} bytes  {entry['sha256'][:16]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

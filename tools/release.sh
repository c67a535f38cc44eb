#!/usr/bin/env bash
# Make a release from a clean clone of HEAD, and try it as a new user would: `make release`, or tools/release.sh [OUT].
#
# Builds the source archive and the wheel, checks what a package index would refuse, installs the wheel into an empty
# environment and predicts a picture there. Nothing is uploaded. PYTHON needs the packages build and twine.
set -euo pipefail

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
out=$(realpath -m "${1:-$repository/dist}")
python=${PYTHON:-python3}
# A path would be looked up in the clone otherwise.
[[ $python == */* ]] && python=$(realpath -s "$python")

refuse() { echo "release: $*" >&2; exit 2; }

[[ -z $(git -C "$repository" status --porcelain) ]] || refuse "there are changes that are not committed; commit or stash them."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet --no-hardlinks "$repository" "$work/clone"
cd "$work/clone"

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' egodepth/version.py)
grep -q "^version: $version$" CITATION.cff || refuse "CITATION.cff does not say version: $version."
newest=$(grep -m 1 '^## \[' CHANGELOG.md)
[[ $newest == "## [$version]"* ]] || refuse "CHANGELOG.md begins with '$newest', not with [$version]."

# The time of the commit, so that the same commit gives the same archives.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
"$python" -m build --outdir "$work/dist" . > "$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; refuse "the build failed."; }
"$python" -m twine check --strict "$work"/dist/*

echo "Installing the wheel into an empty environment ..."
"$python" -m venv "$work/fresh"
"$work/fresh/bin/python" -m pip install --quiet --disable-pip-version-check "$work"/dist/*.whl
mkdir "$work/user"
cp egodepth/examples/city-crossing.jpg "$work/user/street.jpg"
cd "$work/user"
# Not the clone's package, and no cache of earlier calls.
unset PYTHONPATH
export EGODEPTH_CACHE=$work/cache
installed=$("$work/fresh/bin/python" -c 'import egodepth; print(egodepth.__version__)')
[[ $installed == "$version" ]] || refuse "the wheel installs version $installed, not $version."
"$work/fresh/bin/egodepth" predict street.jpg --fov 63
"$work/fresh/bin/egodepth" predict street.jpg --fov 63 --format npy
"$work/fresh/bin/python" - <<'EOF'
import numpy as np
from PIL import Image

depth, picture = np.load("depth/street.npy"), Image.open("street.jpg")
assert depth.shape == (picture.height, picture.width) and 0 < depth.min() and np.isfinite(depth).all(), depth.shape
print(f"A picture of {picture.width}x{picture.height}: {depth.min():.1f} to {depth.max():.1f} m.")
EOF

mkdir -p "$out"
cp "$work"/dist/* "$out"
[[ $newest == *unreleased* ]] && echo "CHANGELOG.md still says unreleased: give $version its date before you upload."
echo "Made in $out:"
(cd "$out" && sha256sum "egodepth-$version"*)

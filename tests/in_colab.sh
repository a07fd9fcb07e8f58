#!/usr/bin/env bash
# Runs notebooks in Colab's image as a reader would: `in_colab.sh NOTEBOOK...`, in a folder without the repository.
# Fails where one fails, or where what Colab ships is not as it was. Writes what it ships to colab/packages.txt.
set -euo pipefail

mkdir -p colab
export EAMLIB_BUDGET=smoke TQDM_DISABLE=1 LC_ALL=C
python3 -m pip list --format=freeze | sort > colab/packages.txt

failed=()
for notebook in "$@"; do
    cp "$notebook" .
    name=$(basename "$notebook")
    echo "$name"
    jupyter execute --timeout=900 "$name" || failed+=("$name")
done

changed=$(python3 -m pip list --format=freeze | sort | comm -13 - colab/packages.txt)
echo "Failed: ${failed[*]:-none}"
echo "Changed or removed by the set-up cell: ${changed:-nothing}"
[ -z "${failed[*]:-}$changed" ]

#!/bin/sh
# Train the joint network on a CPU: songs are generated, then one recipe after the other goes on from the checkpoint of
# the one before (separator; pitch; rhythm and presence), and sharpness and voicing are chosen on further generated songs.
# The same call goes on where it stopped.
#
#     nice benchmarks/cpu_training.sh OUT_DIR [SONGS [SECONDS [RECIPE ...]]]
#
# OUT_DIR/runs/RECIPE/ has checkpoint, card and curve of each; a RECIPE is a name or an absolute path. In the environment:
# DATA, the folder of isolated sounds that recipes with songs < 1 need; NOTES, VOICES, GROOVES, RECORDINGS, folders as for
# `stemfeatures generate`; MULTITRACKS and CALIBRATION, songs to learn from and to calibrate on instead of generated ones.
set -eu
out=$1 songs=${2:-400} seconds=${3:-50}
shift "$(($# < 3 ? $# : 3))"
recipes=${*:-joint-v3-separator joint-v3-pitch joint-v3-rhythm}
python=${PYTHON:-python}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
mkdir -p "$out"
cd "$out" # recipes name the checkpoints of earlier ones as runs/...

generate() { # FOLDER SONGS SEED
    set -- generate --out "$1" --songs "$2" --seed "$3" --duration "$seconds"
    [ -z "${NOTES:-}" ] || set -- "$@" --bank notes --notes "$NOTES"
    [ -z "${VOICES:-}" ] || set -- "$@" --voices "$VOICES"
    [ -z "${GROOVES:-}" ] || set -- "$@" --grooves "$GROOVES"
    [ -z "${RECORDINGS:-}" ] || set -- "$@" --recordings "$RECORDINGS" --recordings-bank phrases
    "$python" -m pipelines.cli "$@"
}

[ -n "${MULTITRACKS:-}" ] || generate generated "$songs" 500000
[ -n "${CALIBRATION:-}" ] || generate calibration 12 490000
for recipe in $recipes; do
    set -- train --recipe "$recipe" --songs "${MULTITRACKS:-generated}" --licence Apache-2.0
    [ -z "${DATA:-}" ] || set -- "$@" --data "$DATA" --bank bank
    "$python" -m pipelines.cli "$@"
done
last=$(basename "$recipe" .toml)
"$python" -m stemfeatures.training.calibration "runs/$last/$last.safetensors" "${CALIBRATION:-calibration}"

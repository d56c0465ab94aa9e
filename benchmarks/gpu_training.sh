#!/bin/sh
# Train the separator on one GPU for so many minutes: songs are generated (whatever processors there are), kept in the
# device's memory and mixed there. The same call goes on where it stopped.
#
#     benchmarks/gpu_training.sh OUT_DIR MINUTES [SONGS [SECONDS [DEVICE [RECIPE]]]]
#
# OUT_DIR/joint-gpu.safetensors is the checkpoint, OUT_DIR/run/log.csv the curve. NOTES and VOICES may name folders
# of recorded notes and of voices, as for `stemfeatures generate`.
set -eu
out=$1 minutes=$2 songs=${3:-300} seconds=${4:-60} device=${5:-cuda} recipe=${6:-joint-gpu}
python=${PYTHON:-python}
jobs=$(nproc)

set -- generate --out "$out/generated" --songs "$songs" --seed 500000 --duration "$seconds" --jobs "$jobs"
[ -z "${NOTES:-}" ] || set -- "$@" --bank "$out/notes" --notes "$NOTES"
[ -z "${VOICES:-}" ] || set -- "$@" --voices "$VOICES"
"$python" -m pipelines.cli "$@"
"$python" -m pipelines.cli train --recipe "$recipe" --songs "$out/generated" --run-dir "$out/run" --workers "$jobs" \
    --device "$device" --max-minutes "$minutes" --export "$out/joint-gpu.safetensors" --licence Apache-2.0
"$python" - "$out/run/log.csv" <<'PYTHON'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
first, last = rows[0], rows[-1]
steps, minutes = int(last["step"]) - int(first["step"]), float(last["minutes"]) - float(first["minutes"])
pace = f", {steps / minutes:.0f} steps a minute" if minutes > 0 else ""
print(f"separation {first['separation']} at step {first['step']}, {last['separation']} at step {last['step']}{pace}")
PYTHON

#!/usr/bin/env bash
# Serves what export.py wrote: gRPC on port 8500, REST on 8501. New versions beside 1 are taken up as they appear.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec docker run --rm -p 8500:8500 -p 8501:8501 \
    -v "$PWD/served/efficientnet_lite0:/models/efficientnet_lite0:ro" \
    -v "$PWD/examples/serving/batching.conf:/batching.conf:ro" \
    -e MODEL_NAME=efficientnet_lite0 \
    tensorflow/serving --enable_batching --batching_parameters_file=/batching.conf

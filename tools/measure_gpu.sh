#!/bin/sh
# Measure a GPU: the Triton kernels, detection and training of TubeR CSN-50 in all their forms.
# Tables go to the console, figures with versions to FOLDER.
#
#   sh tools/measure_gpu.sh PYTHON FOLDER
set -eu

python=$1 folder=$2
config=configs/AVA/TubeR_CSN50_AVA21.yaml
mkdir -p "$folder"

measure() { # name of the json, arguments
    name=$1
    shift
    "$python" tools/benchmark.py --json "$folder/$name.json" "$@"
}

measure kernels --task kernels --repeats 10 --block-numbers 1024 2048 4096
for clips in 8 1; do
    measure "detection_$clips" --task inference --config-file "$config" --device cuda \
        --amp bfloat16 --batch-size "$clips" --warmup 3 --repeats 15
done
measure detection_8_float32 --task inference --config-file "$config" --device cuda \
    --batch-size 8 --warmup 3 --repeats 15
measure training_2 --task train --config-file "$config" --device cuda --amp bfloat16 \
    --batch-size 2 --warmup 3 --repeats 15
measure training_2_float32 --task train --config-file "$config" --device cuda \
    --batch-size 2 --warmup 3 --repeats 15

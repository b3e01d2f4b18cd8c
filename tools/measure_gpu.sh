#!/bin/sh
# Measure a GPU: training and detection of TubeR CSN-50 in all their forms, the Triton kernels, and
# the other architectures. Tables go to the console, figures with versions to FOLDER.
#
#   sh tools/measure_gpu.sh PYTHON FOLDER [PART ...]     PART: tuber, kernels, others; default: all
set -eu

python=$1 folder=$2
shift 2
parts=${*:-tuber kernels others}
mkdir -p "$folder"

measure() { # name of the json, arguments
    json=$folder/$1.json
    shift
    "$python" tools/benchmark.py --json "$json" "$@"
}

on_gpu() { # name of the json, task, architecture, arguments, config keys last
    json_name=$1 task=$2 config=configs/AVA/$3_CSN50_AVA21.yaml
    shift 3
    measure "$json_name" --task "$task" --config-file "$config" --device cuda \
        --warmup 3 --repeats 15 "$@"
}

measure_tuber() {
    on_gpu training_2 train TubeR --amp bfloat16 --batch-size 2
    for clips in 8 1; do
        on_gpu "detection_$clips" inference TubeR --amp bfloat16 --batch-size "$clips"
    done
    on_gpu training_2_float32 train TubeR --batch-size 2
    on_gpu detection_8_float32 inference TubeR --batch-size 8
}

measure_kernels() {
    measure kernels --task kernels --repeats 10 --block-numbers 1024 2048 4096
}

measure_others() { # with and without the kernels of deformable attention, where there is some
    for architecture in D2_TubeR D3_TubeR D4_TubeR SeqFormer Sparse; do
        for kernels in False True; do
            if [ "$architecture $kernels" = "Sparse True" ]; then
                continue
            fi
            on_gpu "training_${architecture}_$kernels" train "$architecture" \
                --amp bfloat16 --batch-size 2 \
                --variant straightforward --variant triton --variant recorded \
                MODEL.DEFORMABLE_TRITON "$kernels"
            on_gpu "detection_${architecture}_$kernels" inference "$architecture" \
                --amp bfloat16 --batch-size 2 --variant published --variant recorded \
                MODEL.DEFORMABLE_TRITON "$kernels"
        done
    done
}

for part in $parts; do
    case $part in
    tuber | kernels | others) "measure_$part" ;;
    *)
        echo "measure_gpu.sh: error: there is no part $part; give tuber, kernels or others" >&2
        exit 2
        ;;
    esac
done

#!/bin/sh
# Measure a GPU: training and detection of TubeR CSN-50 in all their forms, the Triton kernels, and
# seven other architectures. Tables go to the console, figures with versions to FOLDER.
#
#   sh tools/measure_gpu.sh PYTHON FOLDER [PART ...]     PART: tuber, kernels, others; default: all
set -eu

python=$1 folder=$2
shift 2
parts=${*:-tuber kernels others}
for part in $parts; do
    case $part in
    tuber | kernels | others) ;;
    *)
        echo "measure_gpu.sh: error: there is no part $part; give tuber, kernels or others" >&2
        exit 2
        ;;
    esac
done
mkdir -p "$folder"

measure() { # name of the json, arguments
    json=$folder/$1.json
    shift
    "$python" tools/benchmark.py --json "$json" "$@"
}

on_gpu() { # name of the json, task, config, arguments, config keys last
    json_name=$1 task=$2 config=configs/AVA/$3.yaml
    shift 3
    measure "$json_name" --task "$task" --config-file "$config" --device cuda \
        --warmup 3 --repeats 15 "$@"
}

measure_tuber() {
    on_gpu training_2 train TubeR_CSN50_AVA21 --amp bfloat16 --batch-size 2
    for clips in 8 1; do
        on_gpu "detection_$clips" inference TubeR_CSN50_AVA21 --amp bfloat16 --batch-size "$clips"
    done
    on_gpu training_2_float32 train TubeR_CSN50_AVA21 --batch-size 2
    on_gpu detection_8_float32 inference TubeR_CSN50_AVA21 --batch-size 8
}

measure_kernels() {
    measure kernels --task kernels --repeats 10 --block-numbers 1024 2048 4096
}

measure_others() { # two clips each
    for config_name in D2_TubeR_CSN50_AVA21 D3_TubeR_CSN50_AVA21 D4_TubeR_CSN50_AVA21 \
        SeqFormer_CSN50_AVA21 Sparse_CSN50_AVA21 ClassQuery_CSN50_AVA22 STMixer_CSN152_AVA22; do
        on_gpu "training_$config_name" train "$config_name" --amp bfloat16 --batch-size 2 \
            --variant straightforward --variant triton --variant recorded
        on_gpu "detection_$config_name" inference "$config_name" --amp bfloat16 --batch-size 2 \
            --variant published --variant recorded
        case $config_name in
        D?_* | SeqFormer_* | ClassQuery_*) # which have deformable attention
            on_gpu "training_${config_name}_kernels" train "$config_name" --amp bfloat16 \
                --batch-size 2 --variant triton --variant recorded MODEL.DEFORMABLE_TRITON True
            on_gpu "detection_${config_name}_kernels" inference "$config_name" --amp bfloat16 \
                --batch-size 2 --variant recorded MODEL.DEFORMABLE_TRITON True
            ;;
        esac
    done
}

for part in $parts; do
    "measure_$part"
done

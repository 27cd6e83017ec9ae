#!/bin/sh
# Starts TensorFlow Serving; further flags may follow as arguments.
#   GPU_MEMORY_FRACTION  most of the GPU's memory that is taken, as it is needed: two versions are in it during a swap
#   XLA_AUTO_JIT         1 compiles the dense part, once for each number of rows; strings and tables of words stay on the CPU; 0 not
#   BATCHING             true puts requests of one signature together; TF Serving then refuses the signature `rank`, whose user has
#                        one row and whose candidates have many, so it is for clients that send examples or transformed columns
set -eu
export TF_FORCE_GPU_ALLOW_GROWTH=true TF_XLA_FLAGS="--tf_xla_auto_jit=$XLA_AUTO_JIT"

if [ "$BATCHING" = true ]; then
    set -- --enable_batching=true --batching_parameters_file=/etc/tf_serving/batching.config "$@"
fi

exec tensorflow_model_server \
    --port=8500 \
    --rest_api_port=8501 \
    --model_config_file=/etc/tf_serving/models.config \
    --model_config_file_poll_wait_seconds=30 \
    --allow_version_labels_for_unavailable_models=true \
    --monitoring_config_file=/etc/tf_serving/monitoring.config \
    --per_process_gpu_memory_fraction="$GPU_MEMORY_FRACTION" \
    --file_system_poll_wait_seconds=5 \
    "$@"

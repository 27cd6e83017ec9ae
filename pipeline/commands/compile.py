"""`smalltowers compile`."""

from pipeline.terminal import framework_noise_to, temporary_log


def compile_job(config, output):
    """Writes the Kubeflow specification of a job and lists its components.

    Args:
        config: `pipeline.config.Config`.
        output: file to write.
    """
    with framework_noise_to(temporary_log("compile")) as console:
        with console.status("Compiling ..."):
            from pipeline.kubeflow import compile_specification

            names = compile_specification(config, output)
        console.print(f"{output}: {len(names)} components for Kubeflow Pipelines: {', '.join(names)}", soft_wrap=True)

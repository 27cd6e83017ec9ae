"""TFX's Transform, whose examples hold the transformed columns packed (`models.packing`); its graph names them as ever."""

import functools
import json

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx_bsl.public.tfxio import TFExampleRecord

from models.packing import packed_examples
from pipeline.transform_module import preprocessing_fn


class Executor(executor.Executor):
    """Fits the transform as TFX does, and writes the examples itself."""

    def Do(self, input_dict, output_dict, exec_properties):  # noqa: N802, the name is TFX's
        """Writes the transform graph, and examples of every split.

        Args:
            input_dict: artifacts `examples` and `schema`.
            output_dict: artifacts `transform_graph` and `transformed_examples`.
            exec_properties: of TFX's Transform; `custom_config` is that of `pipeline.transform_module`.
        """
        outputs = dict(output_dict)
        transformed = artifact_utils.get_single_instance(outputs.pop(specs.TRANSFORMED_EXAMPLES_KEY))
        super().Do(input_dict, outputs, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict[specs.EXAMPLES_KEY])
        transformed.split_names = examples.split_names
        graph_uri = artifact_utils.get_single_uri(outputs[specs.TRANSFORM_GRAPH_KEY])
        custom_config = json.loads(exec_properties[specs.CUSTOM_CONFIG_KEY])
        with self._make_beam_pipeline() as pipeline, tft_beam.Context(temp_dir=self._get_tmp_dir()):
            transform_fn = pipeline | "ReadTransformFn" >> tft_beam.ReadTransformFn(graph_uri)
            for split in artifact_utils.decode_split_names(examples.split_names):
                source, target = (artifact_utils.get_split_uri([artifact], split) for artifact in (examples, transformed))
                write = _WritePacked(source, target, transform_fn, graph_uri, custom_config)
                _ = pipeline | f"Write[{split}]" >> write


class _WritePacked(beam.PTransform):
    """One split's examples, transformed and packed."""

    def __init__(self, source, target, transform_fn, graph_uri, custom_config):
        super().__init__()
        self._target = target
        self._transform_fn = transform_fn
        schema = tft.TFTransformOutput(graph_uri).raw_metadata.schema
        rows = TFExampleRecord(f"{source}/*", telemetry_descriptors=["smalltowers"], schema=schema)
        # Columns that the features do not read are not even decoded.
        read = tft.get_transform_input_columns(
            functools.partial(preprocessing_fn, custom_config=custom_config), rows.TensorAdapter().OriginalTypeSpecs()
        )
        self._rows = rows.Project(read)

    def expand(self, pipeline):
        rows = pipeline | "Read" >> self._rows.BeamSource()
        transformed, _ = ((rows, self._rows.TensorAdapterConfig()), self._transform_fn) | tft_beam.TransformDataset(
            output_record_batches=True
        )
        return (
            transformed
            | "Columns" >> beam.Keys()
            | "Pack" >> beam.FlatMap(packed_examples)
            | "Write" >> beam.io.WriteToTFRecord(f"{self._target}/transformed_examples", file_name_suffix=".gz")
        )


class PackedTransform(component.Transform):
    """TFX's Transform with packed examples."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

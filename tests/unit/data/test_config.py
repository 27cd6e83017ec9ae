import subprocess
import sys

import pydantic
import pytest

from tests.unit.data.rows import data_config


@pytest.mark.parametrize("name", ["click", "satisfaction_mask", "user_id", "impressed_at_ms"])
def test_a_declared_column_must_be_new(name):
    with pytest.raises(pydantic.ValidationError, match=rf"must not repeat a column of labelled rows. Received: {name}"):
        data_config(context_columns={name: "float"})


def test_a_name_is_declared_once():
    with pytest.raises(pydantic.ValidationError, match=r"Received: age"):
        data_config(user_columns={"age": "int"}, context_columns={"age": "int"})


def test_pure_modules_load_no_framework():
    modules = ["config", "schema", "attribution", "split", "batches", "counts", "simulator", "ingest"]
    imports = "; ".join(f"import data.{module}" for module in modules)
    check = f"{imports}; import sys; print({{'apache_beam', 'tensorflow', 'grpc', 'tfx_bsl'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

from pathlib import Path

import pytest
import tomlkit

from pipeline.config import Config, load
from pipeline.errors import ConfigError

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def write(tmp_path):
    def write_tree(tree):
        path = tmp_path / "job.toml"
        path.write_text(tomlkit.dumps(tree))
        return path

    return write_tree


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_shipped_configurations_load(path):
    config = load(path)
    if config.job.schema_file is not None:
        assert (PROJECT / config.job.schema_file).exists()


def test_defaults_and_paths(write, tree):
    config = load(write(tree))
    assert config.root == Path("runs/test").absolute()
    assert config.models_folder == config.root / "models" / "ranker"
    assert [task.label for task in config.model.tasks] == ["click", "watch_seconds", "satisfaction"]


def test_features_may_read_the_past(write, tree):
    tree["model"]["features"] = [{"kind": "numeric", "name": name} for name in ("user_history", "item_age_hours")]
    tree["model"]["features"].append({"kind": "sequence", "name": "last_items", "dimension": 4})
    sized = load(write(tree)).sized_model.features
    assert [(feature.name, getattr(feature, "size", None)) for feature in sized] == [
        ("user_history", 15),
        ("item_age_hours", None),
        ("last_items", None),
    ]


def test_what_differs_by_candidate_is_read_last(write, tree):
    names = ("item_id", "user_history", "item_age_hours", "surface")
    tree["model"]["features"] = [
        {"kind": "numeric" if name.endswith(("history", "hours")) else "categorical", "name": name} for name in names
    ]
    tree["model"]["features"].append({"kind": "cross", "name": "both", "of": ["surface", "item_id"], "hash_buckets": 10})
    tree["model"]["features"].append({"kind": "sequence", "name": "last_items", "dimension": 4})
    config = load(write(tree))
    assert [feature.name for feature in config.model.features[:4]] == list(names)
    read = [feature.name for feature in config.trained_model.features]
    assert read == ["user_history", "surface", "last_items", "item_id", "item_age_hours", "both"]


def test_resolved_configuration_survives_json(write, tree):
    config = load(write(tree))
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_configuration_is_frozen(config):
    with pytest.raises(ValueError, match="frozen"):
        config.job.name = "other"


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("train.learning_rate=3e-4", lambda c: c.train.learning_rate, 3e-4),
        ("data.source.impressions=logs/*.csv.gz", lambda c: c.data.source.impressions, "logs/*.csv.gz"),
        ('job.name="quoted"', lambda c: c.job.name, "quoted"),
        ("model.tower_units=[8, 4]", lambda c: c.model.tower_units, (8, 4)),
        ("evaluation.gates.click.floor=0.7", lambda c: c.evaluation.gate("click").floor, 0.7),
        ("model.features.0.default=x", lambda c: c.model.features[0].default, "x"),
    ],
)
def test_overrides(write, tree, override, read, value):
    assert read(load(write(tree), [override])) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.learning_rat=1", r"train\.learning_rat: unknown key"),
        ("nonsense.key=1", r"nonsense: unknown key"),
        ("train.batch_size=0", r"train\.batch_size: .*greater than or equal to 1\. Received: 0"),
        ("train.batch_size=many", r"train\.batch_size: .*integer.*Received: 'many'"),
        ("data.source.kind=kafka", r"data\.source.*'events', 'kuairand'"),
        ("data.split.eval_from=soon", r"data\.split\.eval_from: .*Received: 'soon'"),
        ('evaluation.slices=["planet"]', r"evaluation\.slices\.0 must be a column .* Received: planet"),
        ("validation.drift.planet=0.1", r"validation\.drift\.planet must be a column .* Received: planet"),
        ("validation.skew.planet=0.1", r"validation\.skew\.planet must be a column .* Received: planet"),
        ("validation.drift.surface=0", r"validation\.drift\.surface: .*greater than 0\. Received: 0"),
        ("validation.skew.surface=2", r"validation\.skew\.surface: .*less than or equal to 1\. Received: 2"),
        ("serving.context.surface=[1, 2]", r"serving\.context\.surface: .*valid string.*Received: \[1, 2\]"),
        ("serving.context.planet=mars", r"serving\.context\.planet must be a column .* Received: planet"),
        (
            'model.tasks=[{label="click", head="binary"}]',
            r"model\.tasks must be click, watch_seconds, satisfaction, .* Received: \['click'\]",
        ),
        ("job.name=no spaces", r"job\.name: "),
        ("learning_rate", r"--set must be of the form dotted\.key=value\. Received: learning_rate"),
        ("job.name.first=1", r"--set job\.name\.first: name is a value, not a table"),
        (
            "model.features.9.name=x",
            r"--set model\.features\.9\.name: entries of features are numbered from 0 to .* Received: 9",
        ),
        ("model.features.first=1", r"--set model\.features\.first: entries of features .* Received: first"),
        ("model.features.0.dimension=wide", r"model\.features\.0\.dimension: .*Received: 'wide'"),
        (
            'tuner={trials=1, space={"train.learning_rate"={min=2, max=1}}}',
            r"job\.toml: tuner\.space\.train\.learning_rate\.min must be below max",
        ),
        (
            'data.history.aggregates=[{key=["user_id"]}, {key=["planet"]}]',
            r"job\.toml: data\.history\.aggregates\.1\.key must be user_id, .* Received: \['planet'\]",
        ),
        (
            'data.history.aggregates=[{key=["user_id"]}, {key=["user_id"]}]',
            r"job\.toml: data\.history\.aggregates\.1\.name must be given, .* Received: the column user_history twice",
        ),
        ('data.history.aggregates=[{key=["item_id", "item_id"]}]', r"job\.toml: data\.history\.aggregates\.0\.key must hold "),
        ("data.history.prior.click_rate=2", r"job\.toml: data\.history\.prior\.click_rate must be a rate within 0 and 1"),
        (
            'data.bucket_columns.length={column="country", edges=[1]}',
            r"job\.toml: data\.bucket_columns\.length\.column must be a numeric column .* Received: country",
        ),
        (
            'data.bucket_columns.length={column="age_days", edges=[2, 1]}',
            r"job\.toml: data\.bucket_columns\.length\.edges must ascend\. Received: \[2\.0, 1\.0\]",
        ),
        (
            "data.attribution.watermark=2026-01-02T00:00:00",
            r"job\.toml: data\.attribution\.watermark must have a time zone",
        ),
        ("model.small_tower.width=2", r"job\.toml: model\.small_tower\.width has no meaning for kind linear"),
        ('model.bias_tower.features=["planet"]', r"job\.toml: model\.bias_tower\.features must be names of features"),
        ("data.split={eval_from=2026-01-02, eval_days=1}", r"job\.toml: data\.split: one of eval_from and eval_days must"),
        (
            'model.features.0.name="length"',
            r"job\.toml: model\.features\.0\.name must be .* data\.item_columns, data\.bucket_columns or data\.history\. ",
        ),
    ],
)
def test_wrong_overrides_name_the_key(write, tree, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(write(tree), [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"kind": "categorical", "name": "planet"}, r"model\.features\.0\.name must be a column .* Received: planet"),
        ({"kind": "numeric", "name": "country"}, r"model\.features\.0: a numeric feature needs a numeric column"),
        (
            {"kind": "numeric", "name": "last_items"},
            r"model\.features\.0: a numeric feature needs a numeric column\. Received: last_items \(list<item: string>\)",
        ),
        (
            {"kind": "categorical", "name": "user_history"},
            r"model\.features\.0: a categorical feature needs a column with one value a row\. Received: user_history \(list",
        ),
        (
            {"kind": "categorical", "name": "last_items"},
            r"model\.features\.0: a categorical feature needs a column with one value a row\. Received: last_items",
        ),
        (
            {"kind": "sequence", "name": "user_history", "dimension": 4},
            r"model\.features\.0: a sequence feature needs a column with a list of strings\. Received: user_history \(list",
        ),
        (
            {"kind": "sequence", "name": "country", "dimension": 4},
            r"model\.features\.0: a sequence feature needs a column with a list of strings\. Received: country \(string\)",
        ),
        (
            {"kind": "numeric", "name": "user_history", "size": 3},
            r"features\.user_history\.size must be 15, as the data's\. Received: 3",
        ),
        ({"kind": "categorical", "name": "click"}, r"toml: model\.features\.name must not be a label.*Received: click"),
        ({"kind": "sound", "name": "country"}, r"model\.features\.0: .*'categorical', 'numeric', 'sequence'"),
    ],
)
def test_wrong_features_name_the_key(write, tree, feature, message):
    tree["model"]["features"] = [feature]
    with pytest.raises(ConfigError, match=message):
        load(write(tree))


def test_a_chained_label_must_be_known_of_all_rows(write, tree):
    tree["model"]["tasks"] = [
        {"label": "click", "head": "binary"},
        {"label": "watch_seconds", "head": "log1p"},
        {"label": "satisfaction", "head": "binary", "given": "click"},
    ]
    assert load(write(tree)).model.tasks[2].given == "click"
    with pytest.raises(ConfigError, match=r"model\.tasks\.2\.given needs labels of all rows: .* Received: clicked"):
        load(write(tree), ["data.satisfaction.known=clicked"])


@pytest.mark.parametrize(("override", "root"), [("job.root=here", "here"), ("job.name=feed", "runs/feed")])
def test_recorded_root_does_not_depend_on_the_folder(write, tree, override, root, tmp_path, monkeypatch):
    expected = Path(root).absolute()
    anchored = load(write(tree), [override]).anchored()
    monkeypatch.chdir(tmp_path)
    assert anchored.root == expected


def test_required_key(write, tree):
    del tree["data"]["split"]
    with pytest.raises(ConfigError, match=r"data\.split: required, but not given"):
        load(write(tree))


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration at .*absent\.toml"):
        load(tmp_path / "absent.toml")


def test_not_toml(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("job = {")
    with pytest.raises(ConfigError, match=r"job\.toml is not valid TOML"):
        load(path)


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read as a TOML file"):
        load(tmp_path)

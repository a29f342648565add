from ssl_jax.report.charts import curves
from ssl_jax.report.record import Record

CHECK = {"step": 0, "health": "healthy", "feature_std": 1.0, "rankme": 3.0, "centred_rank": 2.0}


def names(tmp_path, *checks: dict) -> list[str]:
    return [picture.name for picture in curves(Record(tmp_path, {}, {}, checks, {}, ()))]


def test_a_run_without_labels_has_no_curve_of_the_online_probe(tmp_path):
    assert names(tmp_path, CHECK) == ["feature_std", "rank"]
    assert names(tmp_path, CHECK | {"probe_accuracy": 0.5}) == ["online_probe", "feature_std", "rank"]

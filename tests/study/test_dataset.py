"""Data files of others: what can be used is read, and what cannot is told with file, line and column."""

from pathlib import Path

import pytest

from powerd.study.curves import board_and_curves
from powerd.study.dataset import BUNDLED, DataError, Dataset

HEAD = "curve_id,gpu_model,workload,variant,power_limit_w,throughput,avg_power_w\n"
GOOD = HEAD + "a,M,w,train,100,1,90\na,M,w,train,200,2,180\n"
OCCUPANCY = "vc,t_s,total_gpus,running_gpus\n"


def directory(path: Path, curves: str = GOOD, **traces: str) -> Dataset:
    (path / "traces").mkdir()
    (path / "power_curves.csv").write_text(curves, encoding="utf-8")
    for name, text in traces.items():
        (path / "traces" / f"{name}.csv").write_text(text, encoding="utf-8")
    return Dataset(path)


def test_columns_may_come_in_any_order_and_more_of_them_do_not_matter(tmp_path: Path) -> None:
    lines = "x,avg_power_w,throughput,power_limit_w,variant,workload,gpu_model,curve_id\n"
    data = directory(tmp_path, lines + "0,180,2,200,inference,w,M,a\n0,90,1,100,inference,w,M,a\n")
    (curve,) = data.curves()
    assert [(p.limit_w, p.throughput, p.draw_w) for p in curve.points] == [(100, 1, 90), (200, 2, 180)]
    assert curve.is_inference


@pytest.mark.parametrize(
    ("curves", "told"),
    [
        ("", ":1: no curves below the header"),
        (HEAD, ":1: no curves below the header"),
        (GOOD.replace("avg_power_w", "watts"), ":1: column avg_power_w is missing"),
        (GOOD + "a,M,w,train,300,fast,200\n", ':4: column throughput: "fast" is not a number'),
        (GOOD + "a,M,w,train,nan,3,200\n", ":4: column power_limit_w: nan is not a number >= 0"),
        (GOOD + "a,M,w,train,300,-1,200\n", ":4: column throughput: -1 is not a number >= 0"),
        (GOOD + "a,M,w,train,1e18,3,9\n", ":4: column power_limit_w: 1e18 is above 100000"),
        (GOOD + "a,M,w,train,300,1e308,9\n", ":4: column throughput: 1e308 is above 1e+12"),
        (GOOD + "a,M,w,train,300,3,0\n", ":4: column avg_power_w: must be above 0"),
        (GOOD + "a,M,w,train,300,3\n", ":4: not 7 columns as in line 1"),
        (GOOD + "a,N,w,train,300,3,200\n", ':4: column curve_id: "a" is another model'),
        (GOOD + "a,M,w,train,200,3,200\n", 'curve "a" needs two or more limits, and each of them once'),
        (HEAD + "a,M,w,train,100,0,9\na,M,w,train,200,0,9\n", 'curve "a": column throughput: 0 everywhere'),
    ],
)
def test_what_is_wrong_with_curves_is_told_in_one_line(tmp_path: Path, curves: str, told: str) -> None:
    with pytest.raises(DataError) as error:
        directory(tmp_path, curves).curves()
    assert str(error.value).startswith(str(tmp_path / "power_curves.csv"))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OCCUPANCY + "v,0,8,9\n", ":2: column running_gpus: more than total_gpus"),
        (OCCUPANCY + "v,0,8,1\nv,0,8,2\n", ":3: column t_s: 0 is not after 0"),
        (OCCUPANCY + "v,0,0,0\n", ":2: column total_gpus: must be above 0"),
    ],
)
def test_what_is_wrong_with_a_trace_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match="gpu_occupancy") as error:
        directory(tmp_path, gpu_occupancy=text).occupancy()
    assert told in str(error.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    data = directory(tmp_path)
    with pytest.raises(DataError, match=r"gpu_occupancy.*no such file"):
        data.occupancy()
    with pytest.raises(DataError, match=r"llm_service_7d_rate.*no such file"):
        data.service_rates()
    (tmp_path / "power_curves.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        data.curves()


def test_a_day_of_rates_does_where_there_is_no_week(tmp_path: Path) -> None:
    data = directory(tmp_path, llm_service_1d_rate="time_s,a,b\n0,1,2\n600,3,4\n")
    assert {name: series.values for name, series in data.service_rates().items()} == {
        "a": (1, 3),
        "b": (2, 4),
    }


def test_other_boards_than_ours_have_the_limits_that_were_measured(tmp_path: Path) -> None:
    board, curves = board_and_curves(directory(tmp_path))
    assert (board.model, board.min_w, board.max_w, len(curves)) == ("M", 100, 200, 1)
    with pytest.raises(DataError, match='no curve of "X"; there are: M'):
        board_and_curves(Dataset(tmp_path), "X")


def test_the_data_that_comes_along_can_be_used() -> None:
    data = Dataset(BUNDLED)
    assert len(data.curves()) == 100
    assert len(data.occupancy()) == 8
    assert set(data.arrivals()) == {"azure2023-conv", "mooncake-conversation"}
    assert len(data.service_rates()) > 20

"""The lab's data: no leaks, and a bad file gets one clear line."""

import gzip

import numpy as np
import pytest

for package in ("jinja2", "joblib", "matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(package, reason="needs the extra 'lab'")

from fastreg import data as files  # noqa: E402
from fastreg.__main__ import main  # noqa: E402
from fastreg.lab import data  # noqa: E402


@pytest.mark.parametrize("name", data.BUNDLED)
def test_bundled_sets_are_standardised_by_their_training_part(name):
    problem = data.load(name, 3)
    assert problem.X_train.dtype == np.float32 and abs(problem.X_train).max() <= 3
    centre = np.median(problem.X_train.mean(axis=0))
    assert abs(centre) < 0.1 and 0.8 < np.median(problem.X_train.std(axis=0)) < 1.1
    assert problem.rows == sum(problem.sizes)
    assert (problem.n_classes is None) == (name == "diabetes")
    if problem.n_classes:
        assert set(problem.y_train) == set(problem.y_test) == set(range(problem.n_classes))
    else:
        assert problem.y_train.mean() == pytest.approx(0, abs=1e-6)
        assert problem.y_train.std() == pytest.approx(1, abs=1e-6)
    assert name in problem.describe()


def test_the_split_is_a_function_of_the_seed():
    one, again, other = (data.load("digits", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.X_test, again.X_test)
    assert not np.array_equal(one.y_test, other.y_test)


def test_label_noise_exchanges_training_targets_only():
    clean, noisy = (data.load("digits", 1, label_noise=share) for share in (0.0, 0.4))
    np.testing.assert_array_equal(clean.X_train, noisy.X_train)
    np.testing.assert_array_equal(clean.y_val, noisy.y_val)
    np.testing.assert_array_equal(clean.y_test, noisy.y_test)
    np.testing.assert_array_equal(np.bincount(clean.y_train), np.bincount(noisy.y_train))
    assert np.mean(clean.y_train != noisy.y_train) == pytest.approx(0.36, abs=0.03)


def test_informative_features_of_the_synthetic_set_are_those_that_inform():
    problem = data.load("synthetic")
    X, y = problem.X_train, 2.0 * problem.y_train - 1
    strength = abs(X.T @ y) / len(y)
    informative = np.isin(np.arange(problem.n_in), problem.informative)
    assert strength[informative].min() > strength[~informative].max()


def test_scores_and_ignorance():
    digits, diabetes = data.load("digits"), data.load("diabetes")
    assert digits.score(np.eye(10)[digits.y_test], digits.y_test) == 1.0
    assert diabetes.score(diabetes.y_test[:, None], diabetes.y_test) == 1.0
    constant = np.full((len(diabetes.y_test), 1), diabetes.y_test.mean())
    assert diabetes.score(constant, diabetes.y_test) == pytest.approx(0, abs=1e-6)
    assert digits.ignorant_loss == pytest.approx(np.log(10), abs=0.01)
    assert diabetes.ignorant_loss == pytest.approx(diabetes.y_val.var(), rel=0.1)


X, KINDS = np.arange(240.0).reshape(60, 4) % 7, np.arange(60) % 3


def table(*columns, header="a,b,c,d,kind"):
    rows = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    return "\n".join([header, *rows]) + "\n"


def test_files_of_every_kind_are_read(tmp_path):
    (tmp_path / "t.csv").write_text(table(*X.T, KINDS))
    np.savez(tmp_path / "t.npz", X=X, y=KINDS)
    for name, array in (("images-idx3", X.reshape(60, 2, 2)), ("labels-idx1", KINDS)):
        head = bytes([0, 0, 8, array.ndim])
        head += b"".join(size.to_bytes(4, "big") for size in array.shape)
        packed = gzip.compress(head + array.astype(np.uint8).tobytes())
        (tmp_path / f"t-{name}-ubyte.gz").write_bytes(packed)
    problems = [data.load(tmp_path / name) for name in ("t.csv", "t.npz", "t-images-idx3-ubyte.gz")]
    for problem in problems:
        assert (problem.n_in, problem.n_classes, problem.rows) == (4, 3, 60)
        np.testing.assert_array_equal(problem.X_test, problems[0].X_test)
    by_name = data.load(f"{tmp_path / 't.csv'}#a")
    assert by_name.n_in == 4 and by_name.n_classes == 7


def test_targets_that_are_no_classes_are_regressed_on(tmp_path):
    (tmp_path / "real.csv").write_text(table(*X.T, KINDS + 0.5))
    assert data.load(tmp_path / "real.csv").n_classes is None
    (tmp_path / "counts.csv").write_text(table(*X.T, np.arange(60)))
    assert data.load(tmp_path / "counts.csv").n_classes is None
    (tmp_path / "words.csv").write_text(table(*X.T, np.array(["x", "y", "z"])[KINDS]))
    assert data.load(tmp_path / "words.csv").n_classes == 3


def test_a_large_file_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MOST_ROWS", 55)
    (tmp_path / "t.csv").write_text(table(*X.T, KINDS))
    problem = data.load(tmp_path / "t.csv")
    assert sum(problem.sizes) == 55 and "55 of 60 rows" in problem.describe()


def changed(column, row, value):
    columns = [*X.T.astype(object), KINDS.astype(object)]
    columns[column] = columns[column].copy()
    columns[column][row] = value
    return table(*columns)


BAD = {
    "missing target": (table(KINDS, header="kind"), "must have features beside its target"),
    "no such column": (table(*X.T, KINDS), "must have one column 'price'"),
    "text": (changed(1, 5, "red"), "line 7 must hold numbers"),
    "hole": (changed(1, 5, ""), "line 7 must hold numbers"),
    "nan": (changed(1, 5, "nan"), "line 7 must hold numbers, got a missing entry in column 'b'"),
    "nan target": (
        changed(4, 5, "nan"),
        "line 7 must have a target, got a missing entry in column 'kind'",
    ),
    "one class": (table(*X.T, 0 * KINDS), "must have a target that varies, got 0 in every row"),
    "rare class": (changed(4, 5, 9), "must have 5 rows of each class, got 1 of class 9"),
    "too few rows": (table(*X[:9].T, KINDS[:9]), "must have at least 30 rows, got 9"),
    "empty": ("", "must have rows, got none"),
    "ragged": (table(*X.T, KINDS) + "1,2\n", "line 62 must have 5 entries, got 2"),
    "no text": (b"\xff\xfe\x00binary", "must be a text table in UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_costs_one_line(name, tmp_path, capsys):
    content, message = BAD[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    target = "#price" if name == "no such column" else ""
    assert main(["lab", "--data", f"{path}{target}", "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.startswith("fastreg lab: --data: ")
    assert len(captured.err.splitlines()) == 1 and not captured.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.csv", "data must be one of digits, breast_cancer"),
        ("bad.npz", "must hold the arrays X and y"),
        ("lonely-images-idx3-ubyte", "beside its file of labels"),
        ("words.npz", "must hold numbers, got <U1 features"),
        ("lengths.npz", "must have a row of features for each target"),
    ],
)
def test_other_bad_files_cost_one_line(name, message, tmp_path, capsys):
    (tmp_path / "bad.npz").write_bytes(b"not a zip file")
    (tmp_path / "lonely-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    np.savez(tmp_path / "words.npz", X=np.full((60, 2), "a"), y=KINDS)
    np.savez(tmp_path / "lengths.npz", X=X, y=KINDS[:-1])
    assert main(["lab", "--data", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_table_is_no_images_whatever_its_name(tmp_path):
    path = tmp_path / "idx_prices 3.csv"
    path.write_text(table(*X.T, KINDS))
    assert data.load(path).n_classes == 3


def test_ignorance_is_finite_where_a_cut_lost_a_class(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MOST_ROWS", 1000)
    kinds = np.arange(10_000) % 2
    kinds[:20] = 2
    np.savez(tmp_path / "rare.npz", X=np.arange(20_000.0).reshape(-1, 2), y=kinds)
    problems = [data.load(tmp_path / "rare.npz", seed) for seed in range(20)]
    assert any(2 not in problem.y_train and 2 in problem.y_val for problem in problems)
    assert all(0.6 < problem.ignorant_loss < 0.8 for problem in problems)


def test_validation_and_test_rows_leave_no_trace_in_the_training_data(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "t.npz"
    X, y = rng.normal(size=(100, 3)), np.arange(100) % 2 + 0.5 * rng.uniform(size=100)
    np.savez(path, X=X, y=y)
    clean = data.load(path, 7)
    rows = files.split("rows", np.arange(100.0)[:, None], y, standardize=False, rng=7)
    others = np.concatenate([rows.X_val, rows.X_test]).ravel().astype(int)
    X[others] = 1000 + 50 * rng.normal(size=(len(others), 3))
    np.savez(path, X=X, y=y)
    other = data.load(path, 7)
    np.testing.assert_array_equal(clean.X_train, other.X_train)
    np.testing.assert_array_equal(clean.y_train, other.y_train)
    assert (other.X_val == data.WIDEST).all() and (other.X_test == data.WIDEST).all()


def test_a_number_sign_belongs_to_the_path_where_there_is_such_a_file(tmp_path):
    for folder in ("C#", "a#b#c"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "t#1.csv"
        path.write_text(table(*X.T, KINDS, header="a,b,c#,d,kind"))
        assert data.load(path).n_classes == 3
        assert data.load(f"{path}#a").n_classes == data.load(f"{path}#c#").n_classes == 7
        with pytest.raises(ValueError, match="must have one column 'price'"):
            data.load(f"{path}#price")


def test_all_behind_the_sign_is_the_name_of_the_target(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(table(*X.T, KINDS, header="a,b,c,c#d?,kind"))
    for options in ("", "?missing=drop"):
        assert data.load(f"{path}{options}#c#d?").n_classes == 7
        for name in ("c#kind", "kind#", "#kind", "kind#kind"):
            with pytest.raises(ValueError, match=f"must have one column '{name}'"):
                data.load(f"{path}{options}#{name}")


def test_a_target_that_the_file_does_not_have_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "t.npz", X=X, y=KINDS, other=np.arange(60) % 2)
    assert data.load(f"{tmp_path / 't.npz'}#other").n_classes == 2
    for name, array in (("images-idx3", X.reshape(60, 2, 2)), ("labels-idx1", KINDS)):
        head = bytes([0, 0, 8, array.ndim])
        head += b"".join(size.to_bytes(4, "big") for size in array.shape)
        (tmp_path / f"t-{name}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
    for name in ("t.npz", "t-images-idx3-ubyte", "nowhere.csv"):
        with pytest.raises(ValueError, match="price"):
            data.load(f"{tmp_path / name}#price")
    with pytest.raises(ValueError, match="digits#price"):
        data.load("digits#price")


def test_columns_are_told_by_their_place_too(tmp_path):
    path = tmp_path / "wine.data"  # the class stands first, and there is no header
    path.write_text("".join(f"{i % 2},{i / 7},{i % 5}\n" for i in range(60)))
    problem = data.load(f"{path}#0")
    assert (problem.rows, problem.n_in, problem.n_classes) == (60, 2, 2)
    assert data.load(f"{path}?drop=-1#0").n_in == 1
    with pytest.raises(ValueError, match="must have a column 7, got 3 columns"):
        data.load(f"{path}#7")
    path.write_text("2019,1,y\n" + "".join(f"{i % 2},{i / 7},{i % 5}\n" for i in range(60)))
    assert data.load(f"{path}#2019").n_classes == 2
    assert data.load(f"{path}?drop=2019").n_in == 1


def test_a_tab_can_be_told_in_a_shell(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(WIDE.replace(";", "\t"))
    for tab in ("tab", r"\t", "\t"):
        told = data.with_options(f"{path}#rent", drop=["0", "heating"], delimiter=tab)
        assert data.load(told).n_in == 2


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_targets_of_any_magnitude_are_in_standard_deviations(scale, tmp_path):
    y = np.random.default_rng(0).normal(size=60)
    np.savez(tmp_path / "one.npz", X=X, y=y)
    np.savez(tmp_path / "other.npz", X=X, y=y * scale)
    found = [data.load(tmp_path / name).y_train for name in ("one.npz", "other.npz")]
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_training_targets_that_are_all_equal_are_zero(tmp_path):
    y = np.where(np.arange(60) < 59, 0.5, 7.5)  # the last in order, and so for the test
    np.savez(tmp_path / "t.npz", X=X, y=y)
    for seed in range(9):
        problem = data.load(tmp_path / "t.npz", seed)
        assert np.isfinite(np.concatenate([problem.y_train, problem.y_val, problem.y_test])).all()


def test_a_few_rows_of_one_target_have_a_score():
    problem = data.load("diabetes")
    assert problem.score(np.ones((3, 1)), np.zeros(3)) == 0.0


WIDE = (
    ";size;heating;rooms;rent\n"
    + "".join(
        f"{i};{i % 7}.5;{('gas', 'oil', '')[i % 3]};{i % 5};{i % 3 % 2}\n" for i in range(120)
    )
)  # fmt: skip


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "a?b#c.csv"])
def test_a_table_as_people_have_it_is_read_as_told(name, tmp_path, capsys):
    path = tmp_path / name
    text = (WIDE.replace(";", "\t") if name == "t.tsv" else WIDE).encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    told = data.with_options(f"{path}#rent", drop=["0"], missing="drop", words="one-hot")
    problem = data.load(told)
    assert (problem.n_in, problem.n_classes, problem.rows) == (4, 2, 80)
    assert data.load(f"{path}?drop=0,heating#rent").n_in == 2
    # ... and the same from the command line, where it is the experiment that gets it
    options = ["--drop-columns", "0", "--missing", "drop", "--words", "one-hot", "--delimiter"]
    options += ["\t" if name == "t.tsv" else ";", "--out", str(tmp_path / "out"), "--quick"]
    command = ["lab", "fit_status", "--data", f"{path}#rent", *options, "--seeds", "2"]
    assert main([*command, "--jobs", "1"]) == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "4 features, 2 classes" in page


@pytest.mark.parametrize(
    ("query", "message"),
    [("?missing=drop#rent", "the number of the row"), ("?missing=fill#rent", "missing"),
     ("?drop=0#rent", "heating"), ("?colour=red#rent", "colour"), ("#price", "price"),
     ("?missing=drop&missing=refuse#rent", "each option once")],
)  # fmt: skip
def test_a_table_read_otherwise_than_told_is_refused(query, message, tmp_path):
    (tmp_path / "t.csv").write_text(WIDE)
    with pytest.raises((ValueError, TypeError), match=message):
        data.load(f"{tmp_path / 't.csv'}{query}")


def test_options_are_for_tables(tmp_path):
    np.savez(tmp_path / "t.npz", X=X, y=KINDS)
    with pytest.raises(ValueError, match="is no text table and takes no 'missing'"):
        data.load(f"{tmp_path / 't.npz'}?missing=drop")

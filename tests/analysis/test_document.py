"""YAML files as plain data with lines: what is refused, and how values are changed."""

import pytest

from pymc_gamma.analysis.document import Document
from pymc_gamma.errors import AnalysisFileError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fit:\n\tdraws: 1", "analysis:2: a tab"),
        ("fit:\n  draws: 1\n  draws: 2", r"analysis:3: .*'draws' is there twice, before in line 2"),
        ("a: 1\nb: [1,\n", r"analysis:\d: not readable as YAML"),
        ("", "is empty"),
        ("# nothing but a comment", "is empty"),
        ("- 1\n- 2", "must hold keys and values"),
        ("just words", "must hold keys and values"),
        ("a: &x [*x]", "aliases without an end"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: \x00", "not readable as YAML"),
        ("[1, 2]: 3", "a key must be a word"),
        ("a: 1\n--- \nb: 2", "another document"),
    ],
)
def test_what_is_no_analysis_is_refused_with_its_line(text, told):
    with pytest.raises(AnalysisFileError, match=told):
        Document.parse(text)


def test_aliases_that_multiply_are_refused():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    with pytest.raises(AnalysisFileError, match="aliases without an end"):
        Document.parse("\n".join(lines))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(AnalysisFileError, match="there is no analysis file"):
        Document.read(tmp_path / "none.yaml")
    with pytest.raises(AnalysisFileError, match="is a folder"):
        Document.read(tmp_path)
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(AnalysisFileError, match="no text in UTF-8"):
        Document.read(tmp_path / "picture.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (5 * 2**20))
    with pytest.raises(AnalysisFileError, match="MB"):
        Document.read(tmp_path / "large.yaml")


def test_lines_are_those_of_keys_and_entries(tmp_path):
    path = tmp_path / "analysis.yaml"
    path.write_text("# first\nfit:\n  draws: 1\n\ncomponents:\n  - name: a\n  - name: b\n", encoding="utf-8")
    document = Document.read(path)
    assert document.data == {"fit": {"draws": 1}, "components": [{"name": "a"}, {"name": "b"}]}
    assert document.where(("fit", "draws")) == f"{path}:3"
    assert document.where(("components", 1, "name")) == f"{path}:7"
    assert document.where(("components", 1, "index")) == f"{path}:7"  # a key that is not there: the entry
    assert document.where(("nowhere",)) == f"{path}:2"
    assert document.folder == tmp_path


def test_merged_keys_give_way_to_own_ones():
    document = Document.parse("base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}")
    assert document.data["own"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("fit.draws=7", ("fit", "draws"), 7),
        ("fit.sampler=[nuts, nested]", ("fit", "sampler"), ["nuts", "nested"]),
        ("new.key.below={a: 1}", ("new", "key", "below"), {"a": 1}),
        ("components.0.name=z", ("components", 0, "name"), "z"),
        ("components.b.norm=2", ("components", 1, "norm"), 2),
        ("fit.draws=", ("fit", "draws"), None),
        ("fit.note=a=b", ("fit", "note"), "a=b"),
        ("empty.x=1", ("empty", "x"), 1),
    ],
)
def test_values_that_are_set(assignment, path, value):
    document = Document.parse("fit: {draws: 1}\ncomponents: [{name: a}, {name: b}]\nempty:")
    document.set(assignment)
    here = document.data
    for key in path:
        here = here[key]
    assert here == value
    assert document.where(path) == f"--set {assignment}"


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("fit.draws", "write key=value"),
        ("=3", "write key=value"),
        ("fit.draws=[1", "is no value"),
        ("components.c.norm=2", "no entry 'c'"),
        ("fit.draws.x=1", "has no keys"),
    ],
)
def test_changes_that_lead_nowhere(assignment, told):
    document = Document.parse("fit: {draws: 1}\ncomponents: [{name: a}, {name: b}]")
    with pytest.raises(AnalysisFileError, match=told):
        document.set(assignment)

"""Whatever a text holds, it is shown on one line, and read back where that is promised."""

import csv
import io
import json

from hypothesis import example, given
from hypothesis import strategies as st

from stream_detector.text import csv_cell, json_line, printable, quoted, read_csv_cell, shorten

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates too
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text,
    lambda each: st.lists(each) | st.dictionaries(any_text, each),
    max_leaves=8,
)


@given(any_text, st.integers(32, 64))
def test_a_text_is_shown_on_one_line_of_its_length(text: str, n_characters_max: int) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert len(shorten(text, n_characters_max)) <= n_characters_max
    field = quoted(text, n_characters_max)
    assert field.isprintable()
    assert len(field) <= n_characters_max + 2
    is_one_word = " " not in field
    is_one_quote = field[0] == field[-1] == '"' and '"' not in field[1:-1] and len(field) > 1
    assert is_one_word or is_one_quote


@given(documents, st.sampled_from([None, 1]))
def test_json_reads_back_equal(document: object, indent: int | None) -> None:
    line = json_line(json.dumps(document, ensure_ascii=False, indent=indent))
    assert line.isprintable()
    assert json.loads(line) == document


@given(any_text)
@example("'")
@example("''=")
@example("'-1")
def test_a_cell_is_no_formula_and_reads_back_as_it_is_shown(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([csv_cell(text), "x"])
    assert stream.getvalue().count("\n") == 1
    ((cell, _),) = csv.reader([stream.getvalue()])
    assert cell[:1] not in ("=", "@", "\uff1d", "\uff20")
    if cell[:1] in ("+", "-"):
        float(cell)
    assert read_csv_cell(cell) == printable(text)

from lensequiv._tables import in_columns

ROWS = [["", "logits", "a"], ["a quarter", "1.0", "-"], ["mirror", "12.25", "7"]]


def test_texts_begin_below_each_other():
    assert in_columns(ROWS) == [
        "           logits  a",
        "a quarter  1.0     -",
        "mirror     12.25   7",
    ]


def test_numbers_end_below_each_other():
    assert in_columns(ROWS, numbers=True) == [
        "           logits  a",
        "a quarter     1.0  -",
        "mirror      12.25  7",
    ]
    assert in_columns([["a", ""]]) == ["a"]

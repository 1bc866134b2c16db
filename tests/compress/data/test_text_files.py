import gzip
import json
from pathlib import Path

import pytest

from compress.data.text_files import CSVFile, JSONFile, TextFile
from compress.errors import DatasetError


def csv_rows(path: Path, content: str | bytes, encoding: str | None = None, delimiter: str | None = None) -> list:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [dict(row) for row in CSVFile(TextFile(path, encoding, delimiter)).rows()]


def json_rows(path: Path, content: str) -> list:
    path.write_text(content)
    return [dict(row) for row in JSONFile(TextFile(path)).rows()]


@pytest.mark.parametrize("text", ["null", "None", "NA", "NaN", "007", "1.50", "1e3", "2024-01-02", "true", "-", "#N/A"])
def test_cells_stay_as_they_are_written(tmp_path: Path, text: str) -> None:
    assert csv_rows(tmp_path / "a.csv", f"source,target\n{text},x\n") == [{"source": text, "target": "x"}]


@pytest.mark.parametrize("written", ["7", "1.50", "1e3", "-0.0", "12345678901234567890123", "0.1000"])
def test_numbers_of_json_have_the_text_they_were_written_as_and_stay_numbers(tmp_path: Path, written: str) -> None:
    ((value,),) = ([*row.values()] for row in json_rows(tmp_path / "a.jsonl", f'{{"source": {written}}}'))
    assert str(value) == written
    assert json.loads(json.dumps(value)) == json.loads(written)


def test_texts_of_json_that_look_like_something_else_are_texts(tmp_path: Path) -> None:
    rows = [{"source": "null", "target": "2024-01-02"}, {"source": "007", "target": None}]
    assert json_rows(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n\n" for row in rows)) == rows


def test_an_array_of_objects_is_read_like_lines(tmp_path: Path) -> None:
    rows = [{"source": "a"}, {"source": "b"}]
    assert json_rows(tmp_path / "a.json", json.dumps(rows, indent=2)) == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    lines = [["source", "target"], ["eins, zwei", "one"], ['"drei; vier"', "three"], ["fünf", "a | b"]]
    content = "\n".join(delimiter.join(f'"{cell.strip(chr(34))}"' for cell in line) for line in lines)
    rows = csv_rows(tmp_path / "a.csv", content)
    assert [row["source"] for row in rows] == ["eins, zwei", "drei; vier", "fünf"]
    assert rows[2]["target"] == "a | b"


def test_texts_with_other_delimiters_need_no_quotes(tmp_path: Path) -> None:
    assert csv_rows(tmp_path / "a.csv", "source;target\na, b;c\nd;e\n") == [
        {"source": "a, b", "target": "c"},
        {"source": "d", "target": "e"},
    ]


def test_beside_tabs_quotes_may_be_letters(tmp_path: Path) -> None:
    assert csv_rows(tmp_path / "a.tsv", 'source\ttarget\n"Ja", sagte sie.\t"Yes," she said.\n') == [
        {"source": '"Ja", sagte sie.', "target": '"Yes," she said.'}
    ]
    assert csv_rows(tmp_path / "b.tsv", 'source\ttarget\n"a ""b"""\t"c\td"\n') == [{"source": 'a "b"', "target": "c\td"}]


def test_a_column_of_texts_alone_is_no_table_of_commas(tmp_path: Path) -> None:
    assert csv_rows(tmp_path / "a.csv", "text\none\ntwo\n") == [{"text": "one"}, {"text": "two"}]


def test_the_delimiter_may_be_given(tmp_path: Path) -> None:
    assert csv_rows(tmp_path / "a.csv", "a:b\n1:2\n", delimiter=":") == [{"a": "1", "b": "2"}]
    assert csv_rows(tmp_path / "b.csv", "a,b\tc\n1\t2\n", delimiter="tab") == [{"a,b": "1", "c": "2"}]


def test_cells_may_be_long_and_have_line_breaks(tmp_path: Path) -> None:
    text = "a long text\n" * 20_000
    assert csv_rows(tmp_path / "a.csv", f'source,target\n"{text}",x\n') == [{"source": text, "target": "x"}]


def test_a_row_that_is_short_lacks_cells(tmp_path: Path) -> None:
    assert csv_rows(tmp_path / "a.csv", "source,target\na\n\nb,c\n")[0] == {"source": "a", "target": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("source,target\na,b\na, b,c\n", r"line 3 has 3 cells, the header 2: a cell with a comma in it .* --delimiter"),
        ('source,target\na,"b\n', r"line 2: unexpected end of data; cells with delimiters"),
        ('source;target\na;"b" c\n', r"line 2: ';' expected after '\"'"),
        ("", r"a\.csv is empty: a header"),
        ("a,a\n1,2\n", r"several columns a"),
    ],
)
def test_faults_of_csv_are_told_by_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        csv_rows(tmp_path / "a.csv", content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"source": "a"}\n{"source": \n', r"line 2, column 11: Expecting value; JSON lines or one array"),
        ('{"source": "a"}\n"text"\n', r"line 2 is no JSON object"),
        ('[\n{"source": "a"},\n{"source" 1}]', r"line 3, column 11: Expecting ':'"),
        ('[{"source": "a"}, 2]', r"entry 2 is no JSON object"),
    ],
)
def test_faults_of_json_are_told_by_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        json_rows(tmp_path / "a.jsonl", content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    content = "source,target\nGrüße,x\n".encode(encoding)
    assert csv_rows(tmp_path / "a.csv", content) == [{"source": "Grüße", "target": "x"}]
    assert csv_rows(tmp_path / "a.csv.gz", gzip.compress(content)) == [{"source": "Grüße", "target": "x"}]


def test_another_encoding_is_named_and_then_read(tmp_path: Path) -> None:
    content = "source,target\na,b\nGrüße,x\n".encode("latin-1")
    with pytest.raises(DatasetError, match=r"a\.csv is no utf-8: line 3 has the byte 0xfc in b'Gr.*; --encoding names"):
        csv_rows(tmp_path / "a.csv", content)
    assert csv_rows(tmp_path / "a.csv", content, encoding="latin-1")[1]["source"] == "Grüße"
    with pytest.raises(DatasetError, match="is no utf-16; --encoding"):
        csv_rows(tmp_path / "a.csv", b"source,target", encoding="utf-16")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.csv\.gz cannot be read"):
        csv_rows(tmp_path / "a.csv.gz", gzip.compress(b"source,target\n" * 100)[:-12])


def test_blank_lines_are_nowhere_rows(tmp_path: Path) -> None:
    assert csv_rows(tmp_path / "a.csv", "\n\nsource,target\n\na,b\n\n") == [{"source": "a", "target": "b"}]


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ('"a\\ud800b"', "half a surrogate pair"),
        ('{"\\udc00": 1}', "half a surrogate pair"),
        ("[" * 100_000, "within one another"),
        ("9" * 5000, "too many digits"),
    ],
)
def test_json_that_python_cannot_hold_is_named_by_its_line(tmp_path: Path, written: str, fault: str) -> None:
    with pytest.raises(DatasetError, match=f"line 2: .*{fault}"):
        json_rows(tmp_path / "a.jsonl", f'{{"source": "a"}}\n{{"source": {written}}}')


def test_a_whole_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    assert json_rows(tmp_path / "a.jsonl", '{"source": "\\ud83d\\ude00"}') == [{"source": "😀"}]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_damaged_gzip_is_named(tmp_path: Path, name: str) -> None:
    packed = gzip.compress(b"".join(b"source,%d\n" % number for number in range(1000)))
    for damaged in (b"nothing packed", packed[:100], packed[:15] + b"\xff" * 100 + packed[115:]):
        (tmp_path / name).write_bytes(damaged)
        file = TextFile(tmp_path / name)
        with pytest.raises(DatasetError, match=f"{name} cannot be read"):
            list(file.lines())

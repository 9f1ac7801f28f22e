"""Writes tests/fixtures/prompts: Parquet files of prompts in the ways in which pyarrow packs a column of texts.

    pip install -r tests/reference/requirements.txt
    python tests/reference/prompts.py
"""

import pathlib

import pyarrow
from pyarrow.parquet import write_table

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "prompts"


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    texts = [f"a {colour} heart number {number % 7}" for number in range(50) for colour in ("red", "grün")]
    # Rows without a prompt.
    texts[5] = None
    texts[6] = ""
    table = pyarrow.table({
        "id": list(range(100)),
        "prompt": pyarrow.array(texts, pyarrow.string()),
        "long": pyarrow.array(texts, pyarrow.large_string()),
        "list": [[text] for text in texts],
    })
    delta = {"id": "PLAIN", "prompt": "DELTA_BYTE_ARRAY", "long": "DELTA_LENGTH_BYTE_ARRAY", "list.list.element": "PLAIN"}
    write_table(table, OUT / "snappy.parquet", row_group_size=30)
    write_table(table, OUT / "zstd.parquet", compression="zstd", data_page_version="2.0", use_dictionary=False)
    write_table(table, OUT / "delta.parquet", compression="none", use_dictionary=False, column_encoding=delta)
    write_table(table, OUT / "gzip.parquet", compression="gzip")


main()

"""The bench of rules measures what its rows say."""

import gzip
import json

import pytest

from bench.classify import judge, main, microseconds, records, rows


@pytest.mark.parametrize("size", [2_048, 64_512])
def test_records_are_json_of_about_the_size_asked_for(size):
    body = records(size)

    assert size <= len(body) < size + 300
    assert json.loads(body)["ok"] is True


def test_each_row_can_be_judged_and_those_of_the_issue_have_their_bars():
    bars = {}
    for row in rows():
        judge(row)()
        plain = gzip.decompress(row.body) if row.coding else row.body
        assert len(plain) <= 65_536
        bars[row.title] = row.bar

    assert bars["body rule, 2 KiB of JSON"] == 25
    assert bars["body rule, 64 KiB of JSON"] == 250


def test_a_call_is_timed_in_microseconds():
    assert 0 < microseconds(lambda: None) < 1000
    assert callable(main)

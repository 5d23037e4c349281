from __future__ import annotations

import numpy as np
import pytest
from trigger_world import served

from ledger.errors import UnavailableError, UsageError
from ledger.remote.asked import RemoteModel


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32", ">i8"])
def test_an_endpoint_gets_the_very_input_and_its_answer_comes_back(dtype):
    question = np.arange(12).reshape(3, 4).astype(dtype)
    seen = []
    with served(lambda x: seen.append(x) or 417) as url, RemoteModel(url) as model:
        assert model(question) == 417
        assert model(question.T) == 417
    assert np.array_equal(seen[0], question)
    assert np.array_equal(seen[1], question.T)
    assert seen[0].shape == (3, 4)


@pytest.mark.parametrize("answer", [None, "7", 7.5, True, [7]])
def test_what_is_no_integer_is_no_answer(answer):
    with served(lambda _: answer) as url, RemoteModel(url) as model:
        assert model(np.zeros(4, np.int64)) is None


def test_a_busy_endpoint_is_asked_three_times_as_late_as_it_says():
    replies = iter([(503, {}, b"busy"), (429, {"retry-after": "4"}, b""), b'{"answer": 7}'])
    pauses = []
    with served(lambda _: next(replies)) as url, RemoteModel(url, pause=pauses.append) as model:
        assert model(np.zeros(4, np.int64)) == 7
    assert pauses == [0.5, 4.0]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((500, {}, b"oops"), "HTTP 500"),
        (b"not json", "no answer"),
        (b"[417]", "no answer"),
        (b'{"label": 417}', "no answer"),
    ],
)
def test_an_endpoint_that_does_not_speak_so_is_an_error_with_a_hint(reply, says):
    asked = []
    with (
        served(lambda x: asked.append(x) or reply) as url,
        RemoteModel(url, pause=lambda _: None) as model,
        pytest.raises(UnavailableError, match=says) as caught,
    ):
        model(np.zeros(4, np.int64))
    assert len(asked) == 3
    assert "triggers.md" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "suspect.example", "http://", "http://[", "file:///x"]
)
def test_what_is_no_url_is_refused(url):
    with pytest.raises(UsageError):
        RemoteModel(url)


def test_no_part_of_a_url_but_the_host_is_ever_shown():
    with served(lambda _: (404, {}, b"")) as url:
        secret = url.replace("http://", "http://user:TOKEN1@") + "/TOKEN2?key=TOKEN3"
        with (
            RemoteModel(secret, pause=lambda _: None) as model,
            pytest.raises(UnavailableError) as caught,
        ):
            model(np.zeros(4, np.int64))
        assert "TOKEN" not in f"{caught.value} {caught.value.hint} {model!r}"
        assert "user" not in repr(model)


def test_nobody_there_is_an_error():
    with served(lambda _: 1) as url:
        pass
    with (
        RemoteModel(url, pause=lambda _: None) as model,
        pytest.raises(UnavailableError, match="does not answer"),
    ):
        model(np.zeros(4, np.int64))

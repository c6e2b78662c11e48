"""Laws that hold for every input of a kind: blocks, masks of classes, predicates of claims, files of votes."""

import json

import numpy as np
import pytest
import torch
from helpers.limit import time_limit
from hypothesis import example, given, settings
from hypothesis import strategies as st

from replication.errors import UserError
from replication.evaluation.intervals import value_of
from replication.experiments.claims import Claim, sides
from replication.experiments.user_study import read_votes
from replication.methods.scsa import Regions, continuous, sparse
from replication.methods.stya2k import cut, join

side = st.integers(1, 7)


@settings(max_examples=40)
@given(side, side, st.integers(4, 15), st.integers(4, 15))
def test_blocks_of_any_size_are_cut_and_joined(down, across, height, width):
    x = torch.arange(2.0 * height * width).view(1, 2, height, width)
    blocks = cut(x, (down, across))
    assert blocks.shape == (1, -(-height // down) * -(-width // across), down * across, 2)
    assert torch.equal(join(blocks, (down, across), (height, width)), x)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_masked_attention_sees_its_own_class_and_all_where_there_is_none(queries, keys):
    regions = Regions(torch.tensor([queries]), torch.tensor([keys]))
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.rand(1, n, 2, generator=generator) for n in (len(queries), len(keys)))
    v = torch.tensor(keys).float().view(1, -1, 1)  # the value is the class
    for found in (continuous(q, k, v, regions), sparse(q, k, v, regions, 1)):
        for seen, label in zip(found[0, :, 0].tolist(), queries, strict=True):
            assert seen == pytest.approx(label, abs=1e-5) if label in keys else min(keys) <= seen <= max(keys)
    assert regions.unmatched == sum(label not in keys for label in queries)


CLAIM = Claim("X-01", "quality", "StyA2K", "Table 1", "A sentence.", "Table 1", "runs", (), "20_stya2k_table1")
TERMS = {f"content_loss[{row}]": np.float64(value) for row, value in (("StyA2K", 1.5), ("SANet", -2.0), ("MST", 0.0))}
leaf = st.sampled_from(sorted(TERMS)) | st.integers(0, 9).map(str)
formula = st.recursive(
    leaf,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map("abs({})".format)
        | inner.map("-({})".format)
    ),
    max_leaves=6,
)


def measured(term):
    return float(TERMS[f"{term.metric}[{term.row}]"])


@settings(max_examples=80)
@given(formula, st.sampled_from("<>"), formula)
@example("1 / 0", "<", "2")
def test_the_sides_of_a_comparison_are_its_formulas(left, sign, right):
    """Measured numbers divide by zero as arrays do; of written ones that is a mistake."""
    expected = []
    with np.errstate(all="ignore"):
        for text in (left, right):
            for term, value in TERMS.items():
                text = text.replace(term, f"V({float(value)})")
            try:
                expected.append(float(eval(text, {"V": np.float64, "abs": abs})))
            except ZeroDivisionError:
                with pytest.raises(UserError, match="divides by zero"):
                    sides(CLAIM, f"{left} {sign} {right}", measured)
                return
    found = [value_of(side) for side in sides(CLAIM, f"{left} {sign} {right}", measured)]
    np.testing.assert_allclose(found, expected[::-1] if sign == "<" else expected, rtol=1e-12)


@settings(max_examples=80)
@given(st.text("()[]+-*/<>=!.,'\"abs tStyA2K_1059elmnco", max_size=30))
@example("-" * 5000 + "1 < 2")
@example("(" * 5000)
@example("9" * 400 + " < 1")
@example("1e999 < 1")
@example("t0 < 1")
def test_any_text_is_a_comparison_or_one_sentence(text):
    with time_limit():
        try:
            found = sides(CLAIM, text, measured)
        except UserError:
            return
    assert found is None or len(found) == 2


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    options = {f"o{n}": {"group": n // 2, "method": f"m{n % 2}"} for n in range(4)}
    (folder / "key.json").write_text(json.dumps({"study": "s", "questions": ["q"], "options": options}))
    (folder / "votes").mkdir()
    return folder


VOTE = {"study": "s", "voter": "v", "answers": [{"group": 0, "question": "q", "option": "o1"}]}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80)
@given(name=st.sampled_from([*VOTE, "option", "group", "question"]), value=anything)
def test_votes_with_anything_in_a_place_are_votes_or_one_sentence(name, value, study):
    vote = json.loads(json.dumps(VOTE))
    (vote if name in vote else vote["answers"][0])[name] = value
    (study / "votes" / "a.json").write_text(json.dumps(vote))
    with time_limit():
        try:
            votes = read_votes(study / "votes", study / "key.json").votes
        except UserError as error:
            assert "a.json" in str(error) and "\n" not in str(error)
        else:
            assert set(votes.method) <= {"m0", "m1"}


@settings(max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5), length=st.integers(0, 200))
def test_damaged_votes_are_votes_or_one_sentence(changes, length, study):
    raw = bytearray(json.dumps(VOTE).encode())
    for place, byte in changes:
        raw[place % len(raw)] = byte
    (study / "votes" / "a.json").write_bytes(raw[:length])
    with time_limit():
        try:
            assert set(read_votes(study / "votes", study / "key.json").votes.method) <= {"m0", "m1"}
        except UserError as error:
            assert "a.json" in str(error) and "\n" not in str(error)

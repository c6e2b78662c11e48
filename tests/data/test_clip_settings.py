"""Settings of clips that cannot be are refused at once."""

import pytest

from replication.data.clips import evaluation_clips, flow_estimator
from replication.data.images import contents
from replication.errors import UserError


@pytest.mark.parametrize("count", [0, 1])
def test_a_clip_has_two_frames(count):
    with pytest.raises(UserError, match="at least 2 frames"):
        evaluation_clips(64, count, contents(1))


def test_weights_of_flow_that_are_not_there(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "none.pth"):
        monkeypatch.setenv("REPLICATION_RAFT", str(path))
        with pytest.raises(UserError, match="REPLICATION_RAFT: .* is no file.*unset it"):
            flow_estimator()

import json
from pathlib import Path

import pytest

from pipelines.config import Settings, load_domain
from pipelines.demo import public
from pipelines.errors import BadInput
from pipelines.evaluation import goldens


@pytest.mark.shared
def test_the_script_reads_its_goldens_out_of_the_data(settings: Settings, shared_data: Path) -> None:
    own, script = public.script(settings, shared_data)
    assert [part.name for part in script.amendment] == ["2012-27996", "2013-28194", "2014-21847", "2015-30071", "2016-28710", "2017-24411"]
    found = goldens.load(own.configs / "goldens" / "regulatory.jsonl")
    first = goldens.applicable(found, script.base.effective)
    assert len(first) >= load_domain("regulatory", own).gate.min_goldens
    later = {(golden.question, golden.answer) for golden, _ in goldens.applicable(found, "2014-01-01")}
    assert ("What is the exempt consumer lease threshold in 2014?", "$53,500") in later - {(g.question, g.answer) for g, _ in first}
    assert load_domain("clinical", own).sources.text == ("presenting_complaint", "note")
    assert all(json.loads(path.read_text())["day"] == 1 for path in script.clinical.files)


def test_data_that_is_not_there_is_bad_input(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="public data is not there"):
        public.script(settings, tmp_path)

"""Wrong input of every kind: one clear line, exit status 2, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

MISTAKES = [
    ("topic=desent", "descent"),
    ("topic=descent function=rosenbrok", "rosenbrock"),
    ("topic=descent optimizer=adm", "adam"),
    ("topic=descent network=mpl", "mlp"),
    ("network=mlp data=digit", "digits"),
    ("experiment=notebook/01_cubi", "01_cubic"),
    ("topic=descent lrr=0.1", "lr"),
    ("topic=descent topic.steps=3", "Type calclab topic=descent steps=3"),
    ("topic=hessian lr=0.1", "descent"),
    ("topic=descent lr=fast", "number > 0"),
    ("topic=descent lr=", "number > 0"),
    ("topic=descent lr=-1", "number > 0"),
    ("topic=descent lr=nan", "number > 0"),
    ("topic=descent steps=1.5", "whole number"),
    ("topic=descent steps=-3", "whole number"),
    ("seed=x", "whole number"),
    ("device=tpu", "cpu, cuda, mps, auto"),
    ("device=cuda", "cpu"),
    ("dtype=float16", "float32, float64"),
    ("figures=maybe", "true, false"),
    ("optimizer=momentum optimizer.momentum=2", "optimizer.momentum"),
    ("network=mlp network.width=0", "network.width"),
    ("network=mlp network.widht=8", "network.width"),
    ("function=rosenbrock network=mlp", "both"),
    ("topic=hessian function.expr=x**2 network=mlp", "both"),
    ("topic=descent function.expr=foo(x)", "foo"),
    ("topic=descent function.expr=__import__('os')", "__import__"),
    ("topic=descent function.expr=x**2+y**2 function.at=[1,2,3]", "2"),
    ("topic=descent function.expr='[x, y]' function.at=[1,2]", "outputs"),
    ("topic=derivative variable=q", "variable=q"),
    ("network=mlp data=table data.path=nowhere.csv data.target=y", "nowhere.csv"),
    ("network=mlp data=table data.path=some.csv data.target=pric", "price"),
    ("network=mlp data=table data.path=empty.csv data.target=y", "empty"),
    ("network=mlp network.weights=nowhere.pt", "nowhere.pt"),
    ("network._target_=no.such.Net data=iris", "no"),
    ("function._target_=no.such.f function.at=[1]", "no"),
    ("network=cnn data=iris", "image"),
    ("data=wine", "network"),
    ("'lr=]'", "lr=]"),
    ("topic=hessian network=mlp data=digits limit=10 matrix=always", "limit"),
    ("claims=[{quantity:loss}]", "claim"),
    ("claims=5", "claims is a list"),
    ("function=null", "name"),
    ("function=rosenbrock.yaml", "rosenbrock"),
    ("function=../config", "no such function"),
    ("optimizer=5", "name"),
    ("topic=[a,b]", "topic is chosen by a name"),
    ("seed=18446744073709551616", "2**63"),
    ("lr=range(1,1000000000)", "-m"),
    ("-m lr=range(1,1000000000)", "1e+09 jobs"),
    ("-m seed=range(0,9999) steps=range(0,9999)", "9.998e+07 jobs"),
    ("lr=glob(*)", "glob finds names of a group"),
    ("-m lr=interval(0,1),0.5", "stands for several"),
    ("-m lr=glob(*)", "glob finds names of a group"),
    ("-m function=glob(zzz*)", "name"),
    ("topic=descent topic=hessian", "given twice"),
    ("-m lr=0.1,0.2 lr=0.3", "given twice"),
    ("+nobody_reads_this=1", "no such knob"),
    ("function=rosenbrock +function.nope=1", "function.nope"),
    ("network=mlp data=iris ~network.width", "taken away"),
    ("~topic", "topic has to have a value"),
    ("network.width=3", "no network"),
    ("outputs=", "folder"),
    ("data.path=${oc.env:NO_SUCH_NAME_OF_OURS} data=table network=mlp", "NO_SUCH_NAME_OF_OURS"),
    ("-m topic=descent lr=0.1,-1", "number > 0"),
    ("-m topic=descent,hesian", "hessian"),
    ("-m topic=descent lr=0.1,fast function=sphere,rosenbrock", "number > 0"),
    ("--help topic=desent", "descent"),
]


@pytest.mark.parametrize(("line", "phrase"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_told_in_one_line(lab, line: str, phrase: str, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("size,price\n1,2\n2,4\n")
    (tmp_path / "empty.csv").write_text("x,y\n")
    result = lab(line)
    assert result.status == 2, result.out + result.err
    message = result.err.strip()
    assert phrase in message
    assert message.startswith("calclab: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    assert not (tmp_path / "outputs").exists()

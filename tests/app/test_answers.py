"""What people type most often and wrongly, each answered by the line to type.

A table: the words typed, and the line that the answer must hold, which is typed in turn, and is then a right one. What
is asked for is a kind of mistake and not a case: at the end, kinds are written from the schemas.
"""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from calclab.app.compose import compose, lab_config
from calclab.app.correction import put_right, typed
from calclab.app.request import check_config
from calclab.app.words import prepare
from calclab.schema import Knob, aliases, catalogue

FILES = {
    "houses.csv": "size,rooms,price\n1,2,3\n2,1,4\n3,3,9\n4,5,16\n",
    "my_net.py": "import torch\n\n\nclass Net(torch.nn.Linear):\n    def __init__(self) -> None:\n"
    "        super().__init__(4, 3)\n",
    "my_f.py": "def bowl(x):\n    return (x**2).sum()\n",
    "photos/cat/1.png": "",
}

# words typed                                        the line that the answer holds
TABLE = """
# the shape of a word
lr 0.05                                            | lr=0.05
topic=descent lr 0.05                              | topic=descent lr=0.05
--lr=0.05                                          | lr=0.05
--lr 0.05                                          | lr=0.05
-lr=0.05                                           | lr=0.05
lr = 0.05                                          | lr=0.05
lr= 0.05                                           | lr=0.05
lr =0.05                                           | lr=0.05
lr==0.05                                           | lr=0.05
lr:0.05                                            | lr=0.05
lr: 0.05                                           | lr=0.05
--learning-rate 0.05                               | lr=0.05
topic = hessian                                    | topic=hessian
topic:hessian                                      | topic=hessian
--topic hessian                                    | topic=hessian
topic=descent, lr=0.1                              | topic=descent lr=0.1
topic=descent; lr=0.1                              | topic=descent lr=0.1
topic=descent,lr=0.1                               | topic=descent lr=0.1
'topic=descent&lr=0.1'                             | topic=descent lr=0.1
--no-figures                                       | figures=false
no_figures                                         | figures=false
--rerun                                            | rerun=true
hessian                                            | topic=hessian
rosenbrock                                         | function=rosenbrock
adam lr=0.1                                        | optimizer=adam lr=0.1
mlp iris                                           | network=mlp data=iris
+lr=0.1                                            | lr=0.1
topic=descent topic=hessian                        | topic=hessian
python -m calclab lr=0.1                           | lr=0.1
run topic=hessian                                  | topic=hessian
descent --lr 0.05 --steps 100                      | topic=descent lr=0.05 steps=100
'lr=0.1 steps=5'                                   | lr=0.1 steps=5
'lr=0.1&&steps=5'                                  | lr=0.1 steps=5
--verbose                                          | help
-v                                                 | version
--config notebook/07_bowl                          | experiment=notebook/07_bowl
+optimizer=adam                                    | optimizer=adam
lr=0.1 '#' a rate                                  | lr=0.1
--config-path x lr=0.1                             | lr=0.1
--cfg job lr 0.1                                   | --cfg job lr=0.1
--cfg job topic=desent                             | --cfg job topic=descent

# several values
-m lr=0.1 0.01                                     | -m lr=0.1,0.01
-m lr=0.1, 0.01                                    | -m lr=0.1,0.01
-m lr 0.1 0.01                                     | -m lr=0.1,0.01
-m lr=[0.1,0.01]                                   | -m lr=0.1,0.01
'-m' 'lr={0.1,0.01}'                               | -m lr=0.1,0.01
lr=0.1,0.01                                        | -m lr=0.1,0.01
lr=[0.1,0.01]                                      | -m lr=0.1,0.01
'lr=range(1,3)'                                    | -m lr='range(1,3)'
-m lr=0.1:0.5:0.1                                  | -m lr='range(0.1,0.5,0.1)'
--multi-run lr=0.1,0.2                             | -m lr=0.1,0.2
--sweep lr=0.1,0.2                                 | -m lr=0.1,0.2
optimizer=gd,adam                                  | -m optimizer=gd,adam
-m optimizer=gd,Adam                               | -m optimizer=gd,adam
-m optimizer=gd adam                               | -m optimizer=gd,adam
'experiment=glob(notebook/*)'                      | -m experiment='glob(notebook/*)'
experiment=notebook                                | -m experiment='glob(notebook/*)'
-m 'lr=logspace(-3,-1,5)'                          | -m lr='logspace(0.001,0.1,5)'
-m 'lr=np.logspace(-3,-1,5)'                       | -m lr='logspace(0.001,0.1,5)'
-m 'lr=loguniform(1e-4,1)'                         | -m lr='logspace(1e-4,1,5)'
-m 'lr=interval(0.1,1)'                            | -m hydra/sweeper=optuna lr='interval(0.1,1)'
-m seed=1..5                                       | -m seed='range(1,5)'
-m optimizer=[gd,adam]                             | -m optimizer=gd,adam
lr=0.1 lr=0.2,0.3                                  | -m lr=0.2,0.3
hydra/launcher=slurm -m lr=0.1,0.2                 | -m hydra/launcher=submitit_slurm lr=0.1,0.2

# lists
function.expr='x**2 + y**2' function.at=1,2        | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' function.at=[1, 2]     | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' 'function.at=(1,2)'    | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' function.at=1 2        | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' function.at='1 2'      | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' function.at=[1,2       | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' at=[1,2]               | function.expr='x**2 + y**2' function.at='[1,2]'
function.expr='x**2 + y**2' x0=1,2                 | function.expr='x**2 + y**2' function.at='[1,2]'
topic=comparison optimizers=gd,adam                | topic=comparison optimizers='[gd,adam]'
topic=comparison optimizers=[gd, adam]             | topic=comparison optimizers='[gd,adam]'
topic=comparison optimizers=gd                     | topic=comparison optimizers='[gd]'
topic=comparison optimizers=[gd,adm]               | topic=comparison optimizers='[gd,adam]'
topic=comparison optimizers='gd; adam'             | topic=comparison optimizers='[gd,adam]'
function.expr='x**2 + y**2' function.at='x=1,y=2'  | function.expr='x**2 + y**2' function.at='[1,2]'
topic=comparison optimizer=gd,adam                 | topic=comparison optimizers='[gd,adam]'
topic=hessian network=mlp data=iris parameters=hidden.0 | topic=hessian network=mlp data=iris parameters='[hidden.0]'
topic=importance network=mlp data=iris method=gradient,occlusion | topic=importance network=mlp data=iris method='[gradient,occlusion]'
network=mlp data=table data.path=houses.csv data.target=price data.features=size,rooms | network=mlp data=table data.path=houses.csv data.target=price data.features='[size,rooms]'

# numbers, truths and choices
lr=0,05                                            | lr=0.05
lr=5%                                              | lr=0.05
lr=1/100                                           | lr=0.01
'lr=2**-3'                                         | lr=0.125
lr=-0.1                                            | lr=0.1
'lr=0.1;'                                          | lr=0.1
"lr='0.1"                                          | lr=0.1
steps=1e3                                          | steps=1000
steps=1k                                           | steps=1000
steps=1,000                                        | steps=1000
steps=100.0                                        | steps=100
seed=-1                                            | seed=1
figures=yes                                        | figures=true
figures=0                                          | figures=false
figures=off                                        | figures=false
device=gpu                                         | device=cuda
device=cuda:0                                      | device=cuda
dtype=double                                       | dtype=float64
dtype=torch.float32                                | dtype=float32
sharpness=50                                       | sharpness='{every: 50}'
network=mlp data=iris data.held_out=20             | network=mlp data=iris data.held_out=0.2
network=mlp data=iris data.rows=all                | network=mlp data=iris data.rows=null
network=mlp data=iris network.activation=ReLU      | network=mlp data=iris network.activation=relu
network=mlp data=iris network.activation=swish     | network=mlp data=iris network.activation=silu
topic=importance network=mlp data=iris method=shap | topic=importance network=mlp data=iris method=shapley
topic=importance network=mlp data=iris method=Integrated-Gradients | topic=importance network=mlp data=iris method=integrated_gradients
'claims=[loss<0.1]'                                | claims='[{quantity: loss, at_most: 0.1}]'
lr=“0.1”                                           | lr=0.1
network=mlp data=iris batch=full                   | network=mlp data=iris batch=null
dtype=bfloat16                                     | dtype=float32
topic=jacobian way=fwd                             | topic=jacobian way=forward

# knobs by other names, and in other places
learning_rate=0.1                                  | lr=0.1
LR=0.1                                             | lr=0.1
eta=0.1                                            | lr=0.1
lrr=0.1                                            | lr=0.1
iterations=100                                     | steps=100
max_iter=100                                       | steps=100
epoch=3                                            | epochs=3
network=mlp data=iris batch_size=32                | network=mlp data=iris batch=32
wd=0.01                                            | optimizer=adamw optimizer.weight_decay=0.01
optimizer=adamw weight_decay=0.01                  | optimizer=adamw optimizer.weight_decay=0.01
momentum=0.9                                       | optimizer=momentum optimizer.momentum=0.9
optimizer=adam betas=0.9,0.99                      | optimizer=adam optimizer.beta1=0.9 optimizer.beta2=0.99
random_state=3                                     | seed=3
logdir=here                                        | outputs=here
figure=false                                       | figures=false
optimiser=adam                                     | optimizer=adam
opt=adam                                           | optimizer=adam
scheduler=cosine                                   | schedule=cosine
model=mlp dataset=iris                             | network=mlp data=iris
expr='x**2'                                        | function.expr='x**2'
network=mlp data=iris width=64                     | network=mlp data=iris network.width=64
network=mlp data=iris hidden_size=64               | network=mlp data=iris network.width=64
network=mlp data=iris network.widht=64             | network=mlp data=iris network.width=64
network=mlp data=iris model.width=64               | network=mlp data=iris network.width=64
network=mlp data=iris network.layers=3             | network=mlp data=iris network.depth=3
network=mlp data=iris loss=mse                     | network=mlp data=iris network.loss=mse
network=mlp data=iris loss=CrossEntropyLoss        | network=mlp data=iris network.loss=cross_entropy
network=mlp data=iris network.loss=nn.MSELoss      | network=mlp data=iris network.loss=mse
network=mlp data=iris test_size=0.2                | network=mlp data=iris data.held_out=0.2
network=mlp data=iris optimizer.lr=0.1 lrr=1       | network=mlp data=iris optimizer.lr=0.1 lr=1
network.width=3                                    | network=mlp network.width=3
optimizer.learning_rate=0.1                        | lr=0.1
optimizer.name=adam                                | optimizer=adam
network.type=cnn                                   | network=cnn
schedule=step schedule.gamma=0.1                   | schedule=step schedule.factor=0.1
η=0.1                                              | lr=0.1
topic.lr=0.1                                       | lr=0.1
threshold=10                                       | topic=hessian threshold=10
topic=hessian lr=0.1                               | topic=hessian
topic=comparison steps=100                         | topic=comparison budget=100
topic=hessian k=5                                  | topic=hessian top=5

# options by other names, and in other places
topic=Hessian                                      | topic=hessian
topic=hesian                                       | topic=hessian
topic=gradient                                     | topic=partial
topic=train                                        | topic=descent
topic=adam                                         | optimizer=adam
optimizer=SGD                                      | optimizer=gd
optimizer=Adam                                     | optimizer=adam
optimizer=rmsporp                                  | optimizer=rmsprop
optimizer=torch.optim.SGD                          | optimizer._target_=torch.optim.SGD
function=Rosenbrock                                | function=rosenbrock
function=rosenbrok                                 | function=rosenbrock
function=rosenbrock(2)                             | function=rosenbrock
network=mlp[64,64] data=iris                       | network=mlp data=iris
function='x^2 + y^2'                               | function.expr='x**2 + y**2'
function=banana                                    | function=rosenbrock
function=x**2                                      | function.expr='x**2'
x**2                                               | function.expr='x**2'
function=my_f.bowl function.at=[1,2]               | function._target_=my_f.bowl function.at='[1,2]'
network=MLP data=Iris                              | network=mlp data=iris
network=mlp data=mnist                             | network=mlp data=digits
network=resnet18 data=digits                       | network=resnet data=digits
data=iris                                          | network=mlp data=iris
schedule=CosineAnnealingLR                         | schedule=cosine
line_search=backtracking                           | line_search=armijo
experiment=01_cubic                                | experiment=notebook/01_cubic
experiment=notebook/01_cubic.yaml                  | experiment=notebook/01_cubic
hydra/launcher=joblob -m lr=0.1,0.2                | -m hydra/launcher=joblib lr=0.1,0.2

# files and classes in the place of names
network=mlp data=houses.csv                        | network=mlp data=table data.path=houses.csv data.target=price
houses.csv                                         | network=mlp data=table data.path=houses.csv data.target=price
network=mlp data=house.csv                         | network=mlp data=table data.path=houses.csv data.target=price
network=mlp data=houses.csv target=price           | network=mlp data=table data.path=houses.csv data.target=price
network=mlp data=table data.path=house.csv data.target=price | network=mlp data=table data.path=houses.csv data.target=price
network=mlp data=table data.path=houses.csv data.target=Price | network=mlp data=table data.path=houses.csv data.target=price
network=mlp data.path=houses.csv data.target=price | network=mlp data=table data.path=houses.csv data.target=price
network=mlp csv=houses.csv target=price            | network=mlp data=table data.path=houses.csv data.target=price
network=cnn data=photos                            | network=cnn data=folder data.path=photos
network=my_net.Net data=iris                       | network._target_=my_net.Net data=iris
network=my_net.py data=iris                        | network._target_=my_net.Net data=iris
network=my_net:Net data=iris                       | network._target_=my_net.Net data=iris
network=Net data=iris                              | network._target_=my_net.Net data=iris
network._target_=my_net.Nett data=iris             | network._target_=my_net.Net data=iris
network._target_=my_net data=iris                  | network._target_=my_net.Net data=iris

# formulas
function.expr='ln(x)'                              | function.expr='log(x)'
function.expr='x^2'                                | function.expr='x**2'
function.expr='2x'                                 | function.expr='2*x'
function.expr='sin x'                              | function.expr='sin(x)'
function.expr='sin^2(x)'                           | function.expr='sin(x)**2'
function.expr='np.sin(x)'                          | function.expr='sin(x)'
function.expr='lambda x: x**2'                     | function.expr='x**2'
function.expr='f(x) = x**2'                        | function.expr='x**2'
function.expr='(x + 1'                             | function.expr='(x + 1)'
function.expr='e**x'                               | function.expr='exp(x)'
function.expr='arctan(x)'                          | function.expr='atan(x)'
function.expr='x²'                                 | function.expr='x**2'
function.expr='|x|'                                | function.expr='abs(x)'
function.expr='x if x > 0 else 0'                  | function.expr='where(x > 0, x, 0)'
function.expr='x*(x+1))'                           | function.expr='x*(x+1)'
function.expr='pow(x, 2)'                          | function.expr='x**2'
function.expr=x**2 + y**2                          | function.expr='x**2 + y**2'

# commands
rerum outputs/descent/x                            | rerun outputs/descent/x
runz                                               | runs
list                                               | runs
--runs                                             | runs
""".strip()  # noqa: E501
ROWS = [tuple(part.strip() for part in line.rsplit(" | ", 1)) for line in TABLE.splitlines() if " | " in line]


@pytest.fixture
def files(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize(("line", "right"), ROWS, ids=[line for line, _ in ROWS])
@pytest.mark.usefixtures("files")
def test_a_mistake_is_answered_by_the_line_to_type(lab, line: str, right: str, tmp_path: Path) -> None:
    result = lab(line)
    message = result.err.strip()
    assert result.status == 2
    assert not result.out
    assert f"Type calclab {right}" in message
    assert message.endswith(right)
    assert message.startswith("calclab: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("--cfg", "Type --cfg job"),
        ("--cfg jobs", "Type --cfg job"),
        ("--info nope", "Type --info all"),
        ("'lr=${oc.env:NO_SUCH_NAME_OF_OURS}'", "the environment has no NO_SUCH_NAME_OF_OURS"),
        ("lr=hundred", "Type for example lr=0.05"),
        ("x y z", "Type name=value, or calclab help"),
        ("data=nowhere.csv network=mlp", "data.target=COLUMN"),
    ],
)
def test_where_nobody_knows_what_was_meant_it_says_what_may_be_typed(lab, line: str, phrase: str) -> None:
    result = lab(line)
    assert result.status == 2
    assert phrase in result.err
    assert len(result.err.splitlines()) == 1


SINGLE = [right for _, right in dict.fromkeys(ROWS) if "=" in right and not right.startswith("-")]


@pytest.mark.parametrize("right", sorted(set(SINGLE)))
@pytest.mark.usefixtures("files")
def test_the_line_to_type_is_right(lab, right: str) -> None:
    """It composes, every knob is in its range, and there is nothing about it to put right."""
    words = shlex.split(right)
    config = compose(prepare(words))
    check_config(lab_config(config), dict(config.hydra.runtime.choices))
    assert put_right(words) == (words, [])


# --- kinds, written from the schemas ---


OPTIONS = [(group, option) for group in ("topic", *catalogue.PARTS) for option in catalogue.options(group)]


@pytest.mark.parametrize("seed", range(3))
def test_a_slip_in_the_name_of_an_option_is_put_right(seed: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    for group, option in rng.sample(OPTIONS, 40):
        if len(option) < 6 or not option.isalpha():
            continue
        place = rng.randrange(1, len(option) - 2)
        slip = option[:place] + option[place + 1] + option[place] + option[place + 2 :]  # two letters changed round
        if slip in catalogue.options(group):
            continue
        words, reasons = put_right([f"{group}={slip}"])
        assert any(f"no such {group}" in reason for reason in reasons), slip
        assert f"{group}={option}" in words, slip


def test_capitals_and_dashes_do_not_hide_a_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for group, option in OPTIONS:
        for form in (option.upper(), option.title().replace("_", ""), option.replace("_", "-")):
            if form != option:
                assert f"{group}={option}" in put_right([f"{group}={form}"])[0], form


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_a_knob_with_a_letter_too_many_is_found(topic: str) -> None:
    others = {key.rpartition(".")[2] for key in catalogue.homes()} | set(aliases.KNOBS)
    for name in catalogue.root_knobs(topic):
        if len(name) > 3 and f"{name}s" not in others:
            words, reasons = put_right([f"topic={topic}", f"{name}s=1"])
            assert any(word.startswith(f"{name}=") for word in words), name
            assert reasons


def wrong(knob: Knob) -> list[str]:
    """Values in another notation than the knob's own."""
    if knob.choices:
        return [choice.upper() for choice in knob.choices if isinstance(choice, str) and choice != choice.upper()]
    if knob.base is bool:
        return ["yes", "off", "1"]
    inside = next((value for value in (3, 1, 10, 0.5) if knob.allows(value)), None)
    if knob.base is int and inside is not None:
        return [f"{inside}.0", f"{inside}e0", f"{inside} steps"]
    return [f"{inside * 100:g}%"] if knob.base is float and inside is not None else []


def test_values_in_another_notation_are_understood_of_every_knob() -> None:
    for key, having in catalogue.homes().items():
        for knob in having.values():
            for value in wrong(knob):
                if not knob.allows(value):
                    meant = knob.meant(value)
                    assert meant, f"{key}={value}"
                    (override,) = OverridesParser.create().parse_overrides([f"{key}={meant}"])
                    knob.check(override.value())


def test_every_alias_leads_to_what_there_is() -> None:
    for wanted in aliases.KNOBS.values():
        for name in wanted if isinstance(wanted, tuple) else (wanted,):
            key = name.partition("=")[0]
            assert key in catalogue.homes() or key in catalogue.GROUPS, name
    for group, names in aliases.OPTIONS.items():
        assert set(names.values()) <= set(catalogue.options(group))
        assert not {name for name in names if name in catalogue.options(group)}
    for group, names in aliases.WITHIN.items():
        assert {f"{group}.{name}" for name in names.values()} <= set(catalogue.homes())
    for topic, names in aliases.OF_TOPICS.items():
        own = set(catalogue.root_knobs(topic))
        assert set(names.values()) <= own
        assert not set(names) & own
    everything = {name for having in catalogue.homes().values() for knob in having.values()
                  for name in (*knob.choices, *knob.names)}  # fmt: skip
    assert set(aliases.VALUES.values()) <= everything


def test_right_words_are_never_changed(tmp_path: Path, monkeypatch) -> None:
    """Beside a mistake all the others stay as they are."""
    monkeypatch.chdir(tmp_path)
    lines = [
        "-m lr=0.1,0.01 optimizer=gd,adam seed='range(0,3)' stepps=1",
        "function.expr='max(x, y)**2' function.at='[1,2]' +function.nope=3 lrr=1",
        "network._target_=some.Net network.hidden_size=3 network.layers=2 data=iris lrr=1",
        "-m topic=comparison optimizers='[gd,adam]','[gd,lbfgs]' sed=1",
        "data._target_=some.rows data.path=x data.n=3 network=mlp lrr=1",
        "experiment=notebook/07_bowl optimizer.momentum=0.5 network.width=3 lrr=1",
        "outputs='${oc.env:HOME}/my runs' lr='${seed}' lrr=1",
        "hydra/launcher=joblib hydra.launcher.n_jobs=2 -m lr=0.1,0.2 stepps=1",
        "target='y0 - y1' topic=importance network=mlp data=iris layer=0 retrain=1",
    ]
    for line in lines:
        words = shlex.split(line)
        right, reasons = put_right(words)
        assert len(reasons) == 1, (line, reasons)
        assert set(words[:-1]) <= set(right), (line, right)


def test_what_a_shell_takes_for_the_words_is_written() -> None:
    words = ["-m", "function.expr=x**2 + y", "a='b", "lr=", "data.path=my file.csv", "-h"]
    assert shlex.split(typed(words)) == words

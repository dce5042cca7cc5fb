"""Program synthesis: a pre-LN encoder-decoder writes a program under a grammar, token by token."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._task import Architecture, Deployment, Experiment, Schedule, Task

if TYPE_CHECKING:
    import keras

_HOST = Path(__file__).with_name("_synthesis_host.py")
_GRU_HOST = Path(__file__).with_name("_synthesis_gru_host.py")
_LIST_HOST = Path(__file__).with_name("_synthesis_list_host.py")
_SQL_HOST = Path(__file__).with_name("_synthesis_sql_host.py")
_VERILOG_HOST = Path(__file__).with_name("_synthesis_verilog_host.py")
# Units, heads, units between the dense layers, encoder and decoder layers.
SIZES = {"edge": (64, 4, 128, 2, 2), "full": (256, 8, 1024, 4, 4)}
_GRU_UNITS = {"edge": 116, "full": 740}  # about as many parameters as the transformer has


def build_scan(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the model: ``command`` ``[batch, 9, 14]``, ``actions_in`` ``[batch, 49, 7]`` to ``logits``."""
    import keras

    from . import _synthesis_scan as scan
    from ._synthesis_transformer import Lengths, Shape, training_model

    keras.utils.set_random_seed(seed)
    lengths = Lengths(scan.LONGEST_COMMAND, len(scan.WORDS) + 1, scan.LONGEST_PROGRAM + 1, scan.END + 1)
    return training_model(Shape(*SIZES[size]), lengths, "scan_transformer")


def scan_task(split: str) -> Task:
    """Return SCAN with its "simple", "length" or "jump" split."""
    from ._synthesis_scan import scan

    return scan(split)


def deploy_scan(split: str, model: "keras.Model") -> Deployment:
    """Return the graphs ``encoder`` and ``step``, and the host that decodes greedily under SCAN's grammar."""
    from . import _synthesis_scan as scan
    from ._synthesis_grammar import one_or_two

    grammar = one_or_two(scan.phrase_programs(), scan.END)
    return Deployment(
        graphs=_graphs(model),
        task=scan.scan_commands(split),
        host=_HOST,
        settings={**_settings(model), "table": grammar.table.tolist(), "start": grammar.starts[""], "width": 1},
        per="step",
        unit="token",
    )


def measure_scan(split: str, model: "keras.Model") -> Mapping[str, float]:
    """Return the exact match of the whole test set, decoded greedily under the grammar."""
    import numpy as np

    from . import _synthesis_scan as scan
    from ._synthesis_decoding import decode
    from ._synthesis_grammar import one_or_two
    from ._synthesis_sequences import PADDING, exact_match

    test = scan.scan(split).test
    assert isinstance(test.labels, np.ndarray)
    grammar = one_or_two(scan.phrase_programs(), scan.END)
    graphs = _graphs(model)
    programs = decode(graphs["encoder"], graphs["step"], test.inputs["command"], grammar, scan.END)
    wanted = np.where(test.labels == scan.END, PADDING, test.labels)[:, : scan.LONGEST_PROGRAM]
    return {"exact match on the whole test set (%)": exact_match(programs, wanted)}


def build_scan_gru(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the recurrent baseline, with the inputs and outputs of the transformer for SCAN."""
    import keras

    from . import _synthesis_scan as scan
    from ._synthesis_gru import training_model
    from ._synthesis_transformer import Lengths

    keras.utils.set_random_seed(seed)
    lengths = Lengths(scan.LONGEST_COMMAND, len(scan.WORDS) + 1, scan.LONGEST_PROGRAM + 1, scan.END + 1)
    return training_model(_GRU_UNITS[size], lengths, "scan_gru")


def deploy_scan_gru(split: str, model: "keras.Model") -> Deployment:
    """Return the graphs ``encoder`` and ``step``, and the host that decodes greedily under SCAN's grammar."""
    from . import _synthesis_scan as scan
    from ._synthesis_grammar import one_or_two
    from ._synthesis_gru import encoder_graph, step_graph

    grammar = one_or_two(scan.phrase_programs(), scan.END)
    return Deployment(
        graphs={"encoder": encoder_graph(model), "step": step_graph(model)},
        task=scan.scan_commands(split),
        host=_GRU_HOST,
        settings={
            "tokens_in": scan.LONGEST_COMMAND,
            "kinds_in": len(scan.WORDS) + 1,
            "tokens_out": scan.LONGEST_PROGRAM + 1,
            "kinds_out": scan.END + 1,
            "end": scan.END,
            "table": grammar.table.tolist(),
            "start": grammar.starts[""],
        },
        per="step",
        unit="token",
    )


def measure_scan_gru(split: str, model: "keras.Model") -> Mapping[str, float]:
    """Return the exact match of the whole test set, decoded greedily under the grammar."""
    import numpy as np

    from . import _synthesis_scan as scan
    from ._synthesis_gru_host import Host
    from ._synthesis_search import together
    from ._synthesis_sequences import PADDING, exact_match

    deployment = deploy_scan_gru(split, model)
    host, (commands, programs) = Host({}, deployment.settings), scan.tokens()
    _, test = scan.split(split)
    answers = together(deployment.graphs, [host.search({"command": command}) for command in commands[test]])
    wanted = np.where(programs[test] == scan.END, PADDING, programs[test])[:, : scan.LONGEST_PROGRAM]
    written = np.stack([answer["program"] for answer in answers])
    return {"exact match on the whole test set (%)": exact_match(written, wanted)}


def build_list(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the model: ``examples`` ``[batch, 5, 30, 2]``, ``actions_in`` ``[batch, 9, 38]`` to ``logits``."""
    import keras

    from . import _synthesis_list as lists
    from . import _synthesis_list_host as language
    from ._synthesis_transformer import Lengths, Shape, training_model

    keras.utils.set_random_seed(seed)
    tokens = lists.LONGEST_PROGRAM + 1, len(language.TOKENS)
    lengths = Lengths(3 * lists.LENGTH, 2, *tokens, lists.EXAMPLES, language.PERIODS)
    return training_model(Shape(*SIZES[size]), lengths, "list_transformer")


def list_programs() -> Task:
    """Return DeepCoder's list programs of two statements, told by five examples."""
    from ._synthesis_list import list_programs

    return list_programs()


def deploy_list(model: "keras.Model", nodes: int = 100) -> Deployment:
    """Return the graphs ``encoder`` and ``step``, and the host that searches until it has run so many statements."""
    from . import _synthesis_list as lists

    return Deployment(
        graphs=_graphs(model),
        task=lists.list_examples(),
        host=_LIST_HOST,
        settings=_list_settings(model, nodes),
        per="step",
        unit="token",
    )


def measure_list(model: "keras.Model") -> Mapping[str, float]:
    """Return the shares of test programs found within 1,000 and 100 statements, and an undirected search's.

    The bar, 68 % within 1,000, is one for these shares, not for the task's metric, teacher-forced token accuracy.
    """
    import numpy as np

    from . import _synthesis_list as lists
    from ._synthesis_search import search, undirected

    slots = lists.list_examples().test.inputs["slots"]
    settings = _list_settings(model, nodes=1000)
    answers = search(_graphs(model), settings, slots)
    found = {
        "": [int(answer["nodes"][0]) if answer["program"][0] >= 0 else 0 for answer in answers],
        ", undirected": [undirected(lists.grammar(), settings, each, seed) for seed, each in enumerate(slots)],
    }
    measures = {}
    for how, nodes in found.items():
        for limit in (1000, 100):
            solved = (np.array(nodes) > 0) & (np.array(nodes) <= limit)
            measures[f"solved within {limit:,} nodes{how} (%)"] = float(100 * solved.mean())
    return measures


def build_sql(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the model: ``command`` ``[batch, 44, features]``, ``actions_in`` ``[batch, 19, 36]`` to ``logits``."""
    import keras

    from . import _synthesis_sql as sql
    from . import _synthesis_sql_host as language
    from ._synthesis_transformer import Lengths, Shape, training_model

    keras.utils.set_random_seed(seed)
    lengths = Lengths(*sql.shape(), sql.LONGEST_PROGRAM + 1, len(language.TOKENS))
    return training_model(Shape(*SIZES[size]), lengths, "sql_transformer")


def sql_programs() -> Task:
    """Return questions about small databases, and the SQL that answers them."""
    from ._synthesis_sql import sql_programs

    return sql_programs()


def deploy_sql(model: "keras.Model", steps: int = 100) -> Deployment:
    """Return the graphs ``encoder`` and ``step``, and the host that reads, writes queries and executes them."""
    from . import _synthesis_sql as sql
    from ._synthesis_sql_questions import LONGEST_QUESTION, vocabulary

    grammar, told = sql.grammar(), _settings(model)
    return Deployment(
        graphs=_graphs(model),
        task=sql.sql_questions(),
        host=_SQL_HOST,
        settings={
            "vocabulary": vocabulary(),
            "words": LONGEST_QUESTION,
            "table": grammar.table.tolist(),
            "start": grammar.starts[""],
            "tokens_out": told["tokens_out"],
            "units": told["units"],
            "steps": steps,
            "answer": sql.ANSWER_BYTES,
        },
        per="step",
        unit="token",
    )


def measure_sql(model: "keras.Model") -> Mapping[str, float]:
    """Return the shares of test questions whose answer is right, is so at the first query, whose query is the very one.

    The bar, 95 %, is one for the first share, not for the task's metric, teacher-forced token accuracy.
    """
    import numpy as np

    from . import _synthesis_sql as sql
    from ._synthesis_search import together
    from ._synthesis_sequences import exact_match
    from ._synthesis_sql_host import Host

    deployment = deploy_sql(model)
    test, host = deployment.task.test, Host({}, deployment.settings)
    assert isinstance(test.labels, np.ndarray)
    samples = [{name: array[place] for name, array in test.inputs.items()} for place in range(len(test))]
    answers = together(deployment.graphs, [host.search(sample) for sample in samples])
    right = np.array([(answer["answer"] == label).all() for answer, label in zip(answers, test.labels, strict=True)])
    first = np.array([answer["tried"][0] == 1 for answer in answers])
    return {
        "execution match (%)": float(100 * right.mean()),
        "execution match of the first query (%)": float(100 * (right & first).mean()),
        "same query (%)": exact_match(np.stack([answer["program"] for answer in answers]), sql.wanted_programs()),
    }


def build_verilog(size: str = "edge", seed: int = 0) -> "keras.Model":
    """Return the model: ``command`` ``[batch, 56, kinds]``, ``actions_in`` ``[batch, 40, 67]`` to ``logits``."""
    import keras

    from . import _synthesis_verilog as circuits
    from . import _synthesis_verilog_host as language
    from ._synthesis_transformer import Lengths, Shape, training_model

    keras.utils.set_random_seed(seed)
    kinds = language.kinds_of(circuits.vocabulary())
    lengths = Lengths(circuits.LONGEST_DESCRIPTION, kinds, circuits.LONGEST_PROGRAM + 1, len(language.TOKENS))
    return training_model(Shape(*SIZES[size]), lengths, "verilog_transformer")


def verilog_programs() -> Task:
    """Return descriptions of small circuits, and the Verilog that they ask for."""
    from ._synthesis_verilog import verilog_programs

    return verilog_programs()


def deploy_verilog(model: "keras.Model") -> Deployment:
    """Return the graphs ``encoder`` and ``step``, and the host that reads descriptions and writes Verilog."""
    from . import _synthesis_verilog as circuits

    grammar, told = circuits.grammar(), _settings(model)
    return Deployment(
        graphs=_graphs(model),
        task=circuits.verilog_descriptions(),
        host=_VERILOG_HOST,
        settings={
            "vocabulary": circuits.vocabulary(),
            "words": circuits.LONGEST_DESCRIPTION,
            "table": grammar.table.tolist(),
            "start": grammar.starts[""],
            "tokens_out": told["tokens_out"],
            "units": told["units"],
            "verilog": circuits.MODULE_BYTES,
        },
        per="step",
        unit="token",
    )


def measure_verilog(model: "keras.Model") -> Mapping[str, float]:
    """Return the shares of written modules that do in a simulation what was asked for, and of those written alike.

    The bar, 95 %, is one for the first share: combinations of options, and of operations and widths, that were never
    trained. In the last ones trained combinations are told in phrasings that never were.

    Raises:
        MissingRequirement: Icarus Verilog, which simulates them, is not installed.
    """
    import numpy as np

    from . import _synthesis_verilog as circuits
    from ._synthesis_search import together
    from ._synthesis_sequences import exact_match
    from ._synthesis_verilog_host import Host, text_of
    from ._synthesis_verilog_simulation import matches

    deployment, measures = deploy_verilog(model), {}
    host = Host({}, deployment.settings)
    for part, told in (("test", ""), ("phrasings", ", phrasings not trained")):
        test = circuits.verilog_descriptions(part).test
        assert isinstance(test.labels, np.ndarray)
        searches = [host.search({"description": description}) for description in test.inputs["description"]]
        answers = together(deployment.graphs, searches)
        right = np.array(matches(circuits.trials(part, [text_of(answer["verilog"]) for answer in answers])))
        measures[f"functional match{told} (%)"] = float(100 * right.mean())
        if part == "test":
            options, widths = np.array(circuits.held_out_in(part)).T
            measures["functional match, options not trained (%)"] = float(100 * right[options].mean())
            measures["functional match, widths not trained (%)"] = float(100 * right[widths].mean())
        same = exact_match(np.stack([answer["program"] for answer in answers]), test.labels)
        measures[f"same program{told} (%)"] = same
    return measures


def _list_settings(model: "keras.Model", nodes: int) -> dict[str, Any]:
    from . import _synthesis_list as lists

    told = _settings(model)
    return {
        "tokens_out": told["tokens_out"],
        "units": told["units"],
        "length": lists.LENGTH,
        "table": lists.grammar().table.tolist(),
        "starts": dict(lists.grammar().starts),
        "nodes": nodes,
    }


def _graphs(model: "keras.Model") -> dict[str, "keras.Model"]:
    from ._synthesis_transformer import encoder_graph, step_graph

    return {"encoder": encoder_graph(model), "step": step_graph(model)}


def _settings(model: "keras.Model") -> dict[str, Any]:
    """Return what the host code needs to know of the model."""
    shapes = {tensor.name: tensor.shape for tensor in model.inputs}
    told = next(shape for name, shape in shapes.items() if name != "actions_in")
    layers = {layer.name: layer for layer in model.layers}
    keys = (name for name in layers if name.startswith("decoder_") and name.endswith("_self_key"))
    places = [name.removesuffix("_key") for name in sorted(keys, key=lambda name: int(name.split("_")[1]))]
    return {
        "tokens_in": told[-2],
        "kinds_in": told[-1],
        "tokens_out": shapes["actions_in"][1],
        "kinds_out": shapes["actions_in"][2],
        "end": shapes["actions_in"][2] - 1,
        "units": [[layers[f"{place}_key"].units, layers[f"{place}_value"].units] for place in places],
    }


_SCHEDULES = {
    "edge": Schedule(epochs=70, learning_rate=2e-3, warmup=0.05, clip_norm=1.0, samples_per_epoch=4000),
    "full": Schedule(epochs=100, batch_size=256, learning_rate=1e-3, warmup=0.05, clip_norm=1.0),
}


def _scan(split: str, bar: float | None = None) -> Experiment:
    return Experiment(
        f"scan-{split}",
        "Transformer, 2 + 2 layers of 64",
        build_scan,
        functools.partial(scan_task, split),
        _SCHEDULES,
        deploy=functools.partial(deploy_scan, split),
        measures=functools.partial(measure_scan, split),
        bar=bar,
    )


def _scan_gru(split: str) -> Experiment:
    return Experiment(
        f"scan-{split}-gru",
        "GRU with attention, 116 units",
        build_scan_gru,
        functools.partial(scan_task, split),
        _SCHEDULES,
        deploy=functools.partial(deploy_scan_gru, split),
        measures=functools.partial(measure_scan_gru, split),
    )


# The bar is meant for exact match, which is measured beside the task's metric, teacher-forced token accuracy.
SCAN_SIMPLE, SCAN_LENGTH, SCAN_JUMP = _scan("simple", 99.0), _scan("length"), _scan("jump")
SCAN_SIMPLE_GRU, SCAN_LENGTH_GRU, SCAN_JUMP_GRU = map(_scan_gru, ("simple", "length", "jump"))
LIST_PROGRAMS = Experiment(
    "list-programs",
    "Transformer over five examples, 2 + 2 layers of 64",
    build_list,
    list_programs,
    {
        "edge": Schedule(epochs=20, learning_rate=2e-3, warmup=0.05, clip_norm=1.0, samples_per_epoch=4000),
        "full": Schedule(epochs=100, batch_size=256, learning_rate=1e-3, warmup=0.05, clip_norm=1.0),
    },
    deploy=deploy_list,
    measures=measure_list,
)
# The bar is meant for execution match, which is measured beside the task's metric.
SQL = Experiment(
    "sql",
    "Transformer from a question to SQL, 2 + 2 layers of 64",
    build_sql,
    sql_programs,
    {
        "edge": Schedule(epochs=50, learning_rate=2e-3, warmup=0.05, clip_norm=1.0, samples_per_epoch=4000),
        "full": Schedule(epochs=200, batch_size=256, learning_rate=1e-3, warmup=0.05, clip_norm=1.0),
    },
    deploy=deploy_sql,
    measures=measure_sql,
    bar=95.0,
)
# The bar is meant for functional match in a simulation, which is measured beside the task's metric.
VERILOG = Experiment(
    "verilog",
    "Transformer from a description to Verilog, 2 + 2 layers of 64",
    build_verilog,
    verilog_programs,
    {
        "edge": Schedule(epochs=60, learning_rate=2e-3, warmup=0.05, clip_norm=1.0, samples_per_epoch=4000),
        "full": Schedule(epochs=200, batch_size=256, learning_rate=1e-3, warmup=0.05, clip_norm=1.0),
    },
    deploy=deploy_verilog,
    measures=measure_verilog,
    bar=95.0,
)
ARCHITECTURE = Architecture(
    "program_synthesis",
    "Program synthesis",
    (
        *(SCAN_SIMPLE, SCAN_LENGTH, SCAN_JUMP),
        *(SCAN_SIMPLE_GRU, SCAN_LENGTH_GRU, SCAN_JUMP_GRU),
        *(LIST_PROGRAMS, SQL, VERILOG),
    ),
)

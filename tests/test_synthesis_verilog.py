"""Verilog from descriptions: reading, grammar, printing, the reference in Python, and Icarus Verilog as the judge."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest

from edgewright.errors import MissingRequirement
from edgewright.hosting import KerasGraph
from edgewright.train import _synthesis_verilog as circuits
from edgewright.train import _synthesis_verilog_host as language
from edgewright.train import _synthesis_verilog_modules as modules
from edgewright.train import _synthesis_verilog_texts as texts
from edgewright.train import program_synthesis
from edgewright.train._synthesis_grammar import FORBIDDEN
from edgewright.train._synthesis_search import together
from edgewright.train._synthesis_sequences import PADDING, given_before, one_hot
from edgewright.train._synthesis_transformer import encoder_graph, step_graph
from edgewright.train._synthesis_verilog_modules import Module, Timing
from edgewright.train._synthesis_verilog_reference import bench, meant
from edgewright.train._synthesis_verilog_simulation import Trial, matches

simulated = pytest.mark.skipif(
    shutil.which("iverilog") is None or shutil.which("vvp") is None, reason="Icarus Verilog (iverilog) is not installed"
)
COUNTER = (
    "Write a module `cnt`. A 4-bit counter `q` counts up. It works on the rising edge of `clk`. "
    "An asynchronous reset `rst`, active low, clears `q`. `en` is an active high enable."
)
COUNTER_PROGRAM = (
    "n0 k0 input n2 input n3 input n4 output_reg_[W] n1 posedge or_negedge b1 clear if b2 q_<= + q 1".replace(" ", "\n")
    .replace("_", " ")
    .split("\n")
)
COUNTER_TEXT = """module cnt (
  input clk,
  input rst,
  input en,
  output reg [3:0] q = 0
);
  always @(posedge clk or negedge rst)
    if (!rst) q <= 0;
    else if (en) q <= q + 1;
endmodule
"""


def _tokens(names):
    return [language.TOKENS.index(name) for name in names]


def _written(text, program):
    read = language.Description(text)
    return language.verilog(program, read.names, read.numbers)


@pytest.fixture(scope="module")
def drawn():
    """A hundred draws of each part."""
    random = np.random.default_rng(11)
    return {part: [circuits.draw(random, part) for _ in range(100)] for part in circuits.PARTS}


def test_a_description_is_read_as_words_names_and_numbers():
    """Names stand in backquotes, numbers are digits, words or measures; each has a slot in the order of its mention."""
    read = language.Description("An eight-bit `x`, a nibble `y_2`; 1 bit of `x`, byte `Z`")
    assert read.names == ["x", "y_2", "Z"] and read.numbers == [8, 4]
    assert read.words == ["an", "k0", "bit", "n0", "a", "k1", "n1", "1", "bit", "of", "n0", "k0", "n2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "in backquotes. Got: 0 names"),
        ("a counter of clk into q", "Got: 0 names"),
        ("`m` inverts `x`", "Got: 2 names"),
        ("`m` `a b` `c`", "identifiers of Verilog.*Got: 'a b'"),
        ("`m` and `module`", "none of its keywords.*Got: 'module'"),
        ("`m` `x` `y", "identifiers.*Got: ''"),
        ("`" + "m" * 33 + "` `x` `y`", "up to 32 letters"),
        (" ".join(f"`p{place}`" for place in range(9)), "up to 8 names.*one more, p8"),
        ("`m` `x` `y` of 3, 4 and 5 bits", "up to 2 numbers.*one more, 5"),
        ("`m` `x` `y` of 70000 bits", "up to 65535. Got: 70000"),
        ("`m` `x` `y`" + " bit" * 60, "up to 56 words. Got: 63"),
    ],
)
def test_what_is_no_description_is_refused(text, message):
    """No names, bad names, too many names, numbers or words are errors that say what came."""
    with pytest.raises(ValueError, match=message):
        language.Host({}, _settings()).run({"description": language.bytes_of(text, 512)})


def test_bytes_that_are_no_text_are_refused():
    """Bytes that are no UTF-8 are an error that says where."""
    with pytest.raises(ValueError, match="text in UTF-8. Got: .*0xff in position 1"):
        language.Host({}, _settings()).run({"description": np.array([65, 255, 65], np.uint8)})


def test_a_program_is_printed_as_verilog():
    """A clocked register with an asynchronous reset and an enable reads as one would write it."""
    assert _written(COUNTER, COUNTER_PROGRAM) == COUNTER_TEXT


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("& v0 | v1 b0", "x & (y | s)"),
        ("~ & v0 v1", "~(x & y)"),
        ("~ odd v0", "~(^x)"),
        ("all all v0", "&(&x)"),
        ("negate negate v0", "-(-x)"),
        ("?: b0 + v0 1 k0", "s ? (x + 1) : 4"),
        ("< $signed v0 $signed + v1 1", "$signed(x) < $signed(y + 1)"),
    ],
)
def test_expressions_keep_their_order(expression, printed):
    """Prefix notation becomes infix with the parentheses that it needs."""
    head = ["n0", "k0", "input", "n1", "input [W]", "n2", "input [W]", "n3", "output [W]", "n4", "assign"]
    text = language.verilog([*head, *expression.split()], ["m", "s", "x", "y", "z"], [4])
    assert f"  assign z = {printed};\n" in text


@pytest.mark.parametrize(
    "program",
    [
        "n0 input n1 output n2 assign v0",  # no vector is declared
        "n0 input n1 output n2 assign b1",  # nor a second bit
        "n0 input n1 output n2 assign & b0",  # an operand is missing
        "n0 input n1 input_[W] n2 output n3 assign b0",  # no width
        "n0 input n1 output_reg n2 posedge q_<= b0",  # the clock is no data
        "n0 input n1 output_reg n2 q_<= ~ q",  # no clock
        "n0 input n1 output n2 assign ~ q",  # no register
        "n0 input n1 input n2 output_reg n3 posedge q_<= {q, b1",  # a single bit is not shifted
        "n0 input n1 input n2 output_reg n3 posedge or_posedge b1 q_<= ~ q",  # an event without its effect
        "n0 output n1 assign 1",  # no input
        "n0 input n1 input n2 output n3 reg posedge q_<= b1",  # the output is not driven
    ],
)
def test_the_grammar_knows_what_is_declared(program):
    """What would not compile, or reads what is not there, is no program."""
    names = [name.replace("_", " ") for name in program.split()]
    assert not circuits.grammar().accepts(_tokens([*names, "END"]))


def test_no_program_is_longer_than_the_decoder():
    """The longest way through the automaton fits into the decoder's slots."""
    table, longest = circuits.grammar().table, {}

    def length(state):
        if state not in longest:
            following = {int(after) for after in table[state] if after != FORBIDDEN}
            longest[state] = 1 + max(map(length, following)) if following else 0
        return longest[state]

    assert length(circuits.grammar().starts[""]) <= circuits.LONGEST_PROGRAM + 1


def _walk(seed):
    """Return a description and a random program of the grammar for it."""
    random, table = np.random.default_rng(seed), circuits.grammar().table
    text = " ".join(f"`p{place}`" for place in range(8)) + " of 5 bits and 3"
    read, state, tokens = language.Description(text), circuits.grammar().starts[""], []
    while (table[state] != FORBIDDEN).any():
        possible = (table[state] != FORBIDDEN) & language.Host.possible(tokens, read)
        tokens.append(int(random.choice(np.flatnonzero(possible))))
        state = int(table[state, tokens[-1]])
    return text, [language.TOKENS[token] for token in tokens[:-1]]


@simulated
def test_every_program_of_the_grammar_compiles():
    """A hundred random programs are taken by Icarus Verilog, each with the ports that it declares."""
    trials = []
    for seed in range(100):
        text, program = _walk(seed)
        roles = [name for name in program[2:] if name in language.NAMES]
        place = program.index(roles[-1])
        kinds = [name for name in program[:place] if name in (*language.INPUTS, *language.WIDTHS)]
        width = {"k0": 5, "k1": 3}.get(program[1], 1)
        widths = [width if kind == "input [W]" else language.WIDTHS.get(kind, lambda _: 1)(width) for kind in kinds]
        names = {"module": f"p{program[0][1:]}", "output": f"p{roles[-1][1:]}"}
        names |= {f"r{number}": f"p{role[1:]}" for number, role in enumerate(roles[:-1])}
        inputs = {f"r{number}": wide for number, wide in enumerate(widths[:-1])}
        ports = bench(Module(("negative",), 2), 0)
        tried = dataclasses.replace(ports, inputs=inputs, output=widths[-1], idle=dict.fromkeys(inputs, 0), stimuli=[])
        trials.append(Trial(_written(text, program), names, dataclasses.replace(tried, trace=[])))
    assert matches(trials) == [True] * 100


@simulated
def test_reference_programs_do_what_they_are_described_to_do(drawn):
    """The Verilog of all drawn modules, simulated, gives the outputs of the arithmetic in Python."""
    every = [one for part in drawn.values() for one in part]
    trials = [
        Trial(_written(text, program), names, bench(module, seed))
        for seed, (module, text, program, names) in enumerate(every)
    ]
    wrong = [every[place] for place, right in enumerate(matches(trials)) if not right]
    assert not wrong


_CHANGES = {
    **{"posedge": "negedge", "or posedge": "or negedge", "if": "if !", "if !": "if", "clear": "preset"},
    **{"+": "-", "-": "+", "&": "|", "|": "&", "<": ">", ">": "<", "==": "!=", "<<": ">>", ">>": "<<"},
    **{"{q,": ",q}", ",q}": "{q,", "all": "any", "odd": "all", "any": "odd", "0": "1", "output [W]": "output [W+1]"},
}


@simulated
def test_a_module_that_does_something_else_is_found_out(drawn):
    """No program with one token changed for another that changes what it does is a match."""
    trials, programs = [], []
    for seed, (module, text, program, names) in enumerate(drawn["train"]):
        places = [place for place, token in enumerate(program) if token in _CHANGES]
        if places:
            place = places[seed % len(places)]
            programs.append([*program[:place], _CHANGES[program[place]], *program[place + 1 :]])
            trials.append(Trial(_written(text, programs[-1]), names, bench(module, seed)))
    missed = [program for program, right in zip(programs, matches(trials), strict=True) if right]
    assert len(trials) > 60 and not missed


@simulated
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("endmodule", "endmodul"),
        ("module cnt", "module count"),
        ("input en", "input enable"),
        ("[3:0] q", "[4:0] q"),
        ("input rst,", "input rst, input extra,"),
        ("q + 1", "q + 2"),
        ("q <= 0", "#1 q <= 0"),
        (" or negedge rst", ""),
    ],
)
def test_one_wrong_module_does_not_spoil_the_others(old, new):
    """What does not compile, has other ports or does something else is no match; those beside it still are."""
    module = Module(("count", "up", "one"), 4, 0, Timing("rising", ("asynchronous", "low", "clear"), "high", "none"))
    names = {"module": "cnt", "clock": "clk", "reset": "rst", "enable": "en", "output": "q"}
    good, bad = (Trial(text, names, bench(module, 0)) for text in (COUNTER_TEXT, COUNTER_TEXT.replace(old, new)))
    right = new == "input rst, input extra,"  # a port more is left open, and the module does what it has to
    assert matches([good, bad, good]) == [True, right, True]


def test_without_icarus_verilog_the_measure_says_so(monkeypatch):
    """A machine without the simulator gets an error that names it, with the exit code for what is missing."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingRequirement, match="Expected Icarus Verilog.*Got: no iverilog") as caught:
        matches([Trial(COUNTER_TEXT, {}, bench(Module(("negative",), 2), 0))])
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("what", "width", "number", "given", "state", "result"),
    [
        (("gate", "nand", "three", "b"), 4, 0, {"a": 0b1110, "b": 0b0001, "c": 0b0111}, 0, 0b1001),
        (("nested", "xor", "and", "inverted"), 2, 0, {"a": 1, "b": 3, "c": 2}, 0, 0),
        (("mux", "low"), 3, 0, {"select": 0, "a": 5, "b": 2}, 0, 5),
        (("four-way mux",), 3, 0, {"upper": 1, "lower": 0, "a": 1, "b": 2, "c": 3, "d": 4}, 0, 3),
        (("compare", "<", "signed"), 4, 0, {"a": 0b1000, "b": 7}, 0, 1),
        (("compare", "<", "unsigned"), 4, 0, {"a": 0b1000, "b": 7}, 0, 0),
        (("add", "carry", "wide"), 4, 0, {"a": 15, "b": 15, "carry": 1}, 0, 31),
        (("reduce", "xnor"), 4, 0, {"a": 0b0110}, 0, 1),
        (("decode", "low", "low"), 2, 0, {"a": 2, "enable": 0}, 0, 0b1011),
        (("extreme", "max", "signed"), 4, 0, {"a": 0b1111, "b": 0}, 0, 0),
        (("modulo",), 4, 9, {}, 9, 0),
        (("saturate", "down"), 4, 0, {}, 0, 0),
        (("serial", "right"), 4, 0, {"in": 1}, 0b0110, 0b1011),
        (("edge", "falling"), 2, 0, {"a": 0b10}, 0b11, 0b01),
    ],
)
def test_the_reference_means_what_was_counted_by_hand(what, width, number, given, state, result):
    """Each kind of operation gives the value that was worked out on paper."""
    assert meant(Module(what, width, number), given, state) == result


def test_a_reset_waits_for_the_clock_only_if_synchronous():
    """An asynchronous reset shows before the clock's edge, a synchronous one after it."""
    seen = {}
    for kind in ("synchronous", "asynchronous"):
        module = Module(("register",), 4, 0, Timing("rising", (kind, "high", "clear"), "none", "none"))
        made = bench(module, 3)
        seen[kind] = [
            (before, after)
            for (_, _, last), (before, after, _), step in zip(
                made.trace, made.trace[1:], made.stimuli[1:], strict=False
            )
            if step["reset"] and last
        ]
        assert all(after == 0 for _, after in seen[kind])
    assert all(before for before, _ in seen["synchronous"]) and not any(before for before, _ in seen["asynchronous"])


def test_draws_follow_from_their_seed_and_are_of_the_grammar(drawn):
    """The same seed draws the same; programs are of the grammar and short enough, descriptions say all names."""
    again = circuits.draw(np.random.default_rng(11), "train")
    assert again == drawn["train"][0]
    for module, text, program, names in itertools.chain(*drawn.values()):
        assert circuits.grammar().accepts(_tokens([*program, "END"]))
        assert sorted(language.Description(text).names) == sorted(names.values())
        assert len(_written(text, program)) < circuits.MODULE_BYTES
        assert {"module", "output", *module.bits, *module.vectors} == set(names)


def test_no_tested_combination_is_trained(drawn):
    """A tested module has a combination or a width that no trained one has; each option alone is trained."""
    assert all(any(modules.held_out(module)) for module, *_ in drawn["test"])
    for part in ("train", "phrasings"):
        assert not any(any(modules.held_out(module)) for module, *_ in drawn[part])
    random = np.random.default_rng(0)
    trained = [module for module in (modules.drawn(random) for _ in range(20_000)) if not any(modules.held_out(module))]
    for family, (options, _, _) in modules.FAMILIES.items():
        mine = [module for module in trained if module.family == family]
        for place, choices in enumerate(options, start=1):
            assert {module.what[place] for module in mine} == set(choices), family
    timings = [module.timing for module in trained if module.timing]
    assert {timing.reset for timing in timings} == {
        ("none",),
        *itertools.product(("synchronous", "asynchronous"), modules.LEVELS, ("clear", "preset")),
    }


def test_kept_phrasings_are_not_trained(drawn):
    """The openings of the part for phrasings are none of those of the others; all words are known."""
    openings = {part: {text.split("`")[0] for _, text, *_ in every} for part, every in drawn.items()}
    assert not openings["phrasings"] & openings["train"] and openings["test"] <= openings["train"]
    known = set(texts.vocabulary())
    for _, text, *_ in itertools.chain(*drawn.values()):
        words = set(language.Description(text).words) - set(language.NAMES) - set(language.NUMBERS)
        assert words <= known, words - known


def test_the_network_is_told_no_name(drawn):
    """A description with other names is the same to the network, and its module has the other names."""
    module, text, program, names = drawn["test"][0]
    other = text
    for number, name in enumerate(names.values()):
        other = other.replace(f"`{name}`", f"`other_{number}`")
    known = {word: place for place, word in enumerate(texts.vocabulary())}
    told = [language.Description(one).tokens(known, texts.LONGEST_DESCRIPTION) for one in (text, other)]
    np.testing.assert_array_equal(*told)
    assert "other_0" in _written(other, program)


def _settings(**changed):
    told = {
        "vocabulary": texts.vocabulary(), "words": texts.LONGEST_DESCRIPTION, "start": circuits.grammar().starts[""],
        "table": circuits.grammar().table.tolist(), "tokens_out": circuits.LONGEST_PROGRAM + 1, "units": [[64, 64]] * 2,
        "verilog": circuits.MODULE_BYTES, **changed,
    }  # fmt: skip
    return json.loads(json.dumps(told))


def _preferring(program):
    """Graphs that like a program's tokens at their places, then the first token of all."""

    def step(fed):
        logits, place = -np.arange(len(language.TOKENS), dtype=np.float32)[None, None], int(fed["position"].argmax())
        if place < len(program):
            logits[..., language.TOKENS.index(program[place])] = 9
        rows = {f"{part}_{layer}": np.zeros((1, 1, 64), np.float32) for part in ("key", "value") for layer in (1, 2)}
        return {"logits": logits, **rows}

    return {"encoder": lambda fed: {}, "step": step}


def test_the_host_writes_what_the_network_likes():
    """A preferred program that the grammar allows is what is written, as tokens and as text."""
    answer = language.Host(_preferring([*COUNTER_PROGRAM, "END"]), _settings()).run(
        {"description": language.bytes_of(COUNTER, 512)}
    )
    assert language.text_of(answer["verilog"]) == COUNTER_TEXT
    assert answer["program"].shape == (circuits.LONGEST_PROGRAM,)
    assert [language.TOKENS[token] for token in answer["program"] if token != PADDING] == COUNTER_PROGRAM


def test_the_host_binds_each_name_once_and_keeps_one_for_the_output():
    """A network that wants inputs alone still gets an output, and no name twice or that was not given."""
    liking = ["n0", "input", "n0", "input", "n0", "input", "n0", "input", "n0"]
    answer = language.Host(_preferring(liking), _settings()).run(
        {"description": language.bytes_of("`m` takes `x` and `y` to `z`", 512)}
    )
    written = [language.TOKENS[token] for token in answer["program"] if token != PADDING]
    assert [name for name in written if name in language.NAMES] == ["n0", "n1", "n2", "n3"]
    assert [name for name in written[:8] if "put" in name] == ["input", "input", "output"]


def test_a_width_is_one_that_verilog_takes():
    """A number above 32 is no width, and a decoder's output has at most 64 bits."""
    read = language.Description("`m` `x` `y` of 40 and 7")
    first = language.Host.possible(_tokens(["n0"]), read)
    later = language.Host.possible(_tokens(["n0", "k1", "input [W]", "n1"]), read)
    allowed = {name: (first[place], later[place]) for place, name in enumerate(language.TOKENS)}
    assert allowed["k0"] == (False, True) and allowed["k1"] == (True, True)
    assert not allowed["output [2**W]"][1] and allowed["output [2W]"][1]


@pytest.fixture(scope="module")
def fresh():
    """The model as built, with its deployment graphs."""
    model = program_synthesis.build_verilog()
    return model, {"encoder": encoder_graph(model), "step": step_graph(model)}


def test_the_verilog_step_is_teacher_forcing(drawn, fresh):
    """Fed a program token by token, the deployment graphs give the logits of the whole model."""
    model, plain = fresh
    graphs = {name: KerasGraph(name, graph) for name, graph in plain.items()}
    host = language.Host(graphs, _settings())
    _, text, program, _ = drawn["test"][0]
    tokens = _tokens(program)
    known = {word: place for place, word in enumerate(texts.vocabulary())}
    told = language.Description(text).tokens(known, texts.LONGEST_DESCRIPTION)
    command = one_hot(told, language.kinds_of(known))[None]
    row = np.full((1, circuits.LONGEST_PROGRAM + 1), PADDING)
    row[0, : len(tokens)] = tokens
    given = one_hot(given_before(row, language.END), len(language.TOKENS))
    expected = np.array(model({"command": command, "actions_in": given}))[0]
    memory, cache = graphs["encoder"]({"command": command}), host.empty()
    for place in range(len(tokens) + 1):
        made = graphs["step"]({**host.fed(tokens[:place], cache, memory)})
        host.grow(cache, made, place)
        np.testing.assert_allclose(made["logits"][0, 0], expected[place], atol=1e-5)
    assert model.count_params() < 250_000


def _asked(graphs, descriptions):
    host = language.Host({}, _settings())
    return together(graphs, [host.search({"description": language.bytes_of(text, 512)}) for text in descriptions])


def test_an_untrained_model_writes_verilog_too(fresh, drawn):
    """Whatever the weights, what comes out is a program of the grammar."""
    for answer in _asked(fresh[1], [text for _, text, *_ in drawn["test"][:8]]):
        program = [token for token in answer["program"].tolist() if token != PADDING]
        assert circuits.grammar().accepts([*program, language.END])

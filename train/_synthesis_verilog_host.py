"""What a device does around a transformer that writes Verilog: reading, decoding, printing. NumPy only, Python 3.7."""

# Python 3.7, without annotations.
# mypy: ignore-errors

import re

import numpy as np

MASKED = -30.0
NAMES = ("n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7")  # in the order in which a description names them
NUMBERS = ("k0", "k1")  # likewise
BITS, VECTORS = ("b0", "b1", "b2", "b3", "b4"), ("v0", "v1", "v2", "v3")  # the inputs, in the order of declaration
INPUTS = ("input", "input [W]")
# By the token that declares an output its width in bits for a width W; a register is declared by "reg".
WIDTHS = {
    "output": lambda width: 1,
    "output [W]": lambda width: width,
    "output [W+1]": lambda width: width + 1,
    "output [2W]": lambda width: 2 * width,
    "output [2**W]": lambda width: 2 ** min(width, 16),
    "output reg": lambda width: 1,
    "output reg [W]": lambda width: width,
}
INNER = ("reg", "reg [W]")
EDGES = {"posedge": "posedge", "negedge": "negedge", "or posedge": "posedge", "or negedge": "negedge"}
TESTS = ("if", "if !")
RESETS = {"clear": "0", "preset": "~0"}
NEXT, ASSIGN = "q <=", "assign"
BINARY = ("&", "|", "^", "+", "-", "*", "<<", ">>", "==", "!=", "<", ">", "<=", ">=")
UNARY = {"~": "~{}", "negate": "-{}", "$signed": "$signed({})", "all": "&{}", "any": "|{}", "odd": "^{}"}
CHOICE = "?:"
SHIFTS = ("{q,", ",q}")  # the register shifted left or right by one place, and the bit that comes in
LEAVES = ("q", "0", "1")
# The place is the token. Expressions are in prefix notation.
TOKENS = (
    *NAMES, *NUMBERS, *BITS, *VECTORS, *INPUTS, *WIDTHS, *INNER, *EDGES, *TESTS, *RESETS, NEXT, ASSIGN,
    *BINARY, *UNARY, CHOICE, *SHIFTS, *LEAVES, "END",
)  # fmt: skip
END = len(TOKENS) - 1
WIDEST, WIDEST_OUTPUT, LARGEST, LONGEST_NAME = 32, 64, 65535, 32
_WORD = re.compile(r"`[^`]*`|\d+|[A-Za-z]+|`")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")
SPELT = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
)
_MEASURES = {"nibble": 4, "byte": 8}
_KEYWORDS = (  # IEEE 1364-2005, annex B
    "always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam "
    "design disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify "
    "endtable endtask event for force forever fork function generate genvar highz0 highz1 if ifnone incdir include "
    "initial inout input instance integer join large liblist library localparam macromodule medium module nand "
    "negedge nmos nor noshowcancelled not notif0 notif1 or output parameter pmos posedge primitive pull0 pull1 "
    "pulldown pullup pulsestyle_ondetect pulsestyle_onevent rcmos real realtime reg release repeat rnmos rpmos rtran "
    "rtranif0 rtranif1 scalared showcancelled signed small specify specparam strong0 strong1 supply0 supply1 table "
    "task time tran tranif0 tranif1 tri tri0 tri1 triand trior trireg unsigned use uwire vectored wait wand weak0 "
    "weak1 while wire wor xnor xor"
)
KEYWORDS = frozenset(_KEYWORDS.split())


class Description(object):
    """What a text says of a module: its words, the names in backquotes, the numbers from two on.

    ``words``: lower case, a name or a number as its slot; ``names``, ``numbers``: by slot.
    """

    def __init__(self, text):
        self.words, self.names, self.numbers = [], [], []
        for match in _WORD.finditer(text):
            word = match.group()
            if word[0] == "`":
                self.words.append(NAMES[self._slot(checked_name(word.strip("`")), self.names, NAMES, "names")])
                continue
            number = number_of(word.lower())
            if number is None:
                self.words.append(word.lower())
            else:
                self.words.append(NUMBERS[self._slot(number, self.numbers, NUMBERS, "numbers")])
        if len(self.names) < 3:
            raise ValueError(
                "Expected a description with the names of the module, an input and the output in backquotes. "
                f"Got: {len(self.names)} names."
            )

    @staticmethod
    def _slot(found, known, slots, what):
        if found not in known:
            if len(known) == len(slots):
                raise ValueError(f"Expected up to {len(slots)} {what} in a description. Got: one more, {found}.")
            known.append(found)
        return known.index(found)

    def tokens(self, vocabulary, length):
        """Return [length] int32: 0 for padding, then the vocabulary, any other word, the slots.

        Args:
            vocabulary: by word its place.
            length: of the longest description.
        """
        if len(self.words) > length:
            raise ValueError(f"Expected a description of up to {length} words. Got: {len(self.words)}.")
        other = len(vocabulary) + 1
        slots = {slot: other + 1 + place for place, slot in enumerate((*NAMES, *NUMBERS))}
        tokens = np.zeros(length, np.int32)
        for place, word in enumerate(self.words):
            tokens[place] = slots[word] if word in slots else vocabulary.get(word, other - 1) + 1
        return tokens


def checked_name(name):
    """Return a name that Verilog takes for a module or a port."""
    if not _IDENTIFIER.match(name) or name in KEYWORDS or len(name) > LONGEST_NAME:
        raise ValueError(
            f"Expected names that are identifiers of Verilog, none of its keywords, of up to {LONGEST_NAME} letters. "
            f"Got: {name!r}."
        )
    return name


def number_of(word):
    """Return the number from two on that a word is, None for another word.

    >>> number_of("12"), number_of("eight"), number_of("byte"), number_of("1"), number_of("edge")
    (12, 8, 8, None, None)
    """
    if word.isdigit():
        if int(word) > LARGEST:
            raise ValueError(f"Expected numbers up to {LARGEST}. Got: {word}.")
        return int(word) if int(word) > 1 else None
    if word in SPELT:
        return SPELT.index(word) + 2
    return _MEASURES.get(word)


def kinds_of(vocabulary):
    """Return how many kinds of tokens a description has, padding counted."""
    return len(vocabulary) + 2 + len(NAMES) + len(NUMBERS)


def verilog(program, names, numbers):
    """Return the text of the module that a program, the tokens' names without END, stands for.

    >>> program = ["n0", "k0", "input [W]", "n1", "output [W]", "n2", "assign", "+", "v0", "1"]
    >>> print(verilog(program, ["step", "x", "y"], [4]), end="")
    module step (
      input [3:0] x,
      output [3:0] y
    );
      assign y = x + 1;
    endmodule
    """
    return _Printer(program, names, numbers).module()


class _Printer(object):
    """Prints a program from its first token to its last."""

    def __init__(self, program, names, numbers):
        self.rest = list(program)[::-1]
        self.names, self.numbers = names, numbers
        self.width, self.bound = 1, {}

    def module(self):
        head = self.name()
        if self.rest[-1] in NUMBERS:
            self.width = self.numbers[NUMBERS.index(self.rest.pop())]
        ports = []
        while not ports or not ports[-1].startswith("  output"):
            ports.append(self.port())
        register = output = self.bound["output"]
        lines = []
        if self.rest[-1] in INNER:
            register = self.unused("last")
            lines.append(f"  reg {self.range(self.width if self.rest.pop() == INNER[1] else 1)}{register} = 0;")
        self.bound["q"] = register
        if self.rest[-1] in EDGES:
            lines += self.always(register)
        if self.rest and self.rest.pop() == ASSIGN:
            lines.append(f"  assign {output} = {self.expression(outermost=True)};")
        return "\n".join([f"module {head} (", ",\n".join(ports), ");", *lines, "endmodule", ""])

    def name(self):
        return self.names[NAMES.index(self.rest.pop())]

    def unused(self, name):
        while name in self.names:
            name += "_"
        return name

    @staticmethod
    def range(width):
        return f"[{width - 1}:0] " if width > 1 else ""

    def port(self):
        kind, name = self.rest.pop(), self.name()
        if kind in INPUTS:
            slots = BITS if kind == INPUTS[0] else VECTORS
            self.bound[slots[sum(slot in slots for slot in self.bound)]] = name
            return f"  input {self.range(self.width if slots is VECTORS else 1)}{name}"
        self.bound["output"] = name
        register = " reg" if kind.startswith("output reg") else ""
        return f"  output{register} {self.range(WIDTHS[kind](self.width))}{name}{' = 0' if register else ''}"

    def always(self, register):
        events, tests = [f"{EDGES[self.rest.pop()]} {self.bound['b0']}"], []
        if self.rest[-1] in EDGES:
            edge, reset = EDGES[self.rest.pop()], self.bound[self.rest.pop()]
            events.append(f"{edge} {reset}")
            tests.append((f"if ({'!' if edge == 'negedge' else ''}{reset})", RESETS[self.rest.pop()]))
        while self.rest[-1] in TESTS:
            test = f"if ({'!' if self.rest.pop() == TESTS[1] else ''}{self.bound[self.rest.pop()]})"
            tests.append((test, RESETS[self.rest.pop()] if self.rest[-1] in RESETS else ""))
        assert self.rest.pop() == NEXT
        tail = f"{register} <= {self.expression(outermost=True)};"
        lines = [f"  always @({' or '.join(events)})"]
        for number, (test, value) in enumerate(tests):
            other = "else " if number else ""
            lines.append(f"    {other}{test} {f'{register} <= {value};' if value else tail}")
        if not tests or tests[-1][1]:
            lines.append(f"    {'else ' if tests else ''}{tail}")
        return lines

    def expression(self, outermost=False):
        token = self.rest.pop()
        if token in BINARY:
            made = f"{self.expression()} {token} {self.expression()}"
        elif token in UNARY:
            inner = self.expression(outermost=token == "$signed")
            return UNARY[token].format(f"({inner})" if inner[0] in "~-&|^" else inner)  # "&&" is another operator
        elif token == CHOICE:
            made = f"{self.expression()} ? {self.expression()} : {self.expression()}"
        elif token in SHIFTS:
            register, bit = self.bound["q"], self.bound[self.rest.pop()]
            left, right = f"{{{register}[{self.width - 2}:0], {bit}}}", f"{{{bit}, {register}[{self.width - 1}:1]}}"
            return left if token == SHIFTS[0] else right
        elif token in NUMBERS:
            return str(self.numbers[NUMBERS.index(token)])
        else:
            return self.bound.get(token, token)
        return made if outermost else f"({made})"


def text_of(array):
    """Return the text of an array of UTF-8 bytes that zeros fill up."""
    try:
        return bytes(np.asarray(array, np.uint8)).rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected text in UTF-8. Got: {error}.") from error


def bytes_of(text, length):
    """Return text as [length] uint8, filled up with zeros, and cut where it is longer."""
    kept = text.encode("utf-8")[:length]
    return np.frombuffer(kept + b"\0" * (length - len(kept)), np.uint8)


class Host(object):
    """Writes the module that a description tells of: the likeliest token that is allowed, one after the other.

    Settings: ``vocabulary`` (the words that the network knows), ``words`` (of the longest description), ``table`` (the
    grammar's automaton: by state and token the next state, or -1), ``start`` (its first state), ``tokens_out``,
    ``units`` (of keys and values, for each decoder layer) and ``verilog`` (bytes of the longest module).
    """

    def __init__(self, graphs, settings):
        self.graphs = graphs
        self.settings = settings
        self.vocabulary = {word: place for place, word in enumerate(settings["vocabulary"])}
        self.table = np.array(settings["table"])
        self.slots = settings["tokens_out"] - 1

    def run(self, sample):
        """Return ``program`` [slots] int32, its tokens, -1 for padding, and ``verilog`` [bytes] uint8, its text.

        Args:
            sample: ``description`` [bytes] uint8, which zeros fill up.
        """
        search = self.search(sample)
        name, fed = next(search)
        while True:
            try:
                name, fed = search.send(self.graphs[name](fed))
            except StopIteration as end:
                return end.value

    def search(self, sample):
        """Decode as a generator: it yields (graph, inputs), is sent their outputs and returns what ``run`` returns."""
        described = Description(text_of(sample["description"]))
        told = described.tokens(self.vocabulary, self.settings["words"])
        memory = yield "encoder", {"command": one_hot(told, kinds_of(self.vocabulary))[np.newaxis]}
        tokens, state, cache = [], self.settings["start"], self.empty()
        while not tokens or tokens[-1] != END:
            step = yield "step", self.fed(tokens, cache, memory)
            self.grow(cache, step, len(tokens))
            allowed = (self.table[state] >= 0) & self.possible(tokens, described)
            tokens.append(int(np.where(allowed, step["logits"][0, 0], -np.inf).argmax()))
            state = int(self.table[state, tokens[-1]])
        program = np.full(self.slots, -1, np.int32)
        program[: len(tokens) - 1] = tokens[:-1]
        text = verilog([TOKENS[token] for token in tokens[:-1]], described.names, described.numbers)
        return {"program": program, "verilog": bytes_of(text, self.settings["verilog"])}

    @staticmethod
    def possible(tokens, described):
        """Return [kinds] bool: the tokens that the description has something for.

        A name is bound once, and the last free one is the output's; a width is one that Verilog's vectors take.
        """
        written = [TOKENS[token] for token in tokens]
        free = [slot for slot, _ in zip(NAMES, described.names) if slot not in written]
        allowed = {name: True for name in TOKENS}
        allowed.update({name: name in free for name in NAMES})
        allowed.update({name: len(free) > 1 for name in INPUTS})
        values = dict(zip(NUMBERS, described.numbers))
        allowed.update({name: name in values for name in NUMBERS})
        if len(written) == 1:
            allowed.update({name: values[name] <= WIDEST for name in values})
        elif len(written) > 1 and written[1] in NUMBERS:
            width = values[written[1]]
            allowed.update({name: bits(width) <= WIDEST_OUTPUT for name, bits in WIDTHS.items()})
        return np.array([allowed[name] for name in TOKENS])

    def empty(self):
        """Return a cache that holds nothing."""
        cache = {}
        for number, (keys, values) in enumerate(self.settings["units"], start=1):
            cache[f"keys_{number}"] = np.zeros((1, self.slots, keys), np.float32)
            cache[f"values_{number}"] = np.zeros((1, self.slots, values), np.float32)
        return cache

    def fed(self, tokens, cache, memory):
        """Return the step's inputs after the tokens."""
        place = len(tokens)
        mask = np.full((1, 1, self.slots + 1), MASKED, np.float32)
        mask[:, :, :place] = 0
        mask[:, :, -1] = 0
        fed = {name: array.copy() for name, array in cache.items()}
        fed["mask"] = mask
        fed["token"] = one_hot(np.array([[tokens[-1] if tokens else END]]), len(TOKENS))
        fed["position"] = one_hot(np.array([[place]]), self.slots + 1)
        fed.update(memory)
        return fed

    def grow(self, cache, step, place):
        """Write the step's rows into the cache at a place."""
        if place < self.slots:
            for name, array in cache.items():
                kind, number = name.split("_")
                array[:, place] = step[f"{kind[:-1]}_{number}"][:, 0]


def one_hot(tokens, kinds):
    """Return [..., kinds] float32."""
    return (tokens[..., np.newaxis] == np.arange(kinds)).astype(np.float32)

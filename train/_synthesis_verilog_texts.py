"""Small Verilog modules told in English, each sentence in several phrasings; some phrasings are kept for a test."""

import re
from collections.abc import Sequence

import numpy as np

from ._synthesis_verilog_host import KEYWORDS, SPELT, number_of
from ._synthesis_verilog_modules import Module

LONGEST_DESCRIPTION = 56
_KEPT = 4  # the last of so many phrasings, and one for each further so many, are never trained

# {m}, {y}, {a} ...: the names of the module, its output, its inputs. {w}: the width, such as "4-bit"; {n}: the number;
# {l}: the level at which something is active, {o}: the opposite one, both in words.
_OPENINGS = (
    "Write a module {m}",
    "Design a circuit called {m}",
    "Create the module {m}",
    "The module is called {m}",
    "I need a circuit named {m}",
    "Make a block {m}",
    "Please write {m}",
    "{m} is the name of the module",
)
_LISTED = {
    "two": ("{a} and {b}", "{a} with {b}"),
    "three": ("{a}, {b} and {c}", "{a}, {b}, {c}"),
}
_INVERTED = ("the inverse of {x}", "the complement of {x}", "inverted {x}", "the negation of {x}", "not {x}")
_GATES = {
    "and": ("and",),
    "or": ("or",),
    "xor": ("xor", "exclusive or"),
    "nand": ("nand",),
    "nor": ("nor",),
    "xnor": ("xnor", "exclusive nor"),
}
_LEVELS = {"high": ("high", "1", "one", "set"), "low": ("low", "0", "zero", "clear")}
_RELATIONS = {
    "==": ("equal to", "the same as", "equals"),
    "!=": ("not equal to", "different from", "unequal to"),
    "<": ("less than", "smaller than", "below"),
    ">": ("greater than", "larger than", "above"),
    "<=": ("at most", "less than or equal to", "not above"),
    ">=": ("at least", "greater than or equal to", "not below"),
}
_PLAIN_PHRASES = {
    "gate": (
        "The {w} output {y} is the bitwise {g} of {list}",
        "It computes {y}, the {g} of the {w} values {list}",
        "{y} is {list} combined by a {w} {g} gate",
        "Apply {g} bit by bit to {list} and drive the {w} output {y}",
        "{w} {g} of {list} with output {y}",
        "{list} go through a {w} {g} whose result is {y}",
        "A {w} {g} gate takes {list} and gives {y}",
        "Set the {w} {y} to the {g} of {list}",
    ),
    "mux": (
        "The {w} output {y} is {a} when {select} is {l} and {b} otherwise",
        "When {select} is {l} the {w} value {a} goes to {y}, else {b}",
        "{select} chooses between {w} inputs: {a} if it is {l}, {b} if it is {o}, and the output is {y}",
        "Pass {b} to the {w} output {y} if {select} is {o} and {a} if it is {l}",
        "A {w} multiplexer drives {y} with {a} while {select} is {l} and with {b} while it is {o}",
        "{y} follows the {w} input {a} as long as {select} is {l}; in the other case it follows {b}",
        "If {select} is {o} then the {w} {y} equals {b}, otherwise {a}",
        "{w} selector: {l} on {select} sends {a} to {y}, {o} sends {b}",
    ),
    "four-way mux": (
        "A {w} multiplexer steers {a}, {b}, {c} or {d} to {y}; {upper} is the upper and {lower} the lower select bit",
        "{y} is one of the {w} inputs {a}, {b}, {c} and {d}, chosen by the select bits {upper} and {lower}",
        "The select bits {upper} and {lower}, upper bit first, choose {a}, {b}, {c} or {d} for the {w} output {y}",
        "Choose with {upper} and {lower} among the {w} values {a}, {b}, {c} and {d} and drive {y}",
        "{w} multiplexer with inputs {a}, {b}, {c}, {d}, select bits {upper}, {lower} and output {y}",
    ),
    "compare": (
        "{y} is high when the {w} {s} number {a} is {r} {b}",
        "Compare the {w} {s} inputs {a} and {b}: {y} tells whether {a} is {r} {b}",
        "The output {y} is one if {a} is {r} {b}, both {s} and {w}",
        "{y} says if {a} is {r} {b} as {w} {s} values",
        "A {w} {s} comparator sets {y} when {a} is {r} {b}",
        "With {w} {s} inputs, raise {y} whenever {a} is {r} {b}",
        "Check whether {a} is {r} {b}, which are {w} and {s}, and put the answer on {y}",
        "{a} being {r} {b} makes {y} high; the numbers are {w} and {s}",
    ),
    "against": (
        "{y} is high when the {w} input {a} is {r} {n}",
        "The output {y} tells whether {a}, a {w} number, is {r} {n}",
        "Compare the {w} value {a} with a constant: {y} is one if it is {r} {n}",
        "Raise {y} whenever the {w} {a} is {r} {n}",
        "A {w} detector on {a} sets {y} if the value is {r} {n}",
    ),
    "add": (
        "{y} is the {v} sum of the {w} numbers {a} and {b}",
        "Add the {w} inputs {a} and {b} and give the {v} sum as {y}",
        "A {w} adder of {a} and {b} with the {v} result {y}",
        "The output {y} is {a} plus {b}, {w} numbers, as a {v} result",
        "{a} and {b} are {w}; {y} is what they add up to as a {v} value",
        "Compute {a} plus {b} for {w} inputs; {y} has the {v} result",
    ),
    "subtract": (
        "{y} is the difference of the {w} numbers {a} and {b}",
        "Subtract the {w} input {b} from {a} and give {y}",
        "A {w} subtractor: {y} is {a} minus {b}",
        "The output {y} is {a} minus {b}, {w} numbers",
        "Take {b} away from {a}, both {w}, and put the difference on {y}",
    ),
    "add or subtract": (
        "{y} is {a} minus {b} when {mode} is {l} and {a} plus {b} otherwise, with {w} numbers",
        "The {w} unit subtracts {b} from {a} if {mode} is {l} and adds them if it is {o}; the result is {y}",
        "Add {a} and {b} while {mode} is {o}, subtract {b} from {a} while it is {l}; the {w} output is {y}",
        "{mode} decides what happens to the {w} inputs {a} and {b}: sum if {o}, difference if {l}, output {y}",
        "When {mode} is {o} the {w} output {y} is the sum of {a} and {b}, else {a} minus {b}",
        "{w} adder and subtractor of {a} and {b} with result {y}; {l} on {mode} means minus",
    ),
    "decode": (
        "Decode the {w} input {a} into a one hot {p} output {y}",
        "{y} has one line for each value of the {w} input {a}; the line of its value is {p}",
        "A {w} decoder turns {a} into {y}, whose chosen line is {p}",
        "The bit of {y} with the number {a}, a {w} input, is chosen; outputs are {p}",
        "{w} decoder from {a} to {y} with {p} outputs",
        "Translate the {w} {a} into {p} lines {y}",
    ),
    "shift": (
        "{y} is the {w} input {a} shifted {side} by {n} places",
        "Shift the {w} {a} {side} by {n} bits and give {y}",
        "Move all bits of the {w} value {a} {n} places to the {side} and drive {y}",
        "A fixed {side} shift by {n} of the {w} input {a} gives {y}",
        "The {w} output {y} is {a} after a {side} shift of {n} bits",
    ),
    "barrel": (
        "{y} is the {w} input {a} shifted {side} by as many places as {b} says",
        "Shift the {w} {a} {side} by {b} and give {y}",
        "A {w} shifter moves {a} to the {side} by the amount {b} and drives {y}",
        "The amount {b} tells how far the {w} value {a} is shifted {side} to give {y}",
        "{b} is the number of places by which the {w} {a} is moved {side}; the output is {y}",
    ),
    "extreme": (
        "{y} is the {e} of the {w} {s} numbers {a} and {b}",
        "Give the {e} of {a} and {b}, {w} {s} inputs, as {y}",
        "Of the {w} {s} values {a} and {b} the {e} goes to {y}",
        "Compare {a} with {b} as {w} {s} numbers and pass the {e} to {y}",
        "The output {y} is whichever of {a} and {b} is the {e}; they are {w} and {s}",
        "{w} {s} {e} of {a} and {b} on {y}",
    ),
    "distance": (
        "{y} is the absolute difference of the {w} inputs {a} and {b}",
        "Give the distance between the {w} numbers {a} and {b} as {y}",
        "The {w} output {y} is the difference of {a} and {b} without its sign",
        "Subtract the smaller of the {w} inputs {a} and {b} from the larger and drive {y}",
        "How far {a} and {b} are apart, {w} numbers both, is the output {y}",
    ),
    "product": (
        "{y} is the full product of the {w} inputs {a} and {b}",
        "Multiply the {w} numbers {a} and {b} and give the whole product {y}",
        "A {w} multiplier of {a} and {b} with output {y}, twice as wide",
        "The output {y}, twice as wide, is {a} times {b} for {w} inputs",
        "{a} times {b}, {w} inputs, gives {y} in double width",
    ),
    "negative": (
        "{y} is the negative of the {w} input {a}",
        "Negate the {w} number {a} and give {y}",
        "The {w} output {y} is zero minus {a}",
        "Change the sign of the {w} value {a} and drive {y}",
        "{y} is minus {a}, {w}",
    ),
}
_PHRASES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("nested", "plain"): (
        "The {w} output {y} is {a} {g} the result of {b} {h} {c}",
        "{y} is the {w} {g} of {a} and the {h} of {b} and {c}",
        "Combine {b} and {c} by {h}, then that with {a} by {g}, to give the {w} {y}",
        "Compute the {w} {h} of {b} and {c} and its {g} with {a}; the output is {y}",
        "{b} {h} {c} is put through {g} together with {a} for the {w} output {y}",
        "Set {y} to the {w} {g} of {a} with the {h} of {b} with {c}",
    ),
    ("nested", "inverted"): (
        "The {w} output {y} is the complement of {a} {g} the result of {b} {h} {c}",
        "{y} is the inverse of the {w} {g} of {a} and the {h} of {b} and {c}",
        "Combine {b} and {c} by {h}, then that with {a} by {g}, and invert it to give the {w} {y}",
        "Compute the {w} {h} of {b} and {c} and its {g} with {a}; the output {y} is the inverse",
        "{b} {h} {c} is put through {g} together with {a} and inverted for the {w} output {y}",
        "Set {y} to the negation of the {w} {g} of {a} with the {h} of {b} with {c}",
    ),
    ("reduce", "and"): (
        "{y} is high when every bit of the {w} input {a} is set",
        "The output {y} tells whether the {w} {a} is all ones",
        "{y} is the and of all bits of the {w} {a}",
        "Reduce the {w} value {a} by and to {y}",
        "Only if no bit of the {w} {a} is zero is {y} high",
    ),
    ("reduce", "nand"): (
        "{y} is high when some bit of the {w} input {a} is zero",
        "The output {y} tells whether the {w} {a} is not all ones",
        "{y} is the nand of all bits of the {w} {a}",
        "Reduce the {w} value {a} by nand to {y}",
        "Unless every bit of the {w} {a} is set, {y} is high",
    ),
    ("reduce", "or"): (
        "{y} is high when any bit of the {w} input {a} is set",
        "The output {y} tells whether the {w} {a} is different from zero",
        "{y} is the or of all bits of the {w} {a}",
        "Reduce the {w} value {a} by or to {y}",
        "Unless all bits of the {w} {a} are zero, {y} is high",
    ),
    ("reduce", "nor"): (
        "{y} is high when no bit of the {w} input {a} is set",
        "The output {y} tells whether the {w} {a} is zero",
        "{y} is the nor of all bits of the {w} {a}",
        "Reduce the {w} value {a} by nor to {y}",
        "Only if all bits of the {w} {a} are zero is {y} high",
    ),
    ("reduce", "xor"): (
        "{y} is high when the {w} input {a} has an odd number of ones",
        "{y} is the even parity bit of the {w} {a}",
        "{y} is the xor of all bits of the {w} {a}",
        "Reduce the {w} value {a} by xor to {y}",
        "The output {y} tells whether the ones in the {w} {a} are odd in number",
    ),
    ("reduce", "xnor"): (
        "{y} is high when the {w} input {a} has an even number of ones",
        "{y} is the odd parity bit of the {w} {a}",
        "{y} is the xnor of all bits of the {w} {a}",
        "Reduce the {w} value {a} by xnor to {y}",
        "The output {y} tells whether the ones in the {w} {a} are even in number",
    ),
    ("offset", "+"): (
        "{y} is the {w} input {a} plus {n}",
        "Add {n} to the {w} number {a} and give {y}",
        "The {w} output {y} is {n} more than {a}",
        "Increase the {w} value {a} by {n} and drive {y}",
        "{a} with {n} added is the {w} output {y}",
    ),
    ("offset", "-"): (
        "{y} is the {w} input {a} minus {n}",
        "Subtract {n} from the {w} number {a} and give {y}",
        "The {w} output {y} is {n} less than {a}",
        "Decrease the {w} value {a} by {n} and drive {y}",
        "{a} with {n} taken away is the {w} output {y}",
    ),
    ("count", "up", "one"): (
        "A {w} counter {y} counts up",
        "The {w} output {y} increases by one at each step",
        "{y} is a {w} up counter",
        "Count upward in the {w} register {y}",
        "Each step adds one to the {w} {y}",
        "It counts clock edges upward in {y}, {w}",
    ),
    ("count", "down", "one"): (
        "A {w} counter {y} counts down",
        "The {w} output {y} decreases by one at each step",
        "{y} is a {w} down counter",
        "Count downward in the {w} register {y}",
        "Each step takes one from the {w} {y}",
        "It counts clock edges downward in {y}, {w}",
    ),
    ("count", "up", "several"): (
        "A {w} counter {y} counts up by {n}",
        "The {w} output {y} increases by {n} at each step",
        "{y} is a {w} up counter in steps of {n}",
        "Count upward in the {w} register {y} with {n} as the step",
        "Each step adds {n} to the {w} {y}",
    ),
    ("count", "down", "several"): (
        "A {w} counter {y} counts down by {n}",
        "The {w} output {y} decreases by {n} at each step",
        "{y} is a {w} down counter in steps of {n}",
        "Count downward in the {w} register {y} with {n} as the step",
        "Each step takes {n} from the {w} {y}",
    ),
    ("two-way count",): (
        "A {w} counter {y} counts up when {mode} is {l} and down otherwise",
        "The {w} output {y} increases by one while {mode} is {l} and decreases by one while it is {o}",
        "{y} is a {w} counter whose direction is {mode}: {l} means up",
        "Count downward in the {w} register {y} if {mode} is {o} and upward if it is {l}",
        "{mode} decides about the {w} counter {y}: {o} means down, {l} means up",
        "Each step adds one to the {w} {y} if {mode} is {l}, else takes one from it",
    ),
    ("modulo",): (
        "A {w} counter {y} counts up to {n} and then starts again at zero",
        "{y} is a {w} up counter that returns to zero after {n}",
        "The {w} output {y} increases by one at each step and goes from {n} to zero",
        "Count upward in the {w} register {y}; after {n} comes zero",
        "It counts from zero to {n} again and again in the {w} {y}",
        "Each step adds one to the {w} {y}, but {n} is followed by zero",
    ),
    ("saturate", "up"): (
        "A {w} counter {y} counts up and stops at its largest value",
        "{y} is a {w} up counter that saturates",
        "The {w} output {y} increases by one at each step until all bits are ones, where it stays",
        "Count upward in the {w} register {y} without wrapping",
        "Each step adds one to the {w} {y}, which stays at the top",
    ),
    ("saturate", "down"): (
        "A {w} counter {y} counts down and stops at zero",
        "{y} is a {w} down counter that saturates",
        "The {w} output {y} decreases by one at each step until all bits are zero, where it stays",
        "Count downward in the {w} register {y} without wrapping",
        "Each step takes one from the {w} {y}, which stays at zero",
    ),
    ("register",): (
        "A {w} register {y} stores {a}",
        "The {w} output {y} takes the value of {a} at each step",
        "{y} is a {w} register with the input {a}",
        "Store the {w} input {a} in {y}",
        "{a} is copied into the {w} register {y}",
        "Sample the {w} {a} and keep it in {y}",
    ),
    ("accumulate", "+"): (
        "The {w} accumulator {y} adds {a} at each step",
        "{y} is the running {w} sum of {a}",
        "Add the {w} input {a} to the register {y} at each step",
        "Each step increases the {w} {y} by {a}",
        "{a} is added up in the {w} register {y}",
    ),
    ("accumulate", "-"): (
        "The {w} accumulator {y} subtracts {a} at each step",
        "Subtract the {w} input {a} from the register {y} at each step",
        "Each step decreases the {w} {y} by {a}",
        "At each step {a} is taken from the {w} {y}",
        "{a} is taken away again and again from the {w} register {y}",
    ),
    ("serial", "left"): (
        "A {w} shift register {y} shifts left and takes {in} in as its lowest bit",
        "{y} is a {w} register that shifts left with serial input {in}",
        "Shift the {w} output {y} to the left by one place; {in} comes in at the right",
        "Each step moves all bits of the {w} {y} one place left, and {in} becomes the lowest",
        "{in} enters the {w} shift register {y} at the lowest bit and moves left",
        "Bits from {in} are pushed into the lowest place of the {w} {y}",
    ),
    ("serial", "right"): (
        "A {w} shift register {y} shifts right and takes {in} in as its highest bit",
        "{y} is a {w} register that shifts right with serial input {in}",
        "Shift the {w} output {y} to the right by one place; {in} comes in at the left",
        "Each step moves all bits of the {w} {y} one place right, and {in} becomes the highest",
        "{in} enters the {w} shift register {y} at the highest bit and moves right",
        "Bits from {in} are pushed into the highest place of the {w} {y}",
    ),
    ("toggle", "always"): (
        "{y} toggles at each step",
        "The output {y} changes its level at each step",
        "Invert {y} at each step",
        "A flip flop {y} toggles again and again",
        "{y} becomes its own inverse each step",
    ),
    ("toggle", "asked"): (
        "{y} toggles when {asked} is high",
        "The output {y} changes its level at a step with {asked} high",
        "Invert {y} at each step for which {asked} is one",
        "A flip flop {y} toggles if {asked} is set",
        "{asked} being high makes {y} its own inverse",
    ),
    ("record", "max"): (
        "{y} keeps the largest {w} value that {a} has had",
        "The {w} register {y} is the maximum of {a} so far",
        "Store the {w} input {a} in {y} whenever it is larger than {y}",
        "Remember in {y} the greatest of all values of the {w} {a}",
        "{y} follows the {w} {a} upward only",
    ),
    ("record", "min"): (
        "{y} keeps the smallest {w} value that {a} has had since it was preset",
        "The {w} register {y} is the minimum of {a} so far",
        "Store the {w} input {a} in {y} whenever it is smaller than {y}",
        "Remember in {y} the least of all values of the {w} {a}",
        "{y} follows the {w} {a} downward only",
    ),
    ("edge", "rising"): (
        "{y} is high while the {w} input {a} is high but was low at the last step",
        "Detect where the {w} {a} rises since the last step and show it on {y}",
        "The output {y} tells which bits of the {w} {a} have gone from zero to one",
        "A {w} rise detector from {a} to {y}",
        "{y} marks rises of the {w} {a}",
    ),
    ("edge", "falling"): (
        "{y} is high while the {w} input {a} is low but was high at the last step",
        "Detect where the {w} {a} falls since the last step and show it on {y}",
        "The output {y} tells which bits of the {w} {a} have gone from one to zero",
        "A {w} fall detector from {a} to {y}",
        "{y} marks falls of the {w} {a}",
    ),
    ("edge", "any"): (
        "{y} is high while the {w} input {a} is not what it was at the last step",
        "Detect where the {w} {a} changes since the last step and show it on {y}",
        "The output {y} tells which bits of the {w} {a} have changed",
        "A {w} change detector from {a} to {y}",
        "{y} marks changes of the {w} {a}",
    ),
}
_CARRY = (
    "{carry} is the carry in",
    "There is a carry in {carry}",
    "A carry comes in at {carry}",
    "One more is added if {carry} is high",
    "{carry} adds one more",
)
_BORROW = (
    "{carry} is the borrow in",
    "There is a borrow in {carry}",
    "A borrow comes in at {carry}",
    "One more is subtracted if {carry} is high",
    "{carry} takes one more away",
)
_DECODES = (
    "A line is chosen only while {enable} is {l}",
    "{enable} is an active {h} enable",
    "{enable}, active {h}, enables it",
    "No line is chosen unless {enable} is {l}",
    "While {enable} is {o} no line is chosen",
    "With {o} on {enable} no line is chosen at all",
)
_CLOCKS = (
    "It works on the {edge} edge of {clock}",
    "It is clocked by the {edge} edge of {clock}",
    "Each {edge} edge of {clock} is a step",
    "{clock} is the clock, {edge} edge",
    "The clock is {clock} and its {edge} edge counts",
    "State changes at {edge} edges of {clock}",
)
_EDGES = {"rising": ("rising", "positive"), "falling": ("falling", "negative")}
_RESETS = {
    "synchronous": (
        "A synchronous reset {reset}, active {h}, {does} {z}",
        "{reset} is a synchronous active {h} reset that {does} {z}",
        "When {reset} is {l} at the clock edge, it {does} {z}",
        "{reset} {does} {z} on the next clock edge when {l}",
        "Synchronously, {l} on {reset} {does} {z}",
        "At a clock edge with {reset} {l} the reset {does} {z}",
    ),
    "asynchronous": (
        "An asynchronous reset {reset}, active {h}, {does} {z}",
        "{reset} is an asynchronous active {h} reset that {does} {z}",
        "Whenever {reset} is {l}, it {does} {z} at once",
        "{reset} {does} {z} immediately when {l}, whatever the clock does",
        "Asynchronously, {l} on {reset} {does} {z}",
        "Without waiting for the clock {reset} {does} {z} when it is {l}",
    ),
}
_DOES = {"clear": ("clears", "zeroes", "resets"), "preset": ("presets", "sets all bits of", "fills with ones")}
_ENABLES = (
    "It only changes while {enable} is {l}",
    "{enable} is an active {h} enable",
    "{enable}, active {h}, enables it",
    "Nothing is stored unless {enable} is {l}",
    "While {enable} is {o} the state is kept",
    "With {o} on {enable} it holds its state",
)
_LOADS = (
    "When {load} is {l}, {start} is loaded instead",
    "{load}, active {h}, loads {start}",
    "{l} on {load} loads the value {start}",
    "If {load} is {l} it takes {start} as its value",
    "{start} is loaded as long as {load} is {l}",
    "While {load} is {l} the value is copied from {start}",
)
_STORED = ("the stored value", "the last value", "its memory")
_SIGNS = {"unsigned": ("unsigned",), "signed": ("signed",)}
_EXTREMES = {"min": ("smaller", "minimum", "lesser"), "max": ("larger", "maximum", "greater")}
_WIDE = {"same": ("wrapped", "equally wide", "truncated"), "wide": ("full", "one bit wider", "whole")}
_ACTIVE = {"high": ("active high",), "low": ("active low",)}

# Names for what has a role; the network is told none of them.
_NAMES = {
    "module": "unit top core cell block_1 stage m0 logic1 dut part_a helper mod2 alu_slice box ctrl",
    "output": "y q out dout result z res o1 q_out data_out value total",
    "clock": "clk ck clk_in sys_clk mclk clock_a",
    "reset": "rst rst_in arst clr rst0 nrst",
    "enable": "en ce ena run gate_en go",
    "load": "ld load_en wr we put",
    "start": "init_value p preload d_in seed par",
    "mode": "dir up_dn mode_sel sub op ud",
    "select": "sel s pick_b sel_a choice",
    "upper": "s1 sel_hi hi",
    "lower": "s0 sel_lo lo",
    "carry": "cin ci c_in",
    "in": "si ser_in din sin",
    "asked": "t tog flip",
    "a": "a x in0 lhs op_a src u data_a",
    "b": "b w in1 rhs op_b tmp v data_b",
    "c": "c r in2 op_c data_c",
    "d": "d k in3 op_d data_d",
}


def vocabulary() -> tuple[str, ...]:
    """Return the words of all phrasings: those that the network is told apart.

    >>> "counter" in vocabulary() and "clk" not in vocabulary()
    True
    """
    every: list[str] = ["bit wide"]

    def gather(phrases: object) -> None:
        if isinstance(phrases, dict):
            phrases = tuple(phrases.values())
        for phrase in phrases if isinstance(phrases, (tuple, list)) else ():
            every.append(phrase) if isinstance(phrase, str) else gather(phrase)

    gather([_OPENINGS, _LISTED, _INVERTED, _GATES, _LEVELS, _RELATIONS, _PLAIN_PHRASES, _PHRASES, _CARRY, _BORROW])
    gather([_DECODES, _CLOCKS, _EDGES, _RESETS, _DOES, _ENABLES, _LOADS, _STORED, _SIGNS, _EXTREMES, _WIDE, _ACTIVE])
    gather([("left", "right", "single")])
    words = {word.lower() for text in every for word in re.findall(r"[A-Za-z]+|\d+", re.sub(r"{\w+}", " ", text))}
    return tuple(sorted(word for word in words if number_of(word) is None))


class TooLong(Exception):
    """A description with more words than the network reads."""


def described(module: Module, random: np.random.Generator, kept: bool = False) -> tuple[str, list[str], dict[str, str]]:
    """Return a description, the roles in the order in which it tells them, and by role the names in it.

    Args:
        module: what is described.
        random: what draws phrasings and names.
        kept: use the phrasings that are never trained.

    Raises:
        TooLong: try again with other phrasings.
    """
    return _Writer(module, random, kept).written()


class _Writer:
    def __init__(self, module: Module, random: np.random.Generator, kept: bool) -> None:
        self.module, self.random, self.kept = module, random, kept

    def written(self) -> tuple[str, list[str], dict[str, str]]:
        others = [*self.timing(), *self.extras()]
        order = [self.phrase(_OPENINGS), self.operation()]
        order += [others[place] for place in self.random.permutation(len(others))]
        text = ". ".join(sentence[:1].upper() + sentence[1:] for sentence in order) + "."
        roles = list(dict.fromkeys(re.findall(r"{(\w+)}", text)))
        names = self.names([role for role in roles if role not in ("width", "number")])
        told = {role: f"`{name}`" for role, name in names.items()}
        told |= {"width": self.width(), "number": str(self.module.number)}
        text = re.sub(r" +", " ", text.format(**told)).replace(" ,", ",").strip()
        if len(re.findall(r"`[^`]*`|\d+|[A-Za-z]+", text)) > LONGEST_DESCRIPTION:
            raise TooLong
        return text, [role for role in roles if role != "width" or self.module.width > 1], names

    def names(self, roles: Sequence[str]) -> dict[str, str]:
        names: dict[str, str] = {}
        for role in roles:
            free = [name for name in _NAMES[role].split() if name not in names.values() and name not in KEYWORDS]
            names[role] = self.pick(free)
        return names

    def width(self) -> str:
        width = self.module.width
        if width == 1:
            return self.pick(("", "", "single-bit"))
        told = [f"{width}-bit", f"{width} bit", f"{SPELT[width - 2]}-bit"]
        return self.pick((*told, *{4: ("nibble-wide",), 8: ("byte-wide",)}.get(width, ())))

    def operation(self) -> str:
        """Return the sentence that tells what the output is."""
        what, words = self.module.what, {}
        phrases = _PLAIN_PHRASES.get(what[0]) or _PHRASES.get(what) or _PHRASES.get(what[:1]) or ()
        match what:
            case ("gate", gate, count, inverted):
                listed = self.pick(_LISTED[count])
                if inverted != "none":
                    told = self.phrase(_INVERTED).format(x=f"{{{inverted}}}")
                    listed = listed.replace(f"{{{inverted}}}", told)
                words = {"g": self.pick(_GATES[gate]), "list": listed}
            case ("nested", outer, inner, way):
                phrases = _PHRASES[("nested", way)]
                words = {"g": self.pick(_GATES[outer]), "h": self.pick(_GATES[inner])}
            case ("mux" | "add or subtract" | "two-way count", level):
                words = self.levels(level)
            case ("compare", relation, signs):
                words = {"r": self.pick(_RELATIONS[relation]), "s": self.pick(_SIGNS[signs])}
            case ("against", relation):
                words = {"r": self.pick(_RELATIONS[relation])}
            case ("add", _, width):
                words = {"v": self.pick(_WIDE[width])}
            case ("decode", _, level):
                words = {"p": self.pick(_ACTIVE[level])}
            case ("shift" | "barrel", side):
                words = {"side": side}
            case ("extreme", which, signs):
                words = {"e": self.pick(_EXTREMES[which]), "s": self.pick(_SIGNS[signs])}
        return self.filled(self.phrase(phrases), words)

    def extras(self) -> list[str]:
        """Return further sentences about an operation."""
        match self.module.what:
            case ("add", "carry", _):
                return [self.phrase(_CARRY)]
            case ("subtract", "borrow"):
                return [self.phrase(_BORROW)]
            case ("decode", enable, _) if enable != "none":
                return [self.filled(self.phrase(_DECODES), self.levels(enable))]
        return []

    def timing(self) -> list[str]:
        """Return a sentence each about clock, reset, enable and load."""
        timing = self.module.timing
        if timing is None:
            return []
        made = [self.filled(self.phrase(_CLOCKS), {"edge": self.pick(_EDGES[timing.edge])})]
        if timing.reset[0] != "none":
            kind, level, value = timing.reset
            stored = self.pick(_STORED) if self.module.family == "edge" else "{output}"
            words = {**self.levels(level), "does": self.pick(_DOES[value]), "z": stored}
            made.append(self.filled(self.phrase(_RESETS[kind]), words))
        if timing.enable != "none":
            made.append(self.filled(self.phrase(_ENABLES), self.levels(timing.enable)))
        if timing.load != "none":
            made.append(self.filled(self.phrase(_LOADS), self.levels(timing.load)))
        return made

    def levels(self, level: str) -> dict[str, str]:
        opposite = "low" if level == "high" else "high"
        return {"l": self.pick(_LEVELS[level]), "o": self.pick(_LEVELS[opposite]), "h": level}

    def phrase(self, phrases: Sequence[str]) -> str:
        """Return one of the phrasings that are trained, or of those that are kept."""
        kept = max(1, len(phrases) // _KEPT) if len(phrases) >= _KEPT else 0
        chosen = phrases[len(phrases) - kept :] if self.kept and kept else phrases[: len(phrases) - kept]
        long = {"m": "module", "y": "output", "w": "width", "n": "number"}
        return re.sub(r"{([mywn])}", lambda match: f"{{{long[match.group(1)]}}}", self.pick(chosen))

    @staticmethod
    def filled(phrase: str, words: dict[str, str]) -> str:
        """Return the phrase with these words in their places; names stay places."""
        return re.sub(r"{(\w+)}", lambda match: words.get(match.group(1), match.group(0)), phrase)

    def pick(self, choices: Sequence[str]) -> str:
        return choices[int(self.random.integers(len(choices)))]

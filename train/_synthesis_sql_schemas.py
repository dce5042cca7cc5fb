"""Small databases with names drawn from word lists: two tables, a foreign key, some rows.

Every fourth word of a list is for test databases alone, so that no name in them has been seen in training.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._synthesis_sql_host import quoted

_TABLES = (
    "singer concert student course player team movie director hotel guest airport flight museum painting author novel "
    "customer invoice doctor patient driver car farm animal city bridge company employee river dam school teacher "
    "ship captain restaurant waiter garden plant league match planet moon bank account sensor machine recipe "
    "ingredient album song village mill lake island tower architect festival band library magazine mine mineral "
    "stadium coach station train gallery sculptor orchard tree castle king server rack drone pilot"
)
_NUMBERS = (
    "age height weight salary budget price area population capacity rating distance speed length width depth duration "
    "cost income score rank volume temperature mass power voltage altitude latitude stock quantity fee rent profit "
    "revenue debt tax bonus release_year founding_year birth_year floor_count seat_count wing_span page_count "
    "shelf_height engine_power battery_life water_level ticket_price delivery_time crew_size fuel_use rainfall "
    "humidity pressure brightness mileage discount premium dose grade vote_share wind_speed wall_thickness error_rate "
    "parking_fee"
)
_TEXTS = (
    "name country title color brand status category genre language region material owner nickname district climate "
    "style origin manager sponsor position home_town birth_place license_type paint_color soil_type model_name "
    "service_class coat_pattern roof_shape native_language street shape currency religion discipline supplier "
    "department vendor habitat job_title main_sport eye_color mail_provider cuisine"
)
_CELLS = (
    "Arden Bolt Cedar Dorset Elba Falcon Granite Harlow Indigo Juniper Kestrel Lumen Maple Norden Orchid Pavia Quartz "
    "Rowan Sienna Tarn Umber Vesper Willow Xenon Yarrow Zephyr Amber Basalt Coral Delta Ember Fjord Garnet Hazel "
    "Ivory Jasper Kelp Larch Magnet Nectar Opal Poplar Quill Raven Saffron Thistle Ursa Velvet Walnut Xylo Yonder "
    "Zinc Aspen Birch Cobalt Dune Elm Fern Gale Heron Isle Jade Kite Lotus Mint Nimbus Ochre Pine Quince Reed Slate "
    "Teal"
)
_QUALIFIERS = ("North", "South", "Old", "Grand", "Little")
_ROWS = (7, 13)


@dataclass(frozen=True)
class Table:
    """A table as questions are made about it.

    Attributes:
        name: of the table.
        numbers, texts: names of its columns without the keys.
        rows: by column its cells.
    """

    name: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    rows: dict[str, list[Any]]


@dataclass(frozen=True)
class Database:
    """Two tables, each row of the one belonging to a row of the other.

    Attributes:
        tables: in the order in which they are made.
        child: place of the table that has the foreign key.
        script: the SQL that makes it.
    """

    tables: tuple[Table, Table]
    child: int
    script: str


def words(which: str, part: str) -> list[str]:
    """Return the words of a list, "tables", "numbers", "texts" or "cells", for "train" or for "test"."""
    every = {"tables": _TABLES, "numbers": _NUMBERS, "texts": _TEXTS, "cells": _CELLS}[which]
    return [word for place, word in enumerate(every.split()) if (place % 4 == 3) == (part == "test")]


def database(random: np.random.Generator, part: str) -> Database:
    """Return a database with the names of "train" or of "test"."""
    names = _drawn(random, words("tables", part), 2)
    numbers, texts = _drawn(random, words("numbers", part), 6), _drawn(random, words("texts", part), 4)
    if random.random() < 0.3:  # a column name that both tables have
        texts[2] = texts[0]
    if random.random() < 0.15:
        numbers[3] = numbers[0]
    child = int(random.integers(2))
    tables = []
    for place, name in enumerate(names):
        count, kinds = int(random.integers(1, 4)), int(random.integers(1, 3))
        tables.append(_table(name, numbers[3 * place :][:count], texts[2 * place :][:kinds], random, part))
    script = "".join(_made(tables, place, child, random) for place in range(2))
    return Database((tables[0], tables[1]), child, script)


def _drawn(random: np.random.Generator, every: list[str], count: int) -> list[str]:
    return [every[place] for place in random.choice(len(every), count, replace=False)]


def _table(name: str, numbers: list[str], texts: list[str], random: np.random.Generator, part: str) -> Table:
    """Fill a table; no number comes twice in a column, so that an order is one."""
    count = int(random.integers(*_ROWS))
    rows: dict[str, list[Any]] = {}
    for column in numbers:
        top = int(random.choice([60, 400, 3000]))
        cells = random.choice(np.arange(5, top), count, replace=False)
        rows[column] = [int(cell) for cell in cells] if random.random() < 0.7 else [float(cell) / 10 for cell in cells]
    for column in texts:
        cells_of = _drawn(random, words("cells", part), int(random.integers(2, 5)))
        qualified = random.random() < 0.2
        pool = [f"{_QUALIFIERS[int(random.integers(5))]} {cell}" if qualified else cell for cell in cells_of]
        rows[column] = [pool[int(place)] for place in random.integers(len(pool), size=count)]
    return Table(name, tuple(numbers), tuple(texts), rows)


def _made(tables: list[Table], place: int, child: int, random: np.random.Generator) -> str:
    own, other = tables[place], tables[1 - place]
    columns = [*own.numbers, *own.texts]
    columns = [columns[number] for number in random.permutation(len(columns))]
    kinds = {column: "TEXT" if column in own.texts else "REAL" for column in columns}
    kinds |= {column: "INTEGER" for column in own.numbers if isinstance(own.rows[column][0], int)}
    heads = [f"{own.name}_id INTEGER PRIMARY KEY", *(f"{column} {kinds[column]}" for column in columns)]
    count, others = (len(next(iter(table.rows.values()))) for table in (own, other))
    lines = [[row + 1, *(own.rows[column][row] for column in columns)] for row in range(count)]
    if place == child:
        heads.append(f"{other.name}_id INTEGER REFERENCES {quoted(other.name)}({other.name}_id)")
        lines = [[*line, int(random.integers(others)) + 1] for line in lines]
    told = ", ".join(f"({', '.join(map(repr, line))})" for line in lines)
    return f"CREATE TABLE {quoted(own.name)} ({', '.join(heads)}); INSERT INTO {quoted(own.name)} VALUES {told};\n"

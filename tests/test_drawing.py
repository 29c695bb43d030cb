"""Alias cells hold the distributions they were made of, and compiled code does what NumPy does, bit for bit."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from charloom import drawing
from charloom.blocks import compiled_hand
from charloom.drawing import CUT, ENDED, ONE, OPEN, Block, Rows, alias_cells, random_bits, stream_of
from oracles.cells import shares_of, splitmix64, stream_key

SHARES = st.lists(st.sampled_from([0.0, 1e-300, 1e-17, 0.05, 0.1, 0.3, 1.0]), min_size=1, max_size=9).filter(any)


def test_the_random_numbers_are_those_of_splitmix64():
    """The first five from seed 1234567 are published."""
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert list(islice(splitmix64(1234567), 5)) == published
    for seed in (0, 3, 2**64 - 1):
        for item in (0, 1, 12_345):
            bits = random_bits(stream_of(seed), np.full(7, item), np.arange(7))
            assert bits.tolist() == list(islice(splitmix64(stream_key(seed, item)), 7))


@given(st.lists(SHARES, min_size=1, max_size=4))
def test_cells_hold_their_distribution(rows):
    width = max(map(len, rows))
    shares = np.array([row + [0.0] * (width - len(row)) for row in rows])
    shares /= shares.sum(axis=1, keepdims=True)
    for row, cells in zip(shares, alias_cells(shares).tolist(), strict=True):
        held = shares_of(cells)
        assert sum(held) == width * ONE
        assert all(share == 0 for share, p in zip(held, row, strict=True) if p == 0)
        assert max(abs(share / ONE / width - p) for share, p in zip(held, row, strict=True)) <= width / ONE


def test_every_kind_of_row_is_met_to_the_last_bit():
    """Rows of one id, of equals, and random ones of many sizes."""
    random = np.random.default_rng(0)
    for width in (1, 2, 3, 27, 300):
        shares = random.dirichlet(np.full(width, 0.1), 200)
        shares[0] = 1 / width
        shares[1] = np.eye(width)[width // 2]
        held = np.array([shares_of(cells) for cells in alias_cells(shares).tolist()], dtype=float)
        assert abs(held / ONE / width - shares).max() <= width / ONE


def hand():
    pytest.importorskip("numba")
    made = compiled_hand(1)
    assert made is not None
    return made


def test_compiled_cells_are_the_same():
    random = np.random.default_rng(1)
    compiled = hand()
    for width in (1, 2, 5, 27, 1000):
        shares = random.dirichlet(np.full(width, 0.2), 300)
        shares[::7, : width // 2] = 0
        shares[0], shares[1] = 1 / width, np.eye(width)[0]
        shares /= shares.sum(axis=1, keepdims=True)
        assert_array_equal(compiled.alias_cells(shares), alias_cells(shares))


@pytest.mark.parametrize("pointed", [False, True])
@pytest.mark.parametrize("logged", [False, True])
def test_compiled_drawing_is_the_same(pointed, logged):
    """Rows of five characters' pairs, a third of them missing; items that end, are cut, and wait."""
    random = np.random.default_rng(2)
    size, n = 5, 2000
    shares = random.dirichlet(np.full(size, 0.5), size * size)
    number = np.arange(size * size)
    following = (number[:, None] % size * size + np.arange(size)).astype(np.int32)
    following[random.random(following.shape) < 0.3] = -1
    base = (number % size * size).astype(np.int32)
    base[random.random(len(base)) < 0.3] = -1
    nothing = np.empty((0, size))
    rows = Rows(
        cells=alias_cells(shares),
        base=np.zeros(len(base), np.int32) if pointed else base,
        step=1,
        following=following if pointed else nothing.astype(np.int32),
        logs=np.log(shares) if logged else nothing,
    )
    blocks = [
        Block(77, number[np.arange(n) % len(number)], np.zeros((n, 6), np.uint8), np.arange(n) % 3, np.zeros(n))
        for _ in range(2)
    ]
    some = np.flatnonzero(np.arange(n) % 10)
    for block, drawer in zip(blocks, (drawing, hand()), strict=True):
        drawer.advance(rows, block, stream_of(5), some)
    plain, compiled = blocks
    assert_array_equal(compiled.states, plain.states)
    assert_array_equal(compiled.slots, plain.slots)
    assert_array_equal(compiled.lengths, plain.lengths)
    assert_array_equal(compiled.totals, plain.totals)
    assert {ENDED, CUT} < set(plain.states.tolist())
    assert (plain.states <= OPEN).any() is np.bool_(pointed)
    assert plain.totals.any() is np.bool_(logged)


@pytest.mark.parametrize("characters", ["ab", "aß", "a\nж猫🦉"])
def test_spelling(characters):
    random = np.random.default_rng(3)
    codes = np.array([0, *map(ord, characters)], dtype=np.uint32)
    slots = random.integers(1, len(codes), (50, 7)).astype(np.uint8)
    lengths = random.integers(0, 8, 50)
    slots[np.arange(7) >= lengths[:, None]] = 99
    block = Block(0, np.full(50, ENDED), slots, lengths, np.zeros(50))
    texts = ["".join(chr(codes[id_]) for id_ in row[:n]) for row, n in zip(slots, lengths, strict=True)]
    assert drawing.spell(block, codes).decode() == "".join(text + "\n" for text in texts)
    assert hand().spell(block, codes) == drawing.spell(block, codes)

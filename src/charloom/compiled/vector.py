"""What numba has no words for: register tiles of vectors, and the bits of a float. Written as LLVM instructions.

A *vector* is as many elements as one register of this processor holds. The last vector of a row is loaded and stored
under a mask, so that rows of any length may lie side by side with nothing between them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

REGISTER_BYTES = 64 if binding.get_host_cpu_features().get("avx512f") else 32
LANES = REGISTER_BYTES // 4
"""float32 elements in a vector; of float64, two registers hold as many."""

_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_POINTER = ir.PointerType()
_CONTRACT = ("contract",)


def tile(rows: int, vectors: int) -> Any:
    """An intrinsic for one tile of ``C = A B``: ``rows`` x ``vectors`` vectors, held in registers.

    Its arguments: ``c, c0, c_row, a, a0, a_row, a_k, b, b0, b_row, depth, tail``. Arrays are flat; ``x0`` is the index
    of the tile's first element, ``x_row`` the distance of two rows, ``a_k`` that of two elements of a row of A. The
    last vector has ``tail`` elements.
    """

    @intrinsic
    def multiply(typing, c, c0, c_row, a, a0, a_row, a_k, b, b0, b_row, depth, tail):
        indices = (types.intp,)
        signature = types.void(c, *indices * 2, a, *indices * 3, b, *indices * 4)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            element = context.get_value_type(signature.args[0].dtype)
            vector = ir.VectorType(element, LANES)
            size = 4 if signature.args[0].dtype == types.float32 else 8
            c_start, a_start, b_start = (
                _address(context, builder, signature.args[array], arguments[array], arguments[array + 1], size)
                for array in (0, 3, 7)
            )
            c_row, a_row, a_k, b_row, depth, tail = (arguments[i] for i in (2, 5, 6, 9, 10, 11))
            mask = _mask(builder, tail)
            masked = _Masked(builder, vector, size, mask)
            b_step = builder.mul(b_row, ir.Constant(_INT64, size))
            a_step = builder.mul(a_k, ir.Constant(_INT64, size))
            a_rows = [builder.mul(a_row, ir.Constant(_INT64, size * row)) for row in range(rows)]

            def place(start: Any, column: int) -> Any:
                return _moved(builder, start, ir.Constant(_INT64, column * LANES * size))

            targets = [_moved(builder, c_start, builder.mul(c_row, ir.Constant(_INT64, size * r))) for r in range(rows)]
            initial = [ir.Constant(vector, None)] * (rows * vectors)
            before, loop, after = (
                builder.block,
                builder.append_basic_block("depth"),
                builder.append_basic_block("done"),
            )
            builder.cbranch(builder.icmp_signed(">", depth, ir.Constant(_INT64, 0)), loop, after)
            builder.position_at_end(loop)
            k, a_at, b_at = builder.phi(_INT64), builder.phi(_POINTER), builder.phi(_POINTER)
            sums = [builder.phi(vector) for _ in initial]
            factors = [masked.load(place(b_at, column), last=column == vectors - 1) for column in range(vectors)]
            raised = []
            for row in range(rows):
                scalar = builder.load(_moved(builder, a_at, a_rows[row]), typ=element)
                scalar.align = size
                splat = _splat(builder, scalar, vector)
                for column in range(vectors):
                    product = builder.fmul(splat, factors[column], flags=_CONTRACT)
                    raised.append(builder.fadd(sums[row * vectors + column], product, flags=_CONTRACT))
            following = builder.add(k, ir.Constant(_INT64, 1))
            a_next, b_next = _moved(builder, a_at, a_step), _moved(builder, b_at, b_step)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
            for phi, start, value in (
                (k, ir.Constant(_INT64, 0), following),
                (a_at, a_start, a_next),
                (b_at, b_start, b_next),
                *zip(sums, initial, raised, strict=True),
            ):
                phi.add_incoming(start, before)
                phi.add_incoming(value, loop)
            builder.position_at_end(after)
            for index, (start, value) in enumerate(zip(initial, raised, strict=True)):
                result = builder.phi(vector)
                result.add_incoming(start, before)
                result.add_incoming(value, loop)
                raised[index] = result
            for index, value in enumerate(raised):
                row, column = divmod(index, vectors)
                masked.store(value, place(targets[row], column), last=column == vectors - 1)
            return context.get_dummy_value()

        return signature, generate

    return multiply


@intrinsic
def transpose_block(typing, c, c0, c_row, a, a0, a_row, rows, columns) -> Any:
    """The block of ``rows`` x ``columns`` of A, at most LANES of each, becomes one of ``columns`` x ``rows`` of C."""
    index = (types.intp,)
    signature = types.void(c, *index * 2, a, *index * 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(signature.args[0].dtype)
        vector = ir.VectorType(element, LANES)
        size = 4 if signature.args[0].dtype == types.float32 else 8
        c_start = _address(context, builder, signature.args[0], arguments[0], arguments[1], size)
        a_start = _address(context, builder, signature.args[3], arguments[3], arguments[4], size)
        c_step = builder.mul(arguments[2], ir.Constant(_INT64, size))
        a_step = builder.mul(arguments[5], ir.Constant(_INT64, size))
        rows, columns = arguments[6], arguments[7]
        present = _Masked(builder, vector, size, _mask(builder, columns))
        lines = []
        for row in range(LANES):
            number = ir.Constant(_INT64, row)
            # A row that is not there is read as the last one, and its elements are not stored.
            safe = builder.select(
                builder.icmp_signed("<", number, rows), number, builder.sub(rows, ir.Constant(_INT64, 1))
            )
            lines.append(present.load(_moved(builder, a_start, builder.mul(safe, a_step)), last=True))
        # Each round interleaves line i with line i + LANES/2; after log2(LANES) of them lines have become columns.
        halves = [
            ir.Constant(
                ir.VectorType(_INT32, LANES),
                [(lane // 2) + (half * LANES // 2) + (lane % 2) * LANES for lane in range(LANES)],
            )
            for half in (0, 1)
        ]
        for _ in range(LANES.bit_length() - 1):
            lines = [
                builder.shuffle_vector(lines[i], lines[i + LANES // 2], half)
                for i in range(LANES // 2)
                for half in halves
            ]
        wanted = _mask(builder, rows)
        nothing = ir.Constant(wanted.type, None)
        for column, line in enumerate(lines):
            number = ir.Constant(_INT64, column)
            there = builder.icmp_signed("<", number, columns)
            target = _Masked(builder, vector, size, builder.select(there, wanted, nothing))
            target.store(line, _moved(builder, c_start, builder.mul(number, c_step)), last=True)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def power_of_two(typing, shifted) -> Any:
    """2 to the power n, as float32, for the float32 n + 1.5 * 2^23, whose lowest bits are n; n from -126 to 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.shl(builder.bitcast(arguments[0], _INT32), ir.Constant(_INT32, 23))
        return builder.bitcast(builder.add(bits, ir.Constant(_INT32, 127 << 23)), ir.FloatType())

    return types.float32(types.float32), generate


def _address(context: Any, builder: Any, kind: Any, value: Any, index: Any, size: int) -> Any:
    data = builder.ptrtoint(context.make_array(kind)(context, builder, value).data, _INT64)
    place = builder.add(data, builder.mul(index, ir.Constant(_INT64, size)))
    return builder.inttoptr(place, _POINTER)


def _moved(builder: Any, pointer: Any, count: Any) -> Any:
    return builder.gep(pointer, [count], source_etype=ir.IntType(8))


def _splat(builder: Any, scalar: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))


def _mask(builder: Any, tail: Any) -> Any:
    lanes = ir.VectorType(_INT32, LANES)
    limit = _splat(builder, builder.trunc(tail, _INT32), lanes)
    return builder.icmp_unsigned("<", ir.Constant(lanes, list(range(LANES))), limit)


class _Masked:
    """Loads and stores of one vector: of all its elements, or of those under the mask."""

    def __init__(self, builder: Any, vector: Any, size: int, mask: Any) -> None:
        self._builder, self._vector, self._size, self._mask = builder, vector, size, mask
        self._suffix = f"v{LANES}f{8 * size}.p0"

    def load(self, pointer: Any, *, last: bool) -> Any:
        if not last:
            loaded = self._builder.load(pointer, typ=self._vector)
            loaded.align = self._size
            return loaded
        kind = ir.FunctionType(self._vector, [_POINTER, _INT32, self._mask.type, self._vector])
        function = cgutils.get_or_insert_function(self._builder.module, kind, f"llvm.masked.load.{self._suffix}")
        align = ir.Constant(_INT32, self._size)
        return self._builder.call(function, [pointer, align, self._mask, ir.Constant(self._vector, None)])

    def store(self, value: Any, pointer: Any, *, last: bool) -> None:
        if not last:
            self._builder.store(value, pointer).align = self._size
            return
        kind = ir.FunctionType(ir.VoidType(), [self._vector, _POINTER, _INT32, self._mask.type])
        function = cgutils.get_or_insert_function(self._builder.module, kind, f"llvm.masked.store.{self._suffix}")
        self._builder.call(function, [value, pointer, ir.Constant(_INT32, self._size), self._mask])

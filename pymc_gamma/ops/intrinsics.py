"""What the kernels of the Ops share: the compiler's settings, bits of numbers, memory, optional outputs."""

import numba as nb
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from pymc_gamma.compilation import kernel
from pymc_gamma.ops.layout import BLOCK

__all__ = ["borrowed", "from_bits", "inlined", "jit", "outputs", "part", "prefetch", "room_like", "scratch", "to_bits"]

# nnan and ninf are left out on purpose: with them LLVM may assume that there is no NaN to report.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
_OPTIONS = {"fastmath": _FASTMATH, "error_model": "numpy"}

jit = kernel(**_OPTIONS)
"""Decorator of kernels."""

part = kernel(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorator of what only kernels call: nothing is compiled for calls from outside."""

inlined = kernel(**_OPTIONS, inline="always")
"""Decorator of what is compiled only as a part of its callers: LLVM optimises a long chain of calls once per link."""


@nb.extending.intrinsic
def to_bits(typing_context, number):  # type: ignore[no-untyped-def]
    """The bits of a float64 as an int64."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(nb.int64))

    return nb.int64(nb.float64), codegen


@nb.extending.intrinsic
def from_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float64 that has these bits."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(nb.float64))

    return nb.float64(nb.int64), codegen


@nb.extending.intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of ``array[index]``, a tuple of integers, ahead of its use."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array_type = signature.args[0]
        header = context.make_array(array_type)(context, builder, value=arguments[0])
        indices = cgutils.unpack_tuple(builder, arguments[1])
        element = cgutils.get_item_pointer(context, builder, array_type, header, indices)
        address = builder.bitcast(element, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type] + [ir.IntType(32)] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 2, 1)]  # read; second level and beyond; data
        builder.call(function, [address, *flags])
        return context.get_dummy_value()

    return nb.void(array, index), codegen


@nb.extending.intrinsic
def borrowed(typing_context, arguments):  # type: ignore[no-untyped-def]
    """The same arrays, in tuples or not, without their reference counts.

    Numba counts the references to an array wherever one is passed or taken from a tuple, by atomic operations, which
    on small tables cost more time than the numbers. A kernel need not: what it is called with is held by its caller.
    """

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return _without_owner(context, builder, signature.return_type, values[0])

    return arguments(arguments), codegen


def _without_owner(context, builder, kind, value):  # type: ignore[no-untyped-def]
    if isinstance(kind, nb.types.BaseTuple):
        parts = zip(kind, cgutils.unpack_tuple(builder, value), strict=True)
        return context.make_tuple(builder, kind, [_without_owner(context, builder, *part) for part in parts])
    if isinstance(kind, nb.types.Array):
        array = context.make_array(kind)(context, builder, value=value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        return array._getvalue()
    return value


@nb.extending.intrinsic
def scratch(typing_context):  # type: ignore[no-untyped-def]
    """Room for one number per event of a block, on the stack: it must not leave the kernel that asks for it."""
    array_type = nb.float64[::1]

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = cgutils.alloca_once(builder, context.get_data_type(nb.float64), size=BLOCK)
        data.align = 64
        array = context.make_array(array_type)(context, builder)
        shape, itemsize = [context.get_constant(nb.intp, BLOCK)], context.get_constant(nb.intp, 8)
        populate_array(array, data=data, shape=shape, strides=[itemsize], itemsize=itemsize, meminfo=None)
        return array._getvalue()

    return array_type(), codegen


def room_like(array):  # type: ignore[no-untyped-def]
    """Room for as many numbers as an array has, or None where that is None."""
    return None if array is None else np.empty(array.shape[0])


@nb.extending.overload(room_like)
def _room_like(array):  # type: ignore[no-untyped-def]
    # numba takes `array is None` for a question to ask when the code runs, and wants one type for both answers
    if isinstance(array, nb.types.NoneType):
        return lambda array: None
    return lambda array: np.empty(array.shape[0])


def outputs(values, last):  # type: ignore[no-untyped-def]
    """What a kernel returns: a tuple of values, and a last one if it is not None; one value bare."""
    if last is not None:
        return (*values, last)
    return values if len(values) > 1 else values[0]


@nb.extending.overload(outputs)
def _outputs(values, last):  # type: ignore[no-untyped-def]
    if not isinstance(last, nb.types.NoneType):
        return lambda values, last: (*values, last)
    if len(values) > 1:
        return lambda values, last: values
    return lambda values, last: values[0]


if nb.config.DISABLE_JIT:  # kernels run in plain Python, to look into them or to test them change by change

    def to_bits(number):  # type: ignore[no-untyped-def]
        """The same for a number of NumPy."""
        return np.float64(number).view(np.int64)

    def from_bits(bits):  # type: ignore[no-untyped-def]
        """The same for a number of NumPy."""
        return np.int64(bits).view(np.float64)

    def prefetch(array, index):  # type: ignore[no-untyped-def]
        """Nothing: there is no faster place to fetch to."""

    def borrowed(arguments):  # type: ignore[no-untyped-def]
        """The same."""
        return arguments

    def scratch():  # type: ignore[no-untyped-def]
        """The same on the heap."""
        return np.empty(BLOCK)

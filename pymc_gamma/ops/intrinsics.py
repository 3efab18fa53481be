"""What the kernels of the Ops share: the compiler's settings, bits of numbers, prefetching, optional outputs."""

import numba as nb
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils

from pymc_gamma.compilation import kernel

__all__ = ["from_bits", "inlined", "jit", "outputs", "part", "prefetch", "to_bits"]

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


def outputs(values, last, wanted):  # type: ignore[no-untyped-def]
    """What a kernel returns: a tuple of values, and one more if something is ``wanted`` (not None); one value bare."""
    if wanted is not None:
        return (*values, last)
    return values if len(values) > 1 else values[0]


@nb.extending.overload(outputs)
def _outputs(values, last, wanted):  # type: ignore[no-untyped-def]
    # numba takes `wanted is None` for a question to ask when the code runs, and wants one type for both answers
    if not isinstance(wanted, nb.types.NoneType):
        return lambda values, last, wanted: (*values, last)
    if len(values) > 1:
        return lambda values, last, wanted: values
    return lambda values, last, wanted: values[0]


if nb.config.DISABLE_JIT:  # kernels run in plain Python, to look into them or to test them change by change

    def to_bits(number):  # type: ignore[no-untyped-def]
        """The same for a number of NumPy."""
        return np.float64(number).view(np.int64)

    def from_bits(bits):  # type: ignore[no-untyped-def]
        """The same for a number of NumPy."""
        return np.int64(bits).view(np.float64)

    def prefetch(array, index):  # type: ignore[no-untyped-def]
        """Nothing: there is no faster place to fetch to."""

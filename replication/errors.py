"""The one exception for mistakes a user can mend, and what running out of memory looks like."""

from collections.abc import Iterator
from contextlib import contextmanager

# What libraries say when an allocation fails: torch on CPU and on the accelerators, numpy, C++.
MEMORY_PHRASES = ("out of memory", "not enough memory", "allocate memory", "unable to allocate", "bad_alloc")


class UserError(ValueError):
    """A mistake of input or setup: the message names the file or argument and the fix.

    The command line prints the message alone, without a traceback.
    """


class NoWeights(UserError):
    """Nothing is trained at a profile's width, and no authors' weights stand in.

    A notebook that needs such a network is left out, and the others run.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was not enough memory, on the processor or on an accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return isinstance(error, MemoryError) or "memory" in str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in MEMORY_PHRASES)


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Inside, running out of memory is a UserError that says `advice`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(advice) from error

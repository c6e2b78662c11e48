"""What a model and the measurements say to pictures of another range, type or shape."""

import pytest
import torch
from helpers.networks import tiny_encoder

from replication import build
from replication.errors import UserError, is_out_of_memory, memory_advice
from replication.methods.base import check_input
from replication.methods.mixing import stylise_with_several
from replication.metrics.image import Target, check_range, measure_image

CONTENT, STYLE = (torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build("adain", tiny_encoder()).requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: 255 * x, "divide bytes by 255"),
        (lambda x: 2 * x - 1, r"\(image \+ 1\) / 2"),
        (lambda x: x.half(), r"is float16 and the model's weights are float32.*to\(torch.float32\)"),
        (lambda x: x.double(), "is float64"),
        (lambda x: (255 * x).byte(), "divide bytes by 255"),
        (lambda x: x[0], r"image\[None\]"),
        (lambda x: x[:0], "no image"),
    ],
)
def test_a_model_says_what_it_wants(change, message, model):
    with pytest.raises(UserError, match=message):
        check_input(model, change(CONTENT), "content")
    if change(CONTENT).ndim == 4 and change(CONTENT).is_floating_point() and len(change(CONTENT)):
        for pair in ((change(CONTENT), STYLE), (CONTENT, change(STYLE))):
            with pytest.raises(UserError, match=message):
                model(*pair)
        with pytest.raises(UserError, match=message):
            stylise_with_several(model, CONTENT, [STYLE, change(STYLE)], [0.5, 0.5])


def test_what_a_model_returned_can_be_painted_again(model):
    check_input(model, model(CONTENT, STYLE).clamp(-0.3, 1.4), "content")


def test_a_converted_model_works_or_is_refused():
    made = build("adain", tiny_encoder())
    assert torch.isfinite(made.double()(CONTENT.double(), STYLE.double())).all()
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(UserError, match=r"take model.float\(\), and torch.autocast"):
            made.to(dtype)(CONTENT.to(dtype), STYLE.to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(made.float()(CONTENT, STYLE)).all()


def test_contents_and_styles_are_files_and_lie_in_the_range():
    for wrong in (2 * CONTENT - 1, CONTENT * 1.2, CONTENT - 0.1, 255 * CONTENT):
        with pytest.raises(UserError, match="in \\[0, 1\\]"):
            Target(wrong)
    assert Target(CONTENT + 0.01).image.max() <= 1


def test_results_may_lie_a_little_outside():
    assert torch.equal(check_range(CONTENT * 1.3 - 0.1, "result"), (CONTENT * 1.3 - 0.1).clamp(0, 1))
    for wrong in (2 * CONTENT - 1, 255 * CONTENT):
        with pytest.raises(UserError, match="in \\[0, 1\\]"):
            check_range(wrong, "result")
    assert check_range(CONTENT.double(), "result").dtype == torch.float32


def test_batches_of_results_and_styles_are_equal():
    with pytest.raises(UserError, match="2 results and 1 styles; give one style for each"):
        measure_image(CONTENT.expand(2, -1, -1, -1), Target(CONTENT.expand(2, -1, -1, -1)), Target(STYLE))


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            True,
        ),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("The size of tensor a must match the size of tensor b"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_advice(error, memory):
    assert is_out_of_memory(error) == memory
    with (
        pytest.raises(UserError if memory else type(error), match="take less" if memory else None),
        memory_advice("take less"),
    ):
        raise error

"""The page says of every system which formats take it, and that is so."""

import pytest

from egodepth.deployment.formats import FORMATS
from tests.deployment.systems import CHECKED, PAGE, TITLES, said, taken
from tests.inference.deployed_networks import one_recipe_per_network


def test_the_page_has_every_system_and_every_format():
    assert list(TITLES) == one_recipe_per_network()
    assert set(said(PAGE.read_text())) == {(name, form) for name in TITLES for form in CHECKED}


# Each converter takes seconds for each system. What ONNX Runtime and OpenVINO take is tested with their files.
@pytest.mark.parametrize("form", [form for form in CHECKED if form not in ("onnx", "openvino")])
@pytest.mark.parametrize("name", TITLES)
def test_a_format_takes_the_systems_that_the_page_says(name, form):
    for module in FORMATS[form].modules:
        pytest.importorskip(module)
    assert taken(name, form) == said(PAGE.read_text())[name, form]

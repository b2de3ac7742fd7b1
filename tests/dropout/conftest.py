"""The fixture that runs a test for every layer that draws noise, in every form."""

import pytest
from forms import FORMS


@pytest.fixture(params=FORMS)
def form(request):
    """Every form in turn."""
    return request.param

"""The demo model's conversion took what preflight had foretold from its headers."""

import pytest

from shared.schemas.conversion import ConversionJob
from tests.helpers.demo_store import demo_job
from tests.helpers.foretold import assert_foretold

pytestmark = pytest.mark.e2e


def test_the_demo_model_takes_what_was_foretold() -> None:
    assert_foretold(ConversionJob.model_validate(demo_job()))

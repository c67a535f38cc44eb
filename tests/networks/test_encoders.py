"""ImageNet weights where timm's hub is out of reach."""

import huggingface_hub
import pytest
import timm

from egodepth.errors import UserError
from egodepth.networks.encoders import HUB_TIMEOUT_S, hub_weights


class Hub:
    """A session of the hub's client that answers, or does not."""

    def __init__(self, reached: bool) -> None:
        self.reached, self.timeouts = reached, []

    def head(self, url: str, timeout: float) -> None:
        self.timeouts.append(timeout)
        if not self.reached:
            raise ConnectionError(url)


@pytest.mark.parametrize("reached", [True, False], ids=["in reach", "out of reach"])
def test_the_hub_is_asked_once_and_its_client_kept_from_retrying_without_an_answer(monkeypatch, reached):
    """The client's own retries took 47 to 61 s."""
    hub, offline = Hub(reached), []

    def create_model(name, **options):
        offline.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        raise FileNotFoundError("no weights in the cache")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: hub)
    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match=r"could not be fetched from timm's hub .*--pretrained none"):
        hub_weights("resnet18.tv_in1k")
    assert hub.timeouts == [HUB_TIMEOUT_S]
    assert offline == [not reached]
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False

"""Settings of the benches that are refused, and what is said."""

from __future__ import annotations

import pytest

from benchmarks.commands import BenchArrivals, BenchEngine
from benchmarks.service.commands import BenchService, BenchSoak
from dqbart.cli import run_command


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (BenchEngine, ["--layers", "6-1,x"], "layers = '6-1,x': 'x' is not a layer pair"),
        (BenchEngine, ["--bits", "3-2-8"], "bits = '3-2-8': 3-2-8 is not a scheme"),
        (BenchEngine, ["--peer", "llama"], "peer = 'llama'"),
        (BenchArrivals, ["--requests", "10"], "requests = '10'"),
        (BenchService, ["--url", "https://a.b"], "url = 'https://a.b': http://HOST:PORT is expected"),
        (
            BenchService,
            ["--protocols", "grpc", "--url", "http://a:1"],
            "protocols: the server's address is given for another",
        ),
        (BenchService, ["models/a", "--server", "a:1"], "a model is given, and a server that runs already: choose one"),
        (BenchService, ["--peer", "--server", "a:1"], "peer = true: it is compared with a server of the bench's own"),
        (BenchService, ["--many-models", "2", "--url", "http://a:1"], "many_models = [2]: servers of the bench's own"),
        (BenchService, ["--many-models", "2,10", "--peer"], "peer = true and many_models = [2, 10]: one of them at a time"),
        (BenchService, ["--many-models", "1"], "many_models.0 = 1: should be greater than or equal to 2"),
        (BenchService, ["--random-model"], "random_model = true: it is for peer"),
        (BenchService, ["--peer", "--plot", "a.svg"], "plot: it shows latencies of the service alone"),
        (BenchSoak, ["--plot", "soak.pdf"], "plot = 'soak.pdf': a name that ends in .svg or .png is expected"),
        (BenchArrivals, ["--beams", "4,65"], "beams = [4, 65]: at least one number, none above rows = 64"),
    ],
)
def test_wrong_settings(command: type, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        run_command(command, "bench", arguments)
    assert exit.value.code == 2
    assert f"dqbart bench: error: {message}" in capsys.readouterr().err

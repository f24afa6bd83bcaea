"""Debian's Prometheus and its promtool: rules and queries are checked by what will evaluate them."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package that nothing else here needs

from tests.helpers.redis_server import free_port

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
#: Where `make prometheus` puts them.
FOLDER = ROOT / ".cache" / "prometheus" / "usr" / "bin"


def require(tool: Literal["prometheus", "promtool"]) -> str:
    """Return a program's path. Skip where it is missing; where all must be tested, fail."""
    found = shutil.which(tool, path=f"{FOLDER}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        reason = f"{tool} not installed: `make prometheus` gets it on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Prometheus:
    """The product's configuration and rules in a real Prometheus, which scrapes given addresses each second."""

    def __init__(self, folder: Path, targets: Mapping[str, list[str]], metrics_key: str) -> None:
        self._folder = folder
        self._port = free_port()
        self._targets = {**targets, "prometheus": [f"127.0.0.1:{self._port}"]}
        self._metrics_key = metrics_key
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        program = require("prometheus")
        self._configure()
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(program, f"--config.file={self._folder / 'prometheus.yaml'}"),
                    *(f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}"),
                ],
                stdout=log,
                stderr=log,
            )
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its HTTP interface."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}"
        answer = httpx.get(url, params=parameters, timeout=30, verify=False)
        assert answer.is_success, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return an expression's samples of now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Return the only sample's value, None where there is none yet."""
        found = self.query(expression)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    def is_scraping(self) -> bool:
        """Tell whether it has read every target."""
        try:
            up = self.query("up == 1")
        except httpx.TransportError:
            return False
        return len(up) == sum(map(len, self._targets.values()))

    def _configure(self) -> None:
        """Write the product's configuration with addresses in the place of names, and with seconds for minutes."""
        self._folder.mkdir(parents=True)
        key_file = self._folder / "metrics.key"
        key_file.write_text(self._metrics_key)
        configuration = yaml.safe_load((MONITORING / "prometheus.yaml").read_text("utf-8"))
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for job in configuration["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = [{"targets": self._targets[job["job_name"]]}]
            if "authorization" in job:
                job["authorization"]["credentials_file"] = str(key_file)
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        shutil.copy(MONITORING / "alerts.yaml", self._folder)

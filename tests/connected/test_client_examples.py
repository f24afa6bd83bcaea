"""What the README promises of the Python client and the command line, run as it stands there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.pool import Pool
from tests.helpers.services import ADMIN_KEY
from tests.helpers.variants import publish_sample_variant

pytestmark = pytest.mark.connected
ROOT = Path(__file__).parents[2]
OVCHAT = (sys.executable, "-c", "from gateway.client.command_line import main; main()")


def environment(pool: Pool) -> dict[str, str]:
    return {
        "PATH": "",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
        "LANG": "C.UTF-8",
        "OVCHAT_URL": pool.gateways[0].url,
        "OVCHAT_API_KEY": ADMIN_KEY,
    }


def run(pool: Pool, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, env=environment(pool), cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_readme_s_example_runs_and_has_about_ten_lines(pool: Pool, tmp_path: Path) -> None:
    (example,) = re.findall(
        r"```python\n(.*?gateway\.client.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL
    )
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    (model,) = re.findall(r'send\("([^"]+)"', example)
    publish_sample_variant(pool.store_path, pool.redis_url, model=model)
    # Its address and the key's file are those of a gateway that was just started; here they are the pool's.
    address = "http://127.0.0.1:8000"
    assert address in example
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin.key").write_text(ADMIN_KEY + "\n")
    program = "import warnings; warnings.simplefilter('ignore')\n" + example.replace(address, pool.gateways[0].url)
    outcome = run(pool, sys.executable, "-c", program, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout) > 20
    assert outcome.stderr == ""


def test_chats_are_listed_shown_exported_and_deleted_by_command(pool: Pool, tmp_path: Path) -> None:
    def ovchat(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(pool, *OVCHAT, *arguments)

    with pool.gateways[0].client() as client:
        (chat_id, other) = [
            client.post("/api/v1/chats", json={"title": title, "system": "Be kind."}).json()["chat_id"]
            for title in ("Über [bold] \x1b]0;x\x07", "other")
        ]
    listed = ovchat("chats").stdout
    assert chat_id in listed
    assert "Über [bold]" in listed
    assert "\x1b" not in listed
    found = json.loads(ovchat("chats", "--search", "ÜBER", "--json").stdout)
    assert [chat["chat_id"] for chat in found] == [chat_id]
    assert "# Über [bold]" in ovchat("chats", "show", chat_id).stdout
    assert json.loads(ovchat("chats", "show", chat_id, "--json").stdout)["system"] == "Be kind."
    assert "## System\n\nBe kind." in ovchat("chats", "export", chat_id).stdout
    target = tmp_path / "chat.json"
    assert ovchat("chats", "export", chat_id, "--format", "json", "--output", str(target)).returncode == 0
    assert json.loads(target.read_bytes())["chat_id"] == chat_id
    refused = ovchat("chats", "export", chat_id, "--output", str(tmp_path / "no" / "file"))
    assert refused.returncode == 1
    assert "cannot write" in refused.stderr
    assert ovchat("chats", "delete", chat_id).returncode == 0
    again = ovchat("chats", "delete", chat_id)
    assert again.returncode == 1
    assert "no such chat" in again.stderr
    assert other in ovchat("chats").stdout

"""Three variants in one job against three runs of the command line, same model, same machine, one after the other.

`python -m tests.bench.conversion_bench` prints both times, their ratio, and whether the int8 and int4 files are byte
for byte the same. The job's time counts everything, the imports of its stage parent and the verification included.
"""

import argparse
import filecmp
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pydantic import JsonValue

from converter_worker.demo_model import DEMO_SOURCE_MODEL, find_packaged_gguf, prepare_demo_checkpoint
from converter_worker.linked_files import link_or_copy
from converter_worker.stage_environment import stage_environment
from converter_worker.stage_runner import StageRun, StageRunner

VARIANTS: dict[str, tuple[dict[str, JsonValue], list[str]]] = {
    "fp16": ({}, ["--weight-format", "fp16"]),
    "int8": ({"sym": False}, ["--weight-format", "int8"]),
    "int4": (
        {"sym": False, "group_size": 64, "ratio": 1.0},
        ["--weight-format", "int4", "--group-size", "64", "--ratio", "1.0"],
    ),
}
WEIGHTS = "openvino_model.bin"


def run_command_line(source: Path, output: Path) -> dict[str, float]:
    """Export each variant by its own run of `optimum-cli`; return the seconds of each."""
    seconds = {}
    for name, (_, options) in VARIANTS.items():
        command = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino", "--model", str(source)]
        started = time.monotonic()
        subprocess.run(
            [*command, "--task", "text-generation-with-past", *options, str(output / name)],
            check=True,
            env=stage_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seconds[name] = round(time.monotonic() - started, 1)
    return seconds


def run_job(runner: StageRunner, source: Path, output: Path) -> dict[str, float]:
    """Make all variants as a conversion job does; return the seconds of each stage."""
    seconds = {}

    def run(label: str, stage: str, **arguments: JsonValue) -> None:
        started = time.monotonic()
        runner.run(StageRun(stage, arguments, output / "stages.log", time_limit_seconds=1800))
        seconds[label] = round(time.monotonic() - started, 1)

    run("export", "export", source_dir=str(source), output_dir=str(output / "base"))
    run("tokenizer", "tokenizer", source_dir=str(source), output_dir=str(output / "tokenizer"))
    for name, (recipe, _) in VARIANTS.items():
        run(
            f"compress {name}",
            "compress",
            base_dir=str(output / "base"),
            output_dir=str(output / name),
            weight_format=name,
            recipe=recipe,
            source_model=DEMO_SOURCE_MODEL,
        )
        for file in (output / "tokenizer").iterdir():
            link_or_copy(file, output / name / file.name)
        run(f"verify {name}", "verify", variant_dir=str(output / name))
    return seconds


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="checkpoint folder; the packaged demo model where not given")
    source: Path | None = parser.parse_args().source
    with tempfile.TemporaryDirectory() as scratch:
        if source is None:
            gguf_file = find_packaged_gguf()
            if gguf_file is None:
                raise SystemExit("the demo model's package is not installed: give --source")
            source = prepare_demo_checkpoint(gguf_file, Path(scratch))
        command_line, cold, warm = (Path(scratch) / name for name in ("command_line", "cold", "warm"))
        for folder in (command_line, cold, warm):
            folder.mkdir()
        runner = StageRunner()
        try:
            cold_started = time.monotonic()
            cold_stages = run_job(runner, source, cold)
            cold_seconds = time.monotonic() - cold_started
            warm_started = time.monotonic()
            warm_stages = run_job(runner, source, warm)
            warm_seconds = time.monotonic() - warm_started
        finally:
            runner.close()
        runs = run_command_line(source, command_line)
        three_runs = sum(runs.values())
        report = {
            "command_line_seconds": runs,
            "command_line_total_seconds": round(three_runs, 1),
            "job_cold_seconds": round(cold_seconds, 1),
            "job_cold_stages": cold_stages,
            "job_warm_seconds": round(warm_seconds, 1),
            "job_warm_stages": warm_stages,
            "ratio_cold": round(cold_seconds / three_runs, 3),
            "ratio_warm": round(warm_seconds / three_runs, 3),
            "identical": {
                name: filecmp.cmp(cold / name / WEIGHTS, command_line / name / WEIGHTS, shallow=False)
                for name in ("int8", "int4")
            },
            "weights_mb": {name: round((cold / name / WEIGHTS).stat().st_size / 1e6, 1) for name in VARIANTS},
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

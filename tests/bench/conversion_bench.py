"""Three variants in one job against three runs of the command line, same model, same machine, one after the other.

`python -m tests.bench.conversion_bench` prints times, summed peaks of memory, their ratios, and whether the int8 and
int4 files are byte for byte the same. The job's time is that from accepted to published on a real converter worker,
once cold (its imports counted) and then warm, for a worker of one slot and for one of two; its memory is that of the
worker and all its processes together.
"""

import argparse
import filecmp
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from converter_worker.demo_model import find_packaged_gguf, prepare_demo_checkpoint
from converter_worker.stage_environment import stage_environment
from shared.schemas.conversion import ConversionJob
from tests.bench.memory_watch import MemoryWatch
from tests.helpers.conversion_bed import ConversionBed
from tests.helpers.redis_server import RedisServer

#: A variant as it is asked for, and what the command line takes for the same.
VARIANTS: dict[str, tuple[dict[str, object], list[str]]] = {
    "fp16": ({}, ["--weight-format", "fp16"]),
    "int8": ({"sym": False}, ["--weight-format", "int8"]),
    "int4": (
        {"sym": False, "group_size": 64, "ratio": 1.0},
        ["--weight-format", "int4", "--group-size", "64", "--ratio", "1.0"],
    ),
}
WEIGHTS = "openvino_model.bin"
SECONDS = 1800.0


def run_command_line(source: Path, output: Path) -> dict[str, dict[str, float]]:
    """Export each variant by its own run of `optimum-cli`; return seconds and peak of each."""
    runs = {}
    for name, (_, options) in VARIANTS.items():
        command = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino", "--model", str(source)]
        started = time.monotonic()
        process = subprocess.Popen(
            [*command, "--task", "text-generation-with-past", *options, str(output / name)],
            env=stage_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with MemoryWatch(process.pid) as memory:
            if process.wait() != 0:
                raise SystemExit(f"optimum-cli failed for {name}")
        runs[name] = {"seconds": round(time.monotonic() - started, 1), "peak_mb": round(memory.peak_bytes / 1e6)}
    return runs


def run_job(bed: ConversionBed, source: Path, name: str) -> tuple[ConversionJob, float]:
    """Convert all variants as a job; return it, and the summed peak of its converter in MB."""
    asked = [{"name": variant, "weight_format": variant, "recipe": recipe} for variant, (recipe, _) in VARIANTS.items()]
    with MemoryWatch(bed.converters[-1].pid) as memory:
        job = bed.wait_for_end(bed.submit(source, *asked, name=name), seconds=SECONDS)
    if job.state != "succeeded":
        raise SystemExit(f"the conversion {job.state}: {job.error}")
    return job, round(memory.peak_bytes / 1e6)


def job_report(job: ConversionJob, peak_mb: float, runs: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Compare a job with the runs of the command line."""
    seconds = ((job.ended_ms or 0) - job.created_ms) / 1000
    return {
        "seconds": round(seconds, 1),
        "of_three_runs": round(seconds / sum(run["seconds"] for run in runs.values()), 3),
        "peak_mb": peak_mb,
        "of_one_runs_peak": round(peak_mb / max(run["peak_mb"] for run in runs.values()), 3),
        "predicted": job.predicted and job.predicted.model_dump(exclude={"stages"}),
        "measured": job.measured and job.measured.model_dump(exclude={"stages"}),
        "stages": {
            f"{stage.stage} {stage.variant or ''}".strip(): [stage.seconds, round(stage.memory_bytes / 1e6)]
            for stage in (job.measured.stages if job.measured else ())
        },
    }


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="checkpoint folder; the packaged demo model where not given")
    parser.add_argument(
        "--slots", type=int, nargs="+", default=[1, 2], help="variants compressed at once; each a worker"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source: Path | None = options.source
        if source is None:
            gguf_file = find_packaged_gguf()
            if gguf_file is None:
                raise SystemExit("the demo model's package is not installed: give --source")
            source = prepare_demo_checkpoint(gguf_file, folder / "source")
        for name in ("bed", "command_line"):
            (folder / name).mkdir()
        server = RedisServer(folder / "redis").start()
        bed = ConversionBed(folder / "bed", server.url)
        try:
            # The card of quality is made in the background, and would take the next job's cores.
            fixed = {"OVCHAT_LOCAL_SOURCES": f"{folder}:{source.resolve().parent}", "OVCHAT_QUALITY_CARDS": "false"}
            jobs = {}
            for slots in options.slots:
                converter = bed.start_converter({**fixed, "OVCHAT_CONVERTER_SLOTS": str(slots)})
                for name in (f"cold-{slots}", f"warm-{slots}"):
                    jobs[name] = run_job(bed, source, name)
                converter.stop()
        finally:
            bed.stop()
            server.stop()
        runs = run_command_line(source, folder / "command_line")
        published = bed.store.path / f"warm-{options.slots[-1]}"
        report = {
            "command_line": runs,
            **{name: job_report(job, peak, runs) for name, (job, peak) in jobs.items()},
            "identical": {
                name: filecmp.cmp(published / name / WEIGHTS, folder / "command_line" / name / WEIGHTS, shallow=False)
                for name in ("int8", "int4")
            },
            "weights_mb": {name: round((published / name / WEIGHTS).stat().st_size / 1e6, 1) for name in VARIANTS},
        }
        sys.stdout.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

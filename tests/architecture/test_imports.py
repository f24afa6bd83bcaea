"""Who may import what, and where: the services stay apart, and the heavy libraries stay where they are needed.

The contracts in pyproject.toml follow chains of imports; the tests here say where in a file an import may stand.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.sources import PRODUCT_FOLDERS, ROOT, SERVICES, Import, imports, module_name, python_files

HEAVY = ("torch", "transformers", "nncf", "optimum", "openvino", "openvino_genai", "openvino_tokenizers", "datasets")

# Seconds and hundreds of megabytes each, so a module that is not listed imports none of them, not even in a function.
# A new engine or stage adds its line.
MAY_USE_HEAVY = (
    "converter_worker.stages",
    "converter_worker.stage_child",
    "inference_worker.engines.continuous_batching",
    "inference_worker.engines.generation_config",
    "inference_worker.engines.optimum",
    "inference_worker.engines.stateful",
    "inference_worker.devices",
    "inference_worker.tuning.device_facts",
    "inference_worker.bench.in_process_engine",
    "inference_worker.bench.tutorial_pipeline",
    "deploy.local.doctor",
)
# The engine of that name, and what a bench compares the platform with.
MAY_USE_TORCH = ("inference_worker.engines.optimum", "inference_worker.bench.tutorial_pipeline")
# These have one at their top, so they in turn are imported inside functions only.
HEAVY_AT_TOP = (
    "inference_worker.engines.continuous_batching",
    "inference_worker.engines.generation_config",
    "inference_worker.engines.optimum",
    "inference_worker.engines.stateful",
)


def _listed(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _all_imports() -> list[Import]:
    return imports(*PRODUCT_FOLDERS)


def test_the_contracts_of_pyproject_hold() -> None:
    absent = [name for name in PRODUCT_FOLDERS if not (ROOT / name / "__init__.py").is_file()]
    if absent:
        pytest.skip(f"no package yet: {', '.join(absent)}")
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    outcome = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_services_never_import_each_other(service: str) -> None:
    siblings = [name for name in SERVICES if name != service]
    assert [str(found) for found in imports(service) if found.names(*siblings)] == []


def test_shared_imports_no_sibling_and_no_framework() -> None:
    frameworks = ("fastapi", "starlette", "uvicorn", "celery", *HEAVY)
    assert [str(found) for found in imports("shared") if found.names(*SERVICES, "deploy", *frameworks)] == []


def test_celery_is_one_module_of_the_gateway() -> None:
    strays = [found for found in imports("gateway") if found.names("celery", "kombu")]
    assert [str(found) for found in strays if found.importer != "gateway.conversion_client"] == []


def test_each_service_leaves_out_what_its_image_does_not_carry() -> None:
    absent = {
        "gateway": HEAVY,
        "converter_worker": ("fastapi", "starlette", "uvicorn"),
        "inference_worker": ("fastapi", "starlette", "uvicorn", "celery", "kombu", "nncf", "datasets"),
    }
    strays = [found for service, names in absent.items() for found in imports(service) if found.names(*names)]
    assert [str(found) for found in strays] == []


def test_only_the_pipelines_of_optimum_use_torch_in_inference() -> None:
    strays = [found for found in imports("inference_worker") if found.names("torch", "transformers", "optimum")]
    assert [str(found) for found in strays if found.importer not in MAY_USE_TORCH] == []


def test_heavy_libraries_are_imported_in_listed_modules_only() -> None:
    strays = [found for found in _all_imports() if found.names(*HEAVY) and not _listed(found.importer, MAY_USE_HEAVY)]
    assert [str(found) for found in strays] == []


def test_heavy_libraries_are_imported_in_functions() -> None:
    """A heavy import at the top of a module makes everything that imports the module pay for it."""
    strays = [
        found
        for found in _all_imports()
        if found.at_top and found.names(*HEAVY) and not _listed(found.importer, HEAVY_AT_TOP)
    ]
    assert [str(found) for found in strays] == []


def test_a_module_with_a_heavy_top_is_imported_in_functions() -> None:
    heavy = {found.importer for found in _all_imports() if found.at_top and found.names(*HEAVY)}
    strays = [
        found
        for found in _all_imports()
        if found.at_top and found.names(*heavy) and found.importer not in heavy and heavy
    ]
    assert [str(found) for found in strays] == []


def test_only_the_command_line_starts_the_launcher_and_only_when_asked() -> None:
    launcher = [found for found in imports(*SERVICES, "shared") if found.names("deploy")]
    strays = [found for found in launcher if found.at_top or not found.importer.startswith("gateway.client")]
    assert [str(found) for found in strays] == []


def test_the_lists_above_name_modules_that_exist() -> None:
    """A line that outlives its module would let a new module of that name in unseen."""
    modules = {module_name(path) for path in python_files(*PRODUCT_FOLDERS)}
    assert {*MAY_USE_HEAVY, *MAY_USE_TORCH, *HEAVY_AT_TOP} - modules == set()

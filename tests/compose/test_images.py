"""The images that the session built, looked at from outside: nothing in them that a service does not need."""

from __future__ import annotations

import fnmatch
import json
import re

import pytest
from packaging.utils import canonicalize_name

from deploy.supply.pins import lock_files, pins
from tests.compose.compose_project import SERVICES, ComposeProject
from tests.compose.image_contents import ImageContents, contents_of

#: Images of services with packages of their own, and the lock file that each is made from.
LOCKED = {"gateway": "gateway", "converter": "converter", "inference-cpu": "inference"}
MB = 1_000_000
MODEL_LIBRARIES = {"torch", "transformers", "openvino", "openvino_genai", "nncf", "optimum"}
#: Programs that build, install or fetch; by their names in a folder of programs.
TOOLS = (
    "gcc*", "g++*", "cc", "c++", "clang*", "*-gcc*", "ld", "ld.bfd", "ld.gold", "as", "make", "cmake", "git", "pip*",
    "uv", "uvx", "wget", "nc", "ncat", "ssh", "scp",
)  # fmt: skip
#: Files that hold keys or settings of who built the image. Public certificates of authorities may stay.
SECRETS = (".env", "*.key", "id_rsa*", "id_ed25519*", ".netrc", ".pypirc", "pip.conf", "uv.toml", ".git", "admin.key")


@pytest.fixture(scope="session", params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def image(project: ComposeProject, service: str) -> ImageContents:
    return contents_of(project, service)


def test_an_image_has_no_setuid_program_and_nothing_that_builds_or_installs(image: ImageContents, service: str) -> None:
    files = image.files()
    assert [file.path for file in files if file.kind == "f" and file.mode & 0o6000] == []
    programs = [file for file in files if re.search(r"/s?bin/[^/]*$", file.path)]
    assert len(programs) > 100
    assert [file.path for file in programs if any(fnmatch.fnmatch(file.name, tool) for tool in TOOLS)] == []
    paths = {file.path for file in files}
    assert {path for path in paths if re.search(r"/(?:dist|site)-packages/(?:pip|setuptools)$", path)} <= (
        # torch asks for setuptools.
        {"/opt/ovchat/lib/python3.11/site-packages/setuptools"} if service == "converter" else set()
    )
    assert [path for path in paths if re.match(r"/var/(?:lib/apt/lists|cache/apt)/|.*/\.cache/", path)] == []
    # What runs cannot be changed by what runs it.
    own = [file for file in files if file.path.startswith(("/app", "/opt/ovchat")) and file.kind != "l"]
    assert [file.path for file in own if file.uid != 0 or file.mode & 0o002] == []


def test_an_image_has_no_tests_and_no_key_in_any_layer(project: ComposeProject, image: ImageContents) -> None:
    names = image.names_of_all_layers()
    assert len(names) > 1000
    found = {name for name in names if any(fnmatch.fnmatch(name.rpartition("/")[2], secret) for secret in SECRETS)}
    assert found == set()
    assert {name for name in names if re.match(r"(?:app/)?tests/|app/.*/test_[^/]*\.py$", name)} == set()
    # Nor in what is kept beside the files.
    kept = image.history() + json.dumps(image.configuration())
    assert [value for name, value in project.settings.items() if "PASSWORD" in name and value in kept] == []
    assert re.findall(r"hf_[A-Za-z0-9]{30,}|ghp_\w{30,}|BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]*:[^/\s@]+@", kept) == []


def test_an_image_says_what_it_is_and_runs_as_nobody(image: ImageContents) -> None:
    configuration = image.configuration()["Config"]
    assert configuration["User"] == "10001:10001"
    assert configuration["Healthcheck"]["Test"][0] == "CMD"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in configuration["Labels"].items()}
    for name in ("title", "description", "licenses", "version", "revision", "base.name"):
        assert labels[name], name


def test_images_are_small(project: ComposeProject) -> None:
    sizes = {service: contents_of(project, service).configuration()["Size"] for service in LOCKED}
    base = ImageContents("python:3.11-slim-bookworm").configuration()["Size"]
    assert sizes["gateway"] - base < 120 * MB
    assert sizes["inference-cpu"] < 900 * MB


@pytest.mark.parametrize("service", LOCKED)
def test_an_image_installs_its_lock_files_and_nothing_else(project: ComposeProject, service: str) -> None:
    probe = """
import glob, importlib.metadata, json, platform, sysconfig
paths = [sysconfig.get_path("purelib"), *sorted(glob.glob("/opt/ovchat/stacks/*/"))]
found = [[[d.name, d.version] for d in importlib.metadata.distributions(path=[path])] for path in paths]
print(json.dumps([platform.python_version(), found]))
"""
    python, [own, *stacks] = json.loads(contents_of(project, service).execute("python", "-c", probe))
    files = lock_files(LOCKED[service])
    assert len(stacks) == len(files) - 1
    for found, lock in zip([own, *stacks], files, strict=True):
        # torch 2.13.0 is installed as 2.13.0+cpu.
        installed = sorted((canonicalize_name(name), version.partition("+")[0]) for name, version in found)
        assert installed == sorted((pin.name, pin.version) for pin in pins(lock, python=python)), lock.name


@pytest.mark.parametrize(
    ("service", "present"),
    [
        ("gateway", set()),
        ("inference-cpu", {"openvino", "openvino_genai"}),
        ("converter", MODEL_LIBRARIES),
    ],
)
def test_torch_is_in_the_converter_only(project: ComposeProject, service: str, present: set[str]) -> None:
    names = sorted(MODEL_LIBRARIES)
    probe = f"import importlib.util; print(*[name for name in {names} if importlib.util.find_spec(name)])"
    assert set(contents_of(project, service).execute("python", "-c", probe).split()) == present

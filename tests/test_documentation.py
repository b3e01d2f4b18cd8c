"""Every documented command can be run, and what is cheap is run."""

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed.run
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from documented_commands import (
    COMMAND_MODULES,
    DOCUMENTS,
    PROGRAMS,
    ROOT,
    blocks,
    docstring_commands,
    fenced_commands,
    inline_code,
    inline_commands,
)

from tubedet.cli.running import COMMANDS, parse_command_line, run_command
from tubedet.engine import load_config

FENCED = [command for document in DOCUMENTS for command in fenced_commands(document)]
SHOWN = [command for document in DOCUMENTS for command in inline_commands(document)]
EXAMPLES = [
    command for program in [*PROGRAMS, *COMMAND_MODULES] for command in docstring_commands(program)
]
# What stands for something of the reader's in running text and in the heads of programs.
PLACEHOLDERS = {
    "X": "configs/AVA/TubeR_CSN50_AVA21.yaml",
    "configs/quick_schedules/CONFIG.yaml": "configs/quick_schedules/TubeR_toy.yaml",
    "run_exported_model.py": "tools/run_exported_model.py",
    "DIR": "results",
    "NAME": "TubeR_CSN152_AVA21",
    "N": "1",
}
# Files of the reader that are looked at before any work is done.
READERS_FILES = (
    "in.mp4",
    "films/one.mp4",
    "films/two.mp4",
    "frames/film/000001.jpg",
    "datasets/ava_toy/videos/a.mp4",
    "boxes.json",
    "gym.xml",
    "hall.xml",
)


def load_program(path):
    """A program as a module, with the modules beside it."""
    name = f"documented_{path.stem}"
    if name not in sys.modules:
        sys.path.insert(0, str(path.parent))
        try:
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
        sys.modules[name] = module
    return sys.modules[name]


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory):
    """The project's root as a reader has it after following the documents."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "configs").symlink_to(ROOT / "configs")
    for name in READERS_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    pages = [ROOT / "docs" / name for name in ("own_data.md", "own_videos.md")]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    (folder / "my_data/videos").mkdir(parents=True)
    for name, text in re.findall(r"`(my_data/\S+)`:\n\n```\w+\n(.*?)```", shown, re.DOTALL):
        (folder / name).write_text(text)
    shutil.copy(folder / "my_data/train.yaml", folder / "my_data/val.yaml")
    (folder / "my_data/videos/gym.mp4").touch()
    return folder


@pytest.fixture(autouse=True)
def no_new_data_sets():
    """Yamls of data sets that configs name are forgotten again."""
    known = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def parsed(path, words):
    """Options of a program, which may only start a command of tubedet."""
    source = path.read_text(encoding="utf-8")
    started = re.search(r'run_command\("(\w+)"(?:, \["([\w-]+)")?', source)
    if started is None:
        return load_program(path).parse_arguments(words)
    name, *first = filter(None, started.groups())
    return parse_command_line(name, [*first, *words])


def parse(path, words):
    """Options of a program; fails with what it says of words that it does not understand."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parsed(path, words)
    except SystemExit:
        pytest.fail(f"{path.name} {' '.join(words)}: {said.getvalue()}")


def check_python(words):
    """A program of the project, with options, config keys and data sets that exist."""
    if words[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[2:])
        return
    path = ROOT / words[0]
    assert path in PROGRAMS, f"there is no {words[0]}"
    check_options(parse(path, words[1:]))


def check_command(words):
    """A command of tubedet, with options, config keys and data sets that exist."""
    assert words[0] in COMMANDS, f"there is no command {words[0]}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = parse_command_line(words[0], words[1:])
    except SystemExit:
        pytest.fail(f"tubedet {' '.join(words)}: {said.getvalue()}")
    check_options(options)


def check_options(options):
    """Files, config keys and data sets that options name."""
    options = vars(options)
    config = options.get("config_file") or ""
    configs = config if isinstance(config, list) else [config]
    configs += map(str, options.get("configs") or [])
    for config in configs:
        assert config == "" or Path(config).is_file(), f"there is no {config}"
        load_config(config, options.get("opts"))
    names = options.get("datasets") or options.get("dataset") or []
    for name in [names] if isinstance(names, str) else names:
        assert name in DatasetCatalog.list() or Path(name).is_file(), f"there is no data set {name}"


def check_make(words):
    """A target and variables of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    variables = re.findall(r"^(\w+) \?=", makefile, re.MULTILINE)
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert name in (variables if is_variable else targets), f"make knows no {name}"
        assert is_variable or re.search(rf"^{name}:", makefile, re.MULTILINE)


def check_torchrun(words):
    """Options that torchrun knows, and a program of the project."""
    options = torch.distributed.run.get_args_parser().parse_args(words)
    assert int(options.nproc_per_node) > 0
    check_python([options.training_script, *options.training_script_args])


def check_srun(words):
    """One option at most, and a program of the project."""
    start = words.index("python")
    assert words[:start] in ([], ["--kill-on-bad-exit"])
    check_python(words[start + 1 :])


def check_mpirun(words):
    """The number of processes, options for several machines, and a program of the project."""
    start = words.index("python")
    assert words[0] == "-n" and int(words[1]) > 0
    assert words[2:start] in ([], ["--hostfile", "hosts", "-x", "MASTER_ADDR=node0"])
    check_python(words[start + 1 :])


def check_precommit(words):
    """The hooks of .pre-commit-config.yaml."""
    assert words == ["install"] and (ROOT / ".pre-commit-config.yaml").is_file()


def check_pip(words):
    """A program for developers, or an editable install of this folder with its extras."""
    if words == ["install", "pre-commit"]:
        return
    assert words[:2] == ["install", "-e"] and len(words) == 3
    extras = re.fullmatch(r"\.(?:\[(.+)\])?", words[2])
    metadata = (ROOT / "pyproject.toml").read_text()
    defined = metadata.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    known = re.findall(r"^(\w+) = \[", defined, re.MULTILINE)
    assert set((extras[1] or known[0]).split(",")) <= set(known)


CHECKS = {
    "python": check_python,
    "tubedet": check_command,
    "torchrun": check_torchrun,
    "srun": check_srun,
    "mpirun": check_mpirun,
    "make": check_make,
    "pip": check_pip,
    "pre-commit": check_precommit,
    "ls": lambda words: None,
}


@pytest.mark.parametrize("command", FENCED, ids=str)
def test_a_command_to_copy_is_understood_as_it_stands(command, readers_folder, monkeypatch):
    monkeypatch.chdir(readers_folder)
    program, *words = command.words
    # Capitals, angle brackets and invented paths stand for something; file names are the reader's.
    placeholders = [word for word in words if re.fullmatch(r"[A-Z]+|<.*>|/path/.*", word)]
    assert placeholders == [], "nobody can copy these"
    CHECKS[program](words)


@pytest.mark.parametrize("command", SHOWN + EXAMPLES, ids=str)
def test_a_command_in_text_is_understood(command, readers_folder, monkeypatch):
    monkeypatch.chdir(readers_folder)
    program, *words = [PLACEHOLDERS.get(word, word) for word in command.words]
    CHECKS[program](words)


def test_commands_stand_in_blocks_of_a_shell_and_blocks_are_closed():
    for document in DOCUMENTS:
        found = list(blocks(document))
        fences = re.findall(r"^ *```", document.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(found), f"{document}: a block is not closed, or indented"
        for block in found:
            if block.language != "sh":
                assert not re.search(rf"^({'|'.join([*CHECKS, 'sh'])}) ", block.text, re.MULTILINE)
    assert len(FENCED) > 30 and len(SHOWN) > 5 and len(EXAMPLES) > 10


@pytest.fixture(scope="module")
def help_texts():
    """What every program says with --help, steps and tasks with options of their own included."""
    parts = {
        "benchmark.py": [
            ["--task", task] for task in load_program(ROOT / "tools/benchmark.py").TASKS
        ],
        "prepare_ava.py": [["annotations"], ["download"], ["trim"], ["frames"], ["videos"]],
    }
    texts = {}
    for path in PROGRAMS:
        said = io.StringIO()
        for words in [[], *parts.get(path.name, [])]:
            with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
                parsed(path, [*words, "--help"])
            assert ended.value.code == 0
        texts[path.name] = said.getvalue()
    return texts


def test_every_tool_is_in_the_table():
    table = (ROOT / "tools/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(.+?)`", row)]
    assert sorted(listed) == sorted(path.name for path in PROGRAMS if path.parent.name == "tools")


def test_the_readme_is_short_and_shows_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert len(re.findall(r"^```sh$", text, re.MULTILINE)) == 5
    for path in (ROOT / "docs").glob("*.md"):
        if path.stem not in ("index", "changelog"):
            assert f"](docs/{path.name})" in text, f"README.md has no link to {path.name}"


def test_every_config_is_in_the_table():
    table = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `((?:AVA|JHMDB|UCF101-24)/\S+)` \|", table, re.MULTILINE)
    paths = [
        p for name in ("AVA", "JHMDB", "UCF101-24") for p in (ROOT / "configs" / name).iterdir()
    ]
    names = [f"{p.parent.name}/{p.stem}" for p in paths if not p.name.startswith("Base-")]
    assert listed == sorted(names) and len(listed) == 39


def test_every_program_explains_itself(help_texts):
    for name, text in help_texts.items():
        assert text.startswith("usage: ") and len(text) > 100, name


def test_options_in_text_exist(help_texts):
    known = set(re.findall(r"--[a-z][a-z-]*", " ".join(help_texts.values())))
    for document in DOCUMENTS:
        for line, code in inline_code(document):
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", code):
                assert option in known, f"{document}:{line}: no program has the option {option}"


def _lookup(cfg, key):
    for name in key.split("."):
        cfg = cfg.get(name) if isinstance(cfg, CfgNode) else None
    return cfg


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_keys_in_text_exist(document):
    cfg = load_config("")
    sections = tuple(f"{name}." for name, value in cfg.items() if isinstance(value, CfgNode))
    for line, code in inline_code(document):
        match = re.fullmatch(r"([A-Z][A-Z0-9_.]+)(?: (\S+))?", code)
        if not match or not match[1].startswith(sections):
            continue
        place = f"{document}:{line}: {code}"
        assert _lookup(cfg, match[1]) is not None, f"{place}: there is no such key"
        if match[2]:
            load_config("", [match[1], match[2].strip("'")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_files_in_text_exist(document):
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{document}: {link}"
    for line, code in inline_code(document):
        if re.fullmatch(r"(docs|tests|tools|datasets|configs|tubedet)/[\w/.-]+", code):
            assert (ROOT / code).exists(), f"{document}:{line}: {code}"


PYTHON = [block for path in DOCUMENTS for block in blocks(path) if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.document}:{block.line}")
def test_python_compiles_and_imports_what_exists(block):
    tree = ast.parse(block.text, block.document)
    compile(tree, block.document, "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "load_config":
            load_config(*(ast.literal_eval(argument) for argument in node.args))


def _documented(name, option):
    """The words after the program of the first command of that program with an option."""
    return next(
        command.words[2:]
        for command in FENCED
        if command.words[:2] == ["python", f"tools/{name}.py"] and option in command.words
    )


def test_the_documented_evaluation_runs(tmp_path, monkeypatch, capsys):
    words = _documented("evaluate_predictions", "--groundtruth")
    fixtures = ROOT / "tests/fixtures/ava_eval"
    case = next(
        path for path in sorted((fixtures / "cases").iterdir()) if (path / "excl.csv").exists()
    )
    stored = {"--groundtruth": case / "gt.csv", "--labelmap": fixtures / "labelmap60.pbtxt"}
    stored |= {"--exclude": case / "excl.csv", "--predictions": case / "det.csv"}
    for option, path in stored.items():
        (tmp_path / words[words.index(option) + 1]).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run_command("evaluate", words) == 0
    assert "mAP@0.5" in capsys.readouterr().out


def test_the_documented_check_of_the_toy_data_set_runs(toy_datasets):
    words = _documented("validate_dataset", "ava_toy_train")
    command = [sys.executable, "tools/validate_dataset.py", *words]
    environment = {**os.environ, "DETECTRON2_DATASETS": str(toy_datasets)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ava_toy_train: " in done.stdout and "0 errors, 0 warnings" in done.stdout


def test_the_table_of_configs_is_printed(capsys, monkeypatch):
    program = load_program(ROOT / "tools/model_zoo.py")
    monkeypatch.setattr(program, "FOLDERS", ("quick_schedules",))
    monkeypatch.setattr(program, "describe", lambda path: (path.stem, "", "", 1.0, 2.0))
    monkeypatch.setattr(sys, "argv", ["tools/model_zoo.py"])
    assert program.main(program.parse_arguments([])) == 0
    rows = re.findall(r"^\| (\w+) +\|", capsys.readouterr().out, re.MULTILINE)
    assert rows[0] == "config" and "TubeR_toy" in rows

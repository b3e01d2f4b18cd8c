"""Configs from yaml files and the command line, checked before any work is done."""

import functools
import os
from collections.abc import Callable, Iterator

import yaml
from detectron2.config import CfgNode, get_cfg

from tubedet.config import add_tubedet_config
from tubedet.data import ensure_registered
from tubedet.errors import UserError, message_of
from tubedet.model_zoo import check_weights_name, find_release, get_config_file

from .config_bases import check_bases
from .config_messages import fault_message, is_known_key, unknown_key_message

_CONFIG_SUFFIXES = (".yaml", ".yml")
_WEIGHTS_SUFFIXES = (".pth", ".pt", ".pyth", ".pkl", ".bin", ".tar", ".safetensors")


def load_config(config_file: str, opts: list[str] | None = None) -> CfgNode:
    """Read a config file on top of detectron2's and tubedet's defaults.

    Custom data sets that it names are registered. A yaml holds plain values only; nothing in
    it is executed.

    Args:
        config_file: a yaml file, or the name of one for
            :func:`tubedet.model_zoo.get_config_file`; empty for the defaults alone.
        opts: further ``KEY VALUE KEY VALUE ...``.

    Returns:
        a config that can still be changed.

    Raises:
        UserError: if the file is no config, or it or ``opts`` sets a key that does not exist, a key
            that another one replaced, or a value of another type; the message names the file, and
            the line if the yaml is at fault. Also for weights by a name that is unknown.
        AnnotationError: if the yaml of a data set is wrong.
    """
    cfg = get_cfg()
    add_tubedet_config(cfg)
    tuber_defaults = cfg.MODEL.TUBER.clone()
    if config_file:
        config_file = find_config_file(config_file)
        _merge_file(cfg, config_file)
    opts = list(opts or [])
    for key in opts[::2]:
        if not (is_known_key(cfg, key) or cfg.key_is_renamed(key)):
            raise UserError(f"KEY VALUE arguments: {unknown_key_message(cfg, key)}")
    try:
        cfg.merge_from_list(opts)
    except (AssertionError, KeyError, ValueError) as error:
        # What yacs raises for old keys and for values of another type.
        fault = fault_message(cfg, str(error.args[0]))
        raise UserError(f"KEY VALUE arguments: {fault}") from error
    _check_keys_of_deformable_tuber(cfg, tuber_defaults, config_file, opts)
    for key, source in weight_sources(cfg).items():
        check_weights_name(source, key)
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if not isinstance(name, str):
                raise UserError(
                    f"DATASETS.{key}: an entry is a {type(name).__name__}; list names of data sets"
                )
            ensure_registered(name)
    return cfg


def load_released_config(name: str | os.PathLike) -> CfgNode:
    """Read the config of a released detector, with its weights as ``MODEL.WEIGHTS``.

    Args:
        name: one of :func:`tubedet.model_zoo.released_models`.

    Returns:
        a config that can still be changed; the weights are fetched when they are loaded.

    Raises:
        UserError: if there is no released detector of that name, as for the path of a file.
    """
    name = os.fspath(name)
    try:
        release = find_release(name, detector=True)
    except UserError:
        _refuse_path(name)
        raise
    assert release.config is not None  # a whole detector has one
    return load_config(get_config_file(release.config), ["MODEL.WEIGHTS", name])


def _refuse_path(name: str) -> None:
    """Say how own weights are given, where a file stands in the place of a release's name."""
    if name.endswith(_CONFIG_SUFFIXES):
        raise UserError(
            f"{name} is a config file, no name of a released model: give "
            f"load_config({name!r}, ['MODEL.WEIGHTS', WEIGHTS_FILE]) of tubedet.engine"
        )
    if name.endswith(_WEIGHTS_SUFFIXES) or os.path.isfile(name):
        raise UserError(
            f"{name} is a file, no name of a released model: give "
            f"load_config(CONFIG_FILE, ['MODEL.WEIGHTS', {name!r}]) of tubedet.engine"
        )


def configurable_by_name(init: Callable) -> Callable:
    """Let a ``@configurable`` constructor take the name of a released model as its config.

    Args:
        init: the constructor.
    """

    @functools.wraps(init)
    def init_by_name(self, *args, **kwargs):
        if args and isinstance(args[0], (str, os.PathLike)):
            args = (load_released_config(args[0]), *args[1:])
        init(self, *args, **kwargs)

    return init_by_name


def weight_sources(cfg: CfgNode) -> dict[str, str]:
    """Config keys of weights, with their paths, names or URLs.

    Args:
        cfg: the config.
    """
    return {
        "MODEL.WEIGHTS": cfg.MODEL.WEIGHTS,
        "MODEL.INIT.BACKBONE": cfg.MODEL.INIT.BACKBONE,
        "MODEL.INIT.TRANSFORMER": cfg.MODEL.INIT.TRANSFORMER,
    }


def find_config_file(name: str) -> str:
    """Find a config: a file of the user, or else one of tubedet.

    Args:
        name: path of a yaml file, or name for :func:`tubedet.model_zoo.get_config_file`.

    Returns:
        path of the yaml file.

    Raises:
        UserError: if there is neither, or it is one of detectron2's configs in Python.
    """
    if name.endswith(".py"):
        raise UserError(
            f"config file {name}: a LazyConfig in Python; tubedet takes yaml files, and "
            "detectron2's lazyconfig_train_net.py builds tubedet's models, see docs/detectron2.md"
        )
    if os.path.isdir(name):
        raise UserError(f"config file {name} is a folder; name a yaml file in it")
    return name if os.path.isfile(name) else get_config_file(name)


def _merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a yaml and its ``_BASE_`` files; detectron2's default would run Python tags in them."""
    check_bases(path)
    try:
        cfg.merge_from_file(path, allow_unsafe=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = path if mark is None else f"{mark.name}:{mark.line + 1}"
        raise UserError(f"{place}: {error.problem}; a config holds plain yaml values") from error
    except KeyError as error:
        raise UserError(_key_message(cfg, path, error.args[0])) from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply, or its own _BASE_") from error
    except (AttributeError, TypeError) as error:  # yacs takes for granted that there are keys
        raise UserError(
            f"{path} or its _BASE_: expected sections with lines of 'KEY: value' ({error})"
        ) from error
    except (yaml.YAMLError, AssertionError, ValueError) as error:
        raise UserError(f"{path} or its _BASE_: {fault_message(cfg, str(error))}") from error
    except OSError as error:
        if error.filename in (None, path):
            raise
        raise UserError(f"{path}: its _BASE_ {message_of(error)}") from error


def _key_message(cfg: CfgNode, path: str, fault: str) -> str:
    """Return what to say about a key of a file that cannot be merged, the first of its faults."""
    with open(path, encoding="utf-8") as f:
        place = f"{path} or its _BASE_" if "_BASE_" in yaml.safe_load(f) else path
    keys = _leaf_keys(CfgNode.load_yaml_with_base(path, allow_unsafe=False))
    num_old = sum(cfg.key_is_renamed(key) for key in keys)
    more = f" ({num_old} such keys in all)" if num_old > 1 else ""
    return f"{place}: {fault_message(cfg, fault)}{more}"


def _leaf_keys(node: dict, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaf_keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _check_keys_of_deformable_tuber(
    cfg: CfgNode, tuber_defaults: CfgNode, config_file: str, opts: list
) -> None:
    """Refuse values of MODEL.TUBER that are meant for DeformableTubeR, which once read them."""
    if cfg.MODEL.META_ARCHITECTURE != "DeformableTubeR":
        return
    own = cfg.MODEL.DEFORMABLE_TUBER
    for key, value in cfg.MODEL.TUBER.items():
        if key in own and value not in (tuber_defaults[key], own[key]):
            old = f"MODEL.TUBER.{key}"
            place = "KEY VALUE arguments" if old in opts[::2] else f"{config_file} or its _BASE_"
            raise UserError(
                f"{place}: {old} is {value}, but DeformableTubeR reads "
                f"MODEL.DEFORMABLE_TUBER.{key}, which is {own[key]}; set that key instead"
            )

"""Composes a run's config: profiles, then the config file, then ``key=value`` overrides.

OmegaConf merges them and pydantic validates the result. ``model:`` and ``cluster:`` may name a profile
(configs/model/NAME.yaml, configs/cluster/NAME.yaml), which is itself a partial config; a mapping with ``profile: NAME``
starts from the profile and changes some of its keys. A resolved config (RUN/config.yaml) names no profile and can be
run again as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from routenator.config import EngineConfig, RunConfig
from routenator.errors import InputError, value_kind
from routenator.parsing import parse_model, parse_yaml, read_yaml
from routenator.place import CONFIGS

GROUPS = ("model", "cluster")
_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\$\{")  # unless a backslash makes it two plain characters
_OTHER_KEY = re.compile(r"\s*\.*[\w-]+(?:\.[\w-]+|\[\w+\])*\s*\}")
_MOST_REFERENCES = 32


def probe_config(domain: Path, size: int = 1_000_000) -> RunConfig:
    """A minimal config for inspecting a domain; everything else is at its default."""
    return RunConfig.model_validate(
        {
            "name": "check",
            "domain": str(domain),
            "dataset": {"size": size},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
        }
    )


def load_config(path: str | Path, overrides: Sequence[str] = (), configs: Path = CONFIGS) -> RunConfig:
    """Compose and validate a run's config.

    Args:
        path: a YAML file, or the name of one in ``configs``.
        overrides: ``key=value`` with dotted keys; values are YAML.
        configs: folder of profiles and domains.

    Raises:
        InputError / InputErrors: file, key, found, expected, nearest valid name.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = _find(Path(path), configs)
    raw = read_yaml(file, small=True)
    if not isinstance(raw, dict):
        raise InputError("not a config", file=file, found=value_kind(raw), expected="a mapping")
    dotted = [split_override(override) for override in overrides]
    chosen: dict[str, str] = {}
    for group in GROUPS:
        own = raw.get(group)
        if isinstance(own, str):
            chosen[group] = own
            del raw[group]
        elif isinstance(own, dict) and "profile" in own:
            chosen[group] = own.pop("profile")
    for key, value in dotted:
        if key in GROUPS:
            if not isinstance(value, str):
                raise InputError("not a profile", key=key, found=value, valid=_profiles(configs, key))
            chosen[key] = value
            # A new profile also discards the config's changes to the old one.
            raw.pop(key, None)
    layers = [
        (configs / group / f"{chosen[group]}.yaml", _profile(configs, group, chosen[group]))
        for group in GROUPS
        if group in chosen
    ]
    _check_references([(file, raw), (None, dict(dotted)), *layers])
    try:
        merged = OmegaConf.merge(*(OmegaConf.create(layer) for _, layer in layers), OmegaConf.create(raw))
        for key, value in dotted:
            if key not in GROUPS:
                # An overriding mapping replaces the old one: keys left over from it would be a surprise. To change a
                # single key, use its dotted name.
                OmegaConf.update(merged, key, value, merge=False, force_add=True)
        value = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(
            "cannot compose this config",
            file=file,
            key=getattr(error, "full_key", None) or None,
            found=str(error).splitlines()[0],
            expected="a config as in docs/configuration.md",
        ) from None
    origin = str(file) + (" " + " ".join(overrides) if overrides else "")
    config = parse_model(RunConfig, value, origin)
    return config.model_copy(update={"domain": str(find_domain(config.domain, configs))})


def _check_references(parts: Sequence[tuple[Path | None, Any]]) -> None:
    """Allow ``${key}``, the value of another key, and refuse all other ``${...}``.

    OmegaConf's resolvers read the environment, decode values and make new keys. With them a config from elsewhere could
    copy a password of whoever runs it into the run directory. References may also stand for each other, which
    multiplies them.

    Args:
        parts: files and what they contain; None: the command line.

    Raises:
        InputError: a resolver, a reference within a reference, or too many references.
    """
    count = 0
    for file, part in parts:
        for key, text in texts_in(part):
            for found in _REFERENCE.finditer(text):
                count += 1
                if _OTHER_KEY.match(text, found.end()) is None:
                    raise InputError(
                        "a config can refer to its own keys only",
                        file=file,
                        key=key,
                        found=text[found.end() - 2 :][:80],
                        expected="${key.of.this.config}, or \\${ for these two characters, e.g. in a line of shell",
                    )
                if count > _MOST_REFERENCES:
                    raise InputError(
                        "too many references in a config", file=file, key=key, expected=f"at most {_MOST_REFERENCES}"
                    )


def texts_in(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in a value with their keys."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from texts_in(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts_in(inner, f"{key}[{number}]")


def find_domain(name: str, configs: Path = CONFIGS) -> Path:
    """The folder of a domain, given as a folder or as a name in ``configs/domains``.

    Raises:
        InputError: no such domain.
    """
    # A bare name means one of our domains first: the current directory may happen to hold a folder of that name.
    ours, path = configs / "domains" / name, Path(name).expanduser()
    for candidate in (path, ours) if "/" in name else (ours, path):
        if candidate.is_dir():
            return candidate.resolve()
    known = [path.name for path in (configs / "domains").glob("*") if path.is_dir()]
    known += [file.parent.name for file in path.parent.glob("*/domain.yaml")]  # the user's own
    raise InputError("no such domain", file=path if "/" in name else None, key="domain", found=path.name, valid=known)


def write_config(config: RunConfig) -> str:
    """A resolved config as YAML text that ``load_config`` reads back to an equal config."""
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def _find(path: Path, configs: Path) -> Path:
    for candidate in (path, configs / path, configs / f"{path}.yaml"):
        if candidate.is_file():
            return candidate
    if path.is_dir() or (path.parent != Path() and path.parent.is_dir()):  # a place of the user's own: what it has
        place = path if path.is_dir() else path.parent
        own = [str(place / file.name) for file in place.glob("*.yaml")]
        raise InputError(
            "no such config", file=path, found=path, valid=own, expected=None if own else "a YAML file; here is none"
        )
    raise InputError("no such config", file=path, found=path, valid=[p.name for p in configs.glob("*.yaml")])


def _profiles(configs: Path, group: str) -> list[str]:
    return sorted(path.stem for path in (configs / group).glob("*.yaml"))


def _profile(configs: Path, group: str, name: str) -> dict[str, Any]:
    file = configs / group / f"{name}.yaml"
    if not file.is_file():
        raise InputError(f"no such {group} profile", key=group, found=name, valid=_profiles(configs, group))
    value = read_yaml(file, small=True)
    if not isinstance(value, dict):
        raise InputError("not a profile", file=file, found=value_kind(value), expected="a mapping")
    return value


def generator_of(profile: str, configs: Path = CONFIGS) -> EngineConfig:
    """The generator of a model profile: of the name of one in ``configs/model``, or of a YAML file.

    Raises:
        InputError / InputErrors: no such profile, or it names no generator.
    """
    file = Path(profile)
    if file.suffix in (".yaml", ".yml"):
        value = read_yaml(file, small=True)
    else:
        file, value = configs / "model" / f"{profile}.yaml", _profile(configs, "model", profile)
    section = value.get("model") if isinstance(value, dict) else None
    if not isinstance(section, dict) or "generator" not in section:
        raise InputError("this profile names no generator", file=file, key="model.generator", found="nothing")
    return parse_model(EngineConfig, section["generator"], file)


def split_override(override: str) -> tuple[str, Any]:
    """Split ``key=value`` and parse the value as YAML.

    Raises:
        InputError: no ``=``, no key, a value that is not YAML, or a line break that YAML would fold.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError("not an override", found=override, expected="key=value")
    try:
        value = parse_yaml(text, key=key, small=True)
    except InputError as error:
        raise InputError(
            "the value of this override is not YAML", key=key, found=text[:80], expected=str(error.found)
        ) from None
    if isinstance(value, str) and "\n" in text.strip() and "\n" not in value:
        # YAML folds lines: a path with a line break would silently become another path.
        raise InputError(
            "YAML would read this line break as a space", key=key, found=repr(text[:80]), expected="one line"
        )
    return key.strip(), value

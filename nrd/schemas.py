"""JSON schemas of the YAML files, made from the models that check them."""

import json
from pathlib import Path

from nrd.configs import DatasetConfig, MethodConfig, StudyConfig
from nrd.files import write_if_changed
from nrd.spec import RunSpec

MODELS = {"dataset": DatasetConfig, "method": MethodConfig, "study": StudyConfig, "run": RunSpec}


def write_schemas(folder: Path, check: bool = False) -> list[str]:
    """Write (or with ``check`` only compare) one schema per model; return the names of those that differed."""
    changed = []
    for name, model in MODELS.items():
        path = folder / f"{name}.schema.json"
        text = json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        if check:
            differs = not path.is_file() or path.read_text(encoding="utf-8") != text
        else:
            differs = write_if_changed(path, text)
        if differs:
            changed.append(path.name)
    return changed
